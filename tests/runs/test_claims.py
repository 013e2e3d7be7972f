"""One process at most holds a run: on one machine, on several whose locks do not reach each other, whatever clocks do."""

import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from cxrvl.errors import RunError
from cxrvl.runs import claims
from cxrvl.runs.claims import claimed, held, holders
from cxrvl.runs.store import Run, RunStore

SPAWN = multiprocessing.get_context("spawn")


def on_machine(name: str, beat: float = 0.05, dead: float = 1.0) -> None:
    """Make this process one of another machine, on a file system whose locks only reach their own machine."""
    claims.machine = lambda: name
    claims._flock = lambda *arguments: None
    claims.HEARTBEAT_SECONDS, claims.DEAD_AFTER_SECONDS = beat, dead
    claims.WAIT_POLL_SECONDS, claims.SETTLE_SECONDS = 0.02, 0.1


def work(folder, name, times, start):
    if name is not None:
        on_machine(name)
    start.wait(60)
    for _ in range(times):
        with claimed(folder, "abc", wait=True):
            inside = folder / "inside"
            os.close(os.open(inside, os.O_CREAT | os.O_EXCL))  # fails where another is inside, too
            time.sleep(0.005)
            with (folder / "entries").open("a") as file:
                file.write(f"{os.getpid()}\n")
            inside.unlink()


@pytest.mark.parametrize("machines", [False, True], ids=["one machine", "machines without common locks"])
def test_many_processes_hold_a_run_one_at_a_time(tmp_path, machines):
    start = SPAWN.Event()
    names = [f"machine{n}" if machines else None for n in range(6)]
    workers = [SPAWN.Process(target=work, args=(tmp_path, name, 3, start)) for name in names]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 6
    assert len((tmp_path / "entries").read_text().splitlines()) == 18
    assert holders(tmp_path) == []
    assert not (tmp_path / "inside").exists()


def test_of_two_that_claim_in_the_same_moment_one_withdraws(tmp_path, monkeypatch, quick):
    """Neither has seen the other when it makes its file; locks do not reach from machine to machine."""
    folder = tmp_path / "abc"
    folder.mkdir()
    other = folder / ".holder.1.elsewhere.abcd.host"
    other.touch()
    real, looks = holders, []

    def looked_too_early(asked):
        looks.append(asked)
        return [] if len(looks) == 1 else real(asked)

    monkeypatch.setattr(claims, "holders", looked_too_early)
    done = threading.Timer(0.4, other.unlink)
    done.start()
    with claimed(folder, "abc", wait=True):
        assert not other.exists(), "two hold the run"
        (mine,) = real(folder)
        assert mine.here
    done.join()


def keep(folder, name, ready, beat):
    on_machine(name, beat)
    with claimed(folder, "abc", wait=True):
        ready.set()
        time.sleep(60)


@pytest.fixture
def elsewhere(tmp_path):
    """A run that a process of another machine holds, whose locks do not reach this one."""
    ready = SPAWN.Event()
    process = SPAWN.Process(target=keep, args=(tmp_path / "abc", "elsewhere", ready, 0.05))
    process.start()
    assert ready.wait(30)
    yield tmp_path / "abc", process
    process.kill()
    process.join()


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(claims, "DEAD_AFTER_SECONDS", 1.0)
    monkeypatch.setattr(claims, "WAIT_POLL_SECONDS", 0.02)
    monkeypatch.setattr(claims, "SETTLE_SECONDS", 0.1)


@pytest.mark.parametrize("years", [-1, 0, 1])
def test_a_clock_that_jumps_makes_no_living_holder_dead(elsewhere, quick, monkeypatch, years):
    folder, process = elsewhere
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + years * 3e7)
    (holder,) = holders(folder)
    os.utime(holder.path, (now() - years * 3e7,) * 2)
    with (
        pytest.raises(RunError, match=f"is being computed by process {process.pid} on"),
        claimed(folder, "abc", wait=False),
    ):
        pytest.fail("claimed twice")
    assert held(folder)


def test_a_holder_that_died_elsewhere_is_succeeded_after_a_while(elsewhere, quick):
    folder, process = elsewhere
    write = Run(folder).set_status
    write("running", name="x")
    assert Run(folder).state() == "running"
    process.kill()
    process.join()
    start = time.monotonic()
    assert held(folder), "nobody can know at once that another machine's process died"
    with claimed(folder, "abc", wait=True):
        assert 0.9 < time.monotonic() - start < 20
        (mine,) = holders(folder)
        assert mine.here
    assert Run(folder).status()["interrupted"] is True


def test_a_dead_holder_with_a_heartbeat_from_the_future_is_succeeded(elsewhere, quick):
    folder, process = elsewhere
    process.kill()
    process.join()
    (holder,) = holders(folder)
    os.utime(holder.path, (time.time() + 1e8,) * 2)
    with claimed(folder, "abc", wait=True):
        assert not holder.path.exists()


def test_who_lost_a_run_ends_at_once(elsewhere):
    folder, process = elsewhere
    (holder,) = holders(folder)
    holder.path.rename(folder / ".holder.1.third.abcd.host")
    process.join(20)
    assert process.exitcode == 1


def test_the_heartbeat_moves_while_a_run_is_held(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "HEARTBEAT_SECONDS", 0.02)
    with claimed(tmp_path, "abc", wait=True):
        (holder,) = holders(tmp_path)
        first = holder.path.stat().st_mtime_ns
        deadline = time.monotonic() + 10
        while holder.path.stat().st_mtime_ns == first:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    assert holders(tmp_path) == []


def test_asking_whether_a_run_is_held_changes_nothing(tmp_path):
    assert not held(tmp_path / "abc")
    with claimed(tmp_path / "abc", "abc", wait=True):
        pass
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "abc").iterdir()}
    assert not held(tmp_path / "abc")
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "abc").iterdir()} == before


def test_a_waiting_process_gets_a_run_that_was_removed_meanwhile(tmp_path):
    """The removed folder's lock belongs to nobody: who waited for it must not believe to hold the new folder."""
    store = RunStore(tmp_path)
    run = store.run("abc")
    run.set_status("done")
    descriptor = claims._take_lock(run.folder, lambda who: pytest.fail(f"held by {who}"))
    start = SPAWN.Event()
    start.set()
    waiting = SPAWN.Process(target=work, args=(run.folder, None, 1, start))
    waiting.start()
    time.sleep(0.6)
    for path in run.folder.iterdir():
        path.unlink()
    run.folder.rmdir()
    os.close(descriptor)
    waiting.join(30)
    assert waiting.exitcode == 0
    assert sorted(p.name for p in run.folder.iterdir()) == [".lock", "entries"]


def refuse(folder: Path) -> str:
    with pytest.raises(RunError) as error, Run(folder).claim(wait=False):
        pytest.fail("claimed what cannot be written")
    return str(error.value)


@pytest.mark.parametrize("there", [True, False], ids=["a run's folder", "the store"])
def test_what_cannot_be_written_is_refused_with_words_and_still_read(tmp_path, monkeypatch, there):
    """Tests may run as root, whom no permission stops: the system call refuses as a read-only mount would."""
    run = Run(tmp_path / "abc")
    if there:
        run.set_status("done")

    def read_only(path, flags, *arguments, **options):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(30, "Read-only file system", str(path))
        return real(path, flags, *arguments, **options)

    real = os.open
    monkeypatch.setattr(os, "open", read_only)
    message = refuse(run.folder)
    assert f"{run.folder} cannot be written (Read-only file system)" in message
    assert "paths.runs" in message
    if there:
        assert run.state() == "done"
        assert not run.busy()
        assert RunStore(tmp_path).find("ab").run_id == "abc"
