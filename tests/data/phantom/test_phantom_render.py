"""Are the phantom's pixels deterministic, in range, alike at every size, and do they show what the labels say?"""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cxrvl.data.phantom import FINDINGS, GENERATOR_VERSION, Cohort, CohortOptions, Phantom
from cxrvl.data.phantom.cohort import LEFT, RIGHT
from cxrvl.data.phantom.contact_sheet import draw_sheets

# Six images of 64 px drawn once; renewed together with GENERATOR_VERSION.
REFERENCE = Path(__file__).with_name(f"phantom_v{GENERATOR_VERSION}.png")


def cohort(images: int, seed: int = 0, **options) -> Cohort:
    return Cohort.draw(seed, np.arange(images), CohortOptions.checked(**options))


def test_pixels_are_within_one_grey_level_of_the_reference():
    drawn = np.hstack(list(Phantom(cohort(6, seed=7)).render(64))) * 255
    kept = np.asarray(Image.open(REFERENCE), dtype=np.float32)
    assert np.abs(np.rint(drawn) - kept).max() <= 1


@pytest.mark.parametrize("size", [33, 64, 128, 200])
def test_images_are_float32_in_range(size):
    images = Phantom(cohort(12)).render(size)
    assert images.shape == (12, size, size)
    assert images.dtype == np.float32
    assert np.isfinite(images).all()
    assert images.min() >= 0
    assert images.max() <= 1
    assert (images.std(axis=(1, 2)) > 0.15).all()


def test_every_image_of_a_large_cohort_can_be_drawn():
    images = Phantom(cohort(400, seed=99, severity=(0.05, 1.0))).render(48)
    assert np.isfinite(images).all()


def test_an_image_does_not_depend_on_its_batch():
    together = Phantom(cohort(20)).render(64)
    alone = Phantom(Cohort.draw(0, np.array([13]), CohortOptions.checked())).render(64)
    assert np.array_equal(together[13], alone[0])


def test_seeds_and_numbers_give_different_images():
    a, b = Phantom(cohort(4, seed=1)).render(64), Phantom(cohort(4, seed=2)).render(64)
    assert np.abs(a - b).mean() > 0.03
    assert np.abs(a[0] - a[1]).mean() > 0.01


def test_large_and_small_renderings_show_the_same_chest():
    small, large = Phantom(cohort(10)).render(64), Phantom(cohort(10)).render(256)
    shrunk = large.reshape(10, 64, 4, 64, 4).mean(axis=(2, 4))
    for a, b in zip(small, shrunk, strict=True):
        assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > 0.93


def test_lungs_are_darker_than_heart_and_background_darkest():
    phantom = Phantom(cohort(40).with_only(None))
    images, anatomy = phantom.render(128), phantom.anatomy
    for row, image in enumerate(images):
        lung, mid = anatomy.lungs[RIGHT].at(row), anatomy.midline.at(row)
        y = lung.apex_y + 0.5 * lung.height()
        x = mid.x(y) - 0.6 * lung.lateral(y)
        field = image[int(y * 128) - 8 : int(y * 128) + 8, int(x * 128) - 6 : int(x * 128) + 6].mean()
        middle = image[int(y * 128) - 8 : int(y * 128) + 8, int(mid.x(y) * 128) - 2 : int(mid.x(y) * 128) + 2].mean()
        assert field < middle - 0.15


def test_hospital_b_is_noisier_and_paler():
    def fine(images: np.ndarray) -> float:
        return float(np.abs(np.diff(images[:, 100:120, 40:90], axis=2)).mean())

    a, b = (Phantom(cohort(30, hospitals=plan).with_only(None)).render(128) for plan in "AB")
    assert fine(b) > 1.3 * fine(a)
    assert b.std(axis=(1, 2)).mean() < a.std(axis=(1, 2)).mean()


def test_marker_lies_on_its_side():
    phantom = Phantom(cohort(200))
    images = phantom.render(64)[:, :10]
    marker = phantom.devices.marker
    right = images[:, :, :7].max(axis=(1, 2))
    left = images[:, :, -7:].max(axis=(1, 2))
    assert right[marker == RIGHT].mean() > right[marker == LEFT].mean() + 0.2
    assert left[marker == LEFT].mean() > left[marker == RIGHT].mean() + 0.2


def test_severe_findings_can_be_learnt_from_pixels():
    shown = cohort(1000, seed=21, prevalence=0.4, severity=(0.8, 1.0))
    images = Phantom(shown).render(48)
    small = images.reshape(1000, 24, 2, 24, 2).mean(axis=(2, 4)).reshape(1000, -1)
    small = (small - small.mean(0)) / (small.std(0) + 0.05)
    test = shown.split == "test"
    for finding, least in (("Effusion", 0.9), ("Cardiomegaly", 0.9), ("Atelectasis", 0.72), ("Pneumothorax", 0.6)):
        target = shown.present[:, FINDINGS.index(finding)]
        model = LogisticRegression(C=1e-3, max_iter=200).fit(small[~test], target[~test])
        assert roc_auc_score(target[test], model.decision_function(small[test])) > least, finding


def test_contact_sheets_are_drawn(tmp_path):
    paths = draw_sheets(tmp_path, size=48)
    assert {path.stem for path in paths} == {"normal", "mixed", *(finding.lower() for finding in FINDINGS)}
    for path in paths:
        assert np.asarray(Image.open(path)).std() > 30
