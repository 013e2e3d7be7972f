"""`cxrvl data duplicates` lists the pairs of several data configs and warns where splits share a picture."""

import pandas as pd

from cxrvl.commands.data_duplicates import grouped

PHANTOM = ("data.source.images=24", "data.store.size=96")


def test_words_start_data_sets_and_overrides_follow_them():
    assert grouped(["a.b=1", "nih14", "x=2", "data=openi", "y=3"]) == [
        ["nih14", "a.b=1", "x=2"],
        ["data=openi", "a.b=1", "y=3"],
    ]
    assert grouped(["seed=1"]) == [["seed=1"]]


def test_an_image_copied_into_the_test_part_is_reported(call, tmp_path):
    from PIL import Image

    from cxrvl.data.sources.phantom import PhantomSource

    # One image of each patient: a phantom's follow-up differs by little more than noise.
    source = PhantomSource(images=16, seed=1, size=128)
    rows = []
    for i, key in enumerate(source.table().frame.drop_duplicates("patient")["image"][:8]):
        Image.fromarray((source.read(key) * 255).astype("uint8")).save(tmp_path / f"{i}.png")
        rows.append((f"{i}.png", f"p{i}", "train", i % 2))
    Image.open(tmp_path / "3.png").resize((150, 150)).save(tmp_path / "copy.jpg", quality=60)
    rows += [("copy.jpg", "other", "test", 1)]
    pd.DataFrame(rows, columns=["image", "patient", "split", "A"]).to_csv(tmp_path / "t.csv", index=False)
    words = ["manifest", f"data.root={tmp_path}", "data.source.name=made", "data.source.file=t.csv", "data.labels=[A]",
             "data.source.labels=[A]", "data.source.split=null",
             "data.source.columns={image: image, patient: patient, split: split}", "data.store.size=96"]  # fmt: skip
    result = call("data", "duplicates", *words, "--out", "pairs.csv")
    assert result.code == 0, result
    assert "1 pairs of near duplicates among 9 images of made" in result.out
    assert "warning: 1 pairs lie in two different splits, 1 of them with the test part" in result.err
    (pair,) = pd.read_csv(tmp_path / "pairs.csv").itertuples()
    assert {pair.image_a, pair.image_b} == {"3.png", "copy.jpg"}
    assert {pair.split_a, pair.split_b} == {"train", "test"}
    assert pair.correlation > 0.8
    assert not pair.same_patient


def test_a_set_named_twice_is_refused(refused):
    assert "is named twice" in refused("data", "duplicates", "phantom", *PHANTOM, "phantom", *PHANTOM)
    assert "--shown is -1" in refused("data", "duplicates", "phantom", "--shown", "-1")
