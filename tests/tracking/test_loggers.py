"""History, CSV and TensorBoard: several together, by config, cut where a run resumes."""

import csv
import json
import pickle
import signal
import sys
from importlib import util

import pytest

from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import ConfigError
from cxrvl.tracking.finish import begin, finish
from cxrvl.tracking.history import read_history
from cxrvl.tracking.loggers import CSVLogger, HistoryLogger, build_loggers
from cxrvl.tracking.tensorboard import TensorBoardLogger
from cxrvl.tracking.wandb import WandbLogger


def train(loggers, start, stop):
    begin(loggers, start)
    for step in range(start, stop):
        for logger in loggers:
            logger.log_metrics({"train/loss": float(step)}, step)
            if step % 2:
                logger.log_metrics({"val/auroc": float("nan")}, step)


def rows(folder):
    with (folder / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def points(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    return [(e.step, e.value) for e in found.Scalars("train/loss")]


def test_several_loggers_by_config_and_each_cut_where_the_run_resumes(tmp_path):
    config = resolved(compose_config(["logger=[csv,tensorboard]"]))
    check(config)
    for start, stop in ((0, 6), (3, 8)):  # the first is killed: nobody finishes it
        loggers = build_loggers(config, tmp_path)
        assert [type(logger) for logger in loggers] == [HistoryLogger, CSVLogger, TensorBoardLogger]
        train(loggers, start, stop)
        if start == 0:
            loggers[2]._writer.flush()
    finish(loggers, None, None)
    history = read_history(tmp_path)
    assert [r["step"] for r in history if "train/loss" in r] == list(range(8))
    assert [r["step"] for r in history if "val/auroc" in r] == [1, 3, 5, 7]
    assert all(r["val/auroc"] is None for r in history if "val/auroc" in r)
    assert [int(r["step"]) for r in rows(tmp_path)] == [r["step"] for r in history]
    assert [float(r["train/loss"]) for r in rows(tmp_path) if r["train/loss"]] == [float(i) for i in range(8)]
    assert points(tmp_path) == [(i, float(i)) for i in range(8)]


def test_a_line_cut_short_by_a_kill_is_dropped_with_all_that_follows_the_resume_point(tmp_path):
    logger = HistoryLogger(tmp_path)
    train([logger], 0, 3)
    with (tmp_path / "history.jsonl").open("a") as file:
        file.write('{"step": 3, "tra')
    logger.start(2)
    assert [json.loads(line)["step"] for line in (tmp_path / "history.jsonl").open()] == [0, 1, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits there")
def test_a_disk_that_is_full_when_a_run_resumes_takes_nothing_of_its_history(tmp_path):
    """Steps before the resume point are never computed again."""
    import resource

    train([HistoryLogger(tmp_path)], 0, 40)
    whole = (tmp_path / "history.jsonl").read_bytes()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            HistoryLogger(tmp_path).start(30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert (tmp_path / "history.jsonl").read_bytes() == whole
    HistoryLogger(tmp_path).start(30)
    assert [row["step"] for row in read_history(tmp_path) if "train/loss" in row] == list(range(30))
    assert [path.name for path in tmp_path.iterdir()] == ["history.jsonl"]


def test_tensorboard_without_its_package_is_a_clear_error(tmp_path, monkeypatch):
    found = util.find_spec
    monkeypatch.setattr(
        "cxrvl.tracking.tensorboard.find_spec", lambda name: None if name == "tensorboard" else found(name)
    )
    with pytest.raises(ConfigError, match=r"pip install 'cxrvl\[tensorboard\]'"):
        build_loggers(resolved(compose_config(["logger=tensorboard"])), tmp_path)


def test_loggers_travel_to_other_processes_without_their_open_files(tmp_path):
    logger = TensorBoardLogger(tmp_path)
    logger.start(0)
    copy = pickle.loads(pickle.dumps(logger))
    copy.log_metrics({"a": 1.0}, 0)
    logger.close(None, None)
    assert pickle.loads(pickle.dumps(CSVLogger(tmp_path))).path == tmp_path / "history.csv"


def test_wandb_is_the_default_and_composes_with_others(tmp_path):
    assert list(resolved(compose_config())["logger"]) == ["wandb"]
    assert resolved(compose_config(["logger=none"]))["logger"] == {}
    config = resolved(compose_config(["logger=[wandb,csv]", "logger.wandb.project=chest", "logger.wandb.tags=[a]"]))
    check(config)
    _, wandb, table = build_loggers(config, tmp_path)
    assert isinstance(wandb, WandbLogger)
    assert (wandb.project, wandb.tags, wandb.share_data) == ("chest", ("a",), False)
    assert isinstance(table, CSVLogger)
    assert not list(tmp_path.iterdir()), "nothing is opened before training begins"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("+logger.wandb.api_key=x", ["unknown key 'logger.wandb.api_key'"]),
        ("+logger.wandb.projekt=x", ["unknown key 'logger.wandb.projekt'", "'project'"]),
        ("logger.wandb.share_data=3", ["'logger.wandb.share_data' is 3", "bool"]),
        ("+logger.wandb.init_timeout=soon", ["'logger.wandb.init_timeout' is 'soon'", "float"]),
    ],
)
def test_the_check_knows_their_keywords(override, words):
    with pytest.raises(ConfigError) as error:
        check(resolved(compose_config([override])))
    assert all(word in str(error.value) for word in words), error.value


def test_what_is_no_logger_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"'logger.mine' builds a Linear"):
        build_loggers(
            {"logger": {"mine": {"_target_": "torch.nn.Linear", "in_features": 1, "out_features": 1}}}, tmp_path
        )


def test_a_logger_of_lightning_works_too(tmp_path):
    node = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path)}
    loggers = build_loggers({"logger": {"mine": node}}, tmp_path)
    train(loggers, 0, 2)
    finish(loggers, None, None)
    assert len(read_history(tmp_path)) == 3


def test_no_logger_is_needed_to_compose_and_check():
    assert "tensorboard" not in sys.modules or util.find_spec("tensorboard")
    check(resolved(compose_config(["logger=[wandb,csv,tensorboard]"])))
