"""How were the two small tokenizers in the package made? Run this file to make them anew from phantom reports."""

from pathlib import Path

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from cxrvl.data.reports.style import apply
from cxrvl.data.sources.base import report_table
from cxrvl.data.sources.phantom import PhantomSource

FOLDER = Path(__file__).resolve().parents[3] / "cxrvl" / "models" / "text"
SIZE = 1000
REWRITINGS = {"abbreviate": 0.5, "synonyms": 0.5, "negations": 0.5}


def texts() -> list[str]:
    """Phantom reports of all three house styles, each also rewritten."""
    found = []
    for style in ("prose", "terse", "verbose"):
        frame = report_table(PhantomSource(images=1000, seed=11, reports=style)).frame
        found += frame["report"].tolist()
    return found + [apply(text, REWRITINGS, seed=0, key=str(i)).text for i, text in enumerate(found)]


def byte_level(corpus: list[str]) -> Tokenizer:
    """Byte-level BPE, as Llama 3, Qwen and SmolLM2 have: no character is unknown to it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "</s>", "[PAD]", "[MASK]"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        corpus, trainers.BpeTrainer(vocab_size=SIZE, special_tokens=special, initial_alphabet=alphabet)
    )
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]),
    ])  # fmt: skip
    return tokenizer


def word_piece(corpus: list[str]) -> Tokenizer:
    """WordPiece, as BERT has: lower case, [CLS] before and [SEP] behind."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer.train_from_iterator(corpus, trainers.WordPieceTrainer(vocab_size=SIZE, special_tokens=special))
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=ends)
    return tokenizer


if __name__ == "__main__":
    reports = texts()
    byte_level(reports).save(str(FOLDER / "reports.json"), pretty=False)
    word_piece(reports).save(str(FOLDER / "reports_bert.json"), pretty=False)
