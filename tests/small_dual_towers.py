"""Small dual towers and batches of pairs for tests."""

from functools import partial

import torch

from cxrvl.models.dual_tower import dual_tower
from cxrvl.models.projection import NormedLinear
from cxrvl.models.resnet import ResNet
from cxrvl.models.text.bases import ScratchBase
from cxrvl.models.text.build import text_encoder
from cxrvl.models.text.pooling import Mean
from cxrvl.models.vit import Vit

SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
         "max_position_embeddings": 256}  # fmt: skip
REPORTS = (
    "The heart is enlarged. There is a small left pleural effusion.", "No pneumothorax.",
    "Moderate consolidation in the right lower zone.", "Small right pleural effusion, unchanged.",
    "no  PNEUMOTHORAX.", "The lungs are clear.",
)  # fmt: skip
VIT = partial(Vit, "vit_tiny_patch16_224", 32, 8, embed_dim=24, depth=2, num_heads=2)
RESNET = partial(ResNet, depth=18, layers=[1, 1, 1, 1], base_width=8)


def text(architecture="llama", **options):
    sizes = {**SIZES, **options.pop("sizes", {})}
    tokenizer = "reports_bert" if architecture == "bert" else "reports"
    return text_encoder(ScratchBase(architecture, sizes, tokenizer), Mean, 128, **options)


def tower(backbone=VIT, text_tower=None, dim=16, **options):
    torch.manual_seed(0)
    options = {"image_projection": torch.nn.Linear, "text_projection": NormedLinear, **options}
    return dual_tower(backbone, text() if text_tower is None else text_tower, dim=dim, in_channels=1, mean=[0.5],
                      std=[0.25], **options)  # fmt: skip


def pairs(count=6, size=32, instruction=""):
    """A batch as the data module makes it."""
    head = f"{instruction} " if instruction else ""
    reports = [REPORTS[i % len(REPORTS)] for i in range(count)]
    generator = torch.Generator().manual_seed(0)
    return {
        "image": torch.rand(count, 1, size, size, generator=generator), "text": [head + report for report in reports],
        "body": torch.tensor([[len(head), len(head) + len(report)] for report in reports]),
        "index": torch.arange(count), "study": torch.arange(count),
        "target": torch.randint(0, 2, (count, 3), generator=generator).float(),
    }  # fmt: skip
