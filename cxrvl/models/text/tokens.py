"""Which tokens does a model read of each text, and which of them stand for the report?"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from cxrvl.errors import ConfigError, DataError

log = logging.getLogger(__name__)
SIDES = ("left", "right")


class Tokens(NamedTuple):
    """Token ids of a batch, each (B, L) int64; in both masks 1 is yes.

    attention_mask: real tokens, not padding. pool_mask: tokens of the report, which an embedding is pooled from.
    """

    input_ids: Tensor
    attention_mask: Tensor
    pool_mask: Tensor

    def to(self, device: torch.device | str) -> "Tokens":
        """Move all three to a device."""
        return Tokens(*(part.to(device) for part in self))

    def take(self, rows: slice | Tensor) -> "Tokens":
        """Return some texts of the batch, without the columns in which all of them are padding."""
        some = Tokens(*(part[rows] for part in self))
        used = some.attention_mask.any(dim=0)
        return Tokens(*(part[:, used] for part in some))


class ReportTokenizer:
    """Turns texts into `Tokens`, the report's own by character offsets.

    Instruction and special tokens are attended to and not pooled. A text that is too long loses the end of its report,
    never of its instruction. Special tokens written out in a text ("</s>") are read as the characters they are.

    Args:
        tokenizer: a fast Hugging Face tokenizer.
        max_length: tokens of a text at most, special tokens included.
        side: right | left, where padding goes.
        pool_specials: pool the special tokens too, as sentence encoders of the BERT type were trained to.

    Raises:
        ConfigError: a tokenizer without character offsets or without any token to pad with; an unknown side.
    """

    def __init__(self, tokenizer: Any, max_length: int, side: str = "right", pool_specials: bool = False) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ConfigError(
                f"the tokenizer {type(tokenizer).__name__} gives no character offsets, by which a report's tokens are "
                "found; expected a fast one: a folder or hub model with tokenizer.json"
            )
        if side not in SIDES:
            raise ConfigError(f"model.padding is {side!r}; expected right, left, or null for right")
        if max_length < 1:
            raise ConfigError(f"model.max_length is {max_length}; expected 1 token or more")
        self.backend, self.max_length, self.side, self.pool_specials = tokenizer, max_length, side, pool_specials
        # Padding is told from text by the attention mask, so any token will do where there is none for it.
        named = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
        found = next((number for number in named if number is not None), None)
        if found is None:
            raise ConfigError("the tokenizer has no pad, end or unknown token to pad with; add one to the tokenizer")
        self.pad_id = int(found)
        self.cut = 0

    def __call__(self, texts: Sequence[str], bodies: Tensor | np.ndarray | None = None) -> Tokens:
        """Tokenise texts.

        Args:
            texts: B texts.
            bodies: (B, 2) characters [start, end) of the report in each; None = the whole text.

        Raises:
            DataError: no text at all; an empty report, or one of which no character is known to the tokenizer; an
                instruction that leaves no room for the report.
        """
        if not texts:
            raise DataError("there is no text to tokenise; expected at least one")
        spans = [(0, len(text)) for text in texts] if bodies is None else np.asarray(bodies).tolist()
        read = self.backend(
            list(texts), add_special_tokens=True, truncation=False, padding=False, return_offsets_mapping=True,
            return_special_tokens_mask=True, return_attention_mask=False, split_special_tokens=True, verbose=False,
        )  # fmt: skip
        for number, (text, (start, end)) in enumerate(zip(texts, spans, strict=True)):
            if not text[start:end].strip():
                raise DataError(
                    f"text {number} of the batch has no token to pool: nothing is in its characters {start} to {end}; "
                    "leave empty reports out (data.empty=skip)"
                )
        rows = [
            self._row(
                np.array(ids, dtype=np.int64), np.array(offsets), np.array(special, dtype=bool), span, text, number
            )
            for number, (ids, offsets, special, span, text) in enumerate(
                zip(read["input_ids"], read["offset_mapping"], read["special_tokens_mask"], spans, texts, strict=True)
            )
        ]
        return self._padded(rows)

    def _row(
        self, ids: np.ndarray, offsets: np.ndarray, special: np.ndarray, span: Sequence[int], text: str, number: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Ids of one text, and which of them are pooled."""
        start, end = span
        body = text[start:end]
        start += len(body) - len(body.lstrip())  # white space before the report is not the report's
        in_body = ~special & (offsets[:, 0] < end) & (offsets[:, 1] > start) & (offsets[:, 1] > offsets[:, 0])
        if not in_body.any():
            raise DataError(
                f"text {number} of the batch has no token to pool: the tokenizer drops all of its characters {start} to "
                f"{end}; leave such reports out (data.empty=skip)"
            )
        unknown = self.backend.unk_token_id
        if unknown is not None and bool((ids[in_body] == unknown).all()):
            raise DataError(
                f"text {number} of the batch has no character that the tokenizer knows; is it in another script?"
            )
        too_many = len(ids) - self.max_length
        if too_many > 0:
            places = np.flatnonzero(in_body)
            if len(places) <= too_many:
                raise DataError(
                    f"text {number} of the batch: {len(ids) - len(places)} tokens of instruction leave no room for the "
                    f"report within max_length={self.max_length}; shorten the instruction, or raise model.max_length"
                )
            if not self.cut:
                log.warning(
                    "some reports are longer than %d tokens: their ends are cut (model.max_length)", self.max_length
                )
            self.cut += 1
            kept = np.ones(len(ids), dtype=bool)
            kept[places[-too_many:]] = False
            ids, in_body, special = ids[kept], in_body[kept], special[kept]
        return ids, in_body | special if self.pool_specials else in_body

    def _padded(self, rows: Sequence[tuple[np.ndarray, np.ndarray]]) -> Tokens:
        length = max(len(ids) for ids, _ in rows)
        ids = np.full((len(rows), length), self.pad_id, dtype=np.int64)
        attended, pooled = np.zeros_like(ids), np.zeros_like(ids)
        for row, (own, in_body) in enumerate(rows):
            place = slice(length - len(own), None) if self.side == "left" else slice(None, len(own))
            ids[row, place], attended[row, place], pooled[row, place] = own, 1, in_body
        return Tokens(torch.from_numpy(ids), torch.from_numpy(attended), torch.from_numpy(pooled))
