"""Is every model option of the self-training line a network that can be trained on views?"""

import pytest
import torch

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, config_dir, resolved
from cxrvl.models.self_training import SelfTrainingNetwork

OPTIONS = sorted(path.stem for path in (config_dir() / "model").glob("distl_*.yaml"))
WIDTHS = {  # distl.md section 1.1 names the widths of the networks that the release knows
    "distl_vit_small": 384,
    "distl_resnet50": 2048,
    "distl_densenet201": 1920,
    "distl_efficientnet_b4": 1792,
}


def built(*overrides: str) -> SelfTrainingNetwork:
    """The model of a config without its published weights, and without memory."""
    with torch.device("meta"):
        return build(resolved(compose_config([*overrides, "model.backbone.weights=null"]))["model"])


def views() -> list[torch.Tensor]:
    return [torch.rand(2, 1, size, size, device="meta") for size in (64, 64, 32)]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_is_a_network(option):
    network = built(f"model={option}")
    output = network.views(views(), [1])
    assert output.features.shape == (6, network.feature_head.prototypes)
    assert output.logits.shape == (2, 6)
    assert network.encoder.num_features == WIDTHS.get(option, network.encoder.num_features)


@pytest.mark.parametrize("feature_head", ["dino", "dino_8k", "dino_small", "none"])
@pytest.mark.parametrize("class_head", ["mlp", "linear"])
def test_heads_are_chosen_apart(feature_head, class_head):
    network = built(
        "model=distl_resnet10_narrow",
        f"model/feature_head={feature_head}",
        f"model/class_head={class_head}",
    )
    prototypes = {"dino": 65_536, "dino_8k": 8192, "dino_small": 1024, "none": None}[feature_head]
    assert getattr(network.feature_head, "prototypes", None) == prototypes
    assert network.views(views(), [0], features=prototypes is not None).logits.shape == (2, 6)


def test_the_network_of_the_paper_has_its_weights():
    network = built("model=distl_vit_small", "model.num_labels=1")
    sizes = {
        name: sum(p.numel() for p in part.parameters() if p.requires_grad) / 1e6
        for name, part in network.named_children()
    }
    assert sizes == pytest.approx({"encoder": 21.67, "feature_head": 22.29, "class_head": 0.165}, abs=0.005)
    assert network.encoder.backbone.positions_rule == "released"
    assert network.encoder.backbone.network.blocks[-1].drop_path1.drop_prob == pytest.approx(0.1)
