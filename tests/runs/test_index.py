"""The index answers for the folders it can prove unchanged, and never otherwise."""

import multiprocessing
import os
import shutil

import pytest

from cxrvl.files import write_json, write_yaml
from cxrvl.runs import fields, index
from cxrvl.runs.index import listed
from cxrvl.runs.store import RunStore
from cxrvl.runs.where import conditions

SPAWN = multiprocessing.get_context("spawn")
RUNS = 60


def write_run(folder, number):
    state = ("done", "failed", "queued")[number % 3]
    write_yaml(folder / "config.yaml", {"name": f"table/row{number % 5}", "seed": number, "model": {"groups": 2**(number % 4)},
                                        "evaluation": {"findings": {"a": 1}}})  # fmt: skip
    write_json(folder / "status.json", {"state": state, "name": f"table/row{number % 5}", "seed": number})
    entry = {"name": "findings", "evaluator": {"a": 1}, "values": {"mean": {"auroc": number / 100}, "kind": "x"}}
    write_json(folder / "metrics.json", {"findings-abc": entry})


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "RACY_SECONDS", -10.0)  # trust what was written just now: times differ all the same
    for number in range(RUNS):
        write_run(tmp_path / f"run{number:02d}", number)
    return RunStore(tmp_path)


def find(store, *words):
    return [one.run.run_id for one in listed(store, conditions(words))]


@pytest.fixture
def opened(monkeypatch):
    """The runs whose files were read."""
    names = []
    real = index.read_fields

    def read(folder):
        names.append(folder.name)
        return real(folder)

    monkeypatch.setattr(index, "read_fields", read)
    return names


def test_a_second_listing_reads_no_run(store, opened):
    first = find(store, "status=failed model.groups=2")
    assert len(opened) == RUNS
    opened.clear()
    assert find(store, "status=failed model.groups=2") == first
    assert find(store, "auroc>0.5 experiment=*/row3") == [f"run{n}" for n in (53, 58)]
    assert opened == []
    assert first == [f"run{n:02d}" for n in range(RUNS) if n % 3 == 1 and n % 4 == 1]


@pytest.mark.parametrize("how", ["replaced", "in place", "in place, same size and time"])
@pytest.mark.parametrize(
    ("name", "old", "new", "condition"),
    [
        ("status.json", "queued", "failed", "status=failed"),
        ("metrics.json", "0.05", "0.95", "auroc=0.95"),
        ("config.yaml", "groups: 2", "groups: 7", "model.groups=7"),
    ],
)
def test_a_change_of_any_file_is_seen_at_once(store, opened, how, name, old, new, condition):
    changed = "run05"
    assert changed not in find(store, condition)
    opened.clear()
    path = store.root / changed / name
    text = path.read_text()
    assert old in text
    before = path.stat()
    if how == "replaced":
        other = path.with_suffix(".other")
        other.write_text(text.replace(old, new))
        other.replace(path)
    else:
        path.write_text(text.replace(old, new) + ("" if how.endswith("time") else "\n"))
    if how.endswith("time"):
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert changed in find(store, condition)
    assert opened == [changed]


def test_files_that_come_and_go_are_seen(store):
    find(store)
    (store.root / "run05" / "metrics.json").unlink()
    shutil.rmtree(store.root / "run06")
    write_run(store.root / "run99", 99)
    assert find(store, "auroc=0.05") == []
    assert "run06" not in find(store)
    assert find(store, "seed=99") == ["run99"]


def test_what_changed_just_now_is_not_trusted_to_the_index(store, opened, monkeypatch):
    """Two changes within one tick of the file system's clock may leave the same times, size and inode."""
    monkeypatch.setattr(index, "RACY_SECONDS", 2.0)
    find(store)
    opened.clear()
    find(store)
    assert len(opened) == RUNS


@pytest.mark.parametrize("damage", ["deleted", "empty", "cut", "flipped", "text", "older version"])
def test_a_damaged_index_is_made_anew(store, opened, damage, monkeypatch):
    expected = find(store, "status=failed")
    path = store.root / ".index" / "runs.parquet"
    whole = path.read_bytes()
    middle = len(whole) // 3
    contents = {
        "empty": b"", "cut": whole[: len(whole) // 2], "text": b"no index",
        "flipped": whole[:4] + bytes(byte ^ 255 for byte in whole[4:middle]) + whole[middle:],
    }  # fmt: skip
    if damage == "deleted":
        path.unlink()
    elif damage == "older version":
        monkeypatch.setattr("cxrvl.runs.index_file.INDEX_VERSION", b"next")
    else:
        path.write_bytes(contents[damage])
    opened.clear()
    assert find(store, "status=failed") == expected
    assert len(opened) == RUNS
    opened.clear()
    assert find(store, "status=failed") == expected
    assert opened == []


def list_often(root, times, results):
    index.RACY_SECONDS = -10.0
    index.REWRITE_AFTER = 1
    for _ in range(times):
        results.put(len(find(RunStore(root), "status=failed")))


def test_two_processes_at_once(store):
    results = SPAWN.Queue()
    workers = [SPAWN.Process(target=list_often, args=(store.root, 10, results)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for number in range(0, RUNS, 3):  # done -> done with another seed: the number of failed runs stays
        write_json(store.root / f"run{number:02d}" / "status.json", {"state": "done", "name": "x", "seed": -number})
    found = {results.get(timeout=60) for _ in range(20)}
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert found == {RUNS // 3}
    assert not list((store.root / ".index").glob(".*.tmp"))


def test_a_store_that_cannot_be_written_is_listed(store, monkeypatch, caplog):
    def refuse(*arguments, **options):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert len(find(store, "status=failed")) == RUNS // 3
    assert not (store.root / ".index" / "runs.parquet").exists()
    monkeypatch.undo()
    monkeypatch.setattr(index, "write_index", refuse)
    assert len(find(store, "status=failed")) == RUNS // 3
    assert "could not be written (Read-only file system)" in caplog.text


def test_a_few_runs_need_no_index(tmp_path):
    write_run(tmp_path / "run00", 0)
    assert find(RunStore(tmp_path)) == ["run00"]
    assert not (tmp_path / ".index" / "runs.parquet").exists()
    assert find(RunStore(tmp_path / "nowhere"), "any=thing") == []


def test_a_recorded_running_run_is_judged_now_and_not_by_the_index(store):
    run = store.run("run00")
    with run.claim():
        run.set_status("running", name="x")
        find(store)
        assert find(store, "status=running") == ["run00"]
    assert find(store, "status=running") == []
    assert find(store, "status=interrupted") == ["run00"]


def test_damaged_runs_hide_no_others_and_are_not_remembered(store, opened):
    (store.root / "run00" / "status.json").write_text("{")
    (store.root / "run01" / "metrics.json").write_text("[]")
    (store.root / "run02" / "config.yaml").write_text("a: [")
    for _ in range(2):
        opened.clear()
        by_id = {one.run.run_id: one for one in listed(store)}
        assert len(by_id) == RUNS
        assert by_id["run00"].state == "interrupted"
        assert by_id["run01"].fields["status:damaged"] == "metrics.json"
        assert by_id["run02"].fields["status:damaged"] == "config.yaml"
    assert sorted(opened) == ["run00", "run01", "run02"]


def test_the_evaluation_of_the_config_carries_the_name(tmp_path):
    write_run(tmp_path / "abc", 7)
    own = {"name": "findings", "evaluator": {"a": 1}, "values": {"mean": {"auroc": 0.5}}}
    other = {"name": "findings", "evaluator": {"a": 2}, "values": {"mean": {"auroc": 0.25}}}
    write_json(tmp_path / "abc" / "metrics.json", {"findings-1": other, "findings-2": own})
    found, whole = fields.read_fields(tmp_path / "abc")
    assert whole
    assert found["metric:findings.mean.auroc"] == 0.5
    assert found["metric:findings-1.mean.auroc"] == 0.25
    assert "metric:findings-2.mean.auroc" not in found
