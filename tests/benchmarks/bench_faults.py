"""A job of several ranks, one of them killed at random moments, ends as one that nobody disturbed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "sweeps"))
from disturbing import RANKS, Disturber, Sweep, assert_once, assert_same, results


@pytest.mark.slow
def test_a_job_whose_ranks_are_killed_is_bit_identical(tmp_path):
    job = ("seed=0", "trainer.max_epochs=2", *RANKS)
    undisturbed = Sweep(tmp_path / "undisturbed", *job, experiment="phantom/none")
    assert undisturbed.finish() == 1
    sweep = Sweep(tmp_path / "killed", *job, experiment="phantom/none")
    disturber = Disturber(sweep, seed=5, kinds=("rank",), longest=12.0)
    thread = sweep.watch()
    try:
        disturber.run(1)
    finally:
        sweep.wait_until_alone()
        sweep.watching.set()
        thread.join()
    assert disturber.record, "no rank was there to be killed"
    assert_same(results(sweep.runs), results(undisturbed.runs))
    assert_once(sweep)
