"""Every input that cannot be used gives one message naming file, row and remedy, and a second try finds nothing in its way."""

import json
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from pydicom import dcmread

from cxrvl.data.sources.phantom import PhantomSource

COUNT = 36
LABELS = ["Effusion", "Nodule"]
SPLITS = ["train"] * 20 + ["val"] * 8 + ["test"] * 8


class DataSet:
    """A small data set in a folder, and the overrides that name it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.table = root / "table.csv"

    def image(self, number: int) -> Path:
        return self.root / "img" / f"{number:03d}.png"

    def frame(self) -> pd.DataFrame:
        return pd.read_csv(self.table)

    def write(self, frame: pd.DataFrame) -> None:
        frame.to_csv(self.table, index=False)

    def set(self, row: int, column: str, value) -> None:
        frame = self.frame().astype({column: object})
        frame.loc[row, column] = value
        self.write(frame)

    @property
    def overrides(self) -> tuple[str, ...]:
        return (
            "data=manifest",
            "name=tiny",
            f"data.root={self.root}",
            "data.source.name=tiny",
            "data.source.file=table.csv",
            "data.source.columns={image: file, patient: patient, split: split}",
            f"data.source.labels=[{','.join(LABELS)}]",
            f"data.labels=[{','.join(LABELS)}]",
            "data.source.split=null",
            "data.store.size=32",
            "data.input_size=32",
            "data.batch_size=8",
            "data.num_workers=0",
            "+data.prepare_workers=0",
            "trainer.max_epochs=1",
            "evaluation=findings",
            "evaluation.findings.bootstrap=10",
        )


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """A data set nothing is wrong with, made once and copied by each test."""
    data = DataSet(tmp_path_factory.mktemp("sound"))
    source = PhantomSource(images=COUNT, seed=3, size=40, labels=LABELS, prevalence=0.4)
    frame = source.table().frame
    (data.root / "img").mkdir()
    for number, image in enumerate(source.read_many(frame["image"].tolist())):
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(data.image(number))
    source.write_dicom(data.root / "dicom", [0])
    files = [f"img/{number:03d}.png" for number in range(COUNT)]
    columns = {"file": files, "patient": [f"p{n // 2:02d}" for n in range(COUNT)], "split": SPLITS}
    data.write(pd.DataFrame(columns).assign(**{label: frame[label].astype(int) for label in LABELS}))
    return data


@pytest.fixture
def data(sound, tmp_path):
    shutil.copytree(sound.root, tmp_path / "set")
    return DataSet(tmp_path / "set")


def png_head(side):
    """A PNG of a few bytes whose header promises side x side pixels."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated(data):
    content = data.image(7).read_bytes()
    data.image(7).write_bytes(content[: len(content) // 2])


def dicom_without_pixels(data):
    dataset = dcmread(next((data.root / "dicom").iterdir()))
    del dataset.PixelData
    dataset.save_as(data.image(7))


def dicom_of_unknown_syntax(data):
    content = next((data.root / "dicom").iterdir()).read_bytes()
    # Explicit little endian under the name of JPEG Extended, whose decoder is not there.
    dataset = dcmread(next((data.root / "dicom").iterdir()))
    dataset.save_as(data.image(7))
    old, new = b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"
    assert content.count(old) == 1
    data.image(7).write_bytes(content.replace(old, new))


IMAGE_FAULTS = {
    "truncated PNG": (truncated, "truncated PNG"),
    "zero bytes": (lambda data: data.image(7).write_bytes(b""), "an empty file (0 bytes)"),
    "text renamed .png": (lambda data: data.image(7).write_text("not an image " * 40), "a text file"),
    "30,000 pixels": (lambda data: data.image(7).write_bytes(png_head(30_000)), "30000 x 30000 pixels"),
    "DICOM without pixels": (dicom_without_pixels, "without pixel data"),
    "DICOM of an unknown syntax": (dicom_of_unknown_syntax, "cannot be decoded"),
}


@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_that_cannot_be_read(call, refused, data, sound, tmp_path, fault):
    spoil, reason = IMAGE_FAULTS[fault]
    spoil(data)
    message = refused("prepare", *data.overrides)
    assert "1 of 36 images cannot be read (0 are allowed), first img/007.png: " in message
    assert reason in message
    assert "quarantine.csv" in message
    assert "max_unreadable" in message
    assert refused("prepare", *data.overrides) == message
    allowed = call("prepare", *data.overrides, "+data.max_unreadable=1")
    assert allowed.code == 0
    assert "35 images of" in allowed.out
    assert "note: 1 unreadable image(s) left out" in allowed.out
    shutil.copy(sound.image(7), data.image(7))
    mended = call("prepare", *data.overrides)
    assert mended.code == 0, mended.err
    assert mended.err == ""
    assert "36 images of" in mended.out


def drop_column(data):
    data.write(data.frame().drop(columns="patient"))


def same_key_twice(data):
    data.set(9, "file", "img/004.png")


def patient_in_two_splits(data):
    data.set(30, "patient", "p03")


def no_test_images(data):
    frame = data.frame()
    data.write(frame[frame["split"] != "test"])


def header_only(data):
    data.write(data.frame().head(0))


TABLE_FAULTS = {
    "missing column": (drop_column, ["'patient' is missing", "'file'", "Name one of these"]),
    "duplicate keys": (same_key_twice, ["row 10", "'img/004.png'", "already used in row 5", "merge the duplicates"]),
    "patient in two splits": (patient_in_two_splits, ["'p03' has images in train and test", "row 7", "patient-disjoint"]),
    "label outside the value set": (
        lambda data: data.set(4, "Nodule", 3),
        ["row 5", "'Nodule' is 3", "map other values"],
    ),
    "label that is a word": (lambda data: data.set(4, "Nodule", "perhaps"), ["row 5", "'Nodule'", "'perhaps'"]),
    "unknown split": (lambda data: data.set(4, "split", "dev"), ["row 5", "split is 'dev'", "train, val, test"]),
    "path escape": (lambda data: data.set(4, "file", "../x.png"), ["row 5", "'../x.png'", "may leave the root"]),
    "absolute path": (lambda data: data.set(4, "file", "/etc/passwd"), ["row 5", "absolute path", "relative"]),
    "missing image file": (lambda data: data.image(4).unlink(), ["row 5", "'img/004.png'", "set data.root"]),
    "no patient": (lambda data: data.set(4, "patient", ""), ["row 5", "no patient"]),
    "no rows": (header_only, ["no row"]),
    "no table": (lambda data: data.table.unlink(), ["no such file", "data.source.file", "data.root"]),
    "not a table": (lambda data: data.table.write_bytes(b"\x89PNG\0\0"), ["line 1", "cannot be read as UTF-8"]),
}  # fmt: skip


@pytest.mark.parametrize("fault", TABLE_FAULTS)
def test_a_table_that_cannot_be_used(call, refused, data, sound, tmp_path, fault):
    spoil, words = TABLE_FAULTS[fault]
    spoil(data)
    message = refused("prepare", *data.overrides)
    assert str(data.table) in message
    assert all(word in message for word in words), message
    assert refused("train", *data.overrides) == message, "training says the same"
    assert [p.name for p in tmp_path.iterdir()] == ["set"], "and nothing was written"
    shutil.copytree(sound.root, data.root, dirs_exist_ok=True)
    assert call("prepare", *data.overrides).code == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.source.file=tabel.csv", ["tabel.csv: no such file", "table.csv"]),
        ("data.root=/nowhere/at/all", ["/nowhere/at/all", "data.root"]),
        ("+data.source.columns={spilt: split}", ["columns: unknown key 'spilt'", "split"]),
        (
            "data.source.columns={spilt: split}",
            ["cannot set 'data.source.columns'", "'spilt'", "+data.source.columns={"],
        ),
        ("data.labels=[Effusion, Mass]", ["asks for Mass", "known: Effusion, Nodule"]),
        ("data.source.labels=[Effusion, Mass]", ["'Mass' is missing", "'Nodule'"]),
        ("data.store.size=0", ["store size 0", "1 to 8192"]),
        ("data.store.policy=sqash", ["'sqash' is unknown", "squash, pad, crop"]),
        ("data.batchsize=4", ["unknown key 'data.batchsize'", "'batch_size'"]),
        ("+data.batchsize=4", ["unknown key 'data.batchsize'", "'batch_size'"]),
        ("data=manifst", ["no option 'manifst' in group 'data'", "'manifest'"]),
        ("data.root=???", ["missing mandatory value: data.root", "data.root=..."]),
        ("data.batch_size=many", ["'data.batch_size' is 'many'", "int"]),
    ],
)
def test_a_config_that_cannot_be_used(refused, data, tmp_path, override, words):
    for command in ("prepare", "train"):
        message = refused(command, *data.overrides, override)
        assert all(word in message for word in words), message
        assert not (tmp_path / "stores").exists()


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.batch_size=64", ["20 images", "fewer than one global batch of 64", "lower data.batch_size"]),
        ("task.monitor_mode=up", ["task.monitor_mode", "min or max"]),
        ("task.monitor=val/auc", ["task.monitor=val/auc", "did you mean 'val/auroc'"]),
        ("task.optimizer.lr=-1", ["task.optimizer", "Invalid learning rate"]),
        ("trainer.precision=17", ["Lightning refuses the trainer settings", "17"]),
        ("evaluation.findings.score_split=val", ["fix the threshold on other patients"]),
        ("data.transforms.evaluate.steps.0.size=16", ["data.transforms return (16, 16) px", "data.input_size is 32"]),
        ("init_from={file: nowhere.ckpt}", ["init_from.file: there is no file nowhere.ckpt"]),
        ("init_from={run: abc}", ["no run 'abc'"]),
        ("init_from={path: abc}", ["init_from is", "{run: <overrides or run id>}"]),
        ("checkpoint.use=last", ["checkpoint.use is 'last'", "best or final"]),
    ],
)
def test_a_run_that_cannot_be_trained(refused, data, override, words):
    message = refused("train", *data.overrides, override)
    assert all(word in message for word in words), message


def state_of(folder):
    (status,) = (folder / "runs").glob("*/status.json")
    return json.loads(status.read_text())["state"]


def test_a_label_without_positives(call, refused, data, tmp_path):
    frame = data.frame()
    data.write(frame.assign(Nodule=frame["Nodule"].where(frame["split"] != "train", 0)))
    message = refused("train", *data.overrides)
    assert "split 'train'" in message
    assert "no positive image for Nodule" in message
    assert "data.labels: [Effusion]" in message
    assert not (tmp_path / "stores").exists(), "said before the images are decoded"
    assert state_of(tmp_path) == "failed"
    assert call("train", *data.overrides, "data.labels=[Effusion]").code == 0


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_an_empty_split(call, refused, data, sound, tmp_path, split):
    frame = data.frame()
    data.write(frame[frame["split"] != split])
    message = refused("train", *data.overrides)
    assert f"split '{split}'" in message
    assert "is empty; splits with images: " in message
    assert not list((tmp_path / "runs").glob("*/checkpoints/*.ckpt")), "said before anything is trained"
    shutil.copy(sound.table, data.table)
    assert call("train", *data.overrides).code == 0


def test_an_unreadable_image_is_left_out_of_training_and_said_so(call, refused, data, tmp_path):
    truncated(data)
    assert "img/007.png" in refused("train", *data.overrides)
    result = call("train", *data.overrides, "+data.max_unreadable=1")
    assert result.code == 0, result.err
    assert "1 unreadable image(s) left out, as data.max_unreadable allows" in result.err
    assert "img/007.png" in result.err
    logs = [path.read_text() for path in (tmp_path / "runs").glob("*/train.log")]
    assert sum("1 unreadable image(s) left out" in text for text in logs) == 1


@pytest.fixture(scope="session")
def trained(sound, tmp_path_factory):
    """A finished run on the sound data set, copied by each test that spoils it."""
    from cxrvl.cli import main

    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(sound.root, folder / "set")
    paths = [f"paths.{name}={folder / name}" for name in ("runs", "stores")]
    main(["train", *DataSet(folder / "set").overrides, *paths, "checkpoint.every_steps=1"])
    return folder


@pytest.fixture
def run(trained, data, tmp_path):
    """The finished run in this test's folder."""
    for name in ("runs", "stores"):
        shutil.copytree(trained / name, tmp_path / name)
    (folder,) = (tmp_path / "runs").glob("*/status.json")
    return folder.parent


def test_weights_of_another_model(call, refused, data, run):
    final = run / "checkpoints" / "final.ckpt"
    other = ("model/context=se", "model.context.reduction=8", "seed=1")
    message = refused("train", *data.overrides, *other, f"init_from={{file: {final}}}")
    assert str(final) in message
    assert "belongs to another model" in message
    assert "missing (first: model." in message
    assert call("train", *data.overrides, "seed=1", f"init_from={{file: {final}}}").code == 0


def test_a_swapped_checkpoint(call, refused, data, run):
    import torch

    best = run / "checkpoints" / "best.ckpt"
    kept = best.read_bytes()
    state = torch.load(best, weights_only=True)
    name, weight = next((k, v) for k, v in state["state_dict"].items() if v.ndim == 4)
    state["state_dict"][name] = weight[:1].clone()
    torch.save(state, best)
    for path in (run / "predictions").iterdir():
        path.unlink()
    message = refused("train", *data.overrides)
    assert f"{best.name} belongs to another model: 1 of another shape ({name})" in message
    best.write_bytes(kept)
    assert "evaluated now: findings" in call("train", *data.overrides).out


def test_a_truncated_resume_point(call, refused, data, run, caplog):
    last, previous = run / "checkpoints" / "last.ckpt", run / "checkpoints" / "previous.ckpt"
    whole = last.read_bytes()
    last.write_bytes(whole[:5000])
    assert "nothing to compute" in call("train", *data.overrides).out, "a finished run needs none"
    for name in ("final.ckpt", "best.ckpt"):
        (run / "checkpoints" / name).unlink()
    shutil.rmtree(run / "predictions")
    status = json.loads((run / "status.json").read_text())
    (run / "status.json").write_text(json.dumps({**status, "state": "queued"}))
    message = refused("train", *data.overrides)
    assert "last.ckpt" in message
    assert "it may be cut short" in message
    assert "remove it to start this run afresh" in message
    previous.write_bytes(whole[:5000])
    assert "previous.ckpt beside it is broken too; remove both" in refused("train", *data.overrides)
    previous.write_bytes(whole)
    assert "is done" in call("train", *data.overrides).out
    told = "continuing from the resume point before it, previous.ckpt"
    assert told in caplog.text
    assert told in (run / "train.log").read_text()


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits there")
def test_a_full_disk_while_the_store_is_written(call, refused, data, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        message = refused("prepare", *data.overrides)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "no room to write" in message
    assert "paths.stores" in message
    assert not list((tmp_path / "stores").glob("*")), "no half of a store is left"
    assert call("prepare", *data.overrides).code == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no file size limits there")
def test_a_full_disk_while_weights_are_written(call, refused, data, tmp_path):
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, before[1]))
    try:
        message = refused("train", *data.overrides)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "no room to write" in message
    assert ".ckpt" in message
    assert state_of(tmp_path) == "failed"
    assert not [p for p in (tmp_path / "runs").rglob("*") if p.suffix in (".ckpt", ".tmp")]
    assert call("train", *data.overrides).code == 0
    assert state_of(tmp_path) == "done"


def test_reports_alone_have_no_images_to_prepare(refused):
    message = refused("prepare", "data=phantom_reports", "data.source.images=8")
    assert "cxrvl.data.modules.ReportDataModule reads no images; this needs data with an image store" in message


def test_reports_without_text_are_refused_by_prepare(refused, tmp_path):
    """Not after hours of decoding, by a training that comes later."""
    words = ["data=phantom_pairs", "task=dual_tower", "model=dual_tiny", "data.source.images=40", "data.store.size=32"]
    message = refused("prepare", *words, "data.source.reports=terse", "data.text.default.policy=findings")
    assert (
        "20 of 20 rows of split 'train' have nothing of what the section policy 'findings' asks for: studies" in message
    )
    assert not (tmp_path / "stores").exists()
