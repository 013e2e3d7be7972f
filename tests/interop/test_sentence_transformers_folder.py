"""Does a folder written for sentence-transformers give this project's embeddings, whatever the text, or refuse?"""

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import AutoModel

from cxrvl.errors import RunError
from cxrvl.interop.sentence_transformers_folder import check_folder, write_sentence_transformers
from cxrvl.models.text.bases import ScratchBase
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.pooling import Cls, Last, Mean, WeightedMean

pytest.importorskip("sentence_transformers")

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": 256}
PROMPTS = {"report": "Retrieve the report.", "labels": "Name the labels of this report:"}
REPORTS = (
    "The lungs are clear.", "Both lungs are clear.", "5 mm nodule.", "(Chest) clear.", "No pneumothorax. A 5 mm nodule.",
    "Clear.", "Effusion " * 90, "  The lungs are clear. ", "\n5 mm nodule.",
)  # fmt: skip
"""With a first word that the tokenizers merge with the space before it, with such as they do not, behind white space."""


def encoder(architecture, tokenizer, pooling, **options):
    sizes = {**SIZES, "intermediate_size": 64}
    torch.manual_seed(0)
    base = ScratchBase(architecture=architecture, tokenizer=tokenizer, sizes=sizes)
    return text_encoder(base, pooling, 64, **options).eval()


def opened(folder):
    from sentence_transformers import SentenceTransformer

    return SentenceTransformer(str(folder), trust_remote_code=True, device="cpu")


def own(model, texts, prompt=""):
    before = f"{prompt} " if prompt else ""
    bodies = Tensor([[len(before), len(before) + len(text)] for text in texts]).long()
    with torch.no_grad():
        return model.encode([before + text for text in texts], bodies).numpy()


@pytest.mark.parametrize(
    ("architecture", "tokenizer", "pooling", "options"),
    [
        ("llama", "reports", WeightedMean, {}),
        ("llama", "reports", Last, {}),
        ("bert", "reports_bert", Mean, {}),
        ("bert", "reports_bert", Mean, {"pool_specials": True}),
        ("bert", "reports_bert", Cls, {"pool_specials": True}),
    ],
)
def test_the_same_embeddings(architecture, tokenizer, pooling, options, tmp_path):
    model = encoder(architecture, tokenizer, pooling, **options)
    write_sentence_transformers(model, tmp_path, PROMPTS, "as it is")
    there = opened(tmp_path)
    _, report = AutoModel.from_pretrained(str(tmp_path), output_loading_info=True)
    assert not report["missing_keys"]  # of which a user would be told at every start
    specials = [f"Seen {token} there." for token in there.tokenizer.all_special_tokens]
    assert specials
    texts = [*REPORTS, *specials]
    np.testing.assert_allclose(there.encode(texts), own(model, texts), atol=1e-5)
    for name, prompt in PROMPTS.items():
        np.testing.assert_allclose(there.encode(texts, prompt_name=name), own(model, texts, prompt), atol=1e-5)
    for prompt in (None, *PROMPTS):
        for text in ("", "  \n"):
            with pytest.raises(ValueError, match="1 of 2 texts say nothing"):
                there.encode(["The lungs are clear.", text], prompt_name=prompt)
    with pytest.raises(ValueError, match="tokens is none that this model was exported with"):
        there.encode(["The lungs are clear."], prompt="Say it ")
    assert "as it is" in (tmp_path / "README.md").read_text()


def test_where_it_is_not_written(tmp_path):
    (tmp_path / "file").write_text("a")
    for folder, said in (
        (tmp_path, "is not empty"),
        (tmp_path / "file", "file is a file"),
        (tmp_path / "file/a/b", "file is a file"),
    ):
        with pytest.raises(RunError, match=said):
            check_folder(folder)
    check_folder(tmp_path / "new/one")
    (tmp_path / "empty").mkdir()
    check_folder(tmp_path / "empty")
