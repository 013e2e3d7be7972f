"""How much faster is reading the image store than decoding PNGs each epoch? Both sides on one core, in one process."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from cxrvl.data.images import ImageStore, StoreSpec, prepare
from cxrvl.data.readers import read_image
from cxrvl.data.studies import StudyTable
from cxrvl.data.transforms import ColorJitter, Draw, Pipeline, RandomHorizontalFlip, RandomResizedCrop

SIZE = 224
BATCH = 64
COPIES = 200
NEEDED_READING = 20
NEEDED_AUGMENTED = 3


class Originals:
    """The 1024-px originals, each under many names, as a source."""

    name = "originals"

    def __init__(self, folder: Path) -> None:
        self.files = sorted(folder.glob("*.png"))
        self.decoded: dict[Path, np.ndarray] = {}

    def table(self) -> StudyTable:
        keys = [f"{copy}/{i}" for copy in range(COPIES) for i in range(len(self.files))]
        frame = pd.DataFrame({"image": keys, "dataset": self.name, "patient": keys, "split": "train", "none": 0.0})
        return StudyTable.build(frame, ("none",), split_name="all", root=None, origin="bench")

    def path(self, key: str) -> Path:
        return self.files[int(key.rpartition("/")[2])]

    def read(self, key: str) -> np.ndarray:
        """Each original is decoded once only: making the store is not what is measured."""
        path = self.path(key)
        if path not in self.decoded:
            self.decoded[path] = read_image(path)
        return self.decoded[path]

    def pixel_identity(self) -> dict[str, str]:
        return {}


@pytest.fixture(scope="module")
def source(shared: Path) -> Originals:
    return Originals(shared / "data" / "nih14_1024")


@pytest.fixture(scope="module")
def stores(source: Originals, tmp_path_factory: pytest.TempPathFactory) -> dict[int, ImageStore]:
    folder = tmp_path_factory.mktemp("stores")
    return {size: prepare(source, source.table(), StoreSpec(size), folder, workers=0) for size in (SIZE, 256)}


@pytest.fixture(autouse=True)
def one_core():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def images_per_second(batch: Callable[[], torch.Tensor], seconds: float = 4.0) -> float:
    """Images per second of the fastest quarter of calls, after a warm-up: what the work costs, not its neighbours."""
    count = len(batch())
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 4:
        start = time.perf_counter()
        batch()
        times.append(time.perf_counter() - start)
    return count / float(np.quantile(times, 0.25))


def from_store(store: ImageStore, rng: np.random.Generator) -> torch.Tensor:
    return torch.from_numpy(store.take(rng.integers(0, len(store), BATCH)))[:, None]


def report(name: str, ours: float, theirs: float, needed: float) -> None:
    print(
        f"\n{name}: store {ours:.0f} images/s, decoding {theirs:.0f} images/s, ratio {ours / theirs:.1f} (>= {needed})"
    )
    assert ours / theirs >= needed


def test_reading_and_collating(source: Originals, stores: dict[int, ImageStore]) -> None:
    rng = np.random.default_rng(0)

    def decoded() -> torch.Tensor:
        arrays = []
        for file in source.files:
            with Image.open(file) as image:
                arrays.append(np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR)))
        return torch.from_numpy(np.stack(arrays))[:, None]

    ours = images_per_second(lambda: from_store(stores[SIZE], rng))
    report("read and collate", ours, images_per_second(decoded), NEEDED_READING)


def test_with_the_papers_augmentation(source: Originals, stores: dict[int, ImageStore]) -> None:
    """Mirror, crop of 80 to 100 % of the area, jitter of .2 (papers/acm.md section 6), to 224 px."""
    rng = np.random.default_rng(0)
    theirs = tv.Compose(
        [
            tv.RandomHorizontalFlip(),
            tv.RandomResizedCrop(SIZE, scale=(0.8, 1.0)),
            tv.ColorJitter(0.2, 0.2, 0.2),
            tv.ToTensor(),
        ]
    )
    steps = [RandomHorizontalFlip(), RandomResizedCrop(SIZE, scale=(0.8, 1.0)), ColorJitter(0.2, 0.2, 0.2)]
    pipeline = Pipeline(steps)
    keys = torch.arange(BATCH)

    def decoded() -> torch.Tensor:
        out = []
        for file in source.files:
            with Image.open(file) as image:
                out.append(theirs(image))
        return torch.stack(out)

    def ours() -> torch.Tensor:
        return pipeline(from_store(stores[256], rng), Draw(0, 0, keys))

    report("augmented", images_per_second(ours), images_per_second(decoded), NEEDED_AUGMENTED)


def test_decoding_speed(shared: Path, source: Originals) -> None:
    """No bound: images per second of our reader, by kind of file."""
    dicom = shared / "data" / "dicom"
    kinds = {
        "PNG 1024": source.files,
        "DICOM 1024 JPEG baseline": sorted(dicom.glob("siim_1*.dcm")),
        "DICOM 1841x1955 JPEG 2000": [dicom / "RG1_J2KI.dcm"],
        "DICOM 1760 JPEG-LS": [dicom / "RG3_JLSL.dcm"],
        "DICOM 1760 RLE": [dicom / "RG3_RLE.dcm"],
    }
    for kind, files in kinds.items():
        speed = images_per_second(lambda files=files: torch.tensor([read_image(file).shape[0] for file in files]), 1.5)
        print(f"\n{kind}: {speed:.1f} images/s")
        assert speed > 0
