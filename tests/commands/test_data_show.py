"""`cxrvl data show` counts without giving patients away, writes one page that needs nothing else, and refuses in one line."""

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cxrvl.data.sources.phantom import PhantomSource

SECRET = "Secretname was seen here"
HOSTILE = f"{SECRET}. No effusion. <script>alert(1)</script> <img src=http://example.org/x.png> \x1b[2J"


@pytest.fixture
def data_set(tmp_path):
    """Six real files of three patients, one of them with a hostile report; return the overrides."""
    source = PhantomSource(6, size=48)
    (tmp_path / "img").mkdir()
    rows = []
    for i in range(6):
        pixels = (source.read(source.key(i)) * 255).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / "img" / f"secretkey{i}.png")
        rows.append(
            {
                "file": f"img/secretkey{i}.png", "patient": f"p{i // 2}", "study": f"s{i}", "split": "train" if i < 4 else "test",
                "Effusion": i % 2, "text": HOSTILE if i == 1 else "",
            }
        )  # fmt: skip
    pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
    columns = "{image: file, patient: patient, study: study, split: split, findings: text}"
    return (
        "data=manifest", f"data.root={tmp_path}", "data.source.name=tiny", "data.source.file=table.csv",
        f"data.source.columns={columns}", "data.source.labels=[Effusion]", "data.labels=[Effusion]",
        "data.source.split=null", "data.store.size=32", "data.input_size=32", f"data.store_root={tmp_path}/stores",
    )  # fmt: skip


def pictures(page: str) -> list[np.ndarray]:
    found = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in found]


def test_phantom_is_called_synthetic_and_its_pictures_open(call, tmp_path):
    result = call("data", "show", "phantom", "data.source.images=40", "--html", "out/page.html", "--images", "6")
    assert result.code == 0, result.err
    assert "phantom: 40 images" in result.out
    assert "Synthetic images" in result.out
    page = (tmp_path / "out" / "page.html").read_text()
    assert "Synthetic" in page
    assert "stays on this machine" not in page
    assert page.count("<figcaption>synthetic, ") == len(pictures(page)) >= 6
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["page.html"]


def test_terminal_gives_no_patient_away_unless_asked(call, data_set):
    plain = call("data", "show", *data_set)
    assert plain.code == 0, plain.err
    assert re.search(r"findings +1 +83\.3%", plain.out)
    for word in ("Secretname", "secretkey", "\x1b"):
        assert word not in plain.out + plain.err
    asked = call("data", "show", *data_set, "--examples")
    assert "Secretname" in asked.out
    assert "secretkey1" in asked.out
    assert "\x1b" not in asked.out
    assert "absent: Effusion" in asked.out


def test_page_shows_reports_escaped_beside_their_image(call, data_set, tmp_path):
    assert call("data", "show", *data_set, "--html", "page.html").code == 0
    page = (tmp_path / "page.html").read_text()
    assert SECRET in page
    assert "<script" not in page
    assert "\x1b" not in page
    assert all(address.startswith("data:") for address in re.findall(r'<[^>]+(?:src|href)="([^"]*)"', page))
    assert re.search(r'<mark class="absent" title="Effusion: absent[^"]*">effusion</mark>', page)
    assert "stays on this machine" in page
    story = page[page.index("<h2>Reports</h2>") :]
    assert "secretkey1" in story
    assert len(pictures(story)) == 1


def test_boxes_are_drawn_where_they_are(call, data_set, tmp_path):
    box = {"file": "img/secretkey1.png", "finding": "Effusion", "x0": 12, "y0": 12, "x1": 36, "y1": 36}
    pd.DataFrame([box]).to_csv(tmp_path / "boxes.csv", index=False)
    boxes = (
        "+data.source.boxes={file: boxes.csv, image: file, label: finding, corners: [x0, y0, x1, y1], size: [48, 48]}"
    )
    result = call("data", "show", *data_set, boxes, "--html", "page.html", "--images", "6")
    assert result.code == 0, result.err
    page = (tmp_path / "page.html").read_text()
    assert "boxes: Effusion" in page
    coloured = [picture for picture in pictures(page) if picture.ndim == 3]
    assert len(coloured) == 3  # on the random sheet, on the label's, and beside the report
    for picture in coloured:
        yellow = (picture[..., 0] > 190) & (picture[..., 1] > 180) & (picture[..., 2] < 140)
        rows, columns = np.nonzero(yellow)
        shares = np.array([rows.min(), rows.max(), columns.min(), columns.max()]) / len(picture)
        assert np.allclose(shares, [0.25, 0.75, 0.25, 0.75], atol=0.02)


def test_reports_alone_need_no_image(call, tmp_path):
    result = call("data", "show", "phantom_reports", "data.source.images=60", "--html", "page.html", "--reports", "5")
    assert result.code == 0, result.err
    assert "phantom: 60 reports" in result.out
    assert "60 images" not in result.out
    assert "Pixels" not in result.out
    page = (tmp_path / "page.html").read_text()
    assert page.count("<article>") == 5
    assert "<mark" in page
    assert not pictures(page)


def test_a_mixture_is_shown_by_source(call, tmp_path):
    sizes = ("data.source.sources.0.images=30", "data.source.sources.1.images=20")
    result = call("data", "show", "mixture", *sizes, "--html", "page.html", "--images", "4")
    assert result.code == 0, result.err
    assert re.search(r"hospital_a +30 ", result.out)
    assert re.search(r"hospital_b +20 ", result.out)
    assert "Positive by source" in result.out
    page = (tmp_path / "page.html").read_text()
    for title in ("Random sample of hospital_a", "Random sample of hospital_b", "hospital_b: 20 images"):
        assert title in page


def test_text_and_pictures_can_be_left_out(call, tmp_path):
    result = call(
        "data", "show", "phantom_pairs", "data.source.images=40", "--html", "p.html", "--images", "0", "--reports", "0"
    )
    assert result.code == 0, result.err
    page = (tmp_path / "p.html").read_text()
    assert not pictures(page)
    assert "<article>" not in page
    assert "Pixels" not in result.out


def test_another_seed_shows_other_images(call, tmp_path):
    pages = []
    for seed in ("0", "0", "1"):
        call("data", "show", "phantom", "data.source.images=60", "--images", "5", "--seed", seed, "--html", "p.html")
        pages.append((tmp_path / "p.html").read_text())
    assert pages[0] == pages[1] != pages[2]


def test_a_prepared_store_is_shown_as_training_sees_it(call, data_set, tmp_path):
    assert call("prepare", *data_set).code == 0
    (tmp_path / "img" / "secretkey0.png").touch()
    result = call("data", "show", *data_set, "--html", "page.html")
    assert "Read from the image store, as training sees them." in result.out
    assert {picture.shape[:2] for picture in pictures((tmp_path / "page.html").read_text())} == {(32, 32)}


def test_unreadable_images_are_shown_and_warned_of(call, refused, data_set, tmp_path):
    (tmp_path / "img" / "secretkey2.png").write_bytes(b"no image")
    result = call("data", "show", *data_set, "--html", "page.html")
    assert result.code == 0
    assert "warning: 1 of 6 images" in result.err
    assert "unreadable: " in (tmp_path / "page.html").read_text()
    for i in range(6):
        (tmp_path / "img" / f"secretkey{i}.png").write_bytes(b"no image")
    before = (tmp_path / "page.html").read_text()
    assert "none of the 6 images looked at can be read" in refused("data", "show", *data_set, "--html", "page.html")
    assert (tmp_path / "page.html").read_text() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("phantom", "--images", "-1"), "--images is -1"),
        (("phantom", "--seed", "-3"), "--seed is -3"),
        (("phantom", "--html", "."), "is a folder"),
        (("fantom",), "phantom"),
        (("nih14", "data.root=/nowhere"), "/nowhere"),
        (("manifest",), "missing mandatory value"),
        (("phantom", "data.source.image=3"), "images"),
    ],
)
def test_bad_input_is_one_clear_line(refused, arguments, said):
    assert said in refused("data", "show", *arguments)


def test_real_sets_have_a_page(call, shared, tmp_path):
    for name, rows, more in (
        ("nih14", "1,938 images", ("data.source.image_suffix=.jpg",)),
        ("kermany", "2,210 images", ()),
        ("mhh_covid19", "243 images", ()),
        ("covid_chestxray", "246 images", ()),
        ("openi", "3,955 reports", ("data.source.subset=true",)),
    ):
        options = ("--images", "3", "--reports", "3", "--html", f"{name}.html")
        result = call("data", "show", name, f"data.root={shared / 'data' / name}", *more, *options)
        assert result.code == 0, result.err
        assert rows in result.out
        assert pictures((tmp_path / f"{name}.html").read_text())
    report = (tmp_path / "openi.html").read_text().split("<h2>Reports</h2>")[1]
    assert "<mark" in report
    assert len(pictures(report)) >= 1
