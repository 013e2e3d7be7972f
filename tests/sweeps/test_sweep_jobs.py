"""A sweep's jobs: named by what varies, identified, each with its own environment, checked before anything starts."""

import io
import json
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest

from cxrvl.config.compose import hydra_session
from cxrvl.errors import ConfigError
from cxrvl.runs.upstream import Link
from cxrvl.sweeps import checking
from cxrvl.sweeps.ended import Ended
from cxrvl.sweeps.jobs import THREAD_VARIABLES, describe, described, device_count, forget, sweep_name, varying
from cxrvl.sweeps.queue import Queue

SMALL = ("experiment=phantom/none", "data.source.images=40", "data.store.size=32", "evaluation=none")


@pytest.fixture(autouse=True)
def _here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CXRVL_SWEEP", raising=False)
    forget()


@pytest.fixture
def unchecked(monkeypatch):
    """Spare the process that checks the configs; returns what it would have been given."""
    given = []
    monkeypatch.setattr("cxrvl.sweeps.jobs.check_all", given.extend)
    return given


def test_a_job_is_a_command_line(unchecked):
    first, second = describe([[*SMALL, "seed=0", "threads=2"], [*SMALL, "seed=1", "threads=2"]])
    assert first.argv() == [sys.executable, "-m", "cxrvl.cli", "train", *SMALL, "seed=0", "threads=2"]
    assert (first.name, second.name) == ("seed=0", "seed=1")
    assert (first.threads, first.devices, first.after, first.link) == (2, 1, (), False)
    assert first.run_folder == Path("runs", first.run_id)
    assert first.run_id != second.run_id
    assert [config["seed"] for config in unchecked] == [0, 1]
    (alone,) = describe([[*SMALL, "seed=1"]])
    assert alone.name == "phantom/none seed=1"


def test_the_same_request_is_one_job(unchecked):
    """Another name is no other run; another evaluation of the same run is another request."""
    asked = [[*SMALL, "name=a"], [*SMALL, "name=b"], [*SMALL[:3], "evaluation=findings"]]
    jobs = describe(asked)
    assert len({job.run_id for job in jobs}) == 1
    assert len(jobs) == 2


def test_a_sweep_is_named_by_its_runs(unchecked, monkeypatch):
    jobs = describe([[*SMALL, f"seed={seed}"] for seed in (0, 1)])
    assert jobs[0].sweep == sweep_name(jobs) == sweep_name(jobs[::-1])
    assert jobs[0].sweep.startswith("sweep-")
    assert len(jobs[0].sweep) == len("sweep-") + 8
    assert sweep_name(jobs[:1]) != jobs[0].sweep
    monkeypatch.setenv("CXRVL_SWEEP", "phantom")
    assert describe([[*SMALL, "seed=0"]])[0].sweep == "phantom"


def test_the_environment_of_a_job(unchecked, monkeypatch):
    for name in ("MASTER_ADDR", "RANK", "WORLD_SIZE", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.setenv(name, "7")
    monkeypatch.setenv("OMP_NUM_THREADS", "64")
    monkeypatch.setenv("SLURM_JOB_ID", "99")
    (job,) = describe([[*SMALL, "threads=3"]])
    local = job.environment(["2", "GPU-x"])
    assert {local[name] for name in THREAD_VARIABLES} == {"3"}
    assert local["CUDA_VISIBLE_DEVICES"] == "2,GPU-x"
    assert local["CXRVL_SWEEP"] == job.sweep
    assert "7" not in local.values()
    assert local["SLURM_JOB_ID"] == "99"
    assert job.environment()["CUDA_VISIBLE_DEVICES"] == ""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    engine = job.environment(None, local=False)
    assert (engine["CUDA_VISIBLE_DEVICES"], engine["RANK"]) == ("5", "7")


@pytest.mark.parametrize(
    ("devices", "count"), [(1, 1), ("2", 2), ([0, 3], 2), ("0,3", 2), ("1,", 1), ("auto", 0), (-1, 0), ("-1", 0)]
)
def test_how_many_devices_a_job_asks_for(devices, count):
    assert device_count(devices) == count


def test_what_varies():
    assert varying([["a=1", "b=2"], ["a=1", "b=3", "c=4"]]) == ["b=2", "b=3 c=4"]
    assert varying([]) == []


def link_of(*overrides, before=()):
    job = described(overrides)
    return Link(overrides, job.config, job.run_id, before)


def test_missing_links_come_first_each_once(unchecked, monkeypatch):
    """Three jobs, two of them from the same link, which itself starts from another."""

    def missing(config):
        if config["seed"] == 9:
            return []
        first = link_of(*SMALL, "seed=7")
        return [first, link_of(*SMALL, "seed=8", before=(first,))]

    monkeypatch.setattr("cxrvl.runs.upstream.missing_links", missing)
    with hydra_session():
        deep, near = described((*SMALL, "seed=7")), described((*SMALL, "seed=8"))
    jobs = describe([[*SMALL, f"seed={seed}"] for seed in (9, 0, 1)])
    assert [job.run_id for job in jobs[:2]] == [deep.run_id, near.run_id]
    assert [job.link for job in jobs] == [True, True, False, False, False]
    assert [job.name for job in jobs[:2]] == [f"phantom/none seed={seed} (others start from it)" for seed in (7, 8)]
    assert [job.after for job in jobs] == [
        (), (deep.run_id,), (), (deep.run_id, near.run_id), (deep.run_id, near.run_id)
    ]  # fmt: skip
    # A sweep that holds its own links makes them as its own jobs, first.
    jobs = describe([[*SMALL, f"seed={seed}"] for seed in (0, 9)])
    monkeypatch.setattr("cxrvl.runs.upstream.missing_links", lambda config: missing(config)[1:])
    unlinked = describe([[*SMALL, "seed=0"], [*SMALL, "seed=9"]])
    assert [job.name for job in unlinked if not job.link] == ["seed=0", "seed=9"]


def test_a_job_waits_for_every_branch_and_a_branch_for_its_own_runs_alone(unchecked, monkeypatch):
    with hydra_session():
        root = link_of(*SMALL, "seed=5")
        left, right = link_of(*SMALL, "seed=6", before=(root,)), link_of(*SMALL, "seed=7")
        both = link_of(*SMALL, "seed=8", before=(None, right, root))
    found = {0: [root, left, right, both], 1: [right], 9: []}
    monkeypatch.setattr("cxrvl.runs.upstream.missing_links", lambda config: found[config["seed"]])
    jobs = describe([[*SMALL, f"seed={seed}"] for seed in (0, 1, 9)])
    after = {job.config["seed"]: job.after for job in jobs}
    assert list(after) == [5, 6, 7, 8, 0, 1, 9]
    assert after == {
        5: (), 6: (root.run_id,), 7: (), 8: (root.run_id, right.run_id),
        0: (root.run_id, left.run_id, right.run_id, both.run_id), 1: (right.run_id,), 9: (),
    }  # fmt: skip
    failing = next(job for job in jobs if job.run_id == right.run_id)
    queue = Queue(jobs, SimpleNamespace(change=lambda *_: None))
    assert [job.config["seed"] for job in queue.ready([])] == [5, 7, 9]
    queue.begun(failing)
    queue.record(Ended(failing, 1))
    list(queue.ready([]))
    assert [ended.job.config["seed"] for ended in queue.results] == [7, 8, 0, 1]


def test_parts_of_several_sources_are_checked_with_the_configs(monkeypatch):
    """In a list, too, a wrong part is found before anything starts; configs that differ in parts alone are both checked."""
    monkeypatch.setattr(checking.subprocess, "run", answer)
    monkeypatch.setattr(checking, "_checked", set())
    words = ", ".join(f"'{word}'" for word in SMALL)

    def asked(head):
        elements = f"{{run: [{words}], parts: [encoder]}}, {{run: [{words}, 'seed=3'], parts: {{head: {head}}}}}"
        return [*SMALL, f"init_from=[{elements}]"]

    jobs = describe([asked("head")])
    assert [job.config["seed"] for job in jobs if job.link] == [0, 3]
    with pytest.raises(ConfigError, match=r"init_from\[1\]\.parts: what it starts from has no part 'heat'"):
        describe([asked("head"), asked("heat")])


def answer(command, *, input, **_):
    """What the other process prints, without the seconds it takes to start."""
    assert command == [sys.executable, "-m", "cxrvl.sweeps.checking"]
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out):
        patch.setattr("sys.stdin", io.StringIO(input))
        checking.main()
    return subprocess.CompletedProcess(command, 0, out.getvalue())


def test_configs_are_checked_once_in_another_process(monkeypatch):
    calls = []
    run = subprocess.run
    monkeypatch.setattr(checking.subprocess, "run", lambda *a, **k: calls.append(k["input"]) or run(*a, **k))
    monkeypatch.setattr(checking, "_checked", set())
    describe([[*SMALL, f"seed={seed}"] for seed in (0, 1)])
    describe([[*SMALL, "seed=2"]])
    assert [len(json.loads(given)) for given in calls] == [1], "other numbers in the same places are not sent again"
    run = answer
    with pytest.raises(ConfigError, match="did you mean 'base_width'"):
        describe([[*SMALL, "seed=2", "+model.backbone.width=3"]])


def test_a_check_whose_asker_is_gone_ends_quietly():
    child = subprocess.Popen(
        [sys.executable, "-m", "cxrvl.sweeps.checking"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )  # fmt: skip
    child.stdout.close()
    child.stdin.write(b"[]")
    child.stdin.close()
    assert child.stderr.read() == b""
    assert child.wait() == 0


def test_a_config_that_cannot_be_identified_is_explained(monkeypatch):
    monkeypatch.setattr(checking.subprocess, "run", answer)
    with pytest.raises(ConfigError, match=r"no 'PhantomSourc' in cxrvl\.data\.sources\.phantom; did you mean"):
        describe([[*SMALL, "data.source._target_=cxrvl.data.sources.phantom.PhantomSourc"]])
