"""How is a sweep disturbed, and what must hold once it was asked for until it was done?"""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from pathlib import Path

from cxrvl.evaluation.predictions import read_predictions
from cxrvl.files import read_json

TINY = (
    "data.source.images=160",
    "data.store.size=32",
    "data.batch_size=8",
    "evaluation.findings.bootstrap=20",
    "evaluation.marks.bootstrap=20",
    "trainer.log_every_n_steps=1",
    "checkpoint.every_steps=3",
)
MARK = "CXRVL_TEST_SWEEP"
"""Environment variable that every process of a sweep inherits: whoever carries it after the sweep is an orphan."""
RANKS = ("+model.backbone.norm=group", "trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
"""Two processes per job; BatchNorm is synchronised on GPUs alone, so the network has another norm."""
COMPARED = ("step", "epoch", "train/loss", "val/loss", "val/auroc")
"""What a disturbed run must have logged bit for bit as an undisturbed one."""


class Process:
    """A process of the sweep, as /proc shows it."""

    def __init__(self, pid):
        folder = Path("/proc") / str(pid)
        self.pid = pid
        self.words = (folder / "cmdline").read_text(errors="replace").split("\0")
        self.environment = (folder / "environ").read_text(errors="replace").split("\0")
        state, parent = (folder / "stat").read_text(errors="replace").rsplit(")", 1)[1].split()[:2]
        self.parent = int(parent)
        self.alive = state not in "ZX"

    @classmethod
    def all_with(cls, mark):
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                process = cls(int(folder.name))
            except OSError:
                continue  # it has ended meanwhile, or is another user's
            if process.alive and f"{MARK}={mark}" in process.environment:
                found[process.pid] = process
        return found


class Sweep:
    """`cxrvl train -m ...` in a folder of its own, started again as often as it takes.

    Args:
        folder: where the runs go.
        overrides: what is swept.
        slots: jobs side by side.
        experiment: whose config the overrides change.
    """

    def __init__(self, folder, *overrides, slots=2, experiment="phantom/acm"):
        self.folder, self.runs = folder, folder / "runs"
        folder.mkdir(parents=True, exist_ok=True)
        self.mark = uuid.uuid4().hex
        self.command = ["train", "-m", f"experiment={experiment}", *TINY, *overrides, f"hydra.launcher.slots={slots}"]
        self.launchers = []
        self.starts = 0
        self.done_files, self.watching = {}, threading.Event()
        self.repeated = []

    def start(self):
        """Ask for the sweep; what it prints goes to a file of its own."""
        self.starts += 1
        environment = {**os.environ, MARK: self.mark, "OMP_NUM_THREADS": "1"}
        with (self.folder / f"launcher-{self.starts}.log").open("wb") as log:
            launcher = subprocess.Popen(
                [sys.executable, "-m", "cxrvl.cli", *self.command],
                cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        self.launchers.append(launcher)
        return launcher

    def finish(self, most=3):
        """Ask until it is done; returns how often that was."""
        for asked in range(1, most + 1):
            if self.start().wait(1800) == 0:
                return asked
        raise AssertionError(f"not done after asking {most} times:\n{self.said()}")

    def said(self):
        """Return what the last launcher printed."""
        return (self.folder / f"launcher-{self.starts}.log").read_text()

    def processes(self):
        """Return the processes by what they are: launcher, guard, main or rank."""
        everything = Process.all_with(self.mark)
        roles = {"launcher": [], "guard": [], "main": [], "rank": []}
        launchers = {launcher.pid for launcher in self.launchers}
        guards = {pid for pid, p in everything.items() if any(word.endswith("guard.py") for word in p.words)}
        mains = {pid for pid, p in everything.items() if p.parent in guards}
        for pid, process in everything.items():
            if pid in launchers:
                roles["launcher"].append(pid)
            elif pid in guards:
                roles["guard"].append(pid)
            elif pid in mains:
                roles["main"].append(pid)
            elif any(v.startswith("CXRVL_RANK_OF=") for v in process.environment) and "train" in process.words:
                roles["rank"].append(pid)
        return roles

    def wait_until_alone(self, seconds=60):
        """Wait until no process of this sweep is left; who is there then is an orphan."""
        deadline = time.monotonic() + seconds
        while left := Process.all_with(self.mark):
            if time.monotonic() > deadline:
                for pid in left:
                    os.kill(pid, signal.SIGKILL)
                raise AssertionError(f"orphans {seconds} s later: {[' '.join(p.words) for p in left.values()]}")
            for launcher in self.launchers:
                launcher.poll()
            time.sleep(0.02)

    def watch(self):
        """Note every file that is a result, and when one is written a second time."""

        def look():
            for path in [*self.runs.glob("*/checkpoints/final.ckpt"), *self.runs.glob("*/predictions/*.parquet")]:
                try:
                    seen = (path.stat().st_ino, path.stat().st_mtime_ns)
                except FileNotFoundError:
                    self.repeated.append(f"{path} vanished")
                    continue
                if self.done_files.setdefault(path, seen) != seen:
                    self.repeated.append(f"{path} was written again")
                    self.done_files[path] = seen

        def loop():
            while not self.watching.wait(0.05):
                look()
            look()

        thread = threading.Thread(target=loop, daemon=True)
        thread.start()
        return thread

    def lines(self):
        """Return how many lines the runs have logged."""
        return sum(_text(path).count("\n") for path in self.runs.glob("*/history.jsonl"))

    def phase(self):
        """Return how far the runs are, in a few words, for the record of a disturbance."""
        counts = Counter()
        for folder in self.runs.glob("*"):
            if (folder / "checkpoints" / "final.ckpt").is_file():
                counts["done" if '"state": "done"' in _text(folder / "status.json") else "evaluating"] += 1
            elif (folder / "history.jsonl").is_file():
                counts["training"] += 1
            elif (folder / "status.json").is_file():
                counts["starting"] += 1
        return ", ".join(f"{n} {name}" for name, n in sorted(counts.items())) or "nothing yet"


class Disturber:
    """Kills processes of a sweep at random moments.

    Half of the moments are random times, which mostly meet interpreters that start; the others lie within the first
    steps that are logged after the last disturbance.

    Args:
        sweep: to be disturbed.
        seed: of the moments and victims.
        kinds: what may be killed.
        longest: seconds to the next disturbance, at most.
    """

    def __init__(self, sweep, seed, kinds=("launcher", "main", "guard"), longest=6.0):
        self.sweep, self.random, self.kinds, self.longest = sweep, random.Random(seed), kinds, longest
        self.record = []

    def run(self, times, launchers=1, patience=1800.0):
        """Disturb up to `times` times, asking again where a launcher is gone, until one says that all is done.

        Args:
            launchers: how many ask for the sweep side by side.
        """
        deadline = time.monotonic() + patience
        asking = {self.sweep.start(): 0 for _ in range(launchers)}
        done = False
        while asking:
            due = self._moment() if len(self.record) < times and not done else lambda: False
            while not (ended := [launcher for launcher in asking if launcher.poll() is not None]) and not due():
                assert time.monotonic() < deadline, f"not done after {patience} s; {self.record}"
                time.sleep(0.005)
            if not ended:
                self._strike()
                time.sleep(0.01)
            for launcher in ended:
                kills_before = asking.pop(launcher)
                done = done or launcher.returncode == 0
                if done:
                    continue
                if not asking:
                    self.sweep.wait_until_alone()
                assert len(self.record) > kills_before, f"failed though nobody disturbed it:\n{self.sweep.said()}"
                asking[self.sweep.start()] = len(self.record)

    def _moment(self):
        """Return what says when the next disturbance is due."""
        now = time.monotonic()
        if self.random.random() < 0.5:
            moment = now + self.random.uniform(0.2, self.longest)
            return lambda: time.monotonic() >= moment
        before, steps, wait = self.sweep.lines(), self.random.randint(1, 20), self.random.uniform(0.0, 0.3)
        reached = []

        def due():
            if not reached and self.sweep.lines() >= before + steps:
                reached.append(time.monotonic())
            return bool(reached) and time.monotonic() >= reached[0] + wait

        return due

    def _strike(self):
        processes = self.sweep.processes()
        kind = self.random.choice(self.kinds)
        victims = processes[kind]
        if not victims:
            return
        victim = self.random.choice(victims)
        try:
            os.kill(victim, signal.SIGKILL)
        except ProcessLookupError:
            return  # it ended by itself just now
        self.record.append((kind, self.sweep.phase()))
        if kind == "launcher":
            for launcher in self.sweep.launchers:
                if launcher.pid == victim:
                    launcher.wait()

    def counts(self):
        """Return how often each kind was killed."""
        return dict(Counter(kind for kind, _ in self.record))


def results(runs):
    """Return all that a sweep is for: per run, predictions, metrics and the logged history."""
    found = {}
    for folder in sorted(runs.glob("*")):
        if not (folder / "status.json").is_file():
            continue
        history = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        metrics = read_json(folder / "metrics.json")
        found[folder.name] = {
            "state": read_json(folder / "status.json")["state"],
            "predictions": {p.name: read_predictions(p).frame for p in sorted((folder / "predictions").glob("*.parquet"))},
            "metrics": {name: entry["values"] for name, entry in metrics.items()},
            "history": [{k: row[k] for k in COMPARED if k in row} for row in history
                        if "train/loss" in row or "val/loss" in row],
        }  # fmt: skip
    return found


def assert_same(ours, theirs):
    """Hold a disturbed sweep's results against those of an undisturbed one."""
    assert ours.keys() == theirs.keys(), "other runs"
    for run_id, expected in theirs.items():
        mine = ours[run_id]
        assert mine["state"] == "done", run_id
        assert mine["predictions"].keys() == expected["predictions"].keys(), run_id
        assert expected["predictions"], f"{run_id} has no predictions"
        for name, frame in expected["predictions"].items():
            assert mine["predictions"][name].equals(frame), f"{run_id}: {name} differs"
        assert mine["metrics"] == expected["metrics"], f"{run_id}: metrics differ"
        assert mine["history"] == expected["history"], f"{run_id}: other history"


def assert_once(sweep):
    """Every training was finished once, every prediction file written once."""
    assert not sweep.repeated, sweep.repeated
    trained = [path for path in sweep.done_files if path.name == "final.ckpt"]
    runs = [path.parent for path in sweep.runs.glob("*/status.json")]
    assert len(trained) == len(runs), f"{len(trained)} trainings seen for {len(runs)} runs"


def _text(path):
    try:
        return path.read_text()
    except OSError:
        return ""
