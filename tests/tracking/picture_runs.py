"""Small trainings with pictures in this process, on data sets whose keys and reports can be recognised anywhere."""

import csv
from pathlib import Path

import numpy as np
from PIL import Image
from pytorch_lightning.loggers.logger import Logger

from cxrvl.config.compose import compose_config, hydra_session, resolved
from cxrvl.files import write_yaml
from cxrvl.runs.trainer import build_data, build_task, build_trainer, quieten, set_up_process
from cxrvl.tracking.taking import picture_callbacks

SECRET = "Geheimrat"
"""Part of every patient key and report of the made-up data sets: it must be found nowhere else."""
SMALL = (
    "experiment=phantom/acm", "data.store.size=32", "data.batch_size=8", "trainer.max_epochs=2",
    "trainer.accelerator=cpu", "evaluation=none", "tracking.pictures=3",
)  # fmt: skip
LABELS = "data.labels=[Effusion,Mass]"


class Recorder(Logger):
    """A logger that would send everything away, and remembers it all."""

    def __init__(self, share_data: bool) -> None:
        super().__init__()
        self.share_data = share_data
        self.sent: list = []

    @property
    def name(self) -> str:
        return "recorder"

    @property
    def version(self) -> str:
        return "0"

    def log_metrics(self, metrics, step=None) -> None:
        self.sent.append(("metrics", dict(metrics), step))

    def log_hyperparams(self, params, *args, **kwargs) -> None:
        self.sent.append(("hyperparams", params, args, kwargs))

    def log_pictures(self, key, pictures, captions, step) -> None:
        self.sent.append(("pictures", key, pictures, captions, step))

    def pictures(self) -> list:
        return [entry for entry in self.sent if entry[0] == "pictures"]


def nih_root(folder: Path, patients: int = 30) -> Path:
    """A tiny data set in NIH's layout; names of images and patients hold the secret."""
    random = np.random.default_rng(0)
    lists, rows = {"train_val_list.txt": [], "test_list.txt": []}, []
    header = (
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
        "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],"
    )
    (folder / "images").mkdir(parents=True)
    for patient in range(patients):
        name = f"{SECRET}{patient:05d}_000.png"
        label = ("Effusion", "Mass", "No Finding")[patient % 3]
        rows.append(f"{name},{label},0,{SECRET}{patient:05d},050Y,M,PA,64,64,0.143,0.143,")
        lists["test_list.txt" if patient % 10 == 9 else "train_val_list.txt"].append(name)
        Image.fromarray(random.integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / "images" / name)
    (folder / "Data_Entry_2017.csv").write_text("\n".join([header, *rows]) + "\n")
    (folder / "BBox_List_2017.csv").write_text(
        f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{SECRET}00000_000.png,Effusion,8,8,16,16\n"
    )
    for name, lines in lists.items():
        (folder / name).write_text("\n".join(lines) + "\n")
    return folder


def manifest_root(folder: Path, patients: int = 24) -> Path:
    """A tiny data set with report text; keys and reports hold the secret."""
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "patient", "split", "Effusion", "Mass", "text"])
        for number in range(patients):
            name = f"{SECRET}{number}.png"
            Image.fromarray(random.integers(0, 255, (40, 40), dtype=np.uint8)).save(folder / name)
            split = ("train", "train", "val")[number % 3]
            report = f"<b>{SECRET}</b> has an effusion & worries."
            writer.writerow([name, f"{SECRET}{number}", split, number // 3 % 2, (number // 6) % 2, report])
    return folder


def overrides_of(kind: str, folder: Path) -> tuple[str, ...]:
    """Return the overrides that train on phantom images, a tiny nih14 copy, or a manifest with reports."""
    if kind == "phantom":
        return ("data.source.images=60",)
    if kind == "nih14":
        root = nih_root(folder / "nih14")
        chosen = ("data.source.labels_version='2017'", "data.source.boxes=true")
        return ("data=nih14", f"data.root={root}", *chosen, "data.input_size=32", LABELS, "data.num_workers=0")
    root = manifest_root(folder / "manifest")
    return (
        "data=manifest", f"data.root={root}", "data.source.name=made_up", "data.source.file=table.csv",
        "data.source.columns={image: file, patient: patient, split: split, findings: text}",
        "data.source.labels=[Effusion,Mass]", "data.source.split=null", LABELS, "data.input_size=32", "data.num_workers=0",
    )  # fmt: skip


def config_of(folder: Path, *overrides: str) -> dict:
    """Return a resolved config whose files all lie in a folder."""
    with hydra_session():
        places = (f"paths.runs={folder}/runs", f"paths.stores={folder}/stores", f"paths.data={folder}")
        return resolved(compose_config([*SMALL, *places, *overrides]))


def trained(config: dict, folder: Path, *loggers: Logger):
    """Train as `cxrvl train` does, with more loggers; return the task."""
    quieten()
    set_up_process(config)
    folder.mkdir(parents=True, exist_ok=True)
    write_yaml(folder / "config.yaml", config)
    data, task = build_data(config), build_task(config, pretrained=False)
    trainer = build_trainer(config, folder, picture_callbacks(config, folder))
    trainer.loggers = [*trainer.loggers, *loggers]
    trainer.fit(task, datamodule=data)
    return task
