"""Are the pooled tokens the report's own, whatever instruction, padding, length and characters there are?"""

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from cxrvl.errors import ConfigError, DataError
from cxrvl.models.text import ReportTokenizer


def tokenizer(architecture="llama", **options):
    return ReportTokenizer(tiny.base(architecture).load().tokenizer, **{"max_length": 128, **options})


def words(read, tokens, row):
    """The pooled tokens of a row as text."""
    return read.backend.decode(tokens.input_ids[row][tokens.pool_mask[row].bool()]).strip()


@pytest.mark.parametrize("architecture", ["llama", "bert"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_pools_the_report_alone(architecture, side):
    read = tokenizer(architecture, side=side)
    texts, bodies = tiny.instructed()
    tokens = read(texts, bodies)
    for row, report in enumerate(tiny.REPORTS):
        expected = report if architecture == "llama" else report.lower()
        assert words(read, tokens, row).replace(" .", ".") == expected
        real = int(tokens.attention_mask[row].sum())
        place = slice(-real, None) if side == "left" else slice(None, real)
        assert tokens.attention_mask[row, place].all()
        # Special tokens and the instruction are attended to, and not pooled.
        assert real > int(tokens.pool_mask[row].sum()) + 3


def test_a_joint_in_the_middle_of_a_token_stays_with_the_report():
    """Leading white space of a report is tokenised with its first word."""
    read = tokenizer()
    tokens = read(["Find:  The heart."], np.array([[7, 17]]))
    assert words(read, tokens, 0) == "The heart."


def test_truncation_shortens_the_report_and_never_the_instruction(caplog):
    short, long = tokenizer(max_length=22), tokenizer(max_length=200)
    texts, bodies = tiny.instructed()
    with caplog.at_level(logging.WARNING):
        cut, whole = short(texts, bodies), long(texts, bodies)
    assert cut.input_ids.shape[1] == 22
    assert short.cut == 2
    assert sum("longer than 22 tokens" in message for message in caplog.messages) == 1
    for row in range(3):
        before, behind = (
            tokens.input_ids[row][(tokens.attention_mask[row] == 1) & (tokens.pool_mask[row] == 0)]
            for tokens in (whole, cut)
        )
        assert torch.equal(before, behind)
        kept = cut.input_ids[row][cut.pool_mask[row] == 1]
        assert torch.equal(kept, whole.input_ids[row][whole.pool_mask[row] == 1][: len(kept)])


def test_truncation_keeps_the_closing_token():
    tokens = tokenizer("bert", max_length=8, side="right")(tiny.REPORTS[:1])
    read = tokenizer("bert").backend
    assert tokens.input_ids[0, 0] == read.cls_token_id
    assert tokens.input_ids[0, -1] == read.sep_token_id
    assert tokens.pool_mask[0].tolist() == [0, 1, 1, 1, 1, 1, 1, 0]


def test_special_tokens_are_pooled_on_request():
    tokens = tokenizer("bert", pool_specials=True)(tiny.REPORTS[:1])
    assert torch.equal(tokens.pool_mask, tokens.attention_mask)


@pytest.mark.parametrize(
    ("text", "body", "message"),
    [
        ("", (0, 0), "no token to pool: nothing is in its characters 0 to 0"),
        ("Retrieve the impression.", (24, 24), "no token to pool"),
        ("Retrieve.   ", (10, 12), "no token to pool"),
    ],
)
@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_empty_reports_are_refused(architecture, text, body, message):
    with pytest.raises(DataError, match=message):
        tokenizer(architecture)([text], np.array([body]))


def test_unknown_characters():
    """A byte-level tokenizer knows every character; to WordPiece a report in another script says nothing."""
    assert words(tokenizer(), tokenizer()(["心臓拡大 ☃"]), 0) == "心臓拡大 ☃"
    with pytest.raises(DataError, match="no character that the tokenizer knows"):
        tokenizer("bert")(["心臓拡大"])
    assert tokenizer("bert")(["heart 心臓拡大"]).pool_mask.sum() >= 2


def test_special_tokens_written_in_a_report_are_plain_characters():
    read = tokenizer()
    tokens = read(["Heart </s> [MASK] large"])
    assert read.backend.eos_token_id not in tokens.input_ids
    assert read.backend.mask_token_id not in tokens.input_ids
    assert words(read, tokens, 0) == "Heart </s> [MASK] large"


def test_an_instruction_that_fills_the_context_is_refused():
    texts, bodies = tiny.instructed()
    with pytest.raises(DataError, match="leave no room for the report within max_length=5"):
        tokenizer(max_length=5)(texts, bodies)


def test_a_tokenizer_without_padding_token_pads_with_its_end():
    backend = tiny.base().load().tokenizer
    backend.pad_token = None
    read = ReportTokenizer(backend, 128)
    assert read.pad_id == backend.eos_token_id
    model = tiny.encoder()
    with_pad = model.encode(tiny.REPORTS)
    model.tokenize = read
    torch.testing.assert_close(model.encode(tiny.REPORTS), with_pad)
    backend.eos_token = None
    with pytest.raises(ConfigError, match="no pad, end or unknown token"):
        ReportTokenizer(backend, 128)


def test_a_tokenizer_without_offsets_is_refused():
    with pytest.raises(ConfigError, match="no character offsets"):
        ReportTokenizer(SimpleNamespace(is_fast=False), 128)


def test_no_text_is_refused():
    with pytest.raises(DataError, match="no text"):
        tokenizer()([])


def test_taking_rows_drops_their_common_padding():
    tokens = tokenizer()(tiny.REPORTS)
    some = tokens.take(slice(1, 2))
    assert some.input_ids.shape == (1, int(tokens.attention_mask[1].sum()))
    assert some.attention_mask.all()
