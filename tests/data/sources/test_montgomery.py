"""Is the Montgomery set read rightly: names, readings, lung masks?"""

import numpy as np
import pytest
from made_images import write_images

from cxrvl.data.sources.montgomery import Montgomery
from cxrvl.errors import DataError

READINGS = {
    "MCUCXR_0001_0": "Patient's Sex: F\nPatient's Age: 027Y\nnormal\n",
    "MCUCXR_0104_1": "Patient's Sex: M\nPatient's Age: 061Y\nopacity in the left apex\n",
    "MCUCXR_0108_1": "Patient's Sex: O\nPatient's Age: \nscars\n",
}


@pytest.fixture
def downloaded(tmp_path):
    write_images(tmp_path, [f"CXR_png/{name}.png" for name in READINGS])
    (tmp_path / "ClinicalReadings").mkdir()
    for name, text in READINGS.items():
        (tmp_path / f"ClinicalReadings/{name}.txt").write_text(text)
    for side in ("leftMask", "rightMask"):
        write_images(tmp_path, [f"ManualMask/{side}/MCUCXR_0001_0.png"])
    return tmp_path


def test_as_downloaded(downloaded):
    source = Montgomery(downloaded)
    table = source.table()
    frame = table.frame
    assert frame["patient"].tolist() == ["0001", "0104", "0108"]
    np.testing.assert_array_equal(table.targets(), [[0, 1], [1, 0], [1, 0]])
    assert frame["sex"].tolist() == ["F", "M", ""]
    assert frame["findings"].tolist()[1] == "opacity in the left apex"
    np.testing.assert_array_equal(frame["age"], [27, 61, np.nan])
    assert frame["left_mask"].tolist() == ["ManualMask/leftMask/MCUCXR_0001_0.png", "", ""]
    assert "montgomery: 1 readings without a sex or an age that can be read" in table.notes
    # Masks are columns, never images of their own.
    assert len(frame) == 3
    assert source.read(frame["right_mask"][0]).shape == (6, 8)
    assert table.split_name == "montgomery: stratified by patient 0.7/0.1/0.2 seed 0"


def test_names_of_the_other_set_are_refused(downloaded):
    write_images(downloaded, ["CXR_png/CHNCXR_0001_0.png"])
    with pytest.raises(DataError, match=r"found the image 'CXR_png/CHNCXR_0001_0.png', expected .*MCUCXR_0001_0.png"):
        Montgomery(downloaded).table()
