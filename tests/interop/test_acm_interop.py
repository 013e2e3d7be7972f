"""Is a released ACM checkpoint read safely and translated with every key accounted for?"""

import pickle
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from cxrvl.errors import WeightsError
from cxrvl.interop.acm import load_released, read_released, translate_released
from cxrvl.models.acm import ACM
from cxrvl.models.classifier import ImageClassifier
from cxrvl.models.heads import MaxPoolHead
from cxrvl.models.resnet import ResNet

OFFICIAL = {
    "context.key_attention": "module.add_mod.map_gen.0",
    "context.query_attention": "module.sub_mod.map_gen.0",
    "context.gate_reduce": "module.mul_mod.feature_gen.0",
    "context.gate_expand": "module.mul_mod.feature_gen.2",
    "head.classifier": "classifier_conv",
}


def model(bias: bool = True) -> ImageClassifier:
    return ImageClassifier(ResNet(50, partial(ACM, groups=8, attention_bias=bias), base_width=16), MaxPoolHead, 3)


def released(network: ImageClassifier, prefix: str = "module.") -> dict[str, Tensor]:
    state = {}
    for key, value in network.state_dict().items():
        for ours, theirs in OFFICIAL.items():
            key = key.replace(ours, theirs)
        state[prefix + key.removeprefix("backbone.")] = value
    return state


def checkpoint(folder: Path, state: dict[str, Tensor], **entries) -> Path:
    path = folder / "checkpoint"
    extra = {"best_loss": np.float64(0.85), "epoch": 3, "rng_state": torch.get_rng_state(), "LR": 0.04, **entries}
    torch.save({"state_dict": state, **extra}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_a_training_checkpoint_loads_whole(tmp_path, prefix):
    torch.manual_seed(0)
    theirs, ours = model().eval(), model().eval()
    load_released(ours, checkpoint(tmp_path, released(theirs, prefix)))
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(ours(images).logits, theirs(images).logits, rtol=0, atol=0)


def test_a_model_without_the_dead_biases_gives_the_same_numbers(tmp_path):
    torch.manual_seed(0)
    theirs, ours = model().eval(), model(bias=False).eval()
    load_released(ours, checkpoint(tmp_path, released(theirs)))
    images = torch.rand(2, 1, 64, 64)
    torch.testing.assert_close(ours(images).logits, theirs(images).logits, rtol=0, atol=0)


def test_a_best_auc_saved_by_numpy_1_or_2_is_read(tmp_path):
    state = {"conv1.weight": torch.zeros(1)}
    path = checkpoint(tmp_path, state)
    assert read_released(path).keys() == state.keys()
    old = tmp_path / "numpy1"
    replaced = 0
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(old, "w") as target:
        for entry in source.infolist():
            content = source.read(entry)
            replaced += content.count(b"cnumpy._core.multiarray\n")
            target.writestr(entry.filename, content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"))
    assert replaced == 1
    assert read_released(old).keys() == state.keys()


def test_code_in_a_checkpoint_is_not_run(tmp_path):
    state = {"conv1.weight": torch.zeros(1)}
    path = tmp_path / "checkpoint"

    class Attack:
        def __reduce__(self):
            return print, ("run",)

    torch.save({"state_dict": state, "best_loss": Attack()}, path)
    with pytest.raises(WeightsError, match="cannot be read safely"):
        read_released(path)
    with path.open("wb") as file:
        pickle.dump(state, file)
    with pytest.raises(WeightsError, match="cannot be read safely"):
        read_released(path)


def test_keys_left_over_on_either_side_are_named(tmp_path):
    state = released(model())
    with pytest.raises(WeightsError, match=r"1 unknown keys: module\.layer1\.0\.module\.div_mod\.weight"):
        translate_released({**state, "module.layer1.0.module.div_mod.weight": torch.zeros(1)})
    missing = {key: value for key, value in state.items() if key != "module.layer2.1.bn3.bias"}
    with pytest.raises(WeightsError, match=r"1 missing: backbone\.layer2\.1\.bn3\.bias"):
        load_released(model(), checkpoint(tmp_path, missing))
    with pytest.raises(WeightsError, match=r"1 unexpected: backbone\.fc\.bias"):
        load_released(model(), checkpoint(tmp_path, {**state, "module.fc.bias": torch.zeros(1)}))
    with pytest.raises(WeightsError, match="mixes two layouts"):
        translate_released({**state, "conv2.weight": torch.zeros(1)})


def test_absent_files_are_named(tmp_path):
    with pytest.raises(WeightsError, match="nowhere is not a file"):
        read_released(tmp_path / "nowhere")
