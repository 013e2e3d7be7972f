"""Do boxes, masks and pixels of a finding agree, and do they sit where the finding belongs?"""

from itertools import pairwise

import numpy as np
import pytest

from cxrvl.data.phantom import FINDINGS, Cohort, CohortOptions, Phantom
from cxrvl.data.phantom.anatomy import CARDIOTHORACIC_LIMIT
from cxrvl.data.phantom.cohort import LEFT, RIGHT
from cxrvl.data.phantom.findings import finding_boxes

SIDED = [finding for finding in FINDINGS if finding != "Cardiomegaly"]
IMAGES = 40


def plain(images: int = IMAGES, seed: int = 3) -> Cohort:
    return Cohort.draw(seed, np.arange(images), CohortOptions.checked()).with_only(None)


def box_of(mask: np.ndarray) -> np.ndarray:
    y, x = np.where(mask)
    return np.array([x.min(), y.min(), x.max() + 1, y.max() + 1]) / mask.shape[0]


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    return wide * tall / (areas - wide * tall)


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("severity", [0.05, 0.5, 1.0])
def test_boxes_bound_masks(finding, severity):
    for side in (RIGHT, LEFT):
        phantom = Phantom(plain().with_only(finding, side=side, severity=severity))
        rows, columns, corners = finding_boxes(phantom.cohort, phantom.anatomy, phantom.lesions)
        assert rows.tolist() == list(range(IMAGES))
        assert set(columns) == {FINDINGS.index(finding)}
        assert np.array_equal(corners * 1024, np.rint(corners * 1024))
        assert (corners[:, :2] < corners[:, 2:]).all()
        assert corners.min() >= 0
        assert corners.max() <= 1
        agreement = [overlap(corners[row], box_of(phantom.masks(row, 512)[finding])) for row in range(IMAGES)]
        # A barely visible effusion is few pixels wide: rounding outwards weighs more there.
        assert np.mean(agreement) > (0.85 if severity > 0.05 else 0.68)
        assert min(agreement) > 0.45


@pytest.mark.parametrize("finding", SIDED)
def test_findings_stay_in_the_lung_of_their_side(finding):
    for side in (RIGHT, LEFT):
        phantom = Phantom(plain().with_only(finding, side=side, severity=0.7))
        x = (np.arange(128) + 0.5) / 128
        for row in range(IMAGES):
            mask, midline = phantom.masks(row, 128)[finding], phantom.anatomy.midline.at(row)
            beyond = (x[None, :] - midline.x(x[:, None]))[mask]
            # The patient's left is on the image's right.
            assert (beyond > 0).all() if side == LEFT else (beyond < 0).all()


@pytest.mark.parametrize("finding", FINDINGS)
def test_pixels_change_in_the_mask_and_more_with_severity(finding):
    before, changes = Phantom(plain()).render(96), []
    sign = -1 if finding == "Pneumothorax" else 1
    for severity in (0.05, 0.3, 0.6, 1.0):
        phantom = Phantom(plain().with_only(finding, side=LEFT, severity=severity))
        after = phantom.render(96)
        inside = [phantom.masks(row, 96)[finding] for row in range(IMAGES)]
        change = [sign * (after[row] - before[row])[inside[row]].mean() for row in range(IMAGES) if inside[row].any()]
        changes.append(np.mean(change))
    assert 0.005 < changes[0] < 0.08
    # An enlarged heart grows into the lung; its own depth stays, so its mean change rises less.
    assert all(later > 1.1 * earlier for earlier, later in pairwise(changes))


@pytest.mark.parametrize("finding", ["Nodule", "Consolidation"])
def test_pixels_stay_elsewhere(finding):
    phantom = Phantom(plain().with_only(finding, side=RIGHT, severity=1.0))
    change = np.abs(phantom.render(96) - Phantom(plain()).render(96))
    for row in range(IMAGES):
        x0, y0, x1, y1 = finding_boxes(phantom.cohort, phantom.anatomy, phantom.lesions)[2][row]
        # The fuzzy border and the detector's blur reach a little beyond the box.
        wide, tall = 0.4 * (x1 - x0) + 0.03, 0.4 * (y1 - y0) + 0.03
        low, high = (max(int((y0 - tall) * 96), 0), int((y1 + tall) * 96) + 1)
        left, right = (max(int((x0 - wide) * 96), 0), int((x1 + wide) * 96) + 1)
        assert change[row, low:high, left:right].max() > 0.02
        change[row, low:high, left:right] = 0
    assert change.max() < 0.02


def test_masks_grow_with_severity_but_not_with_resolution():
    for finding in FINDINGS:
        areas = [
            [
                Phantom(plain(8).with_only(finding, side=LEFT, severity=severity)).masks(row, size)[finding].mean()
                for row in range(8)
            ]
            for severity, size in ((0.2, 256), (0.9, 256), (0.9, 512))
        ]
        assert np.mean(areas[1]) > np.mean(areas[0]) * 1.05
        assert areas[2] == pytest.approx(areas[1], rel=0.12)


def test_the_heart_is_enlarged_exactly_where_it_is_called_so():
    cohort = Cohort.draw(1, np.arange(3000), CohortOptions.checked(severity=(0.05, 1.0)))
    ratio = Phantom(cohort).anatomy.cardiothoracic_ratio
    assert np.array_equal(ratio > CARDIOTHORACIC_LIMIT, cohort.present[:, FINDINGS.index("Cardiomegaly")])


def test_drawn_heart_has_the_stated_ratio():
    phantom = Phantom(plain().with_only("Cardiomegaly", severity=0.6))
    for row in range(10):
        mask = phantom.masks(row, 512)["Cardiomegaly"]
        heart = (mask.any(0).nonzero()[0].max() - mask.any(0).nonzero()[0].min()) / 512
        thorax = sum(float(lung.width[row]) for lung in phantom.anatomy.lungs)
        assert heart / thorax == pytest.approx(phantom.anatomy.cardiothoracic_ratio[row], abs=0.02)
        centre = float(phantom.anatomy.midline.x(0.6)[row])
        columns = mask.any(0).nonzero()[0] / 512
        assert (columns > centre).mean() > 0.55


def test_volume_loss_raises_the_dome_and_pulls_the_mediastinum():
    before, after = Phantom(plain()).anatomy, Phantom(plain().with_only("Atelectasis", side=LEFT)).anatomy
    assert (after.lungs[LEFT].dome_y < before.lungs[LEFT].dome_y).all()
    assert np.array_equal(after.lungs[RIGHT].dome_y, before.lungs[RIGHT].dome_y)
    assert (after.heart.shift > before.heart.shift).all()
