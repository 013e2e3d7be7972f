"""What does the phantom look like? Contact sheets of normal images and of each finding from mild to severe."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from cxrvl.data.phantom.cohort import BOTH, FINDINGS, HOSPITALS, LEFT, RIGHT, SIDE_NAMES, Cohort, CohortOptions, earlier
from cxrvl.data.phantom.render import Phantom

_CAPTION = 14


def tile(images: NDArray[np.float32], captions: list[str], columns: int) -> Image.Image:
    """Lay (N, size, size) images in [0, 1] out in rows of `columns`, each over its caption."""
    size = images.shape[1]
    rows = -(-len(images) // columns)
    sheet = Image.new("L", (columns * (size + 2), rows * (size + _CAPTION)), 0)
    pen = ImageDraw.Draw(sheet)
    for place, (image, caption) in enumerate(zip(images, captions, strict=True)):
        x, y = place % columns * (size + 2), place // columns * (size + _CAPTION)
        sheet.paste(Image.fromarray((image * 255 + 0.5).astype(np.uint8)), (x, y))
        pen.text((x + 2, y + size + 1), caption, fill=255)
    return sheet


def draw_sheets(folder: Path, *, seed: int = 0, size: int = 224) -> list[Path]:
    """Write normal.png, mixed.png and one sheet per finding; returns their paths.

    Each finding sheet shows, per row, one patient: without the finding, at severity 0.15, 0.5 and 1, on the right and
    on the left; rows alternate between the two hospitals.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    both = CohortOptions.checked()
    cohort = Cohort.draw(seed, np.arange(24), both)
    plain = Phantom(cohort.with_only(None))
    captions = ["no finding, hospital " + HOSPITALS[hospital] for hospital in cohort.hospital]
    written.append(_save(folder / "normal.png", plain, size, captions, 6))
    names = [finding[:5] for finding in FINDINGS]
    captions = ["+".join(n for n, there in zip(names, row, strict=True) if there) or "-" for row in cohort.present]
    written.append(_save(folder / "mixed.png", Phantom(cohort), size, captions, 6))
    for finding in FINDINGS:
        parts, names = [], []
        for row in range(5):
            one = Cohort.draw(seed, np.array([8 * row + row]), CohortOptions.checked(hospitals=HOSPITALS[row % 2]))
            parts.append(Phantom(one.with_only(None)).render(size))
            names.append("without, hospital " + HOSPITALS[row % 2])
            for side, severity in ((RIGHT, 0.15), (RIGHT, 0.5), (RIGHT, 1.0), (LEFT, 0.3), (LEFT, 0.7)):
                parts.append(Phantom(one.with_only(finding, side=side, severity=severity)).render(size))
                names.append(f"{finding} {SIDE_NAMES[side]} {severity}")
        path = folder / f"{finding.lower()}.png"
        tile(np.concatenate(parts), names, 6).save(path)
        written.append(path)
    return written


def draw_task_sheets(folder: Path, *, seed: int = 0, size: int = 224) -> list[Path]:
    """Write tuberculosis.png and covid.png, per row a patient without and with the disease from mild to severe, and
    follow_ups.png, per row two visits of three patients with what has become of their findings; returns their paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for task in ("tuberculosis", "covid"):
        parts, names = [], []
        for row in range(5):
            options = CohortOptions.checked(hospitals=HOSPITALS[row % 2], task=task)
            one = Cohort.draw(seed, np.array([8 * row + row]), options)
            parts.append(Phantom(one.with_only(None)).render(size))
            names.append("without, hospital " + HOSPITALS[row % 2])
            for side, severity in ((RIGHT, 0.15), (RIGHT, 0.5), (RIGHT, 1.0), (LEFT, 0.7), (BOTH, 0.8)):
                parts.append(Phantom(one.with_only(one.findings[-1], side=side, severity=severity)).render(size))
                names.append(f"{one.findings[-1]} {'' if task == 'covid' else SIDE_NAMES[side]} {severity}")
        tile(np.concatenate(parts), names, 6).save(folder / f"{task}.png")
        written.append(folder / f"{task}.png")
    options = CohortOptions.checked(follow_ups=0.8)
    before = earlier(seed, np.arange(200))
    pairs = [(int(old), new) for new, old in enumerate(before) if old >= 0]
    shown = np.array(pairs)[np.argsort([-Cohort.draw(seed, np.array(p), options).present.sum() for p in pairs])[:12]]
    phantom = Phantom(Cohort.draw(seed, shown.ravel(), options))
    captions = []
    for row in range(len(phantom.cohort)):
        grades = zip(FINDINGS, phantom.cohort.severity[row], strict=True)
        captions.append(" ".join(f"{finding[:5]} {grade:.2f}" for finding, grade in grades if grade > 0) or "-")
    written.append(_save(folder / "follow_ups.png", phantom, size, captions, 6))
    return written


def overview(*, seed: int = 0, size: int = 160) -> Image.Image:
    """Draw one patient per column: without a finding, with a mild one, with a severe one; hospitals alternate."""
    parts, captions = [], []
    patients = [
        Cohort.draw(seed, np.array([8 * column]), CohortOptions.checked(hospitals=HOSPITALS[column % 2]))
        for column in range(len(FINDINGS))
    ]
    for severity in (0.0, 0.35, 0.9):
        for column, (one, finding) in enumerate(zip(patients, FINDINGS, strict=True)):
            side = (RIGHT, LEFT)[column % 2]
            shown = one.with_only(finding, side=side, severity=severity) if severity else one.with_only(None)
            parts.append(Phantom(shown).render(size))
            captions.append(f"{finding} {severity}" if severity else f"no finding, hospital {HOSPITALS[column % 2]}")
    return tile(np.concatenate(parts), captions, len(FINDINGS))


def _save(path: Path, phantom: Phantom, size: int, captions: list[str], columns: int) -> Path:
    tile(phantom.render(size), captions, columns).save(path)
    return path
