"""Are ROC curves drawn from the predictions right, and are the figures whole files that look alike every time?"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread
from sklearn.metrics import roc_auc_score, roc_curve

from cxrvl.errors import ConfigError, DataError
from cxrvl.tables.canvas import new_figure, save
from cxrvl.tables.figures import GRID, mean_curve, roc_figure, roc_points

Findings = Callable[..., pd.DataFrame]


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=40))
def test_roc_points_are_those_of_scikit_learn(items: list[tuple[bool, int]]) -> None:
    positive = np.array([one for one, _ in items])
    score = np.array([value for _, value in items], dtype=float)
    if positive.all() or not positive.any():
        with pytest.raises(DataError, match="needs both classes"):
            roc_points(positive, score)
        return
    false, true = roc_points(positive, score)
    expected = roc_curve(positive, score, drop_intermediate=False)
    np.testing.assert_allclose(false, expected[0])
    np.testing.assert_allclose(true, expected[1])


def test_mean_curve_has_the_tables_area(make_findings: Findings) -> None:
    frame = make_findings(0, 0.5)
    frame.loc[:10, "target/Mass"] = [np.nan, -1] * 5 + [0]
    found = mean_curve(frame, ["Effusion", "Mass"])
    assert found is not None
    curve, area = found
    known = frame[frame["target/Mass"] >= 0]
    exact = np.mean([
        roc_auc_score(frame["target/Effusion"], frame["logit/Effusion"]),
        roc_auc_score(known["target/Mass"], known["logit/Mass"]),
    ])  # fmt: skip
    assert area == pytest.approx(exact)
    assert np.trapezoid(curve, GRID) == pytest.approx(exact, abs=2e-3)
    assert (np.diff(curve) >= -1e-12).all()
    frame["target/Mass"] = np.float32(0)
    alone = mean_curve(frame, ["Effusion", "Mass"])
    assert alone is not None
    assert alone[1] == pytest.approx(roc_auc_score(frame["target/Effusion"], frame["logit/Effusion"]))
    assert mean_curve(frame, ["Mass"]) is None


def test_roc_figure_is_a_picture_the_same_every_time(make_findings: Findings, tmp_path: Path) -> None:
    rows = {"ResNet": [make_findings(s, 0.0) for s in (0, 1)], "ResNet + ACM": [make_findings(3, 1.0)], "missing": []}
    groups = {"pair": ["Effusion", "Mass"], "Nodule": ["Nodule"]}
    paths = [tmp_path / name / "roc.png" for name in ("a", "b")]
    for path in paths:
        assert roc_figure(rows, groups, path, title="Title", note="Split: official, test.", synthetic=True) == path
    picture = imread(paths[0])
    assert picture.shape[1] > picture.shape[0] > 600
    assert 0.02 < (picture[..., :3].min(axis=2) < 0.9).mean() < 0.6, "neither empty nor full"
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [path.name for path in paths[0].parent.iterdir()] == ["roc.png"]


def test_vector_formats_and_wrong_ones(make_findings: Findings, tmp_path: Path) -> None:
    rows = {"ResNet": [make_findings(0, 0.0)]}
    pdf = roc_figure(rows, {"all": ["Mass"]}, tmp_path / "roc.pdf", title="Title")
    svg = roc_figure(rows, {"all": ["Mass"]}, tmp_path / "roc.svg", title="Title")
    assert pdf.read_bytes().startswith(b"%PDF")
    assert b"<svg" in svg.read_bytes()[:1000]
    with pytest.raises(ConfigError, match=r"cannot write a figure as 'roc.bmp'; use one of .png, .pdf, .svg"):
        save(new_figure(1, 1), tmp_path / "roc.bmp")
    with pytest.raises(DataError, match="at least one group"):
        roc_figure(rows, {}, tmp_path / "roc.png", title="Title")


def test_drawing_leaves_pyplot_alone(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; import cxrvl.tables.canvas as c; "
        f"c.save(c.new_figure(1, 1), Path({str(tmp_path / 'x.png')!r})); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
