"""New files are scored by the same numbers as the run's own evaluation, and what cannot be read is named."""

import io
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrvl.cli import main
from cxrvl.data.read_options import ReadOptions
from cxrvl.data.sources.base import FileSource
from cxrvl.data.sources.mixture import Mixture
from cxrvl.data.sources.phantom import PhantomSource
from cxrvl.errors import RunError
from cxrvl.evaluation.predictions import probabilities, read_predictions
from cxrvl.runs.overlays import write_overlays
from cxrvl.runs.predict import Prediction, Predictor, files_in
from cxrvl.runs.store import Run

SIZE = 32  # of the tiny run's store, see tests/conftest.py
COUNT = 40


@pytest.fixture(scope="module")
def scored(finished):
    """The evaluation's probabilities of the first test images: keys and a frame, one column per label."""
    (path,) = (finished.only_run() / "predictions").glob("findings-*.parquet")
    frame = read_predictions(path).frame
    frame = frame[frame["split"] == "test"].head(COUNT).reset_index(drop=True)
    labels = [c.removeprefix("logit/") for c in frame if c.startswith("logit/")]
    logits = frame[[f"logit/{label}" for label in labels]].to_numpy()
    return frame["image"].tolist(), pd.DataFrame(probabilities(logits), columns=labels)


@pytest.fixture(scope="module")
def source():
    return PhantomSource(images=160, seed=7, size=SIZE)


@pytest.fixture(scope="module")
def images(tmp_path_factory, scored, source):
    """The same images as files, one folder per kind; DICOM files without a suffix, as archives name them."""
    root = tmp_path_factory.mktemp("images")
    keys, _ = scored
    for kind in ("png", "png16", "dicom"):
        (root / kind).mkdir()
    for number, image in enumerate(source.read_many(keys)):
        Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(root / "png" / f"{number:03d}.png")
        Image.fromarray(np.rint(image * 65535).astype(np.uint16)).save(root / "png16" / f"{number:03d}.png")
    indices = [int(key.rsplit("/")[-1]) for key in keys]
    for number, path in enumerate(source.write_dicom(root, indices, monochrome1=True)):
        path.rename(root / "dicom" / f"1.2.3.{number:03d}")
    (root / "dicom" / ".hidden").write_text("no image")
    (root / "dicom" / "README").write_text("no image")
    return root


@pytest.fixture
def predict(call, finished):
    def predict(*arguments):
        return call("predict", "--runs", finished.runs, "--run", finished.only_run().name, *arguments)

    return predict


def read(text):
    return pd.read_csv(io.StringIO(text))


@pytest.mark.parametrize(
    ("kind", "tolerance"),
    [
        ("png", 1e-4),
        ("png16", 1e-4),  # both round to the store's 256 levels
        ("dicom", 0.02),  # rounded twice, to 4095 and then to 255 levels: some pixels fall on the other side
    ],
)
def test_the_numbers_are_the_evaluations(predict, images, scored, kind, tolerance):
    result = predict(images / kind)
    assert result.code == 0, result.err
    frame = read(result.out)
    _, expected = scored
    assert len(frame) == COUNT, "more than one batch, and the last one incomplete"
    assert list(frame) == ["file", *expected]
    assert [f.rsplit("/", 1)[0] for f in frame["file"]] == [str(images / kind)] * COUNT
    np.testing.assert_allclose(frame[list(expected)], expected, atol=tolerance)


def test_dicom_of_the_same_grey_levels_gives_the_same_numbers(predict, images, scored, tmp_path, source):
    """The DICOM's own pixels, rounded as a store would, through PNG: what the file format adds is nothing."""
    key = scored[0][0]
    stored = np.rint(source.read(key) * np.float32(4095)) / np.float32(4095)
    Image.fromarray(np.rint(stored * 255).astype(np.uint8)).save(tmp_path / "a.png")
    frame = read(predict(tmp_path / "a.png", images / "dicom" / "1.2.3.000").out)
    values = frame.drop(columns="file").to_numpy()
    np.testing.assert_allclose(values[0], values[1], atol=1e-4)


def test_a_csv_lists_the_files_and_another_is_written(predict, images, scored, tmp_path):
    names = ["004.png", "001.png", "004.png"]
    listing = images / "png" / "list.csv"
    pd.DataFrame({"image": names, "more": 1}).to_csv(listing, index=False)
    result = predict(listing, "--out", tmp_path / "scores.csv")
    listing.unlink()
    assert result.out == f"3 file(s) scored: {tmp_path / 'scores.csv'}\n"
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert [f.rsplit("/")[-1] for f in frame["file"]] == names
    np.testing.assert_allclose(frame.drop(columns="file"), scored[1].iloc[[4, 1, 4]], atol=1e-4)


def test_options_may_stand_anywhere(finished, images, capsys):
    one, two = (str(images / "png" / name) for name in ("000.png", "001.png"))
    main(["predict", one, "--runs", str(finished.runs), "--run", finished.only_run().name, two])
    assert read(capsys.readouterr().out)["file"].tolist() == [one, two]


def test_maps_are_laid_over_the_images(predict, images, scored, tmp_path, source):
    result = predict(images / "png" / "000.png", images / "dicom" / "1.2.3.001", "--maps", tmp_path / "maps")
    assert result.code == 0, result.err
    written = sorted(p.name for p in (tmp_path / "maps").iterdir())
    assert len(written) == 2 * len(scored[1].columns)
    assert written[0] == "00000-000-Atelectasis.png"
    overlay = np.asarray(Image.open(tmp_path / "maps" / written[0]), dtype=float)
    assert overlay.shape == (SIZE, SIZE, 3)
    grey = source.read(scored[0][0]) * 255
    assert np.corrcoef(overlay.mean(-1).ravel(), grey.ravel())[0, 1] > 0.5, "the radiograph is still to be seen"


def test_an_overlay_shows_where_a_map_is_high(images, tmp_path):
    path = tmp_path / "flat.png"
    Image.new("L", (90, 60), 100).save(path)
    maps = np.full((2, 3, 3), -4.0, np.float32)
    maps[0, 0, 2] = 4.0  # top right
    fov = np.array([0.0, -0.25, 1.0, 1.25], np.float32)  # a padded square: the image's upper edge is a sixth down
    one = Prediction(path, np.array([0.9, 0.9], np.float32), maps, fov)
    write_overlays(one, 3, ["Lung Opacity/Mass", "Nodule"], tmp_path / "maps", ReadOptions())
    shown = np.asarray(Image.open(tmp_path / "maps" / "00003-flat-Lung_Opacity_Mass.png"), dtype=float)
    assert shown.shape == (60, 90, 3)
    colour = np.abs(shown - 100).max(-1)
    y, x = np.unravel_index(colour.argmax(), colour.shape)
    assert y < 20
    assert x > 70
    assert colour[40:, :40].max() < 1
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "maps" / "00003-flat-Nodule.png")), 100)


@pytest.fixture
def broken(images, tmp_path):
    folder = tmp_path / "broken"
    folder.mkdir()
    for number in range(3):
        shutil.copy(images / "png" / f"00{number}.png", folder)
    whole = (folder / "001.png").read_bytes()
    (folder / "001.png").write_bytes(whole[: len(whole) // 2])
    return folder


def test_an_unreadable_file_is_named(predict, broken, tmp_path):
    result = predict(broken, "--out", tmp_path / "scores.csv")
    assert result.code == 2
    assert result.err.startswith(f"error: {broken / '001.png'}: ")
    assert "truncated" in result.err
    assert "--max-unreadable" in result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "scores.csv").exists()


def test_an_unreadable_file_may_be_left_out(predict, broken, scored, tmp_path):
    result = predict(broken, "--max-unreadable", "1", "--maps", tmp_path / "maps")
    assert result.code == 0
    assert result.err.startswith(f"left out {broken / '001.png'}: ")
    frame = read(result.out)
    assert frame["file"].tolist() == [str(broken / "000.png"), str(broken / "002.png")]
    np.testing.assert_allclose(frame.drop(columns="file"), scored[1].iloc[[0, 2]], atol=1e-4)
    shutil.copy(broken / "001.png", broken / "003.png")
    assert predict(broken, "--max-unreadable", "1").code == 2


def test_no_readable_file_gives_an_empty_table(predict, broken):
    result = predict(broken / "001.png", "--max-unreadable", "1")
    assert result.code == 0
    assert len(read(result.out)) == 0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, ["there is no file or folder list.csv"]),
        ("file\na.png\n", ["no column 'image'", "it has: file"]),
        ("image\n000.png\nabsent.png\n", ["list.csv, line 3", "absent.png", "relative to the CSV file"]),
        ("image,n\n000.png,1\n,2\n", ["list.csv, line 3", "is empty"]),
        ("", ["list.csv", "cannot be read as a table"]),
    ],
)
def test_a_bad_list_is_explained(refused, tmp_path, images, content, words):
    shutil.copy(images / "png" / "000.png", tmp_path)
    if content is not None:
        (tmp_path / "list.csv").write_text(content)
    message = refused("predict", "--run", "abc", "list.csv")
    assert all(word in message for word in words), message


def test_bad_places_and_runs_are_explained(refused, predict, finished, images, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "holds no PNG, JPEG or DICOM" in refused("predict", "--run", "abc", "empty")
    one = images / "png" / "000.png"
    assert "no run 'abc' in runs" in refused("predict", "--run", "abc", one)
    assert "no run 'zz'" in refused("predict", "--runs", finished.runs, "--run", "zz", one)
    assert "there is no folder nowhere" in predict(one, "--out", "nowhere/scores.csv").err


def test_an_unfinished_run_predicts_nothing(refused, finished, images, tmp_path):
    shutil.copytree(finished.only_run(), tmp_path / "runs" / "abc")
    Run(tmp_path / "runs" / "abc").set_status("queued")
    assert "run abc is queued; finish it first" in refused("predict", "--run", "abc", images / "png" / "000.png")


def test_weights_of_another_model_are_refused(refused, finished, images, tmp_path):
    import torch

    shutil.copytree(finished.only_run(), tmp_path / "runs" / "abc")
    best = tmp_path / "runs" / "abc" / "checkpoints" / "best.ckpt"
    state = torch.load(best, weights_only=True)
    state["state_dict"].pop(next(iter(state["state_dict"])))
    torch.save(state, best)
    message = refused("predict", "--run", "abc", images / "png" / "000.png")
    assert "best.ckpt belongs to another model: 1 missing" in message
    best.write_bytes(best.read_bytes()[:1000])
    message = refused("predict", "--run", "abc", images / "png" / "000.png")
    assert "cannot be read as a checkpoint" in message
    assert "remove run abc (cxrvl runs rm abc) and train it again" in message
    best.write_text("not a checkpoint")
    assert "best.ckpt" in refused("predict", "--run", "abc", images / "png" / "000.png")
    best.unlink()
    message = refused("predict", "--run", "abc", images / "png" / "000.png")
    assert "there is no runs/abc/checkpoints/best.ckpt, which this run has written" in message, (
        "never another's weights"
    )


def test_files_are_read_as_all_sources_of_a_mixture_were():
    def reading(*intensities):
        files = [FileSource("set", f"set{n}", intensity) for n, intensity in enumerate(intensities)]
        data = SimpleNamespace(source=Mixture([*files, PhantomSource(images=4, size=SIZE)]))
        return Predictor.reading.fget(SimpleNamespace(data=data))

    assert reading() == ReadOptions()
    assert reading("used", "used") == ReadOptions("used")
    with pytest.raises(RunError, match=r"read in 2 ways .*'type'.*'used'.*read alike"):
        reading("used", "type")


def test_a_folder_is_searched_for_images_by_name_or_content(images):
    assert len(files_in([str(images)])) == 3 * COUNT
    assert len(files_in([str(images / "dicom")])) == COUNT


def test_the_numbers_are_the_evaluations_in_the_runs_precision(call, cli, images):
    cli.train("trainer.precision=bf16-mixed", "trainer.max_epochs=1", "evaluation.marks=null")
    folder = cli.only_run()
    result = call("predict", "--runs", folder.parent, "--run", folder.name, images / "png")
    (path,) = (folder / "predictions").glob("findings-*.parquet")
    rows = read_predictions(path).frame
    rows = rows[rows["split"] == "test"].head(COUNT)
    labels = list(read(result.out))[1:]
    expected = probabilities(rows[[f"logit/{label}" for label in labels]].to_numpy())
    # bfloat16 logits are multiples of a power of two: float32 ones would fall between them
    np.testing.assert_allclose(read(result.out)[labels], expected, atol=1e-6)
