"""Online: one W&B run per run id, no step twice, an end that tells how it went; a failing W&B fails nothing else."""

import pickle

import pytest

from cxrvl.errors import ConfigError
from cxrvl.files import write_json
from cxrvl.tracking.finish import begin, finish, tracked
from cxrvl.tracking.history import rewind_history
from cxrvl.tracking.loggers import HistoryLogger
from cxrvl.tracking.synced import read_note
from cxrvl.tracking.wandb import WandbLogger
from cxrvl.tracking.wandb_run import summary_of

RUN_ID = "0123456789abcdef"


def train(folder, steps, logger, start=0, validate_at=()):
    """Log as a training does: measurements and losses of a step, and at some the validation."""
    loggers = [HistoryLogger(folder), logger]
    begin(loggers, start)
    for step in range(start, steps):
        for one in loggers:
            one.log_metrics({"speed/data_wait": 0.5}, step)
            one.log_metrics({"train/loss": float(step)}, step)
            if step in validate_at:
                one.log_metrics({"val/auroc": 0.5}, step)
    return loggers


def test_a_training_is_one_run_described_by_its_plain_files(folder, server):
    loggers = train(folder, 4, WandbLogger(folder, project="chest", entity="lab", tags=["pilot"]), validate_at=(3,))
    finish(loggers, summary_of(folder), None)
    (asked,) = server.inits
    assert {k: asked[k] for k in ("project", "entity", "id", "name", "group", "job_type", "tags", "resume", "dir")} == {
        "project": "chest", "entity": "lab", "id": RUN_ID, "name": "phantom/acm-s3", "group": "phantom/acm",
        "job_type": "train", "tags": ["pilot", "phantom"], "resume": "allow", "dir": str(folder),
    }  # fmt: skip
    assert asked["config"]["run_id"] == RUN_ID
    assert asked["config"]["split_sha256"] == "5e1f"
    assert asked["config"]["trainer"] == {"max_epochs": 2}
    assert asked["config"]["commit"] == "c0ffee"
    assert "somebody" not in str(asked["config"])
    assert asked["settings"]["mode"] == "online"
    assert asked["settings"]["init_timeout"] <= 60
    assert asked["settings"]["console"] == "off"
    assert asked["settings"]["disable_code"]
    assert "not-a-key" not in str(asked)
    stored = server.runs[RUN_ID]
    assert stored["axes"] == {"trainer/global_step": None, "*": "trainer/global_step"}
    assert list(stored["steps"]) == [0, 1, 2, 3]
    assert stored["steps"][3] == {
        "speed/data_wait": 0.5, "train/loss": 3.0, "val/auroc": 0.5, "trainer/global_step": 3,
    }  # fmt: skip
    assert stored["summary"] == {
        "findings": {"mean": {"auroc": 0.75}, "labels": {"Nodule": {"auroc": 0.5}}},
        "findings-bb": {"mean": {"auroc": 0.1}},
    }
    assert server.finishes == [0]
    (note,) = read_note(folder).values()
    assert note["url"] == f"https://server/{RUN_ID}"


def test_the_group_is_the_sweep(folder, server):
    write_json(folder / "status.json", {"state": "running", "sweep": "sweep-12345678"})
    WandbLogger(folder).start(0)
    WandbLogger(folder, group="mine").start(0)
    assert [asked["group"] for asked in server.inits] == ["sweep-12345678", "mine"]


@pytest.mark.parametrize("killed", [True, False])
def test_a_resumed_run_goes_on_in_the_same_run_and_repeats_no_step(folder, server, killed):
    rewind_history(folder, 0)
    first = train(folder, 6, WandbLogger(folder), validate_at=(3,))
    if not killed:
        finish(first, None, KeyboardInterrupt())
        assert server.finishes == [75]
        assert server.runs[RUN_ID]["preempting"] == 1
    assert max(server.runs[RUN_ID]["steps"]) == 4, "the last step may be half a step: it is not sent"
    finish(train(folder, 9, WandbLogger(folder), start=2, validate_at=(3, 8)), {"a": 1}, None)
    stored = server.runs[RUN_ID]
    assert list(stored["steps"]) == list(range(9))
    assert stored["steps"][5]["train/loss"] == 5.0
    assert stored["steps"][8]["val/auroc"] == 0.5
    assert server.finishes[-1] == 0


def test_a_run_that_began_offline_is_whole_online(folder, server):
    rewind_history(folder, 0)
    train(folder, 6, WandbLogger(folder, mode="disabled"))
    finish(train(folder, 8, WandbLogger(folder), start=4), None, None)
    assert list(server.runs[RUN_ID]["steps"]) == list(range(8))


def test_a_crash_is_no_success(folder, server):
    with pytest.raises(ZeroDivisionError), tracked(train(folder, 3, WandbLogger(folder)), folder):
        raise ZeroDivisionError
    assert server.finishes == [1]
    assert list(server.runs[RUN_ID]["steps"]) == [0, 1, 2], "what was logged before the crash is seen"
    assert server.runs[RUN_ID]["summary"] == {}
    assert not read_note(folder)


def test_an_unreachable_server_is_said_and_the_run_is_tracked_offline(folder, server, caplog):
    server.unreachable = "connection refused"
    finish(train(folder, 3, WandbLogger(folder)), None, None)
    assert [asked["settings"]["mode"] for asked in server.inits] == ["online", "offline"]
    assert server.torn_down == 1
    assert "connection refused" in caplog.text
    assert f"cxrvl runs sync {RUN_ID}" in caplog.text
    assert list(server.runs[RUN_ID]["steps"]) == [0, 1, 2]
    assert list(read_note(folder)) == ["offline"]


@pytest.mark.parametrize("where", ["log", "finish"])
def test_a_server_that_goes_away_stops_nothing(folder, server, caplog, where):
    logger = WandbLogger(folder)
    loggers = train(folder, 1, logger)

    def gone(*args, **kwargs):
        raise ConnectionResetError("gone")

    setattr(logger._run, where, gone)
    for step in range(1, 5):
        for one in loggers:
            one.log_metrics({"train/loss": 1.0}, step)
    finish(loggers, None, None)
    assert caplog.text.count("gone") == 1
    assert len((folder / "history.jsonl").read_text().splitlines()) == 6
    assert not read_note(folder)


def test_a_new_evaluation_renews_the_summary_of_a_trained_run(folder, server):
    finish(train(folder, 3, WandbLogger(folder)), {"findings": {"mean": {"auroc": 0.7}}}, None)
    finish([WandbLogger(folder)], {"marks": {"mean": 0.3}}, None)
    assert server.runs[RUN_ID]["summary"] == {"findings": {"mean": {"auroc": 0.7}}, "marks": {"mean": 0.3}}
    assert len(server.inits) == 2


def test_pictures_stay_unless_they_may_leave(folder, server):
    for share in (False, True):
        logger = WandbLogger(folder, share_data=share)
        logger.start(0)
        logger.log_pictures("inputs", [None], ["an image"], 5)
        logger.close(None, None)
        assert ("inputs" in str(server.runs[RUN_ID]["steps"])) is share


def test_switched_off_nothing_is_imported(folder, server, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "disabled")
    for mode in ("auto", "online", "offline"):
        finish(train(folder, 3, WandbLogger(folder, mode=mode)), {"a": 1}, None)
    assert server.inits == []


@pytest.mark.parametrize(
    ("asked", "environment", "key", "mode"),
    [
        ("auto", None, True, "online"), ("auto", None, False, "offline"), ("auto", "offline", True, "offline"),
        ("auto", "dryrun", True, "offline"), ("offline", None, True, "offline"), ("online", "offline", True, "online"),
    ],
)  # fmt: skip
def test_the_mode(folder, server, monkeypatch, tmp_path, asked, environment, key, mode):
    if environment:
        monkeypatch.setenv("WANDB_MODE", environment)
    if not key:
        monkeypatch.delenv("WANDB_API_KEY")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        import wandb

        wandb.setup = lambda: type(
            "S", (), {"settings": type("T", (), {"api_key": None, "base_url": "https://api.wandb.ai"})}
        )
    WandbLogger(folder, mode=asked).start(0)
    assert server.inits[-1]["settings"]["mode"] == mode


def test_a_netrc_entry_is_a_key_only_for_its_server(folder, server, monkeypatch, tmp_path):
    import wandb

    from cxrvl.tracking.wandb_run import has_api_key

    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password secret\n")
    for url, known in (("https://api.wandb.ai", True), ("https://wandb.hospital.org", False)):
        settings = type("T", (), {"api_key": None, "base_url": url})
        wandb.setup = lambda settings=settings: type("S", (), {"settings": settings})
        assert has_api_key() is known


def test_a_wrong_mode_is_named(folder, server):
    with pytest.raises(ConfigError, match="'onlyne'"):
        WandbLogger(folder, mode="onlyne").start(0)


def test_a_copy_for_another_process_leaves_the_run_behind(folder, server):
    logger = WandbLogger(folder)
    logger.start(0)
    sent = set(server.runs[RUN_ID]["steps"])
    copy = pickle.loads(pickle.dumps(logger))
    copy.log_metrics({"a": 1.0}, 8)
    copy.log_metrics({"a": 1.0}, 9)
    assert set(server.runs[RUN_ID]["steps"]) == sent
