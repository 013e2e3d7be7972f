"""MarksEvaluator and the metrics of a marks file: maps drawn from known boxes, hand-worked JAFROC, odd annotations."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.sources.nih14 import NIH14
from cxrvl.data.studies import StudyTable
from cxrvl.errors import ConfigError, RunError
from cxrvl.evaluation.comparison import compare_rows
from cxrvl.evaluation.localization import MarksEvaluator
from cxrvl.evaluation.predictions import read_predictions, write_predictions

BOX = (0.25, 0.5, 0.5, 0.75)


def make_table(targets, boxes, patients=None):
    """One label "Nodule", all images in the test split."""
    number = len(targets)
    frame = pd.DataFrame({"dataset": "made", "image": [f"i{n}" for n in range(number)], "split": "test"})
    frame["patient"] = [str(n) for n in (patients if patients is not None else range(number))]
    frame["Nodule"] = np.array(targets, dtype=float)
    frame["boxes"] = [[("Nodule", *box) for box in here] for here in boxes]
    return StudyTable.build(frame, ["Nodule"], split_name="made", root=None, origin="test", check_files=False)


def blank(value=-4.0, side=8):
    return np.full((side, side), value, dtype=np.float32)


def peak(*peaks, side=8):
    """A map with peaks (rating, column, row)."""
    plane = blank(side=side)
    for rating, column, row in peaks:
        plane[row, column] = rating
    return plane


def evaluate(evaluator, table, maps, fov=(0, 0, 1, 1), batch=3):
    index, parts = np.arange(len(table.frame)), []
    maps = np.stack(maps).reshape(len(index), len(table.labels), *np.shape(maps[0])[-2:])
    for start in range(0, len(index), batch):
        rows = index[start : start + batch]
        view = np.tile(np.array(fov, dtype=np.float32), (len(rows), 1))
        parts.append(evaluator.rows({"index": rows, "fov": view}, SimpleNamespace(maps=maps[rows], logits=None), table))
    return evaluator.collect(parts, table)


@pytest.fixture
def by_hand():
    """Lesions: hit at 3; missed (a higher mark lies beside it); two in one image, one hit at 1. Normals: 2, 1, -4."""
    boxes = [[BOX], [BOX], [BOX, (0.0, 0.0, 0.2, 0.2)], [], [], [], []]
    table = make_table([1, 1, 1, 0, 0, 0, 1], boxes)
    maps = [
        peak((3, 3, 5)),
        peak((6, 7, 0)),
        peak((1, 2, 4)),
        peak((2, 0, 0)),
        peak((1, 4, 4)),
        blank(),
        peak((9, 0, 0)),
    ]
    return table, maps


def test_jafroc_by_hand(by_hand):
    table, maps = by_hand
    evaluator = MarksEvaluator(bootstrap=200)
    predictions = evaluate(evaluator, table, maps)
    entry = evaluator.metrics(predictions)["labels"]["Nodule"]
    # 3 beats three normals; two lesions are unmarked (0); 1 beats -4 and ties with 1: 4.5 of 12
    assert entry["jafroc"] == pytest.approx(4.5 / 12)
    counts = {"images": 7, "normals": 3, "abnormal": 3, "lesions": 4, "positives_without_boxes": 1}
    assert {name: entry[name] for name in counts} == counts
    assert entry["pointing_game"] == pytest.approx(2 / 3)
    assert entry["lesions_marked"] == pytest.approx(2 / 4)
    # the third image's two lesions share its weight: (3 + 0 + (1.5 + 0) / 2) / (3 images x 3 normals)
    weighted = MarksEvaluator(weighted=True, bootstrap=2).metrics(predictions)["labels"]["Nodule"]
    assert weighted["jafroc"] == pytest.approx(3.75 / 9)
    json.dumps(evaluator.metrics(predictions), allow_nan=False)


def test_a_lower_mark_inside_the_box_rates_the_lesion():
    table = make_table([1, 0], [[BOX], []])
    evaluator = MarksEvaluator(bootstrap=2)
    entry = evaluator.metrics(evaluate(evaluator, table, [peak((6, 7, 0), (2, 3, 5)), peak((1, 0, 0))]))["labels"][
        "Nodule"
    ]
    assert (entry["jafroc"], entry["pointing_game"], entry["lesions_marked"]) == (1, 0, 1)
    single = MarksEvaluator(bootstrap=2, max_marks=1)
    alone = single.metrics(evaluate(single, table, [peak((6, 7, 0), (2, 3, 5)), peak((1, 0, 0))]))["labels"]["Nodule"]
    assert (alone["jafroc"], alone["lesions_marked"]) == (0, 0)


@pytest.mark.parametrize(
    ("rule", "hits"), [({"hit": "inside_box"}, 0), ({"hit": "radius", "hit_radius": 0.3}, 1), ({"hit": "iou"}, 0)]
)
def test_hit_rules_differ(rule, hits):
    table = make_table([1, 0], [[BOX], []])
    evaluator = MarksEvaluator(bootstrap=2, **rule)
    entry = evaluator.metrics(evaluate(evaluator, table, [peak((6, 4, 4)), blank()]))["labels"]["Nodule"]
    assert entry["pointing_game"] == hits


def test_a_region_that_fills_the_box_overlaps_it():
    plane = blank(0.0)
    plane[4:6, 2:4] = 5.0
    table = make_table([1, 0], [[BOX], []])
    evaluator = MarksEvaluator(bootstrap=2, resolution=8, hit="iou", hit_iou=0.9)
    entry = evaluator.metrics(evaluate(evaluator, table, [plane, blank()]))["labels"]["Nodule"]
    assert entry["iou"] == pytest.approx(1.0)
    assert entry["pointing_game"] == 1
    assert [entry["found"][key]["share"] for key in ("0.1", "0.7")] == [1, 1]


@pytest.mark.parametrize("fov", [(0.1, 0.2, 0.9, 1.0), (-0.25, 0.0, 1.25, 1.0)])
def test_places_go_through_the_field_of_view(fov):
    x0, y0, x1, y1 = fov
    table = make_table([1], [[BOX]])
    frame = evaluate(MarksEvaluator(), table, [peak((3, 1, 6))], fov).frame
    mark = frame[(frame["entry"] == "mark") & (frame["number"] == 0)].iloc[0]
    assert mark["x"] == pytest.approx(x0 + (x1 - x0) * 1.5 / 8)
    assert mark["y"] == pytest.approx(y0 + (y1 - y0) * 6.5 / 8)
    assert 0 <= mark["x0"] < mark["x1"] <= 1
    lesion = frame[frame["entry"] == "lesion"].iloc[0]
    assert (lesion["x"], lesion["y"], lesion["x0"]) == pytest.approx((0.375, 0.625, 0.25))


def test_odd_annotations_never_make_a_normal_image():
    # a box although the label says 0; not stated; uncertain; positive without a box; two true normals
    table = make_table([0, np.nan, -1, 1, 0, 0], [[BOX], [], [], [], [], []])
    predictions = evaluate(MarksEvaluator(), table, [peak((3, 3, 5))] * 6)
    expected = {"ignore": (2, 1, 1), "zeros": (3, 1, 1), "ones": (2, 1, 2)}
    for policy, (normals, abnormal, unsearched) in expected.items():
        entry = MarksEvaluator(uncertain=policy, bootstrap=2).metrics(predictions)["labels"]["Nodule"]
        assert (entry["normals"], entry["abnormal"], entry["positives_without_boxes"]) == (
            normals,
            abnormal,
            unsearched,
        )
        assert entry["jafroc"] == 0.5


def test_without_boxes_or_without_normals_it_is_none_with_a_reason():
    evaluator = MarksEvaluator(bootstrap=5, groups={"all": ["Nodule"]})
    no_boxes = evaluator.metrics(evaluate(evaluator, make_table([1, 0], [[], []]), [blank()] * 2))
    entry = no_boxes["labels"]["Nodule"]
    assert entry["jafroc"] is None
    assert entry["pointing_game"] is None
    assert entry["undefined"]["jafroc"] == "no lesion with a box"
    assert no_boxes["mean"]["jafroc"] is None
    assert no_boxes["mean"]["jafroc_labels"]["undefined"] == {"Nodule": "no lesion with a box"}
    no_normals = evaluator.metrics(evaluate(evaluator, make_table([1, 1], [[BOX]] * 2), [blank()] * 2))
    assert no_normals["labels"]["Nodule"]["undefined"] == {"jafroc": "no normal image"}
    assert no_normals["groups"]["all"]["pointing_game"] is not None
    json.dumps(no_normals, allow_nan=False)


def test_separation_without_error_has_an_interval_with_width():
    table = make_table([1] * 5 + [0] * 5, [[BOX]] * 5 + [[]] * 5)
    evaluator = MarksEvaluator(bootstrap=50)
    entry = evaluator.metrics(evaluate(evaluator, table, [peak((3, 3, 5))] * 5 + [blank()] * 5))["labels"]["Nodule"]
    assert entry["jafroc"] == 1
    assert 0.3 < entry["jafroc_low"] < 0.7
    assert "Wilson" in entry["interval_method"]


def test_file_processes_and_comparison(by_hand, tmp_path):
    table, maps = by_hand
    evaluator = MarksEvaluator()
    predictions = evaluate(evaluator, table, maps)
    write_predictions(tmp_path / "marks.parquet", predictions)
    back = read_predictions(tmp_path / "marks.parquet", "marks")
    pd.testing.assert_frame_equal(back.frame, predictions.frame, check_exact=True)
    frame = predictions.frame
    padded = evaluator.collect([frame, frame[frame["image"].isin(["i0", "i2"])]], table)
    pd.testing.assert_frame_equal(padded.frame, frame, check_exact=True)
    moved = frame[frame["image"] == "i2"].assign(rating=lambda rows: rows["rating"] + 1)
    with pytest.raises(RunError, match="scored twice and rating differs"):
        evaluator.collect([frame, moved], table)
    with pytest.raises(RunError, match="1 missing"):
        evaluator.collect([frame[frame["image"] != "i2"]], table)
    same = compare_rows([predictions], [predictions], metric="jafroc", bootstrap=50)
    assert (same.difference, same.p) == (0, 1)
    assert same.mean_a == pytest.approx(4.5 / 12)
    worse = evaluate(evaluator, table, [maps[1], *maps[1:]])
    assert compare_rows([predictions], [worse], metric="pointing_game", bootstrap=50).difference == pytest.approx(1 / 3)


def test_patients_with_several_images_widen_the_interval():
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.random(40) < 0.5, 4)
    maps = [peak((float(rating), 3, 5)) for rating in np.repeat(rng.normal(size=40), 4) + targets]
    boxes = [[BOX] if target else [] for target in targets]
    width = []
    for patients in (np.arange(160), np.repeat(np.arange(40), 4)):
        evaluator = MarksEvaluator(bootstrap=300)
        table = make_table(targets, boxes, patients)
        entry = evaluator.metrics(evaluate(evaluator, table, maps, batch=50))["labels"]["Nodule"]
        width.append(entry["jafroc_high"] - entry["jafroc_low"])
    assert 1.6 < width[1] / width[0] < 2.4


@pytest.mark.parametrize(
    ("options", "word"),
    [({"hit": "touch"}, "hit is 'touch'"), ({"max_marks": 0}, "max_marks=0"), ({"smoothing": -1}, "smoothing=-1"),
     ({"splits": ()}, "splits is empty"), ({"uncertain": "x"}, "uncertain is 'x'"), ({"region_level": 1.5}, "region_level")],
)  # fmt: skip
def test_options_that_cannot_be_right(options, word):
    with pytest.raises(ConfigError, match=word):
        MarksEvaluator(**options)


def test_maps_that_do_not_fit_are_refused():
    table = make_table([1], [[BOX]])
    evaluator, batch = MarksEvaluator(), {"index": np.array([0]), "fov": np.array([[0, 0, 1, 1]], dtype=np.float32)}
    with pytest.raises(RunError, match=r"shape \(1, 2, 8, 8\)"):
        evaluator.rows(batch, SimpleNamespace(maps=np.zeros((1, 2, 8, 8))), table)
    with pytest.raises(RunError, match="image i0 are not finite"):
        evaluator.rows(batch, SimpleNamespace(maps=np.full((1, 1, 8, 8), np.nan)), table)
    with pytest.raises(ConfigError, match=r"group 'g' names \['Mass'\]"):
        MarksEvaluator(groups={"g": ["Mass"]}).metrics(evaluate(evaluator, table, [blank()]))


def test_maps_drawn_from_nih_boxes_find_them_all(shared):
    """On the real table: a map that is high on its image's boxes is perfect, and unboxed positives are not normal."""
    table = NIH14(root=shared / "data/nih14", split="official", image_suffix=".jpg").table()
    test = table.split("test")
    table = dataclasses.replace(table, frame=table.frame.iloc[test].reset_index(drop=True))
    side, place = 64, {label: number for number, label in enumerate(table.labels)}
    maps = np.full((len(table.frame), len(place), side, side), -5.0, dtype=np.float32)
    centre = (np.arange(side) + 0.5) / side
    for image, boxes in enumerate(table.frame["boxes"]):
        for label, x0, y0, x1, y1 in boxes:
            inside = ((centre >= y0) & (centre <= y1))[:, None] & ((centre >= x0) & (centre <= x1))
            maps[image, place[label]][inside] = 3.0
    evaluator = MarksEvaluator(bootstrap=20, max_marks=1)
    metrics = evaluator.metrics(evaluate(evaluator, table, maps, batch=256))
    boxed = [entry for entry in metrics["labels"].values() if entry["lesions"]]
    assert sum(entry["lesions"] for entry in boxed) == sum(len(boxes) for boxes in table.frame["boxes"]) > 50
    for entry in boxed:
        assert entry["jafroc"] > 0.95
        assert entry["pointing_game"] == 1
        assert entry["iou"] > 0.6
        assert entry["positives_without_boxes"] > 0
