import logging
import multiprocessing
import os
import signal
import time

import pytest

from cxrvl.errors import RunError
from cxrvl.runs.records import logged
from cxrvl.runs.store import Run, RunStore, shown_state


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


def test_a_whole_id_opens_no_other_run(tmp_path, monkeypatch):
    store = RunStore(tmp_path)
    for name in ("abc1", "abc2", "abd"):
        store.run(name).set_status("done")
    asked = []
    monkeypatch.setattr(Run, "exists", lambda run: asked.append(run.run_id) or True)
    assert store.find("abc2").run_id == "abc2"
    assert asked == ["abc2"]


def test_runs_come_in_the_order_they_were_asked_for(tmp_path):
    store = RunStore(tmp_path)
    for age, name in enumerate(("c", "a", "b")):
        store.run(name).set_status("done")
        (tmp_path / name / "config.yaml").write_text("{}")
        os.utime(tmp_path / name / "config.yaml", (1000 - age,) * 2)
    (tmp_path / ".index").mkdir()
    (tmp_path / "no run").mkdir()
    (tmp_path / "a file").touch()
    assert [run.run_id for run in store] == ["b", "a", "c"]


def test_what_a_killed_process_was_writing_is_removed_by_the_next(tmp_path):
    run = Run(tmp_path / "abc")
    left = [run.folder / ".status.json.x.tmp", run.checkpoints / ".last.ckpt.x.tmp", run.predictions / ".a.x.tmp"]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    with run.claim():
        assert not any(path.exists() for path in left)


def test_states_in_one_word():
    assert shown_state({"state": "queued", "interrupted": True}) == "interrupted"
    assert shown_state({"state": "queued"}) == "queued"
    assert shown_state({"state": "done", "interrupted": True}) == "done"


@pytest.mark.skipif(os.name == "nt", reason="no file size limits there")
def test_a_full_disk_leaves_the_status_record_as_it_was(tmp_path):
    import resource

    run = Run(tmp_path / "abc")
    run.set_status("queued", name="x")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            run.set_status("running", name="x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert error.value.filename == str(run.folder / "status.json")
    assert run.state() == "queued"
    assert [path.name for path in run.folder.iterdir()] == ["status.json"]


@pytest.mark.skipif(os.name == "nt", reason="no file size limits there")
def test_a_full_disk_is_one_line_for_the_whole_log(tmp_path, capsys):
    import resource

    run = Run(tmp_path / "abc")
    run.set_status("queued")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with logged(run):
            for number in range(3):
                logging.getLogger("cxrvl").info("a message of some length, number %d", number)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert capsys.readouterr().err == f"warning: {run.folder / 'train.log'} cannot be written (File too large)\n"
