"""Is the Shenzhen set read rightly: names, readings, palette images, and every fault by file?"""

import numpy as np
import pytest
from made_images import write_images

from cxrvl.data.sources.shenzhen import Shenzhen
from cxrvl.errors import DataError

READINGS = {
    "CHNCXR_0001_0": b"Male 45yrs\nnormal",
    "CHNCXR_0002_0": b"female, 24 yrs\nnormal",
    "CHNCXR_0327_1": b"male 36yrs\nopacities in the right upper field\n1 cm \xb1 2 mm",
    "CHNCXR_0328_1": b"",
}


@pytest.fixture
def downloaded(tmp_path):
    write_images(tmp_path, [f"CXR_png/{name}.png" for name in READINGS], mode="P")
    (tmp_path / "ClinicalReadings").mkdir()
    for name, text in READINGS.items():
        (tmp_path / f"ClinicalReadings/{name}.txt").write_bytes(text)
    (tmp_path / "CXR_png/Thumbs.db").write_bytes(b"x")
    return tmp_path


def test_as_downloaded(downloaded):
    source = Shenzhen(downloaded)
    table = source.table()
    frame = table.frame
    assert frame["image"].tolist() == [f"CXR_png/{name}.png" for name in READINGS]
    assert frame["patient"].tolist() == ["0001", "0002", "0327", "0328"]
    assert table.labels == ("Tuberculosis", "No Finding")
    np.testing.assert_array_equal(table.targets(), [[0, 1], [0, 1], [1, 0], [1, 0]])
    assert frame["sex"].tolist() == ["M", "F", "M", ""]
    np.testing.assert_array_equal(frame["age"], [45, 24, 36, np.nan])
    assert frame["findings"].tolist() == ["normal", "normal", "opacities in the right upper field\n1 cm ± 2 mm", ""]
    assert {"shenzhen: 4 of 662 images are here", "shenzhen: 1 readings without text"} <= set(table.notes)
    image = source.read(frame["image"][0])
    assert image.shape == (6, 8)
    assert 0 <= image.min() < image.max() <= 1


def test_without_readings(downloaded):
    for path in (downloaded / "ClinicalReadings").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"CHNCXR_0001_0.txt: the clinical reading cannot be opened .*readings=null"):
        Shenzhen(downloaded).table()
    table = Shenzhen(downloaded, readings=None).table()
    assert "findings" not in table.frame
    assert table.frame["age"].isna().all()


def test_reading_that_says_otherwise_is_counted(downloaded):
    (downloaded / "ClinicalReadings/CHNCXR_0328_1.txt").write_text("male 30yrs\nNormal.")
    assert "shenzhen: 1 images named tuberculosis whose reading is 'normal'" in Shenzhen(downloaded).table().notes


@pytest.mark.parametrize("name", ["CHNCXR_0329_2.png", "CHNCXR_0329.png", "MCUCXR_0001_0.png", "mask/CHNCXR_1_1.png"])
def test_other_names_are_refused(downloaded, name):
    write_images(downloaded, [f"CXR_png/{name}"])
    with pytest.raises(DataError, match=rf"found the image 'CXR_png/{name}', expected names such as CHNCXR_0001_0.png"):
        Shenzhen(downloaded).table()


def test_broken_reading_and_absent_images(downloaded):
    (downloaded / "ClinicalReadings/CHNCXR_0002_0.txt").write_bytes(b"m\0a\0l\0e\0")
    with pytest.raises(DataError, match=r"CHNCXR_0002_0.txt: the clinical reading is no text"):
        Shenzhen(downloaded).table()
    with pytest.raises(DataError, match=r"no such folder; set data\.root"):
        Shenzhen(downloaded, images="png").table()
    with pytest.raises(DataError, match="found no image, expected names such as"):
        Shenzhen(downloaded, images="ClinicalReadings").table()


def test_impossible_age_names_the_image(downloaded):
    (downloaded / "ClinicalReadings/CHNCXR_0002_0.txt").write_text("male 450yrs\nnormal")
    with pytest.raises(DataError, match=r"image 'CXR_png/CHNCXR_0002_0.png': age 450 years"):
        Shenzhen(downloaded).table()
