"""A run whose small files were cut or overwritten: one clear message, and the other runs are not hidden by it."""

import shutil

import pytest

from cxrvl.cli import main
from cxrvl.errors import RunError
from cxrvl.files import read_json, read_yaml, write_json
from cxrvl.runs.environment import packages
from cxrvl.runs.store import Run


@pytest.fixture
def store(finished, tmp_path):
    """A copy of a store with one finished run, and that run."""
    shutil.copytree(finished.runs, tmp_path / "runs")
    return tmp_path / "runs", Run(tmp_path / "runs" / finished.only_run().name)


@pytest.mark.parametrize("content", ["", "{", '{"state"', "[]", "{}", '{"state": "foo"}', "\ud800"])
def test_a_damaged_status_is_named(tmp_path, content):
    (tmp_path / "status.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(RunError, match=r"status\.json is damaged"):
        Run(tmp_path).status()


def test_a_damaged_run_does_not_hide_the_others(store, capsys):
    root, run = store
    write_json(root / "aaaa" / "status.json", {"state": "done"})
    (root / "aaaa" / "metrics.json").write_text("{")
    write_json(root / "bbbb" / "status.json", {})
    main(["runs", "ls", "--runs", str(root)])
    listed = capsys.readouterr().out
    assert listed.count("damaged") == 2
    assert run.run_id in listed
    main(["runs", "rm", "--yes", "aaaa", "bbbb", "--runs", str(root)])
    assert [path.name for path in root.glob("[ab][ab]*") if path.name in ("aaaa", "bbbb")] == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("status.json", "{", "status.json is damaged"),
        ("overrides.yaml", "[", "overrides.yaml is damaged"),
        ("overrides.yaml", None, "has no overrides.yaml"),
        ("config.yaml", "a: [", "config.yaml is damaged"),
        ("metrics.json", "{", "metrics.json is damaged"),
    ],
)
def test_a_damaged_file_is_one_message(store, capsys, name, content, words):
    root, run = store
    if content is None:
        (run.folder / name).unlink()
    else:
        (run.folder / name).write_text(content)
    with pytest.raises(SystemExit) as leave:
        main(["evaluate", "--run", run.run_id, "--runs", str(root)])
    error = capsys.readouterr().err
    assert leave.value.code == 2
    assert error.startswith("error: ")
    assert words in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("read", "content"), [(read_json, "{"), (read_yaml, "a: ["), (read_yaml, "\0")])
def test_a_damaged_file_is_named(tmp_path, read, content):
    path = tmp_path / "file"
    path.write_text(content)
    with pytest.raises(RunError, match="file is damaged"):
        read(path)


def test_a_broken_installation_does_not_stop_a_run(monkeypatch):
    """pip leaves folders without metadata behind when it is stopped."""

    class Package:
        def __init__(self, name):
            self.metadata, self.version = {"Name": name}, "1"

    monkeypatch.setattr("cxrvl.runs.environment.distributions", lambda: [Package("b"), Package(None), Package("a")])
    assert list(packages()) == ["a", "b"]
