"""`cxrvl runs tree` shows which run started from which; `runs rm` says who started from what it removes."""

import io
import subprocess
import sys

import pytest

from cxrvl.files import write_json
from cxrvl.runs.store import RunStore


def recorded(store, run_id, name, state="done", start=None):
    run = store.run(run_id)
    run.set_status(state, name=name, seed=int(run_id[-1]))
    if start is not None:
        write_json(run.folder / "init_from.json", {"parts": {"encoder": "encoder"}, "named": [], **start})
    return run


@pytest.fixture
def store(tmp_path):
    store = RunStore(tmp_path / "runs")
    recorded(store, "aa01", "first")
    recorded(store, "bb02", "second", start={"run": "aa01"})
    recorded(store, "cc03", "third", "queued", start={"run": "bb02", "parts": {"student": "encoder"}})
    recorded(store, "dd04", "sibling", "failed", start={"run": "aa01", "parts": None})
    recorded(store, "ee05", "orphan", start={"run": "ff06", "named": ["experiment=gone", "seed=6"]})
    recorded(store, "ab07", "filed", start={"file": f"sha256:{'0' * 64}", "named": ["there/weights.ckpt"]})
    recorded(store, "ac08", "hub", start={"published": "resnet50", "revision": "0676ba61", "named": ["resnet50"]})
    recorded(store, "ad09", "alone")
    return store


@pytest.mark.usefixtures("store")
def test_all_chains_with_their_states(call):
    assert call("runs", "tree", "--runs", "runs").out.splitlines() == [
        "aa01 · first seed 1 · done",
        "├── bb02 · second seed 2 · done · took encoder",
        "│   └── cc03 · third seed 3 · queued · took student from encoder",
        "└── dd04 · sibling seed 4 · failed · took everything",
        "ff06 · experiment=gone seed=6 · missing",
        "└── ee05 · orphan seed 5 · done · took encoder",
        "file there/weights.ckpt (sha256:000000000000)",
        "└── ab07 · filed seed 7 · done · took encoder",
        "published resnet50 (0676ba61)",
        "└── ac08 · hub seed 8 · done · took encoder",
    ]


def test_a_run_with_several_sources_stands_under_each(call, store):
    """What started from it is printed once, and removing either source tells of it."""
    file = {"file": f"sha256:{'0' * 64}", "named": ["w.ckpt"], "parts": {"head": "head"}}
    pieces = [
        {"run": "dd04", "parts": {"image": "student"}, "named": []},
        {"run": "ee05", "parts": {"text": "text"}, "named": []},
    ]
    run = recorded(store, "ba02", "both")
    write_json(run.folder / "init_from.json", {"sources": [*pieces, file]})
    recorded(store, "bc03", "child", start={"run": "ba02"})
    lines = call("runs", "tree", "bc03", "--runs", "runs").out.splitlines()
    also = "took text of ee05 · took head of file w.ckpt (sha256:000000000000)"
    assert [line.strip(" │├└─") for line in lines if "ba02" in line] == [
        f"ba02 · both seed 2 · done · took image from student · {also}",
        "ba02 · both seed 2 · done · took text · took image from student of dd04 · took head of file w.ckpt "
        "(sha256:000000000000) · see above",
        "ba02 · both seed 2 · done · took head · took image from student of dd04 · took text of ee05 · see above",
    ]
    assert [line for line in lines if not line.startswith((" ", "│", "├", "└"))] == [
        "aa01 · first seed 1 · done", "ff06 · experiment=gone seed=6 · missing", "file w.ckpt (sha256:000000000000)",
    ]  # fmt: skip
    assert sum("bc03" in line for line in lines) == 1
    for one in ("dd04", "ee05"):
        assert f"note: 1 run(s) started from {one} (ba02)" in call("runs", "rm", "--yes", one, "--runs", "runs").out


@pytest.mark.usefixtures("store")
def test_the_chain_of_one_run(call):
    for prefix in ("aa", "cc03", "dd"):
        lines = call("runs", "tree", prefix, "--runs", "runs").out.splitlines()
        assert [line.split(" · ")[0][-4:] for line in lines] == ["aa01", "bb02", "cc03", "dd04"]
    assert call("runs", "tree", "ad09", "--runs", "runs").out == "ad09 · alone seed 9 · done\n"


def test_a_damaged_run_hides_no_other(call, store):
    (store.run("bb02").folder / "status.json").write_text('{"state": 3}')
    out = call("runs", "tree", "cc03", "--runs", "runs").out
    assert "third seed 3" in out
    assert "bb02" in out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"parts": null, "named": []}'])
def test_a_damaged_record_hides_no_other_chain_and_keeps_no_run_from_being_removed(call, store, caplog, content):
    (store.run("ab07").folder / "init_from.json").write_text(content)
    out = call("runs", "tree", "--runs", "runs").out
    assert "cc03 · third" in out
    assert "ab07" not in out
    assert "ab07/init_from.json is damaged" in caplog.text
    assert "removed ab07" in call("runs", "rm", "--yes", "ab07", "--runs", "runs").out
    assert not store.run("ab07").exists()


def test_a_store_without_chains(call, refused, tmp_path):
    recorded(RunStore(tmp_path / "runs"), "ad09", "alone")
    assert "no run in runs started from another's weights" in call("runs", "tree", "--runs", "runs").out
    assert "no run 'xy'" in refused("runs", "tree", "xy", "--runs", "runs")


def test_removing_a_run_tells_who_started_from_it(call, store, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("n\nn\n"))
    asked = call("runs", "rm", "aa01", "--runs", "runs")
    assert asked.code == 2
    assert "2 run(s) started from aa01 (bb02, dd04): finished ones stay whole" in asked.out
    assert store.run("aa01").exists()
    assert "started from" not in call("runs", "rm", "aa01", "bb02", "dd04", "--runs", "runs").out
    assert "note: 1 run(s) started from bb02 (cc03)" in call("runs", "rm", "bb02", "--yes", "--runs", "runs").out
    assert not store.run("bb02").exists()
    assert "bb02 · missing" in call("runs", "tree", "--runs", "runs").out


def test_the_tree_needs_no_torch():
    code = "import sys, cxrvl.commands.runs_tree; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
