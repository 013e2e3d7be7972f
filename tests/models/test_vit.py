"""Is the vision transformer timm's, at any size and patch, and which weights may it start from?"""

import copy
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor

from cxrvl.errors import ConfigError, DataError, WeightsError
from cxrvl.models.vit import Vit

TINY = {"embed_dim": 24, "depth": 2, "num_heads": 3}


def tiny(**options) -> Vit:
    torch.manual_seed(0)
    vit = Vit(**{"name": "vit_small_patch8_224", "image_size": 32, **TINY, **options}).eval()
    if "weights" not in options:  # timm's start is so small that neither attention nor positions would be missed
        for parameter in vit.parameters():
            torch.nn.init.normal_(parameter, std=0.4)
    return vit


@pytest.mark.parametrize("name", ["vit_small_patch8_224", "vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2"])
@pytest.mark.parametrize("grid", [(4, 4), (3, 6), (7, 2)])
def test_it_is_timm_s_network_at_every_grid(name, grid):
    vit = tiny(name=name, image_size=56)
    size = tuple(n * p for n, p in zip(grid, vit.patch_size, strict=True))
    images = torch.rand(2, 3, *size)
    torch.testing.assert_close(vit.tokens(images), vit.network.forward_features(images))
    torch.testing.assert_close(vit(images), vit.network(images))
    assert vit(images).shape == (2, vit.num_features)


@pytest.mark.parametrize(
    ("name", "width", "depth"), [("vit_tiny_patch16_224", 192, 12), ("vit_base_patch8_224", 768, 12)]
)
def test_a_name_says_the_sizes(name, width, depth):
    with torch.device("meta"):
        vit = Vit(name, drop_path=0.1)
    assert (vit.num_features, len(vit.network.blocks)) == (width, depth)
    rates = [getattr(block.drop_path1, "drop_prob", 0.0) for block in vit.network.blocks]
    assert rates == pytest.approx(torch.linspace(0, 0.1, depth).tolist())
    assert {module.eps for module in vit.modules() if isinstance(module, torch.nn.LayerNorm)} == {1e-6}


@pytest.mark.parametrize("patch", [4, 8, 16])
@pytest.mark.parametrize("positions", ["interpolated", "released"])
def test_any_patch_and_size(patch, positions):
    vit = tiny(patch_size=patch, positions=positions, in_channels=1)
    for size in ((32, 32), (48, 16), (64, 96)):
        assert vit(torch.rand(1, 1, *size)).shape == (1, 24)
        rows, columns = size[0] // patch, size[1] // patch
        assert vit.positions(rows, columns).shape == (1, 1 + rows * columns, 24)
    assert vit.positions(32 // patch, 32 // patch) is vit.network.pos_embed


def test_the_two_rules_agree_on_the_table_s_own_grid_alone():
    mine, released = tiny(), tiny(positions="released")
    own, other = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 64, 64)
    assert torch.equal(mine(own), released(own))
    assert (mine(other) - released(other)).abs().max() > 1e-3


@pytest.mark.parametrize("positions", ["interpolated", "released"])
def test_rows_and_columns_are_not_mixed_up(positions):
    vit = tiny(positions=positions)
    upright = vit.positions(7, 3)[:, 1:].unflatten(1, (7, 3))
    with torch.no_grad():
        vit.network.pos_embed[:, 1:] = (
            vit.network.pos_embed[:, 1:].unflatten(1, (4, 4)).transpose(1, 2).flatten(1, 2).clone()
        )
    lying = vit.positions(3, 7)[:, 1:].unflatten(1, (3, 7))
    torch.testing.assert_close(lying, upright.transpose(1, 2))


def test_registers_get_no_position():
    vit = tiny(name="vit_small_patch14_reg4_dinov2", image_size=56)
    assert vit.positions(2, 3).shape == (1, 6, 24)
    assert vit.tokens(torch.rand(1, 3, 28, 42)).shape == (1, 1 + 4 + 6, 24)


def test_an_image_s_embedding_does_not_depend_on_its_batch():
    vit, images = tiny().double(), torch.rand(5, 3, 48, 48, dtype=torch.float64)
    torch.testing.assert_close(vit(images)[3:4], vit(images[3:4]), rtol=0, atol=1e-12)


def test_positions_learn_through_the_resampling():
    vit = tiny()
    vit(torch.rand(1, 3, 64, 64)).sum().backward()
    assert vit.network.pos_embed.grad.abs().min() > 0


@pytest.mark.parametrize("drop", [{}, {"drop_path": 0.5, "options": {"attn_drop_rate": 0.5}}])
def test_the_attention_is_the_last_block_s_at_its_heads_in_evaluation(drop):
    vit = tiny(**drop).train()
    images = torch.rand(2, 3, 48, 40)
    attention = vit.attention(images)
    assert attention.shape == (2, 3, 31, 31)
    torch.testing.assert_close(attention.sum(-1), torch.ones(2, 3, 31))
    assert vit.training
    assert vit.network.blocks[-1].attn.fused_attn == vit.network.blocks[0].attn.fused_attn
    block, inside = vit.eval().network.blocks[-1], []
    block.register_forward_pre_hook(lambda _, inputs: inside.append(inputs[0]))
    vit(images)
    qkv = block.attn.qkv(block.norm1(inside[0])).unflatten(-1, (3, 3, 8)).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(attention, (qkv[0] @ qkv[1].mT / 8**0.5).softmax(-1))


def test_it_can_be_copied_and_compiled_whole():
    vit, images = tiny(positions="released"), torch.rand(1, 3, 64, 64)
    torch.testing.assert_close(copy.deepcopy(vit)(images), vit(images))
    compiled = torch.compile(vit, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(images), vit(images))


def dinov2_names(vit: Vit) -> dict[str, Tensor]:
    """The keys of DINOv2's own files: positions for CLS, none for registers, and a mask token."""
    state = dict(vit.network.state_dict())
    cls_position = torch.randn(1, 1, 24)
    state["register_tokens"] = state.pop("reg_token")
    state["cls_token"] = state["cls_token"] - cls_position
    state["pos_embed"] = torch.cat([cls_position, state["pos_embed"]], 1)
    return {**state, "mask_token": torch.zeros(1, 24)}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "network.", "dino."])
@pytest.mark.parametrize("wrapped", [False, True])
def test_a_local_file_of_timm_or_dino_loads_whole(tmp_path, prefix, wrapped):
    theirs = tiny()
    state = {f"{prefix}{key}": value for key, value in theirs.network.state_dict().items()}
    beside = prefix.removesuffix("backbone.")
    state |= {f"{beside}head.mlp.0.weight": torch.zeros(2, 2), f"{beside}head.last_layer.weight_g": torch.zeros(2, 1)}
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": state} if wrapped else state, path)
    mine = Vit("vit_small_patch8_224", image_size=32, weights=str(path), **TINY).eval()
    images = torch.rand(1, 3, 32, 32)
    assert torch.equal(mine(images), theirs(images))


def test_a_local_file_of_dinov2_loads_whole_with_and_without_registers(tmp_path):
    images = torch.rand(1, 3, 42, 28)
    for name in ("vit_small_patch14_reg4_dinov2", "vit_small_patch14_dinov2"):
        theirs = tiny(name=name, image_size=28)
        state = theirs.network.state_dict() | {"mask_token": torch.zeros(1, 24)}
        path = tmp_path / f"{name}.safetensors"
        save_file(dinov2_names(theirs) if "reg4" in name else state, path)
        mine = Vit(name, image_size=28, weights=str(path), **TINY).eval()
        torch.testing.assert_close(mine(images), theirs(images))


def test_dinov2_s_names_are_those_timm_converts(tmp_path):
    vit = tiny(name="vit_small_patch14_reg4_dinov2", image_size=28)
    published = dinov2_names(vit)
    converted = timm.models.vision_transformer.checkpoint_filter_fn(dict(published), vit.network)
    path = tmp_path / "weights.safetensors"
    save_file(published, path)
    mine = Vit("vit_small_patch14_reg4_dinov2", image_size=28, weights=str(path), **TINY)
    for key, value in mine.network.state_dict().items():
        torch.testing.assert_close(value, converted[key])


def test_a_grey_network_sees_what_a_colour_one_does(tmp_path):
    theirs, path = tiny(), tmp_path / "weights.safetensors"
    save_file(theirs.network.state_dict(), path)
    mine = Vit("vit_small_patch8_224", image_size=32, weights=str(path), in_channels=1, **TINY).eval()
    grey = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(mine(grey), theirs(grey.expand(-1, 3, -1, -1)))


def file_with(folder: Path, change) -> str:
    state = dict(tiny().network.state_dict())
    change(state)
    save_file(state, folder / "weights.safetensors")
    return str(folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s.pop("blocks.1.norm2.bias"), ["1 missing: blocks.1.norm2.bias"]),
        (lambda s: s.update({"blocks.2.norm2.bias": torch.zeros(1)}), ["1 unexpected: blocks.2.norm2.bias"]),
        (lambda s: s.update({"decoder.weight": torch.zeros(1)}), ["1 unexpected: decoder.weight"]),
        (lambda s: s.update({"norm.bias": torch.zeros(7)}), ["norm.bias (7,) instead of (24,)"]),
        (lambda s: s.update({"pos_embed": torch.zeros(1, 37, 24)}), ["has 37 entries", "17", "image_size"]),
        (lambda s: s.pop("patch_embed.proj.weight"), ["no patch embedding"]),
        (lambda s: s.update({"x.patch_embed.proj.weight": torch.zeros(1)}), ["2 patch embeddings"]),
    ],
)
def test_keys_that_do_not_fit_are_named(tmp_path, change, words):
    with pytest.raises(WeightsError) as error:
        tiny(weights=file_with(tmp_path, change))
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: Vit("vit_smal_patch8_224"), ConfigError, "no model 'vit_smal_patch8_224'"),
        (lambda: Vit("resnet18"), ConfigError, "resnet18"),
        (lambda: Vit("deit_tiny_distilled_patch16_224"), ConfigError, "VisionTransformerDistilled"),
        (lambda: Vit("vit_base_patch16_siglip_224"), ConfigError, "class token"),
        (lambda: tiny(num_heads=5), ConfigError, "divisible"),
        (lambda: tiny(options={"heads": 3}), ConfigError, "heads"),
        (lambda: tiny(positions="bilinear"), ConfigError, "'bilinear'"),
        (lambda: tiny(weights="imagenet"), WeightsError, "weights='imagenet'"),
        (lambda: tiny()(torch.rand(1, 3, 36, 32)), DataError, "36 x 32 px; expected multiples of the patch, 8 x 8"),
    ],
)
def test_impossible_settings_are_named(call, kind, words):
    with pytest.raises(kind, match=words):
        call()
