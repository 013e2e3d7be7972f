"""Jobs are handed to a cluster in order, followed to their ends, and cancelled or left as the user chose."""

import dataclasses
import signal
import time
from pathlib import Path

import pytest

from cxrvl.runs import stopping
from cxrvl.runs.store import Run
from cxrvl.sweeps.display import Board
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.engines import following
from cxrvl.sweeps.jobs import Job


@dataclasses.dataclass
class FakeJob:
    """A job that an engine has for a while; ends with the code it was given."""

    job: Job
    code: int | None
    seconds: float
    label: str = "fake 1"

    def __post_init__(self):
        self.end = time.monotonic() + self.seconds
        self.cancelled = False

    def ended(self):
        if self.cancelled:
            return Ended(self.job, 75)
        return Ended(self.job, self.code) if self.code is not None and time.monotonic() >= self.end else None

    def cancel(self):
        self.cancelled = True


class FakeEngine:
    grace_seconds = 1.0

    def __init__(self, codes=None, seconds=0.0, cancels=True, at_most=None, stop_after=None):
        self.codes, self.seconds, self.cancels, self.at_most = codes or {}, seconds, cancels, at_most
        self.batches, self.submitted, self.stop_after = [], [], stop_after

    def submit(self, jobs):
        self.batches.append([job.name for job in jobs])
        new = [FakeJob(job, self.codes.get(job.name, 0), self.seconds) for job in jobs]
        self.submitted += new
        if self.stop_after == len(self.batches):
            signal.raise_signal(signal.SIGTERM)
        return new

    def farewell(self, labels):
        return f"{len(labels)} go on"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(following, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.02)


@pytest.fixture
def signals():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    stopping.install()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    stopping._request = stopping._Request()


@pytest.fixture
def job(tmp_path, monkeypatch):
    monkeypatch.setattr("cxrvl.sweeps.jobs.planned", lambda run, config: [])  # no data to fingerprint

    def make(name: str, *after: str, run_id: str | None = None) -> Job:
        config = {"trainer": {"accelerator": "cpu"}, "evaluation": {}}
        run_id = run_id or f"id-{name}"
        return Job(name, (f"name={name}",), config, run_id, tmp_path / run_id, after=after)

    return make


def follow(jobs, engine):
    ended = following.follow(jobs, engine, Board(jobs, quiet=True))
    return {e.job.name: e.code for e in ended}


def test_what_waits_for_nothing_goes_together_and_links_go_first(job):
    engine = FakeEngine()
    jobs = [job("link"), job("a", "id-link"), job("b", "id-link"), job("c")]
    assert follow(jobs, engine) == {"link": 0, "a": 0, "b": 0, "c": 0}
    assert engine.batches == [["link", "c"], ["a", "b"]]


def test_what_starts_from_a_failed_run_is_not_submitted(job):
    engine = FakeEngine({"link": 2})
    assert follow([job("link"), job("a", "id-link"), job("c")], engine) == {"link": 2, "a": 1, "c": 0}
    assert engine.batches == [["link", "c"]]


def test_two_requests_of_one_run_follow_each_other(job):
    engine = FakeEngine()
    first, second = job("first", run_id="same"), job("second", run_id="same")
    assert follow([first, second], engine) == {"first": 0, "second": 0}
    assert engine.batches == [["first"], ["second"]]


def test_no_more_than_the_engine_wants_at_a_time(job):
    engine = FakeEngine(seconds=0.05, at_most=2)
    assert len(follow([job(name) for name in "abcde"], engine)) == 5
    assert len(engine.batches[0]) == 2
    assert max(map(len, engine.batches)) <= 2


@pytest.mark.parametrize(("left_as", "code"), [("done", 0), ("failed", 1), ("queued", 0)])
def test_a_run_that_another_process_computes_is_left_to_it(job, monkeypatch, left_as, code):
    begin = time.monotonic()
    monkeypatch.setattr(Run, "state", lambda run: "running" if time.monotonic() < begin + 0.2 else left_as)
    engine = FakeEngine()
    assert follow([job("a")], engine) == {"a": code}
    assert engine.batches == ([["a"]] if left_as == "queued" else []), "submitted only if it was left unfinished"


@pytest.mark.usefixtures("signals")
def test_a_stopped_launcher_cancels_and_sees_the_jobs_end(job):
    engine = FakeEngine({"a": None, "b": None}, stop_after=1)
    with pytest.raises(stopping.Stopped):
        follow([job("a"), job("b"), job("c", "id-a")], engine)
    assert [s.cancelled for s in engine.submitted] == [True, True]
    assert engine.batches == [["a", "b"]]
    assert stopping.exit_code() == 75


@pytest.mark.usefixtures("signals")
def test_a_stopped_launcher_may_leave_the_jobs_and_says_so(job, capsys):
    engine = FakeEngine({"a": None}, cancels=False, stop_after=1)
    with pytest.raises(stopping.Stopped):
        follow([job("a")], engine)
    assert [s.cancelled for s in engine.submitted] == [False]
    assert "1 go on" in capsys.readouterr().err


def test_a_folder_is_not_needed(job, tmp_path):
    """Nothing is written by the launcher: a run folder is the run's own business."""
    follow([job("a")], FakeEngine())
    assert list(Path(tmp_path).iterdir()) == []
