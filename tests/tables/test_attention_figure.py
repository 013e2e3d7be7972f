"""Are attention maps chosen and measured as the figure says, and drawn for every shape a model gives?"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.image import imread

from cxrvl.errors import DataError
from cxrvl.evaluation.attention import checked_maps, coverage, entropy, mass_in_boxes, oracle_group, sharpest_group
from cxrvl.tables.attention_figure import attention_figure, attention_sheet

corner = st.floats(min_value=0, max_value=1)


@given(corner, corner, corner, corner, st.integers(1, 9), st.integers(1, 9))
def test_coverage_adds_up_to_the_boxes_area(a: float, b: float, c: float, d: float, height: int, width: int) -> None:
    box = (min(a, b), min(c, d), max(a, b), max(c, d))
    covered = coverage([box], height, width)
    assert covered.shape == (height, width)
    assert covered.mean() == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), abs=1e-9)
    np.testing.assert_allclose(coverage([box, box], height, width), np.minimum(2 * covered, 1))


def test_mass_counts_x_as_width_and_y_as_height() -> None:
    maps = np.zeros((1, 1, 2, 4))
    maps[0, 0, 0, 3] = 1  # top right
    assert mass_in_boxes(maps, [[(0.75, 0.0, 1.0, 0.5)]])[0, 0] == pytest.approx(1)
    assert mass_in_boxes(maps, [[(0.75, 0.0, 0.875, 0.5)]])[0, 0] == pytest.approx(0.5)
    assert mass_in_boxes(maps, [[(0.0, 0.5, 0.5, 1.0)]])[0, 0] == 0
    assert np.isnan(mass_in_boxes(maps, [[]])).all()


def test_choices_with_and_without_the_box() -> None:
    maps = np.full((2, 3, 4, 4), 1 / 16)
    maps[:, 1] = 0.2 / 15
    maps[:, 1, 3, 3] = 0.8  # sharp, far from the box
    maps[:, 2] = 0.0
    maps[:, 2, :2, :2] = 0.25  # on the box
    boxes: list[list[Any]] = [[(0.0, 0.0, 0.5, 0.5)], []]
    shares = entropy(maps)
    assert shares[0, 0] == pytest.approx(1)
    assert shares[0, 2] == pytest.approx(np.log(4) / np.log(16))
    assert list(sharpest_group(maps)) == [1, 1]
    assert list(oracle_group(maps, boxes)) == [2, -1]


def test_maps_are_normalised_or_refused() -> None:
    maps = np.random.default_rng(0).random((2, 3, 4, 5)) + 0.1
    np.testing.assert_allclose(checked_maps(maps, "key_maps").sum(axis=(2, 3)), 1)
    with pytest.raises(DataError, match=r"key_maps: expected maps of shape .* found \(3, 4, 5\)"):
        checked_maps(maps[0], "key_maps")
    with pytest.raises(DataError, match="negative or non-finite"):
        checked_maps(-maps, "key_maps")
    with pytest.raises(DataError, match="negative or non-finite"):
        checked_maps(maps * np.nan, "key_maps")
    with pytest.raises(DataError, match="0 everywhere"):
        checked_maps(maps * 0, "key_maps")


def _case(images: int = 2, groups: int = 8, size: tuple[int, int] = (5, 4)) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    boxes: list[list[Any]] = [[(0.1, 0.2, 0.4, 0.9), (0.6, 0.1, 0.8, 0.3)], *[[] for _ in range(images - 1)]]
    maps = draw.random((2, images, groups, *size)) ** 4 + 1e-3
    return {"images": draw.random((images, 40, 32)), "boxes": boxes, "key_maps": maps[0], "query_maps": maps[1]}


def test_figures_are_drawn_for_images_with_and_without_boxes(tmp_path: Path) -> None:
    case = _case()
    path = attention_figure(
        **case, path=tmp_path / "a.png", module_name="layer4.1", titles=["Effusion", "No finding"], synthetic=True
    )
    first = {name: values[0] for name, values in case.items() if name != "images"}
    sheet = attention_sheet(
        case["images"][0], **first, path=tmp_path / "s.png", module_name="layer4.1", title="Effusion", synthetic=True
    )
    for picture in (imread(path), imread(sheet)):
        colour = picture[..., :3].max(axis=2) - picture[..., :3].min(axis=2) > 0.3
        assert 0.005 < colour.mean() < 0.5, "some of the maps and boxes are coloured, most of the page is not"


def test_flat_maps_have_no_colour(tmp_path: Path) -> None:
    case = _case(images=1)
    case["boxes"] = [[]]
    case["key_maps"] = case["query_maps"] = np.full((1, 8, 5, 4), 1 / 20)
    picture = imread(attention_figure(**case, path=tmp_path / "a.png", module_name="m", titles=["No finding"]))
    assert (picture[..., :3].max(axis=2) - picture[..., :3].min(axis=2) < 0.05).all()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"query_maps": np.ones((2, 4, 5, 4))}, "do not belong together"),
        ({"titles": ["one"]}, "1 titles do not belong together"),
        ({"boxes": [[]]}, "1 lists of boxes"),
        ({"boxes": [[(0.5, 0.1, 0.4, 0.9)], []]}, "is not x0 < x1"),
        ({"boxes": [[(0.5, 0.1, 1.4, 0.9)], []]}, r"within \[0, 1\]"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    case = {**_case(), "titles": ["a", "b"], **change}
    with pytest.raises(DataError, match=told):
        attention_figure(**case, path=tmp_path / "a.png", module_name="m")
    assert not list(tmp_path.iterdir())
