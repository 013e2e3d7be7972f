"""Do the text tasks mask, score and contrast what they say, whatever the batch, the padding and the chunk?"""

from functools import partial

import pytest
import pytorch_lightning as pl
import torch
from torch import nn
from torch.utils.data import DataLoader

from cxrvl.data.random import Draw
from cxrvl.errors import ConfigError
from cxrvl.losses.contrastive import HardNegativeLoss
from cxrvl.models.text import Tokens
from cxrvl.models.text.bases import ScratchBase
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.embedding import batches_by_length, embed_texts
from cxrvl.models.text.lora import Lora
from cxrvl.models.text.pooling import LatentAttention, Mean
from cxrvl.tasks import ContrastiveText, MaskedText
from cxrvl.tasks.masked_text import mask_id, mask_tokens

SIZES = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128,
         "max_position_embeddings": 256}  # fmt: skip
TEXTS = [
    "The heart is enlarged. There is a small left pleural effusion.", "No pneumothorax.",
    "Moderate consolidation in the right lower zone.", "Small right pleural effusion, unchanged.",
]  # fmt: skip
SGD = partial(torch.optim.SGD, lr=0.1)


def encoder(architecture="llama", pooling=Mean, **options):
    torch.manual_seed(0)
    tokenizer = "reports_bert" if architecture == "bert" else "reports"
    return text_encoder(ScratchBase(architecture, SIZES, tokenizer), pooling, 128, **options)


def batch(texts=TEXTS, instruction=""):
    head = f"{instruction} " if instruction else ""
    return {
        "text": [head + text for text in texts],
        "body": torch.tensor([[len(head), len(head) + len(text)] for text in texts]),
        "index": torch.arange(len(texts)),
    }


def draw(keys, epoch=0):
    return Draw(0, epoch, torch.as_tensor(keys))


def long_tokens(side="left", rows=64):
    """Many long rows, the first four tokens of each an instruction."""
    length = 50
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(10, 1000, (rows, length), generator=generator)
    attended = torch.ones_like(ids)
    pooled = torch.ones_like(ids)
    pooled[:, :4] = 0
    pad = torch.zeros(rows, 7, dtype=ids.dtype)
    parts = [(pad, part) if side == "left" else (part, pad) for part in (ids, attended, pooled)]
    return Tokens(*(torch.cat(pair, dim=1) for pair in parts))


def test_masks_the_report_alone_at_its_rate():
    tokens = long_tokens()
    masked, labels = mask_tokens(tokens, draw(range(64)), 0.2, 3, 1000, "bert", 1)
    scored = labels != -100
    assert not scored[tokens.pool_mask == 0].any()
    torch.testing.assert_close(labels[scored], tokens.input_ids[scored])
    chosen = scored.sum() / tokens.pool_mask.sum()
    assert 0.18 < chosen < 0.22
    new, old = masked.input_ids[scored], tokens.input_ids[scored]
    shares = [float((part).float().mean()) for part in (new == 3, new == old, (new != 3) & (new != old))]
    for share, expected in zip(shares, (0.8, 0.1, 0.1), strict=True):
        assert abs(share - expected) < 0.05
    torch.testing.assert_close(masked.input_ids[~scored], tokens.input_ids[~scored])


def test_all_mask_masks_every_chosen_token():
    masked, labels = mask_tokens(long_tokens(), draw(range(64)), 0.3, 3, 1000, "all_mask", 1)
    assert (masked.input_ids[labels != -100] == 3).all()


def test_masks_do_not_depend_on_padding_or_company():
    left, right = long_tokens("left"), long_tokens("right")
    one = mask_tokens(left, draw(range(64)), 0.2, 3, 1000, "bert", 1)[0].input_ids[:, 7:]
    other = mask_tokens(right, draw(range(64)), 0.2, 3, 1000, "bert", 1)[0].input_ids[:, :-7]
    torch.testing.assert_close(one, other)
    alone = mask_tokens(left.take(slice(5, 6)), draw([5]), 0.2, 3, 1000, "bert", 1)[0].input_ids
    torch.testing.assert_close(alone, one[5:6])
    again = mask_tokens(left, draw(range(64), epoch=1), 0.2, 3, 1000, "bert", 1)[0].input_ids[:, 7:]
    assert not torch.equal(again, one)


def test_the_first_token_of_a_text_is_predicted_by_nothing():
    tokens = long_tokens()._replace(pool_mask=long_tokens().attention_mask)
    _, labels = mask_tokens(tokens, draw(range(64)), 1.0, 3, 1000, "all_mask", 1)
    assert (labels[:, 7] == -100).all()
    assert (labels[:, 8:] != -100).all()


def test_the_mask_token():
    backend = encoder().tokenize.backend
    assert mask_id(backend, None) == backend.mask_token_id
    assert mask_id(backend, "_") == backend.get_vocab()["_"]
    with pytest.raises(ConfigError, match=r"'<blank>' is no token"):
        mask_id(backend, "<blank>")
    backend.mask_token = None
    with pytest.raises(ConfigError, match=r"no mask token of its own"):
        mask_id(backend, None)


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("lora", [None, Lora(rank=4, dropout=0.0)])
def test_masked_prediction_learns(architecture, lora):
    task = MaskedText(encoder(architecture, lora=lora), SGD, mask_rate=0.3)
    assert task.shift == (1 if architecture == "llama" else 0)
    optimizer = torch.optim.AdamW(task.parameter_groups(), lr=1e-2)
    losses = []
    for _ in range(25):
        out = task.step(batch(), "val")  # the same tokens masked every time
        optimizer.zero_grad()
        out.loss.backward()
        optimizer.step()
        losses.append(out.loss.item())
    assert losses[-1] < losses[0] - 0.3
    assert 0 <= float(out.logs["accuracy"]) <= 1


def test_the_head_of_a_frozen_model_is_not_saved():
    task = MaskedText(encoder(lora=Lora(rank=4)), SGD)
    head = {name for name in task.state_dict() if name.startswith("head.")}
    assert head == {"head.fingerprint"}
    assert any(name.startswith("head.layer") for name in MaskedText(encoder(), SGD).state_dict())


def triplets(negatives=1):
    return {
        "task": "made", **batch(instruction="Find it."), "positive": [text.upper() for text in TEXTS],
        "negative": [f"No {text}" for text in TEXTS for _ in range(negatives)],
        "keys": torch.arange(12).reshape(4, 3), "negative_keys": torch.full((4 * negatives, 3), -1),
    }  # fmt: skip


@pytest.mark.parametrize("pooling", [Mean, partial(LatentAttention, latents=8, heads=4)])
def test_contrast_in_chunks_is_contrast_of_the_whole_batch(pooling):
    results = []
    for chunk in (0, 1, 3):
        task = ContrastiveText(encoder(pooling=pooling).double(), HardNegativeLoss(directions="both"), SGD, chunk=chunk)
        loss = task.step(triplets(), "train").loss
        loss.backward()
        results.append((loss.detach(), torch.cat([p.grad.flatten() for p in task.parameters()])))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0], atol=1e-9, rtol=0)
        torch.testing.assert_close(gradient, results[0][1], atol=1e-6, rtol=0)


def test_contrast_learns_and_validation_counts_what_is_found():
    task = ContrastiveText(encoder(), HardNegativeLoss(), SGD)
    optimizer = torch.optim.AdamW(task.parameter_groups(), lr=3e-3)
    before = task.validation_metrics(task.step(triplets(), "val").outputs)
    for _ in range(15):
        loss = task.step(triplets(), "train").loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    after = task.validation_metrics(task.step(triplets(), "val").outputs)
    assert 0 <= before["found"] <= after["found"] == 1.0


def fit(task, **options):
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    trainer = pl.Trainer(accelerator="cpu", **quiet, **options)
    trainer.fit(task, DataLoader([triplets()], batch_size=None))
    return trainer


def test_training_nothing_is_refused():
    frozen = {"freeze": True}
    for task in (ContrastiveText(encoder(**frozen), HardNegativeLoss(), SGD), MaskedText(encoder(**frozen), SGD)):
        with pytest.raises(ConfigError, match=r"nothing of this model is to be trained.*model.freeze=false"):
            fit(task, max_steps=1)
        assert fit(task, max_steps=0).global_step == 0
    learns = {"lora": Lora(rank=2)}, {"pooling": partial(LatentAttention, latents=8, heads=4)}
    for options in learns:
        task = ContrastiveText(encoder(**frozen, **options), HardNegativeLoss(), SGD)
        assert fit(task, max_steps=1).global_step == 1


def test_predictions_are_the_embeddings_in_order():
    task = ContrastiveText(encoder(), HardNegativeLoss(), SGD).eval()
    one = {**batch([*TEXTS, TEXTS[0]], "Find it.")}
    with torch.no_grad():
        found = task.predict_step(one, 0).embedding
        torch.testing.assert_close(found, task.encoder.encode(one["text"], one["body"]), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found[0], found[4], atol=0, rtol=0)


def test_long_texts_are_embedded_within_a_number_of_tokens():
    model = encoder().eval()
    widths = []
    model.register_forward_pre_hook(lambda _, given: widths.append(given[0].input_ids.numel()))
    with torch.no_grad():
        small = embed_texts(model, TEXTS * 2, tokens_at_once=24)
    assert max(widths) <= 24
    with torch.no_grad():
        torch.testing.assert_close(small, embed_texts(model, TEXTS * 2), atol=1e-6, rtol=1e-5)


def test_batches_by_length_hold_every_row_once():
    lengths = torch.randint(1, 90, (200,), generator=torch.Generator().manual_seed(0)).numpy()
    batches = list(batches_by_length(lengths, 256))
    assert sorted(row for rows in batches for row in rows.tolist()) == list(range(200))
    assert all(len(rows) == 1 or len(rows) * lengths[rows].max() <= 256 for rows in batches)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaskedText(encoder(), SGD, mask_rate=0.0), "a rate above 0"),
        (lambda: MaskedText(encoder(), SGD, replacement="bort"), "'bort'; did you mean 'bert'"),
        (lambda: ContrastiveText(encoder(), HardNegativeLoss(), SGD, chunk=-1), "task.chunk is -1"),
        (lambda: ContrastiveText(nn.Identity(), HardNegativeLoss(), SGD), "needs a text encoder .* found Identity"),
    ],
)
def test_options_that_cannot_be_right(make, message):
    with pytest.raises(ConfigError, match=message):
        make()
