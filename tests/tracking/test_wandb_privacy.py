"""What does a training leave in W&B's own files, byte by byte, when the user asks it to share data?"""

import pytest
from picture_runs import SECRET, overrides_of

SHARING = (
    "logger=wandb", "logger.wandb.mode=offline", "logger.wandb.share_data=true", "experiment=phantom/acm",
    "data.store.size=32", "data.batch_size=8", "trainer.max_epochs=1", "evaluation=none", "tracking.pictures=3",
)  # fmt: skip


@pytest.fixture
def watched(cli):
    """The command line with W&B on, which other tests switch off."""
    cli.environment |= {"WANDB_MODE": "offline"}
    return cli


def left_for_wandb(run):
    """Return all bytes and the pictures that W&B keeps to be sent."""
    files = [path for path in (run / "wandb").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" and path.stat().st_size > 0 for path in files), "W&B kept nothing"
    return b"".join(path.read_bytes() for path in files), [path for path in files if path.suffix == ".png"]


def test_no_patient_is_in_what_wandb_keeps(watched, tmp_path):
    watched("train", *SHARING, *overrides_of("manifest", tmp_path / "data"))
    run = watched.only_run()
    content, pictures = left_for_wandb(run)
    assert b"val/loss" in content
    assert SECRET.encode() not in content
    assert pictures == []
    assert b"\x89PNG" not in content
    assert SECRET in (run / "pages/pictures.json").read_text()
    assert "share_data is true" in (run / "train.log").read_text()


def test_phantom_pictures_are_in_what_wandb_keeps(watched, tmp_path):
    watched(
        "train", *SHARING, *overrides_of("phantom", tmp_path), fresh=True
    )  # W&B picks its folder for media at import
    content, pictures = left_for_wandb(watched.only_run())
    assert len(pictures) >= 3 + 3 + 1
    assert b"phantom/7/" in content
    for key in (b"val/worst_errors", b"val/attention", b"train/inputs"):
        assert key in content


def test_filters_that_may_name_patients_and_folders_stay_here(tmp_path):
    from cxrvl.files import write_yaml
    from cxrvl.tracking.wandb_run import init_arguments

    source = {"root": "/hospital", "where": {"patient": ["Jane Doe"]}, "labels": ["Mass"]}
    write_yaml(
        tmp_path / "config.yaml", {"name": "a/b", "seed": 0, "data": {"root": "/x", "source": [source]}, "paths": {}}
    )
    sent = init_arguments(tmp_path, "project", None, None, [])["config"]
    assert sent["data"] == {"source": [{"labels": ["Mass"]}]}
    assert "Jane" not in str(sent)
