"""When are pictures taken, and does taking them leave the training bit for bit as it was?"""

import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from picture_runs import config_of, overrides_of, trained
from PIL import Image

from cxrvl.config.check import check
from cxrvl.errors import ConfigError
from cxrvl.tracking.pictures import kept
from cxrvl.tracking.taking import PictureTaker, picture_callbacks


def taken(every, epochs, between=1, max_steps=-1, steps_an_epoch=10):
    """Return the epochs (from 1) after whose validation pictures are taken."""
    callback = PictureTaker(None, every, 4, {})
    place = [
        SimpleNamespace(
            current_epoch=epoch - 1, check_val_every_n_epoch=between, max_epochs=epochs, max_steps=max_steps,
            global_step=epoch * steps_an_epoch,
        )
        for epoch in range(between, epochs + 1, between)
    ]  # fmt: skip
    return [trainer.current_epoch + 1 for trainer in place if callback.due(trainer)]


def test_pictures_are_taken_first_at_doubling_epochs_and_last():
    assert taken("doubling", 20) == [1, 2, 4, 8, 16, 20]
    assert taken("doubling", 1) == [1]
    assert taken("doubling", 20, between=3) == [3, 6, 12, 18]
    assert taken("doubling", 100, max_steps=50)[:4] == [1, 2, 4, 5]
    assert taken(5, 12) == [1, 5, 10, 12]
    assert taken(1, 3) == [1, 2, 3]


def test_no_pictures_if_nobody_wants_them(tmp_path):
    assert picture_callbacks(config_of(tmp_path, "tracking.pictures_every=null"), tmp_path) == []
    (callback,) = picture_callbacks(config_of(tmp_path), tmp_path)
    assert isinstance(callback, PictureTaker)


@pytest.mark.parametrize(
    "override",
    [
        "tracking.pictures_every=0",
        "tracking.pictures_every=true",
        "tracking.pictures_every=often",
        "tracking.pictures=0",
    ],
)
def test_rates_that_mean_nothing_are_refused(tmp_path, override):
    with pytest.raises(ConfigError, match=override.partition("=")[0]):
        check(config_of(tmp_path, override))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The same short training with pictures and without."""
    folder = tmp_path_factory.mktemp("runs")
    overrides = (*overrides_of("phantom", folder), "trainer.max_epochs=3", "tracking.pictures_every=1")
    torch.manual_seed(1)
    with_pictures = trained(config_of(folder, *overrides), folder / "with")
    without = trained(config_of(folder, *overrides, "tracking.pictures_every=null"), folder / "without")
    return folder, with_pictures.state_dict(), without.state_dict()


def test_a_run_with_pictures_is_bit_for_bit_the_run_without(runs):
    folder, with_pictures, without = runs
    assert with_pictures.keys() == without.keys()
    for name, value in with_pictures.items():
        assert torch.equal(value, without[name]), name
    history = [(folder / name / "history.jsonl").read_text() for name in ("with", "without")]
    assert history[0] == history[1]
    assert not (folder / "without/pages").exists()


def test_the_page_is_whole_and_asks_for_nothing_from_elsewhere(runs):
    folder = runs[0] / "with"
    page = (folder / "pages/index.html").read_text()
    assert not re.search(r"https?://|//[a-z]+\.|<script|<link|@import|url\(", page)
    shown = re.findall(r'<img src="([^"]+)"', page)
    assert sorted(shown) == sorted(line.file for line in kept(folder))
    for name in shown:
        with Image.open(folder / "pages" / name) as image:
            assert image.size[0] >= 32
    assert page.count("<svg") >= 2
    assert "/auroc" not in page
    assert ">auroc<" in page


def test_every_kind_is_there_with_the_numbers_asked_for(runs):
    lines = kept(runs[0] / "with")
    assert len({line.step for line in lines}) == 3
    for step in {line.step for line in lines}:
        kinds = [line.kind for line in lines if line.step == step]
        assert kinds.count("val/worst_errors") == 3
        assert kinds.count("train/inputs") == 3
        assert kinds.count("val/attention") >= 1
    worst = [line for line in lines if line.kind == "val/worst_errors"]
    assert all(re.fullmatch(r"\w+: target [01], probability [01]\.\d+, loss \d+\.\d\d", line.caption) for line in worst)
    losses = [float(line.caption.rpartition(" ")[2]) for line in worst]
    assert losses[:3] == sorted(losses[:3], reverse=True)
    inputs = [
        np.asarray(Image.open(runs[0] / "with/pages" / line.file)) for line in lines if line.kind == "train/inputs"
    ]
    assert all(image.shape == (32, 32) and image.std() > 10 for image in inputs)
