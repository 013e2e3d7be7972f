import multiprocessing
import time

import pytest

from cxrvl.errors import RunError
from cxrvl.runs.store import Run, RunStore


def hold(folder, seconds, ready):
    run = Run(folder)
    with run.claim():
        with run.heartbeat(name="held"):
            ready.set()
            time.sleep(seconds)
        run.set_status("done")


@pytest.fixture
def held(tmp_path):
    """A run that another process computes."""
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    process = context.Process(target=hold, args=(tmp_path / "abc", 3.0, ready))
    process.start()
    assert ready.wait(20)
    yield Run(tmp_path / "abc"), process
    process.kill()
    process.join()


def test_a_run_never_asked_for_is_missing(tmp_path):
    assert RunStore(tmp_path).run("abc").state() == "missing"


def test_an_unknown_state_is_refused(tmp_path):
    with pytest.raises(RunError, match="unknown run state 'finished'"):
        RunStore(tmp_path).run("abc").set_status("finished")


def test_another_process_is_waited_for_or_left_alone(held, capsys):
    run, process = held
    assert run.state() == "running"
    with pytest.raises(RunError, match=f"is being computed by process {process.pid} on"), run.claim(wait=False):
        pytest.fail("claimed twice")
    with run.claim(wait=True):
        assert run.state() == "done"
    assert "waiting for it" in capsys.readouterr().out


def test_a_killed_run_is_queued_again_at_once(held):
    run, process = held
    process.kill()
    process.join()
    assert run.status()["state"] == "queued"
    assert run.status()["interrupted"] is True
    with run.claim(wait=False):
        pass


def test_a_run_being_computed_is_not_removed(held, tmp_path):
    run, _ = held
    with pytest.raises(RunError, match="stop that process first"):
        RunStore(tmp_path).remove(run)


def test_runs_are_found_by_their_first_digits(tmp_path):
    store = RunStore(tmp_path)
    for name in ("abc1", "abd2"):
        store.run(name).set_status("done")
    assert store.find("abd").run_id == "abd2"
    with pytest.raises(RunError, match="fits 2 runs"):
        store.find("ab")
    with pytest.raises(RunError, match="no run 'x'"):
        store.find("x")
    with pytest.raises(RunError, match="is no run id"):
        store.find("../ab")
    store.remove(store.find("abd"))
    assert [run.run_id for run in store] == ["abc1"]
