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
def test_a_damaged_status_is_made_anew_from_the_folder(store, caplog, content):
    """Done is only what is proven; everything else is asked for again, and continues."""
    _, run = store
    status = run.folder / "status.json"
    status.write_bytes(content.encode("utf-8", "surrogatepass"))
    whole = {"state": "done", "name": "phantom/acm", "seed": 0, "rebuilt": True}
    assert run.status() == whole
    assert f"{status} is damaged; by what else lies there, the run is done" in caplog.text
    assert status.read_bytes() == content.encode("utf-8", "surrogatepass"), "reading writes nothing"
    with run.claim():
        (run.folder / "metrics.json").rename(run.folder / "kept")
        assert run.state() == "running"
    interrupted = {**whole, "state": "queued", "interrupted": True}
    assert run.status() == interrupted, "no metrics: what was evaluated is unknown"
    (run.folder / "kept").rename(run.folder / "metrics.json")
    (path, *_) = run.predictions.iterdir()
    path.rename(run.folder / "kept")
    assert run.status() == interrupted, "an evaluation of the config has no predictions"
    (run.folder / "kept").rename(path)
    (run.checkpoints / "final.ckpt").unlink()
    assert run.status() == interrupted, "training did not end"
    (run.folder / "config.yaml").unlink()
    assert run.status() == {"state": "queued", "interrupted": True, "rebuilt": True}


def test_training_goes_on_after_a_damaged_status(store, finished, capsys, caplog, monkeypatch):
    """A finished run's record is written anew; nothing is trained or predicted again."""
    root, run = store
    (run.folder / "status.json").write_text('{"sta')
    before = {p: p.stat().st_mtime_ns for p in run.folder.rglob("*") if p.suffix in (".ckpt", ".parquet")}
    monkeypatch.chdir(root.parent)
    main(["train", *finished.tiny])
    assert "status.json is damaged; by what else lies there, the run is done" in caplog.text
    assert "nothing to compute" in capsys.readouterr().out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    status = read_json(run.folder / "status.json")
    assert (status["state"], status["name"]) == ("done", "phantom/acm")
    assert "rebuilt" not in run.status()


def test_a_damaged_run_does_not_hide_the_others(store, capsys, caplog):
    root, run = store
    write_json(root / "aaaa" / "status.json", {"state": "done"})
    (root / "aaaa" / "metrics.json").write_text("{")
    write_json(root / "bbbb" / "status.json", {})
    main(["runs", "ls", "--runs", str(root)])
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert shown["aaaa"].endswith("done (metrics.json is damaged)")
    assert shown["bbbb"].endswith("interrupted")
    assert "bbbb/status.json is damaged" in caplog.text
    assert run.run_id in shown
    main(["runs", "rm", "--yes", "aaaa", "bbbb", "--runs", str(root)])
    assert [path.name for path in root.glob("[ab][ab]*") if path.name in ("aaaa", "bbbb")] == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
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
