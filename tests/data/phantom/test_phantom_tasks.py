"""Do tuberculosis-like and COVID-like opacities lie where they belong, and do cohorts without them stay as they were?"""

from itertools import pairwise

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from cxrvl.data.labels import VOCABULARY
from cxrvl.data.phantom import FINDINGS, Cohort, CohortOptions, Phantom
from cxrvl.data.phantom.cohort import BOTH, LEFT, RIGHT
from cxrvl.data.phantom.contact_sheet import draw_task_sheets
from cxrvl.data.phantom.diseases import disease_boxes
from cxrvl.data.phantom.tasks import DISEASES, TASKS
from cxrvl.errors import ConfigError

TASK = {"Tuberculosis": "tuberculosis", "COVID-19": "covid"}
IMAGES = 24


def drawn(images: int, seed: int = 5, **options) -> Cohort:
    return Cohort.draw(seed, np.arange(images), CohortOptions.checked(**options))


def only(disease: str, *, side: int = BOTH, severity: float = 0.8, images: int = IMAGES) -> Phantom:
    return Phantom(drawn(images, task=TASK[disease]).with_only(disease, side=side, severity=severity))


def test_labels_are_of_the_joint_vocabulary():
    assert {task.label for task in TASKS.values() if task.label} <= set(VOCABULARY)
    assert {task.disease for task in TASKS.values() if task.disease} == set(DISEASES)


@pytest.mark.parametrize("task", TASKS)
def test_prevalence_of_the_task_is_met(task):
    cohort = drawn(12000, task=task)
    shares = CohortOptions.checked(task=task).prevalence
    assert cohort.findings[: len(FINDINGS)] == FINDINGS
    for column, finding in enumerate(cohort.findings):
        assert cohort.present[:, column].mean() == pytest.approx(shares[finding], abs=0.025)


def test_a_task_changes_nothing_but_findings():
    plain, task = drawn(400), drawn(400, task="tuberculosis", prevalence=0.0)
    bare = Phantom(plain.with_only(None)).render(48)
    assert np.array_equal(Phantom(task).render(48), bare)
    for kept in ("patient", "split", "hospital", "age", "visit"):
        assert np.array_equal(getattr(plain, kept), getattr(task, kept))


@pytest.mark.parametrize("disease", DISEASES)
def test_masks_boxes_and_pixels_agree(disease):
    phantom = only(disease, side=BOTH)
    before = Phantom(phantom.cohort.with_only(None)).render(96)
    change = phantom.render(96) - before
    rows, corners = disease_boxes(phantom.cohort, phantom.anatomy, phantom.disease)
    assert sorted(rows.tolist()) == sorted([*range(IMAGES), *range(IMAGES)])
    for row in range(IMAGES):
        mask = phantom.masks(row, 96)[disease]
        inside = np.zeros((96, 96), dtype=bool)
        for x0, y0, x1, y1 in corners[rows == row]:
            inside[int(y0 * 96) : int(y1 * 96) + 1, int(x0 * 96) : int(x1 * 96) + 1] = True
        assert mask.any()
        assert inside[mask].mean() > 0.98
        assert change[row][mask].mean() > 0.03
        assert change[row][mask].mean() > 5 * abs(change[row][~mask].mean())


@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_tuberculosis_is_apical_and_on_its_side(side):
    phantom = only("Tuberculosis", side=side)
    for row in range(IMAGES):
        y, x = np.where(phantom.masks(row, 128)["Tuberculosis"])
        lung = phantom.anatomy.lungs[side].at(row)
        assert np.mean((y / 128 - lung.apex_y) / (lung.dome_y - lung.apex_y)) < 0.4
        beyond = x / 128 - phantom.anatomy.midline.at(row).x(y / 128)
        assert ((beyond > -0.01) if side == LEFT else (beyond < 0.01)).all()


def test_severe_tuberculosis_often_has_a_cavity():
    phantom = only("Tuberculosis", side=RIGHT, severity=1.0, images=200)
    hollow = np.asarray(phantom.disease[RIGHT].patches[1].density) < 0
    assert 0.35 < hollow.mean() < 0.65
    assert not (np.asarray(only("Tuberculosis", severity=0.4).disease[RIGHT].patches[1].density) < 0).any()


def test_covid_is_in_both_lungs_at_the_chest_wall():
    phantom = only("COVID-19")
    for row in range(IMAGES):
        mask, midline = phantom.masks(row, 128)["COVID-19"], phantom.anatomy.midline.at(row)
        y, x = np.where(mask)
        r = x / 128 - midline.x(y / 128)
        for side, there in ((RIGHT, r < 0), (LEFT, r > 0)):
            lung = phantom.anatomy.lungs[side].at(row)
            assert there.any()
            out = np.abs(r[there]) / lung.lateral(y[there] / 128)
            assert np.mean(out) > 0.65
            assert np.mean((y[there] / 128 - lung.apex_y) / (lung.dome_y - lung.apex_y)) > 0.35


@pytest.mark.parametrize("disease", DISEASES)
def test_opacities_grow_with_severity(disease):
    before = Phantom(only(disease).cohort.with_only(None)).render(64)
    change = [(only(disease, severity=s).render(64) - before).mean() for s in (0.05, 0.3, 0.6, 1.0)]
    assert change[0] > 0
    assert all(later > 1.3 * earlier for earlier, later in pairwise(change))


@pytest.mark.parametrize("task", ["tuberculosis", "covid", "pneumothorax"])
def test_the_disease_can_be_learnt(task):
    cohort = drawn(1000, seed=1, task=task, severity=(0.6, 1.0))
    images = Phantom(cohort).render(48).reshape(1000, 24, 2, 24, 2).mean(axis=(2, 4)).reshape(1000, -1)
    there, train = cohort.present[:, cohort.findings.index(TASKS[task].label)], cohort.split != "test"
    model = RidgeClassifier(alpha=30.0).fit(images[train], there[train])
    score = roc_auc_score(there[~train], model.decision_function(images[~train]))
    print(f"\n{task}: AUC {score:.3f}")
    assert score > 0.65


def test_unlabelled_and_test_images_arrive_from_the_third_hospital():
    split = {"train": 0.1, "unlabelled": 0.5, "val": 0.1, "test": 0.3}
    cohort = drawn(2000, task="covid", hospitals="arrival", split=split)
    assert set(cohort.split) == set(split)
    for name, share in split.items():
        assert (cohort.split == name).mean() == pytest.approx(share, abs=0.03)
    assert np.array_equal(cohort.hospital == 2, np.isin(cohort.split, ["unlabelled", "test"]))
    assert set(cohort.hospital) == {0, 2}


def test_the_third_hospital_looks_different_but_shows_the_same():
    a, c = (Phantom(drawn(30, task="covid", hospitals=name)).render(128) for name in "AC")
    assert c.min() >= 0
    assert c.max() <= 1

    # Its edges stand out from what surrounds them; its large areas are flattened.
    def local(images: np.ndarray) -> float:
        blocks = images[:, 24:104, 24:104].reshape(30, 5, 16, 5, 16)
        return float(blocks.std(axis=(2, 4)).mean() / blocks.mean(axis=(2, 4)).std(axis=(1, 2)).mean())

    assert local(c) > 1.2 * local(a)
    assert min(np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in zip(a, c, strict=True)) > 0.6


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "fracture"}, "fracture"),
        ({"prevalence": {"Tuberculosis": 0.1}}, "Tuberculosis"),
        ({"task": "covid", "prevalence": {"Tuberculosis": 0.1}}, "Tuberculosis"),
        ({"follow_ups": 1.5}, "follow_ups"),
    ],
)
def test_impossible_tasks_are_refused_by_name(options, said):
    with pytest.raises(ConfigError, match=said):
        CohortOptions.checked(**options)


def test_sheets_are_drawn(tmp_path):
    assert [path.stem for path in draw_task_sheets(tmp_path, size=32)] == ["tuberculosis", "covid", "follow_ups"]
