"""Are absent files, links out of the root and unsafe keys found, in whatever folders?"""

import numpy as np
import pytest

from cxrvl.data.files import FOLDER, MISSING, OUTSIDE, file_sizes, unsafe_key


@pytest.mark.parametrize(
    "key", ["", "/a.png", "../a.png", "a/../b.png", "./a.png", "a//b.png", "C:/a.png", "a\\b", "a\0"]
)
def test_unsafe_keys(key):
    assert unsafe_key(key) is not None


@pytest.mark.parametrize("key", ["a.png", "images/a b.png", "images_001/images/00000001_000.png", "..a/b..png"])
def test_safe_keys(key):
    assert unsafe_key(key) is None


@pytest.mark.parametrize("n", [1, 30])
def test_sizes_links_and_absent_files(tmp_path, n):
    root, away = tmp_path / "root", tmp_path / "away"
    (root / "a").mkdir(parents=True)
    away.mkdir()
    (away / "secret.png").write_bytes(b"123456")
    for i in range(n):
        (root / "a" / f"{i}.png").write_bytes(b"x" * (i + 1))
    (root / "a" / "out.png").symlink_to(away / "secret.png")
    (root / "a" / "in.png").symlink_to(root / "a" / "0.png")
    (root / "a" / "folder.png").mkdir()
    (root / "b").symlink_to(away)
    keys = [f"a/{i}.png" for i in range(n)]
    keys += ["a/out.png", "a/in.png", "a/folder.png", "a/none.png", "none/none.png", "b/secret.png"]
    sizes = file_sizes(root, keys)
    np.testing.assert_array_equal(sizes[:n], np.arange(1, n + 1))
    assert sizes[n:].tolist() == [OUTSIDE, 1, FOLDER, MISSING, MISSING, OUTSIDE]


def test_root_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"abc")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert file_sizes(tmp_path / "link", ["a.png"]).tolist() == [3]
