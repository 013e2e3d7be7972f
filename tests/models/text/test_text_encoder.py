"""Does a text encoder read both ways, whatever its architecture, and does it learn what it is told to?"""

from functools import partial

import pytest
import tiny
import torch

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.interop.llm2vec import released_text_encoder
from cxrvl.models.text import leaks
from cxrvl.models.text.chunks import encode_in_chunks
from cxrvl.models.text.hugging_face import check_version
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.pooling import Cls, Last, LatentAttention, Mean, Pooling, WeightedMean
from cxrvl.runs.checkpoints import load_into
from cxrvl.runs.parts import Weights, take

POOLINGS = [Mean, WeightedMean, Last, Cls, partial(LatentAttention, latents=8, heads=4)]


@pytest.mark.parametrize("architecture", [*tiny.DECODERS, *tiny.ENCODERS])
def test_embeddings_do_not_depend_on_padding_or_company(architecture):
    model = tiny.encoder(architecture)
    together = model.encode(tiny.REPORTS)
    alone = torch.cat([model.encode([text]) for text in tiny.REPORTS])
    torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)
    model.tokenize.side = "right" if model.tokenize.side == "left" else "left"
    torch.testing.assert_close(model.encode(tiny.REPORTS), together, atol=2e-6, rtol=1e-5)


def test_padding_is_on_the_right_unless_told_otherwise():
    """Where no token moves, so that the order of sums is that of the text alone."""
    for padding, side in ((None, "right"), ("right", "right"), ("left", "left")):
        assert tiny.encoder(padding=padding).tokenize.side == side
    for wrong in ("foo", "", False, "Right"):
        with pytest.raises(ConfigError, match=r"model\.padding is .*; expected right, left, or null"):
            tiny.encoder(padding=wrong)


def test_white_space_before_a_report_is_not_pooled():
    model = tiny.encoder()
    text = f"{tiny.INSTRUCTION}   No pneumothorax."
    tokens = model.tokenize([text], torch.tensor([[len(tiny.INSTRUCTION) + 1, len(text)]]))
    plain = model.tokenize([f"{tiny.INSTRUCTION} No pneumothorax."], torch.tensor([[len(tiny.INSTRUCTION) + 1, 41]]))
    assert tokens.pool_mask.sum() == plain.pool_mask.sum()


@pytest.mark.parametrize("architecture", tiny.DECODERS)
def test_decoders_read_both_ways_unless_told_otherwise(architecture):
    texts = ["Small left effusion.", "Small left pneumothorax."]
    for bidirectional in (True, False):
        model = tiny.encoder(architecture, bidirectional=bidirectional)
        states = model.hidden(model.tokenize(texts[:1])), model.hidden(model.tokenize(texts[1:]))
        first = [state[0, 2] for state in states]  # the same tokens up to here
        assert torch.allclose(*first, atol=1e-6) != bidirectional


def test_causal_attention_is_refused_where_it_should_not_be(monkeypatch):
    """What a transformers before 5.2 would do: the flag is there, and nothing reads it."""
    monkeypatch.setattr("cxrvl.models.text.body.check_attention", _as_if_causal)
    with pytest.raises(ConfigError, match=r"causal without padding.*may be too old"):
        tiny.encoder()


def _as_if_causal(states, vocabulary, bidirectional, device):
    def causal(ids, mask):
        return torch.stack([states(ids[:, : i + 1], mask[:, : i + 1])[:, -1] for i in range(ids.shape[1])], dim=1)

    leaks.check_attention(causal, vocabulary, bidirectional, device)


def test_leaking_padding_is_refused(monkeypatch):
    def leaking(states, vocabulary, bidirectional, device):
        leaks.check_attention(lambda ids, mask: states(ids, torch.ones_like(mask)), vocabulary, bidirectional, device)

    monkeypatch.setattr("cxrvl.models.text.body.check_attention", leaking)
    with pytest.raises(ConfigError, match="lets padding in"):
        tiny.encoder()


def test_encoders_cannot_be_causal():
    with pytest.raises(ConfigError, match=r"model.bidirectional=false, but a bert is an encoder"):
        tiny.encoder("bert", bidirectional=False)


def test_too_old_a_transformers_is_refused(monkeypatch):
    monkeypatch.setattr("transformers.__version__", "5.1.0")
    with pytest.raises(ConfigError, match=r"transformers 5\.1\.0 cannot"):
        check_version()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings(pooling):
    """What is neither the report's nor needed by the pooling changes nothing, whatever it holds."""
    torch.manual_seed(0)
    made: Pooling = pooling(width=16)
    hidden = torch.randn(2, 6, 16)
    attention = torch.tensor([[0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    pool = torch.tensor([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 1, 1]])
    out = made(hidden, pool, attention)
    changed = hidden.clone()
    changed[0, 0] = float("nan")  # padding
    changed[1, 1] += 5  # instruction
    torch.testing.assert_close(made(changed, pool, attention), out, equal_nan=False)
    one_by_one = torch.cat([made(hidden[i : i + 1], pool[i : i + 1], attention[i : i + 1]) for i in range(2)])
    torch.testing.assert_close(one_by_one, out)


def test_latent_attention_needs_a_width_that_fits():
    with pytest.raises(ConfigError, match="heads that divide the width"):
        LatentAttention(20, latents=4, heads=8)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("architecture", ["llama", "qwen3", "gemma3_text", "bert"])
def test_every_adapter_gets_a_gradient(architecture, checkpointing):
    model = tiny.encoder(
        architecture, lora=Lora(rank=4, alpha=8, dropout=0.0), gradient_checkpointing=checkpointing
    ).train()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all("lora_" in name for name in trained)
    for name, parameter in trained.items():  # B is zero at the start, and A would get none from it
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.02)
    model.encode(tiny.REPORTS).square().sum().backward()
    without = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    assert not without
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)


def test_checkpointing_changes_no_gradient():
    grads = []
    for checkpointing in (False, True):
        model = tiny.encoder(gradient_checkpointing=checkpointing).train()
        model.encode(tiny.REPORTS).square().sum().backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(*grads)


def test_a_target_that_matches_nothing_is_refused():
    with pytest.raises(ConfigError, match=r"no linear layer is named 'q_prj'.*q_proj"):
        tiny.encoder(lora=Lora(targets=["q_prj"]))


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"rank": 8}, r"model.lora is \{'rank': 8\}.*set model/lora=default"),
        (Lora(targets=[3]), r"targets is \[3\]; expected names"),
        (Lora(targets=7), r"targets is 7; expected names"),
        (Lora(alpha=0), "alpha=0, .*an alpha above 0"),
        (Lora(rank=0), "a rank of at least 1"),
    ],
)
def test_adapters_that_cannot_be_right(lora, message):
    with pytest.raises(ConfigError, match=message):
        tiny.encoder(lora=lora)


def test_adapters_of_the_released_encoder_are_chosen_too():
    with pytest.raises(ConfigError, match="set model/lora=default"):
        released_text_encoder("nowhere", lora={"rank": 8})


def test_no_adapters_are_nothing_or_an_empty_option():
    for lora in (None, {}):
        assert all(parameter.requires_grad for parameter in tiny.encoder(lora=lora).parameters())


def test_more_tokens_than_positions_are_refused():
    with pytest.raises(ConfigError, match="max_length=300, but the language model has positions for 256"):
        tiny.encoder("bert", max_length=300)


def test_positions_before_the_first_token_hold_no_token():
    sizes = {"max_position_embeddings": 40}
    model = tiny.encoder("roberta", sizes=sizes, max_length=20)
    first = model.body._first_position
    assert first == model.body.plain.embeddings.padding_idx + 1 > 0
    with pytest.raises(ConfigError, match=f"has positions for {40 - first} tokens"):
        tiny.encoder("roberta", sizes=sizes, max_length=40)
    longest = tiny.encoder("roberta", sizes=sizes, max_length=40 - first)
    text = " ".join(tiny.REPORTS * 5)
    assert longest.tokenize([text]).input_ids.shape[1] == 40 - first
    assert longest.encode([text]).isfinite().all()


def test_the_state_dict_holds_what_learns_and_a_hash_of_the_rest():
    model = tiny.encoder(lora=Lora(rank=4), pooling=partial(LatentAttention, latents=8, heads=4))
    state = model.state_dict()
    names = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(state) == names | {"body.fingerprint", "body.lora_scale"}
    assert sum(value.numel() for value in state.values()) < sum(p.numel() for p in model.parameters()) / 2
    with torch.no_grad():
        for name in names:
            model.get_parameter(name).normal_()
    again = tiny.encoder(lora=Lora(rank=4), pooling=partial(LatentAttention, latents=8, heads=4))
    again.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(again.encode(tiny.REPORTS), model.encode(tiny.REPORTS), atol=0, rtol=0)


def test_adapters_of_another_base_are_refused():
    model = tiny.encoder(lora=Lora(rank=4))
    other = tiny.encoder(lora=Lora(rank=4), sizes={"rms_norm_eps": 1e-5})
    other.body.plain.embed_tokens.weight.data[0, 0] += 1  # seen by no hash taken before
    assert model.fingerprint == other.fingerprint
    torch.manual_seed(1)
    from cxrvl.models.text.build import text_encoder

    drawn_anew = text_encoder(tiny.base(), Mean, 128, lora=Lora(rank=4))
    with pytest.raises(WeightsError, match="trained on the base with SHA-256"):
        drawn_anew.load_state_dict(model.state_dict())


def test_adapters_of_another_scale_are_refused(tmp_path):
    model = tiny.encoder(lora=Lora(rank=4, alpha=8))
    state = model.state_dict()
    with pytest.raises(WeightsError, match=r"alpha / rank = 2, but model.lora makes it 4, .* 2 times as large"):
        tiny.encoder(lora=Lora(rank=4, alpha=16)).load_state_dict(state)
    tiny.encoder(lora=Lora(rank=4, alpha=8)).half().load_state_dict(state)
    # Checkpoints of before the scale was kept say nothing of it, and are loaded.
    old = {key: value for key, value in state.items() if key != "body.lora_scale"}
    tiny.encoder(lora=Lora(rank=4, alpha=16)).load_state_dict(old, strict=True)
    for given in (old, state):
        take(model, {"encoder": ""}, Weights("a run", given, {"encoder": ""}), {"encoder": "encoder"})
    torch.save({"state_dict": old}, tmp_path / "old.ckpt")
    load_into(tiny.encoder(lora=Lora(rank=4, alpha=16)), tmp_path / "old.ckpt")
    other = tiny.encoder(lora=Lora(rank=4, alpha=16))
    with pytest.raises(WeightsError, match="alpha / rank"):
        take(other, {"encoder": ""}, Weights("a run", state, {"encoder": ""}), {"encoder": "encoder"})


def test_full_fine_tuning_keeps_every_weight_and_loads_anywhere():
    model = tiny.encoder()
    torch.manual_seed(1)
    from cxrvl.models.text.build import text_encoder

    other = text_encoder(tiny.base(), Mean, 128).eval()
    other.load_state_dict(model.state_dict(), strict=True)
    torch.testing.assert_close(other.encode(tiny.REPORTS), model.encode(tiny.REPORTS), atol=0, rtol=0)


@pytest.mark.parametrize("pooling", [Mean, partial(LatentAttention, latents=8, heads=4)])
def test_chunks_have_the_gradient_of_the_whole_batch(pooling):
    texts, bodies = tiny.instructed(tiny.REPORTS * 3)
    results = []
    for chunk in (0, 2, 4):
        model = tiny.encoder(pooling=pooling).double().train()
        embeddings = encode_in_chunks(model, model.tokenize(texts, bodies), chunk)
        (embeddings @ embeddings.T).logsumexp(dim=1).sum().backward()
        results.append((embeddings, torch.cat([p.grad.flatten() for p in model.parameters()])))
    for embeddings, gradient in results[1:]:
        torch.testing.assert_close(embeddings, results[0][0], atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-6, rtol=0)


def test_chunks_repeat_their_dropout():
    """The second forward pass of a chunk must draw what the first one drew, or its gradient is another function's."""
    model = tiny.encoder(lora=Lora(rank=4, dropout=0.5)).train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tokens = model.tokenize(tiny.REPORTS)
    parts = []
    for chunk in (1, 3):
        torch.manual_seed(5)
        model.zero_grad()
        embeddings = torch.cat([encode_in_chunks(model, tokens.take(slice(i, i + 1)), 0) for i in range(3)]) if (
            chunk == 3
        ) else encode_in_chunks(model, tokens, chunk)  # fmt: skip
        embeddings.square().sum().backward()
        parts.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    torch.testing.assert_close(*parts)
