"""Which charts does each line of work need? The dashboard's panels, as plain data over the names that tasks log.

Every task logs `train/<name>` per step and `val/<name>` per validation (`cxrvl.tasks.base`); every run logs `speed/*`,
`memory/*` and `learning_rate/*` (`cxrvl.tracking.throughput`), pictures under `cxrvl.tracking.pictures.KINDS`, and the
tables' numbers as its summary (`findings.mean.auroc`). A panel whose names no run has logged yet stays empty.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from cxrvl.data.labels import CHESTXRAY14

MEAN_AUROC = "findings.mean.auroc"


@dataclass(frozen=True)
class Panel:
    """One chart.

    kind: "line" over optimiser steps, "media" for pictures, "bar" over the runs' final numbers.
    names: of logged metrics or pictures; for "bar" of summary numbers. pattern: a regular expression instead of names,
        of the kind without lookaheads, since W&B's server reads it (RE2).
    by: config key or run attribute that bars are averaged over; "" = one bar per run. log: logarithmic y axis.
    """

    title: str
    names: tuple[str, ...] = ()
    pattern: str = ""
    kind: Literal["line", "media", "bar"] = "line"
    by: str = ""
    log: bool = False

    def shows(self, name: str) -> bool:
        """Return whether a logged name is drawn by this panel."""
        return name in self.names or bool(self.pattern and re.search(self.pattern, name))


@dataclass(frozen=True)
class Section:
    """The panels of one line of work, and one sentence on how to read them."""

    name: str
    about: str
    panels: tuple[Panel, ...]
    open: bool = False


SECTIONS = (
    Section(
        "Sweep overview",
        "Final numbers of all runs, averaged over what is not named; the table beside shows state, experiment and seed.",
        (
            Panel("Mean test AUROC by experiment", (MEAN_AUROC,), kind="bar", by="config.name"),
            Panel("Mean test AUROC by seed", (MEAN_AUROC,), kind="bar", by="config.seed"),
            Panel("Mean test AUROC by sweep", (MEAN_AUROC,), kind="bar", by="Group"),
            Panel("Mean JAFROC by experiment", ("marks.mean.jafroc",), kind="bar", by="config.name"),
            Panel("Training loss of all runs", ("train/loss",)),
            Panel("Validation loss of all runs", ("val/loss",)),
        ),
        open=True,
    ),
    Section(
        "ACM and classification",
        "Multi-label classification with attend-and-compare modules: discrimination, losses, and what the modules see.",
        (
            Panel("Validation AUROC, mean over labels", ("val/auroc",)),
            Panel("Validation AUROC per label", pattern=r"^val/auroc/.+"),
            Panel("Test AUROC per label", tuple(f"findings.labels.{label}.auroc" for label in CHESTXRAY14), kind="bar"),
            Panel("Labels with a defined AUROC", ("val/auroc_labels",)),
            Panel("Classification losses", ("train/loss", "val/loss")),
            Panel("Orthogonality of K and Q", ("train/orthogonality", "val/orthogonality"), log=True),
            Panel("Attention", ("val/attention",), kind="media"),
            Panel("Worst errors", ("val/worst_errors",), kind="media"),
            Panel("Training images as the network sees them", ("train/inputs",), kind="media"),
        ),
    ),
    Section(
        "Self-training",
        "Teacher and student on the same validation images; what label correction changes, generation after generation.",
        (
            Panel("AUROC of student and teacher", ("val/auroc", "val/teacher_auroc")),
            Panel(
                "Losses: distillation, pseudo-labels, labels", ("train/dino", "train/self_training", "train/labelled")
            ),
            Panel("Pseudo-labels against withheld labels", ("train/pseudo_label_auroc", "train/pseudo_label_accuracy")),
            Panel("Share of the pseudo-labels that was used", ("train/pseudo_labels_used",)),
            Panel(
                "Teacher: momentum, share of its first weights left",
                ("train/teacher_momentum", "train/teacher_retention"),
            ),
            Panel(
                "Teacher's entropy, and its mean's distance from uniform",
                ("train/teacher_entropy", "train/teacher_kl_uniform"),
            ),
            Panel("Spread of the student's features", ("train/feature_std",)),
            Panel("Views of training images", ("train/views",), kind="media"),
            Panel("What the class token attends to", ("val/cls_attention",), kind="media"),
        ),
    ),
    Section(
        "Text adaptation",
        "From a decoder to a report encoder: masked next-token prediction, then supervised contrast.",
        (
            Panel("MNTP loss", pattern=r"^(train|val)/mntp([/_].+)?$"),
            Panel("Contrastive loss", pattern=r"^(train|val)/contrastive([/_].+)?$"),
            Panel("Masked-token accuracy and perplexity", pattern=r"^val/(token_accuracy|perplexity)$"),
            Panel("Report similarity", pattern=r"^val/(report_|sentence_).+"),
            Panel("Tokens per second", ("speed/tokens_per_second",)),
        ),
    ),
    Section(
        "Dual tower",
        "Images and reports in one space: recall in both directions, diagonal and duplicate-aware, and the temperature.",
        (
            Panel("Recall@k, image to text", pattern=r"^val/(image_to_text|i2t)[/_].*recall.*"),
            Panel("Recall@k, text to image", pattern=r"^val/(text_to_image|t2i)[/_].*recall.*"),
            Panel("Temperature", pattern=r"^(train|val)/(temperature|logit_scale)$"),
            Panel("Image-text losses", pattern=r"^(train|val)/(image_text|image_to_text|text_to_image)_loss$"),
            Panel("Zero-shot AUROC", pattern=r"^val/zero_shot[/_]auroc.*"),
        ),
    ),
    Section(
        "Machine",
        "Is the accelerator busy, and with what? A data wait near 1 asks for more data.num_workers.",
        (
            Panel("Images per second", ("speed/images_per_second",)),
            Panel("Tokens per second", ("speed/tokens_per_second",)),
            Panel("Share of time waiting for data", ("speed/data_wait",)),
            Panel("GPU memory (GiB)", pattern=r"^memory/.+"),
            Panel("Learning rates", pattern=r"^learning_rate/.+", log=True),
            Panel("Epoch", ("epoch",)),
        ),
    ),
)
"""In the order in which the workspace and the report show them."""


def uncovered(names: set[str]) -> Iterator[str]:
    """Yield the logged names that no panel draws."""
    panels = [panel for section in SECTIONS for panel in section.panels]
    yield from (name for name in sorted(names) if not any(panel.shows(name) for panel in panels))
