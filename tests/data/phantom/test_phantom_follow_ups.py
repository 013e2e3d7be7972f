"""Do findings go on from visit to visit as asked, is the body the same, and do reports say what has changed?"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxrvl.data.labeler.attributes import describe
from cxrvl.data.phantom import FINDINGS, Cohort, CohortOptions, Phantom
from cxrvl.data.phantom.cohort import earlier
from cxrvl.data.phantom.course import CHANGE
from cxrvl.data.phantom.reports import studies, write


def drawn(images: int, share: float | None = 0.6, seed: int = 2, **options) -> Cohort:
    return Cohort.draw(seed, np.arange(images), CohortOptions.checked(follow_ups=share, **options))


def pairs(cohort: Cohort) -> tuple[np.ndarray, np.ndarray]:
    before = earlier(cohort.seed, cohort.index)
    later = np.flatnonzero(before >= 0)
    return before[later], later


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**60), start=st.integers(0, 10**5))
def test_the_visit_before_is_of_the_same_patient(seed, start):
    cohort = Cohort.draw(seed, np.arange(start * 8, start * 8 + 64), CohortOptions.checked())
    before = earlier(seed, cohort.index)
    assert np.array_equal(before < 0, cohort.visit == 0)
    for row in np.flatnonzero(before >= 0):
        was = before[row] - start * 8
        assert cohort.patient[was] == cohort.patient[row]
        assert cohort.visit[was] == cohort.visit[row] - 1
        assert cohort.days[was] < cohort.days[row]


def test_an_image_does_not_depend_on_its_batch():
    many, alone = drawn(800), Cohort.draw(2, np.array([701]), CohortOptions.checked(follow_ups=0.6))
    for name in ("present", "severity", "age", "days"):
        assert np.array_equal(getattr(many, name)[701:702], getattr(alone, name))


def test_nothing_changes_at_share_zero():
    cohort = drawn(2000, 0.0)
    old, new = pairs(cohort)
    assert np.array_equal(cohort.present[old], cohort.present[new])
    assert np.abs(cohort.severity[old] - cohort.severity[new]).max() < CHANGE


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_share_asked_for_changes_each_way(share):
    cohort = drawn(12000, share)
    old, new = pairs(cohort)
    was, now = cohort.present[old], cohort.present[new]
    rise = cohort.severity[new] - cohort.severity[old]
    resolved, better, worse = was & ~now, was & now & (rise < -CHANGE), was & now & (rise > CHANGE)
    assert (resolved | better | worse)[was].mean() == pytest.approx(share, abs=0.03)
    for kind in (resolved, better, worse):
        assert kind[was].mean() == pytest.approx(share / 3, abs=0.05)
    appeared = (~was & now).sum(axis=0)
    assert appeared == pytest.approx(resolved.sum(axis=0), rel=0.25)


def test_prevalence_holds_at_every_visit():
    cohort = drawn(16000, 0.8)
    asked = CohortOptions.checked().prevalence
    for visit in range(3):
        for column, finding in enumerate(FINDINGS):
            share = cohort.present[cohort.visit == visit, column].mean()
            assert share == pytest.approx(asked[finding], abs=0.03)


def test_the_body_is_kept():
    phantom = Phantom(drawn(400))
    old, new = pairs(phantom.cohort)
    body = phantom.anatomy.body
    for kept in (body.rib_spacing, body.vessel_left, phantom.cohort.side[:, 0], phantom.cohort.female):
        assert np.array_equal(np.asarray(kept)[old], np.asarray(kept)[new])
    assert np.allclose(
        np.asarray(phantom.lesions.consolidation.slope)[old], np.asarray(phantom.lesions.consolidation.slope)[new]
    )
    assert (phantom.cohort.age[new] - phantom.cohort.age[old]).min() >= 0


@pytest.mark.parametrize("style", ["prose", "verbose", "terse"])
def test_comparisons_are_true(style):
    options = CohortOptions.checked(follow_ups=0.8)
    cohort = Cohort.draw(2, np.arange(600), options)
    seen = studies(Phantom(cohort), options)
    before, kinds = earlier(2, cohort.index), set()
    for row, study in enumerate(seen):
        text = write(study, style)["report"]
        if before[row] < 0:
            assert study.days == 0
            assert not study.gone
            assert not any(d.change for d in describe(text))
            continue
        assert study.days > 0
        for column, finding in enumerate(FINDINGS):
            was, now = cohort.severity[before[row], column], cohort.severity[row, column]
            fact = next((fact for fact in study.found if fact.finding == finding), None)
            assert (fact is not None) == (now > 0)
            if fact is not None:
                true = (
                    "new"
                    if was == 0
                    else "worse"
                    if now - was > CHANGE
                    else "better"
                    if was - now > CHANGE
                    else "unchanged"
                )
                assert fact.change == true
                kinds.add(true)
            assert any(gone.finding == finding for gone in study.gone) == (was > 0 and now == 0)
        if study.gone and style != "terse":
            assert any(word in text for word in ("resol", "no longer")), text
        if style != "terse":
            assert f"{study.days} days" in text
    assert kinds == {"new", "worse", "better", "unchanged"}


def test_diseases_have_a_course_too():
    cohort = drawn(3000, 0.9, task="tuberculosis")
    old, new = pairs(cohort)
    assert (cohort.present[old, -1] & ~cohort.present[new, -1]).sum() > 50
    assert (~cohort.present[old, -1] & cohort.present[new, -1]).sum() > 50
