"""How does sentence-transformers pool a report? Copied into exported folders: it needs torch and that library alone."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from sentence_transformers.base.modules import Module
from torch import Tensor, nn

POOLINGS = ("mean", "weighted_mean", "last", "cls", "latent_attention")


class ReportPooling(Module):
    """Pools the tokens of the report: not those of a prompt, nor (without `pool_specials`) special tokens.

    Args:
        pooling: one of `POOLINGS`.
        width: of the hidden states.
        before, behind: special tokens that the tokenizer puts around every text.
        pool_specials: pool these, too.
        blank: tokens of white space, which a text needs others besides.
        prompt_tokens: tokens of a prompt with a space behind it, as sentence-transformers counts them -> those that are
            the prompt's alone: a space belongs to the word behind it.
        latents, heads: of latent attention.

    Raises:
        ValueError: another pooling; at an empty text, or a prompt it was not made for.
    """

    def __init__(
        self,
        pooling: str,
        width: int,
        before: int = 0,
        behind: int = 0,
        prompt_tokens: dict[str, int] | None = None,
        latents: int = 0,
        heads: int = 1,
        pool_specials: bool = False,
        blank: Sequence[int] = (),
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ValueError(f"pooling {pooling!r}: expected one of {', '.join(POOLINGS)}")
        self.options: dict[str, Any] = {
            "pooling": pooling, "width": width, "before": before, "behind": behind,
            "prompt_tokens": prompt_tokens or {}, "latents": latents, "heads": heads,
            "pool_specials": pool_specials, "blank": list(blank),
        }  # fmt: skip
        if pooling == "latent_attention":
            self.latents = nn.Parameter(torch.zeros(latents, width))
            self.multihead_attn = nn.MultiheadAttention(width, heads, batch_first=True)
            self.mlp = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, features: dict[str, Any], **_: Any) -> dict[str, Any]:
        """Add `sentence_embedding` (B, D) to the features."""
        hidden: Tensor = features["token_embeddings"]
        attended = features["attention_mask"].to(hidden.device)
        place = attended.cumsum(dim=1)
        before, behind = self.options["before"], attended.sum(dim=1, keepdim=True) - self.options["behind"]
        mask = attended.bool() & (place > self._skipped(features)) & (place <= behind)
        blank = torch.tensor(self.options["blank"], dtype=torch.long, device=hidden.device)
        said = mask & ~torch.isin(features["input_ids"].to(hidden.device), blank)
        empty = int((~said.any(dim=1)).sum())
        if empty:
            raise ValueError(f"{empty} of {len(mask)} texts say nothing; leave empty texts out")
        mask &= said.cumsum(dim=1) > 0  # white space before the report that is a token of its own is not the report's
        if self.options["pool_specials"]:
            mask |= attended.bool() & ((place <= before) | (place > behind))
        features["sentence_embedding"] = self._pooled(hidden.float(), mask, attended)
        return features

    def _skipped(self, features: dict[str, Any]) -> int:
        """How many tokens before the report are the prompt's or special."""
        given = features.get("prompt_length")
        if given is None:
            return int(self.options["before"])
        count = str(int(given.reshape(-1)[0]) if isinstance(given, Tensor) else int(given))
        known = self.options["prompt_tokens"]
        if count not in known:
            raise ValueError(
                f"a prompt of {count} tokens is none that this model was exported with, so which tokens are the report's "
                "is not known; name one of the folder's prompts (prompt_name=..., see its README.md), or none"
            )
        return max(int(self.options["before"]), int(known[count]))

    def _pooled(self, hidden: Tensor, mask: Tensor, attended: Tensor) -> Tensor:
        rows, pooling = torch.arange(len(hidden), device=hidden.device), self.options["pooling"]
        if pooling == "cls":
            return hidden[rows, attended.argmax(dim=1)]
        if pooling == "last":
            return hidden[rows, attended.shape[1] - 1 - attended.flip(1).argmax(dim=1)]
        weights = mask.to(hidden.dtype)
        if pooling == "weighted_mean":
            weights = weights * mask.cumsum(dim=1)
        if pooling == "latent_attention":
            tokens = hidden[mask][None].to(self.latents.dtype)
            found, _ = self.multihead_attn(tokens, self.latents[None], self.latents[None], need_weights=False)
            hidden = hidden.new_zeros(hidden.shape).index_put((mask,), self.mlp(found)[0].float())
        hidden = hidden.masked_fill(~mask[..., None], 0)
        return torch.einsum("bl,bld->bd", weights / weights.sum(dim=1, keepdim=True), hidden)

    def get_sentence_embedding_dimension(self) -> int:
        """Return the width of an embedding."""
        return int(self.options["width"])

    def save(self, output_path: str, *args: Any, **options: Any) -> None:
        """Write options and weights into a folder."""
        folder = Path(output_path)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.options, indent=2))
        if self.options["pooling"] == "latent_attention":
            save_file(self.state_dict(), folder / "model.safetensors")

    @classmethod
    def load(
        cls,
        model_name_or_path: str,
        subfolder: str = "",
        token: bool | str | None = None,
        cache_folder: str | None = None,
        revision: str | None = None,
        local_files_only: bool = False,
        init_defaults: dict[str, Any] | None = None,
        **options: Any,
    ) -> "ReportPooling":
        """Read what `save` wrote."""
        hub: dict[str, Any] = {
            "token": token, "cache_folder": cache_folder, "revision": revision, "local_files_only": local_files_only,
        }  # fmt: skip
        config = cls.load_file_path(model_name_or_path, "config.json", subfolder=subfolder, **hub)
        assert config is not None, f"{model_name_or_path} has no {subfolder}/config.json"
        made = cls(**{**(init_defaults or {}), **json.loads(Path(config).read_text())})
        if made.options["pooling"] == "latent_attention":
            weights = cls.load_file_path(model_name_or_path, "model.safetensors", subfolder=subfolder, **hub)
            assert weights is not None, f"{model_name_or_path} has no {subfolder}/model.safetensors"
            made.load_state_dict(load_file(weights), strict=True)
        return made
