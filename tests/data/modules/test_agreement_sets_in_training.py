"""Do the sets that need an agreement feed a training batch through their own configs, in each of their image formats?"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dicom_files import write_dicom
from PIL import Image
from tiny_sets import CHEXPERT_HEADER, MIMIC_METADATA, PADCHEST_HEADER

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved
from cxrvl.data.labels import CHEXPERT14
from cxrvl.data.sources.mimic_cxr import TABLES
from cxrvl.data.sources.padchest import FILE

PATIENTS = 40
LABELS = ["Cardiomegaly", "Effusion"]


def pixels(number, top):
    return np.random.default_rng(number).integers(0, top, (24, 20)).astype(np.uint16)


def save(path, number, kind):
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "dicom":
        write_dicom(path, pixels(number, 4096))
    elif kind == "png":
        Image.fromarray(pixels(number, 4096)).save(path)
    else:
        Image.fromarray(pixels(number, 256).astype(np.uint8)).save(path)


def values(number):
    """Cardiomegaly in every third patient, effusion in every second, in doubt in every seventh."""
    found = dict.fromkeys(CHEXPERT14, "")
    found["Cardiomegaly"] = "1.0" if number % 3 == 0 else "0.0"
    found["Pleural Effusion"] = "-1.0" if number % 7 == 0 else "1.0" if number % 2 else "0.0"
    return found


def chexpert(root):
    for part, numbers in (("train", range(1, PATIENTS)), ("valid", range(PATIENTS, PATIENTS + 4))):
        lines = [CHEXPERT_HEADER]
        for i in numbers:
            key = f"{part}/patient{i:05d}/study1/view1_frontal.jpg"
            save(root / key, i, "jpg")
            lines.append(f"CheXpert-v1.0-small/{key},Male,60,Frontal,AP," + ",".join(values(i).values()))
        (root / f"{part}.csv").write_text("\n".join(lines) + "\n")
    return ["data=chexpert", "data.source.cut_fraction=0.2"]


def mimic(root, layout):
    rows = {"metadata": [MIMIC_METADATA], "split": ["dicom_id,study_id,subject_id,split"]}
    rows["chexpert"] = ["subject_id,study_id," + ",".join(CHEXPERT14)]
    for i in range(PATIENTS):
        subject, study, dicom = 10_000_000 + i, 50_000_000 + i, f"{i:08x}-1"
        key = f"files/p10/p{subject}/s{study}/{dicom}"
        save(root / f"{key}.{'jpg' if layout == 'jpg' else 'dcm'}", i, layout)
        (root / f"files/p10/p{subject}/s{study}.txt").write_text(f"FINDINGS: Film {i}.\nIMPRESSION: Normal.\n")
        rows["metadata"].append(f"{dicom},{subject},{study},CHEST,AP,24,20,,,,,")
        rows["split"].append(
            f"{dicom},{study},{subject},{'validate' if i % 5 == 0 else 'test' if i % 5 == 1 else 'train'}"
        )
        rows["chexpert"].append(f"{subject},{study}," + ",".join(values(i).values()))
    for kind, lines in rows.items():
        (root / TABLES[kind]).write_text("\n".join(lines) + "\n")
    return ["data=mimic_cxr", f"data.source.layout={layout}", "data.source.reports=."]


def padchest(root):
    lines = [PADCHEST_HEADER]
    for i in range(PATIENTS):
        save(root / f"{i % 3}/i{i}.png", i, "png")
        terms = [*(["cardiomegaly"] if i % 3 == 0 else []), *(["pleural effusion"] if i % 2 else []), "kyphosis"]
        lines.append(
            f'{i},i{i}.png,{i % 3},20140915,s{i},p{i},1930,F,,PA,M,No,DX,r{i},text {i},Physician,"{terms}",[],[],[],[]'
        )
    (root / FILE).write_text("\n".join(lines) + "\n")
    return ["data=padchest", "data.source.views=[PA]"]


WRITERS = {
    "chexpert": chexpert,
    "mimic_cxr, jpg": lambda root: mimic(root, "jpg"),
    "mimic_cxr, dicom": lambda root: mimic(root, "dicom"),
    "padchest": padchest,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_training_batch(tmp_path, name):
    root = tmp_path / "set"
    root.mkdir()
    words = [
        *WRITERS[name](root), f"data.root={root}", f"data.store_root={tmp_path / 'stores'}", "data.store.size=16",
        "data.input_size=16", "data.batch_size=6", "data.num_workers=0", "+data.prepare_workers=0",
        f"data.labels=[{','.join(LABELS)}]",
    ]  # fmt: skip
    data = build(resolved(compose_config(words))["data"])
    data.trainer = SimpleNamespace(
        training=True, current_epoch=0, global_rank=0, world_size=1, accumulate_grad_batches=1
    )
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    assert batch["image"].shape == (6, 1, 16, 16)
    assert batch["image"].std() > 0.01
    assert batch["target"].shape == (6, 2)
    np.testing.assert_array_equal(batch["target"], data.table.targets()[batch["index"]])
    assert torch.isin(batch["target"], torch.tensor([-1.0, 0.0, 1.0])).all()
    assert {"train", "val", "test"} == set(data.table.frame["split"])
