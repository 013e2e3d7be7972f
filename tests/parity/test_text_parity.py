"""Do the released LLM2VEC4CXR code and this project give the same numbers, forward and backward, for the same weights?"""

import json

import pytest
import torch
from llama_cases import llama_config, tokenizer_of
from parity_cases import FOLDER, Case, cases
from safetensors.torch import save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, LlamaConfig

from cxrvl.errors import WeightsError
from cxrvl.interop.llm2vec import POOLING_KEYS, released_text_encoder, split_released
from cxrvl.losses.contrastive import HardNegativeLoss
from cxrvl.losses.masked_prediction import masked_prediction
from cxrvl.models.text import TextEncoder, Tokens
from cxrvl.models.text.hugging_face import LoadedBase
from cxrvl.models.text.pooling import Cls, Last, LatentAttention, Mean, WeightedMean
from cxrvl.models.weights import load_weights


def encoder_of(case: Case, pooling: type = Mean) -> tuple[TextEncoder, torch.nn.Module]:
    """The case's language model with a pooling, and its head."""
    model = AutoModelForCausalLM.from_config(llama_config(case.config), attn_implementation="sdpa")
    state = case.weights()
    whole = {key: value for key, value in state.items() if key.startswith(("model.", "lm_head."))}
    if not any(key.startswith("model.") for key in whole):
        whole = {f"model.{key}": value for key, value in state.items()}
    load_weights(model, whole, origin="case", may_miss=["lm_head.weight"])
    base = LoadedBase(model.model, model.lm_head, tokenizer_of(case.config["vocab_size"]), "0" * 64, decoder=True)
    return TextEncoder(base, pooling).eval(), model


def tokens_of(case: Case, ids: str = "in/input_ids") -> Tokens:
    mask = case.tensors["in/attention_mask"]
    return Tokens(case.tensors[ids], mask, case.tensors.get("in/embed_mask", mask))


@pytest.mark.parametrize("description", cases("llama_bidirectional_encoder"))
def test_bidirectional_body(description):
    case = Case(description)
    encoder, _ = encoder_of(case)
    real = case.tensors["in/attention_mask"].bool()[..., None]
    states: list[Tensor] = []
    layers = encoder.body.plain.layers
    hooks = [layer.register_forward_hook(lambda *call: states.append(call[-1])) for layer in layers]
    last = encoder.hidden(tokens_of(case))
    for hook in hooks:
        hook.remove()
    first = encoder.body.plain.embed_tokens(case.tensors["in/input_ids"])
    every = torch.stack([first, *states[:-1], last]).masked_fill(~real, 0)
    case.expect("out/hidden_states", every)
    case.expect("out/last_hidden_state", last.masked_fill(~real, 0))
    changed = encoder.hidden(tokens_of(case, "in/changed_ids")).masked_fill(~real, 0)
    case.expect("out/changed_last_hidden_state", changed)
    case.finish()


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("description", cases("mntp_loss"))
def test_masked_prediction(description, chunk):
    case = Case(description)
    encoder, model = encoder_of(case)
    head = encoder.language_head()
    hidden = encoder.hidden(tokens_of(case))
    found = masked_prediction(hidden, case.tensors["in/labels"], head, shift=1, chunk=chunk)
    found.loss.backward()
    case.expect("out/loss", found.loss)
    real = case.tensors["in/attention_mask"].bool()[..., None]
    case.expect("out/logits", head(hidden).masked_fill(~real, 0))
    labels = case.tensors["in/labels"][:, 1:]
    nll = -head(hidden)[:, :-1].log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    case.expect("out/token_nll", nll[labels != -100])
    assert int(found.scored) == case.config["n_scored"]
    for key, parameter in model.named_parameters():
        case.expect(f"grad/w/{key}", parameter.grad)
    case.finish()


@pytest.mark.parametrize("description", cases("text_pooling"))
def test_pooling(description):
    case = Case(description)
    hidden, mask, pooled = (
        case.tensors["in/hidden"].requires_grad_(),
        case.tensors["in/attention_mask"],
        case.tensors["in/embed_mask"],
    )
    width = hidden.shape[-1]
    latent = LatentAttention(width, case.config["latents"], case.config["heads"])
    latent.load_state_dict(case.weights(), strict=True)
    out = latent(hidden, pooled, mask)
    (out * case.tensors["in/cotangent"]).sum().backward()
    case.expect("out/latent", out)
    case.expect("grad/hidden", hidden.grad)
    for key, parameter in latent.named_parameters():
        case.expect(f"grad/w/{key}", parameter.grad)
    case.expect("out/latent_all_tokens", latent(hidden, mask, mask))
    for name, pooling in (("mean", Mean), ("weighted_mean", WeightedMean)):
        case.expect(f"out/{name}", pooling(width)(hidden, pooled, mask))
        case.expect(f"out/{name}_all_tokens", pooling(width)(hidden, mask, mask))
    case.expect("out/eos", Last(width)(hidden, pooled, mask))
    case.expect("out/bos", Cls(width)(hidden, pooled, mask))
    case.finish()


@pytest.mark.parametrize("description", cases("text_encoder_with_pooling"))
def test_released_encoder(description, tmp_path):
    """The released file, read as a user reads it, under every pooling."""
    case = Case(description)
    llama_config(case.config).save_pretrained(tmp_path)
    tokenizer_of(case.config["vocab_size"]).save_pretrained(tmp_path)
    save_file(case.weights(), tmp_path / "model.safetensors")
    encoder = released_text_encoder(str(tmp_path), heads=case.config["latent_heads"]).eval()
    tokens = tokens_of(case)
    case.expect("out/latent", encoder(tokens))
    for name, pooling in (("mean", Mean), ("weighted_mean", WeightedMean), ("eos", Last)):
        encoder.pooling = pooling(encoder.width)
        case.expect(f"out/{name}", encoder(tokens))
    case.finish()


@pytest.mark.parametrize("description", cases("hard_negative_nll"))
def test_hard_negatives(description):
    case = Case(description)
    for scale in case.config["scales"]:
        for name in ("with_negatives", "without_negatives"):
            inputs = {
                part: case.tensors[f"in/{part}"].clone().requires_grad_() for part in ("query", "positive", "negative")
            }
            given = inputs if name == "with_negatives" else {**inputs, "negative": None}
            loss = HardNegativeLoss(scale)(**given)
            loss.backward()
            case.expect(f"out/scale{scale}/{name}", loss)
            for part, value in given.items():
                if value is not None:
                    case.expect(f"grad/scale{scale}/{name}/{part}", value.grad)
    case.finish()


@pytest.mark.parametrize("description", cases("llm2vec_checkpoint_layout"))
def test_released_layout(description):
    """Every key of the released file goes to one place of this project's encoder, and every place is filled."""
    entries = json.loads((FOLDER / description["file"]).read_text())["entries"]
    released = {entry["key"]: torch.empty(entry["shape"], device="meta") for entry in entries}
    body, pooling = split_released(released, "released")
    assert set(pooling) == set(POOLING_KEYS)
    config = LlamaConfig(
        vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32,
        num_key_value_heads=8, head_dim=64,
    )  # fmt: skip
    with torch.device("meta"):
        own = AutoModelForCausalLM.from_config(config).model.state_dict()
        latent = LatentAttention(2048, len(pooling["latents"])).state_dict()
    assert {key: value.shape for key, value in body.items()} == {key: value.shape for key, value in own.items()}
    assert {key: value.shape for key, value in pooling.items()} == {key: value.shape for key, value in latent.items()}
    residual = {**released, "latent_attn.norm.weight": torch.empty(2048, device="meta")}
    with pytest.raises(WeightsError, match=r"not known: \['norm.weight'\]"):
        split_released(residual, "variant")
    del released["latent_attn.mlp.0.bias"]
    with pytest.raises(WeightsError, match=r"missing: \['mlp.0.bias'\]"):
        split_released(released, "cut")
