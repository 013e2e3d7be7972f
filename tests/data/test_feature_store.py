"""Are stored features those of their input and their network, whoever wrote them and wherever it was killed?"""

import numpy as np
import pytest

from cxrvl.data.feature_store import FeatureStore, content_key
from cxrvl.errors import DataError
from cxrvl.files import read_json, write_json

NETWORK, OTHER = "ab" * 32, "ab" * 8 + "cd" * 24  # the same folder name, another network


def keys(*words):
    return [content_key(word.encode()) for word in words]


def values(count, width=3, start=0.0):
    return (np.arange(count * width, dtype=np.float32) + start).reshape(count, width)


def test_what_was_added_is_found_again_by_another_process(tmp_path):
    store = FeatureStore(tmp_path, "text_tower", NETWORK)
    assert store.missing(keys("a", "b", "a")) == [0, 1]
    store.add(keys("a", "b"), values(2))
    again = FeatureStore(tmp_path, "text_tower", NETWORK)
    assert len(again) == 2
    np.testing.assert_array_equal(again.take(keys("b", "a", "b")), values(2)[[1, 0, 1]])
    store.add(keys("c"), values(1, start=50))
    assert again.missing(keys("a", "c")) == []
    np.testing.assert_array_equal(again.take(keys("c")), values(1, start=50))


def test_what_another_process_added_first_stays(tmp_path):
    one, other = (FeatureStore(tmp_path, "text_tower", NETWORK) for _ in range(2))
    one.add(keys("a"), values(1))
    other.add(keys("a", "b"), values(2, start=100))
    np.testing.assert_array_equal(other.take(keys("a", "b")), [values(1)[0], values(2, start=100)[1]])
    assert len(FeatureStore(tmp_path, "text_tower", NETWORK)) == 2


def test_values_without_a_key_are_overwritten(tmp_path):
    store = FeatureStore(tmp_path, "text_tower", NETWORK)
    store.add(keys("a"), values(1))
    with (store.folder / "values.f32").open("ab") as file:
        file.write(b"killed here")
    with (store.folder / "keys.bin").open("ab") as file:
        file.write(b"half a key")
    again = FeatureStore(tmp_path, "text_tower", NETWORK)
    assert len(again) == 1
    again.add(keys("b"), values(1, start=9))
    np.testing.assert_array_equal(
        FeatureStore(tmp_path, "text_tower", NETWORK).take(keys("a", "b")), [values(1)[0], values(1, start=9)[0]]
    )


def test_features_of_another_network_are_refused(tmp_path):
    FeatureStore(tmp_path, "text_tower", NETWORK).add(keys("a"), values(1))
    with pytest.raises(DataError, match=r"features of another network .SHA-256 abababababababab.*remove the folder"):
        FeatureStore(tmp_path, "text_tower", OTHER)
    fresh = FeatureStore(tmp_path, "image_tower", OTHER)
    assert len(fresh) == 0


def test_a_damaged_store_is_refused(tmp_path):
    store = FeatureStore(tmp_path, "text_tower", NETWORK)
    store.add(keys("a", "b"), values(2))
    with (store.folder / "values.f32").open("r+b") as file:
        file.truncate(5)
    with pytest.raises(DataError, match="is damaged: 2 keys, 5 bytes"):
        FeatureStore(tmp_path, "text_tower", NETWORK)
    write_json(store.folder / "store.json", read_json(store.folder / "store.json") | {"format": 0})
    with pytest.raises(DataError, match="another format"):
        FeatureStore(tmp_path, "text_tower", NETWORK)


def test_no_numbers_and_other_widths_are_refused(tmp_path):
    store = FeatureStore(tmp_path, "text_tower", NETWORK)
    with pytest.raises(DataError, match="NaN or infinite"):
        store.add(keys("a"), np.array([[1.0, np.nan]], dtype=np.float32))
    store.add(keys("a"), values(1))
    with pytest.raises(DataError, match="width 3, found 4"):
        store.add(keys("b"), values(1, width=4))


def test_keys_tell_parts_apart():
    assert content_key(b"ab", b"c") != content_key(b"a", b"bc")
