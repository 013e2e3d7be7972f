"""A sweep whose processes are killed at random, and asked for again, ends as one that nobody disturbed."""

import pytest
from disturbing import Disturber, Sweep, assert_once, assert_same, results

JOBS = ("seed=0,1", "trainer.max_epochs=4")


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    sweep = Sweep(tmp_path_factory.mktemp("undisturbed"), *JOBS)
    assert sweep.finish() == 1
    return results(sweep.runs)


def watched(sweep, block):
    thread = sweep.watch()
    try:
        block()
    finally:
        sweep.wait_until_alone()
        sweep.watching.set()
        thread.join()


@pytest.mark.slow
def test_killed_at_random_and_asked_again_a_sweep_is_bit_identical(undisturbed, tmp_path):
    """Two launchers side by side, two slots each; the long campaign is in tests/benchmarks/faults.py."""
    sweep = Sweep(tmp_path, *JOBS, slots=2)
    disturber = Disturber(sweep, seed=20261125)
    watched(sweep, lambda: disturber.run(2, launchers=2))
    assert disturber.record, "nothing was disturbed"
    assert_same(results(sweep.runs), undisturbed)
    assert_once(sweep)
