"""Do robustness curves hold the rows' AUROCs, and do pictures of CLS attention show what each generation looks at?"""

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score

from cxrvl.errors import DataError
from cxrvl.tables.generations_figure import Looked, generations_figure, heads_figure
from cxrvl.tables.robustness_figure import ALL, robustness_curves, robustness_figure

LABELS = ["Effusion", "Nodule"]


def frame(seed=0, drop=0.3, severities=(1, 3, 5), images=150) -> pd.DataFrame:
    data, model = np.random.default_rng(1), np.random.default_rng(seed)
    base = pd.DataFrame({"dataset": "made", "image": [f"{i:03d}" for i in range(images)], "split": "test"})
    base["patient"] = base["study"] = base["image"]
    for label in LABELS:
        base[f"target/{label}"] = (data.random(images) < 0.4).astype(np.float32)
    parts = []
    for name, severity in [("clean", 0), *((n, s) for n in ("blur", "noise") for s in severities)]:
        part = base.assign(corruption=name, severity=severity)
        for label in LABELS:
            skill = 1.8 - drop * severity * (1.5 if name == "blur" else 0.5)
            part[f"logit/{label}"] = model.normal(size=images) + skill * base[f"target/{label}"]
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def test_curves_are_the_aurocs_of_their_conditions():
    rows = frame()
    rows.loc[rows["image"] == "000", "target/Nodule"] = np.nan
    severities, curves = robustness_curves(rows, LABELS)
    assert severities == [0, 1, 3, 5]
    assert set(curves) == {"blur", "noise", ALL}
    for name in ("blur", "noise"):
        for place, severity in enumerate(severities):
            part = rows[(rows["corruption"] == (name if severity else "clean")) & (rows["severity"] == severity)]
            both = []
            for label in LABELS:
                known = part[part[f"target/{label}"].notna()]
                both.append(roc_auc_score(known[f"target/{label}"], known[f"logit/{label}"]))
            assert curves[name][place] == pytest.approx(np.mean(both))
    assert curves[ALL] == pytest.approx((curves["blur"] + curves["noise"]) / 2)
    assert curves["blur"][-1] < curves["blur"][0]


def test_robustness_figure_is_the_same_every_time(tmp_path):
    rows = {"T = 0": [frame(1), frame(2)], "T = 1": [frame(3, 0.1)], "missing": []}
    one = robustness_figure(rows, LABELS, tmp_path / "a.png", title="Made up", synthetic=True)
    two = robustness_figure(rows, LABELS, tmp_path / "b.png", title="Made up", synthetic=True)
    assert one.read_bytes() == two.read_bytes()
    assert imread(one).shape[1] > 1000
    other = robustness_figure({**rows, "T = 1": [frame(4, 0.1)]}, LABELS, tmp_path / "c.png", title="Made up")
    assert other.read_bytes() != one.read_bytes()


def test_what_cannot_be_drawn_is_said(tmp_path):
    uneven = pd.concat([frame(), frame(severities=(2,)).query("corruption == 'noise'")])
    with pytest.raises(DataError, match="at different severities"):
        robustness_curves(uneven, LABELS)
    alone = frame().assign(**{"target/Effusion": np.float32(0)})
    with pytest.raises(DataError, match="each lacks a class"):
        robustness_curves(alone, ["Effusion"])
    with pytest.raises(DataError, match="at least one row"):
        robustness_figure({"a": []}, LABELS, tmp_path / "a.png", title="t")


@pytest.fixture
def looked():
    rng = np.random.default_rng(0)
    images = rng.random((2, 48, 48)) * 0.5
    boxes = [[(0.5, 0.5, 0.9, 0.9)], [(0.1, 0.2, 0.4, 0.6)]]

    def make(place, heads=3):
        maps = np.full((2, heads, 6, 6), 0.01)
        for head in range(heads):
            maps[:, head, place[0], (place[1] + head) % 6] = 1.0
        return Looked(images, maps / maps.sum((2, 3), keepdims=True), boxes, ["Nodule", "Effusion"])

    return make


def colour(picture):
    """Where a picture is pink, the colour of CLS."""
    return (picture[..., 0] > picture[..., 1] + 0.2) & (picture[..., 2] > picture[..., 1] + 0.05)


def test_every_generation_and_head_is_drawn_where_it_looks(looked, tmp_path):
    rows = {"T = 0": looked((0, 0)), "T = 1": looked((4, 4))}
    picture = imread(generations_figure(rows, tmp_path / "g.png", title="Made up", synthetic=True))
    pink = colour(picture)
    width = picture.shape[1]
    assert pink[:, : int(0.25 * width)].sum() == 0  # the plain image
    heads = imread(heads_figure(rows, tmp_path / "h.png", title="Made up"))
    drawn = colour(heads)
    top, bottom = drawn[: drawn.shape[0] // 2], drawn[drawn.shape[0] // 2 :]
    assert top.sum() > 500
    assert bottom.sum() > 500
    assert np.flatnonzero(top.any(1)).mean() < np.flatnonzero(top.any(1)).max()
    again = generations_figure(rows, tmp_path / "again.png", title="Made up", synthetic=True)
    assert again.read_bytes() == (tmp_path / "g.png").read_bytes()


def test_rows_that_do_not_fit_together_are_refused(looked, tmp_path):
    one, other = looked((0, 0)), looked((1, 1))
    swapped = Looked(other.images, other.maps, other.boxes, ["Effusion", "Nodule"])
    with pytest.raises(DataError, match="attended to other images"):
        generations_figure({"a": one, "b": swapped}, tmp_path / "a.png", title="t")
    with pytest.raises(DataError, match="do not belong together"):
        generations_figure(
            {"a": Looked(one.images[:1], one.maps, one.boxes, one.titles)}, tmp_path / "a.png", title="t"
        )
    with pytest.raises(DataError, match="no row of the table attends"):
        heads_figure({}, tmp_path / "a.png", title="t")
