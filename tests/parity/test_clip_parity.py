"""Do the released LLM2CLIP4CXR code and this project give the same embeddings, losses and gradients?"""

import json

import pytest
import torch
from llama_cases import llama_config, tokenizer_of
from parity_cases import FOLDER, Case, cases
from safetensors.torch import save_file
from timm.models.eva import checkpoint_filter_fn
from torch.nn.functional import normalize
from transformers import AutoModel, LlamaConfig

from cxrvl.errors import WeightsError
from cxrvl.interop.llm2clip import VISION, read_released, released_dual_tower, split_released_pair
from cxrvl.losses.image_text import InfoNCE
from cxrvl.models.projection import NormedLinear
from cxrvl.models.text import Tokens
from cxrvl.models.text.pooling import LatentAttention
from cxrvl.models.timm_image import TimmImage


@pytest.mark.parametrize("description", cases("clip_loss"))
def test_contrastive_loss(description):
    case = Case(description)
    for name in ("standard", "released"):
        image, text, log_scale = (
            case.tensors[f"in/{key}"].clone().requires_grad_() for key in ("image", "text", "logit_scale")
        )
        standard = name == "standard"
        one, other = (normalize(image, dim=-1), normalize(text, dim=-1)) if standard else (image, text)
        loss = InfoNCE()(one, other, log_scale.exp() if standard else log_scale)
        loss.backward()
        case.expect(f"out/{name}/loss", loss)
        own = torch.arange(len(image))
        for way, logits in (("i2t", one @ other.T), ("t2i", other @ one.T)):
            case.expect(f"out/{name}/{way}_acc", (logits.argmax(1) == own).float().mean())
        for key, value in (("image", image), ("text", text), ("logit_scale", log_scale)):
            case.expect(f"grad/{name}/{key}", value.grad)
    case.finish()


@pytest.mark.parametrize("description", cases("eva02_vision_tower"))
def test_vision_tower(description, tmp_path):
    case = Case(description)
    sizes = dict(case.config["timm"]["kwargs"])
    assert case.config["timm"]["model"] == VISION
    size, width = sizes.pop("img_size"), sizes.pop("num_classes")
    state = case.weights()
    save_file(state, tmp_path / "eva.safetensors")
    tower = TimmImage(VISION, size, weights=str(tmp_path / "eva.safetensors"), options=sizes).eval()
    head = torch.nn.Linear(tower.num_features, width)
    head.load_state_dict({key: state[f"visual.head.{key}"] for key in ("weight", "bias")}, strict=True)
    image = case.tensors["in/image"]
    case.expect("out/cls", tower(image))
    case.expect("out/image_features", head(tower(image)))
    before: list[torch.Tensor] = []
    hook = tower.network.norm.register_forward_hook(lambda _, inputs, __: before.append(inputs[0]))
    tower(image)
    hook.remove()
    case.expect("out/tokens", before[0])
    case.finish()


def released(case, folder, path):
    """The tiny checkpoint as a dual tower, from a folder with the config and a tokenizer of its language model."""
    llama_config(case.config["text"]).save_pretrained(folder)
    tokenizer_of(case.config["text"]["vocab_size"]).save_pretrained(folder)
    vision = case.config["vision"]
    sizes = {
        "patch_size": vision["patch_size"], "embed_dim": vision["width"], "depth": vision["layers"],
        "num_heads": vision["width"] // vision["head_width"], "mlp_ratio": vision["mlp_ratio"],
    }  # fmt: skip
    return released_dual_tower(
        str(folder), str(path), heads=case.config["latent_heads"], image_size=vision["image_size"], vision=sizes,
        alpha=case.config["lora"]["alpha"],
    )  # fmt: skip


@pytest.mark.parametrize("description", cases("llm2clip_checkpoint"))
def test_released_checkpoint(description, tmp_path):
    case = Case(description)
    tower = released(case, tmp_path, FOLDER / description["other_files"][0]).eval()
    tokens = Tokens(*(case.tensors[f"in/{key}"] for key in ("input_ids", "attention_mask", "embed_mask")))
    image = tower.project_image(tower.image_tower.backbone(case.tensors["in/image"]))
    pooled = tower.text_features(tokens)
    text = tower.encode_text(tokens)
    case.expect("out/image_features", image)
    case.expect("out/text_pooled", pooled)
    case.expect("out/text_features", text)
    case.expect("out/similarity_dot", tower.similarities(image, text))
    case.expect("out/similarity_clip", tower.logit_scale.exp() * tower.similarities(image, text))
    case.expect("out/similarity_cosine", normalize(image, dim=-1) @ normalize(text, dim=-1).T)
    case.expect("out/training_logits", tower.scale * tower.similarities(image, text))
    case.expect("out/released_loss", InfoNCE()(image, text, tower.scale))
    with tower.text_tower.body.network.disable_adapter():
        case.expect("out/text_features_without_lora", tower.encode_text(tokens))
    case.finish()


@pytest.mark.parametrize("description", cases("llm2clip_checkpoint"))
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.update({"text.extra.weight": torch.zeros(1)}), r"unknown keys \['text.extra.weight'\]"),
        (lambda s: s.pop("logit_scale"), "logit_scale missing"),
        (lambda s: s.update({"text.core.latent_attn.norm.weight": torch.zeros(64)}), "differ in"),
        (lambda s: [s.pop(k) for k in list(s) if "lora_A.llm2clip" in k and "layers.1" in k], "half"),
        (lambda s: [s.__setitem__(k, s[k] + 1) for k in list(s) if "lora_B.default" in k], "with B at zero"),
        (lambda s: s.pop("visual.blocks.1.mlp.w3.weight"), "1 missing"),
        (lambda s: s.pop("text.projection.1.bias"), "text.projection.*1 missing"),
    ],
)
def test_a_checkpoint_laid_out_otherwise_is_refused(description, change, message, tmp_path):
    case = Case(description)
    state = torch.load(FOLDER / description["other_files"][0], weights_only=True)
    change(state)
    torch.save(state, tmp_path / "other.bin")
    with pytest.raises(WeightsError, match=message):
        released(case, tmp_path, tmp_path / "other.bin")


@pytest.mark.parametrize("description", cases("llm2clip_checkpoint"))
@pytest.mark.parametrize("nested", ["state_dict", "module", "model"])
def test_a_nested_container_is_opened(description, nested, tmp_path):
    state = torch.load(FOLDER / description["other_files"][0], weights_only=True)
    torch.save({nested: state, "epoch": 3}, tmp_path / "nested.bin")
    found = read_released(tmp_path / "nested.bin")
    assert len(found.adapter) == 2 * 4
    assert found.rank == 16


@pytest.mark.parametrize("description", cases("llm2clip_checkpoint_layout"))
def test_released_layout(description):
    """Every key of the released file, at full size, goes to one place of this project's tower, and every place is filled."""
    entries = json.loads((FOLDER / description["file"]).read_text())["entries"]
    whole = {entry["key"]: torch.zeros(()).expand(entry["shape"]) for entry in entries}
    once = {key: value for key, value in whole.items() if not key.startswith("text.model.")}
    assert {key.replace("text.core.", "text.model.") for key in once} - {"logit_scale"} >= {
        key for key in whole if key.startswith("text.model.")
    }
    found = split_released_pair(once, "released")
    with torch.device("meta"):
        images = TimmImage(VISION, 448, options={"ref_feat_shape": [16, 16]})
        language = AutoModel.from_config(
            LlamaConfig(
                vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
                num_attention_heads=32, num_key_value_heads=8, head_dim=64,
            )
        )  # fmt: skip
        latent = LatentAttention(2048, len(found.pooling["latents"]))
        projection = NormedLinear(2048, 1280)
    trunk = {f"visual.{key}": value for key, value in found.visual.items() if not key.startswith("head.")}
    filtered = checkpoint_filter_fn(trunk, images.network)
    assert shapes(filtered) == shapes(images.network.state_dict())
    assert shapes(found.base) == shapes(language.state_dict())
    assert shapes(found.pooling) == shapes(latent.state_dict())
    assert shapes(found.projection) == shapes(projection.state_dict())
    layers = {f"layers.{n}.self_attn.{part}_proj" for n in range(16) for part in "qkvo"}
    assert set(found.adapter) == layers
    assert found.rank == 16


def shapes(state):
    return {key: tuple(value.shape) for key, value in state.items()}
