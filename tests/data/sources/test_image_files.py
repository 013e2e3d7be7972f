"""Are images found once each, in a fixed order, whatever else lies in their folders?"""

import pytest
from made_images import write_images

from cxrvl.data.sources.image_files import image_keys, images_by_name
from cxrvl.errors import DataError


def test_images_and_others_in_order(tmp_path):
    write_images(tmp_path, ["b/2.PNG", "b/1.jpeg", "a.jpg", "c/d/e/9.png"])
    for name in ("notes.txt", ".hidden.png", "b/Thumbs.db", ".git/x.png", "c/z.dcm", "c/z.dicom"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    images, others = image_keys(tmp_path)
    assert images == ["a.jpg", "b/1.jpeg", "b/2.PNG", "c/d/e/9.png", "c/z.dcm", "c/z.dicom"]
    assert others == ["b/Thumbs.db", "notes.txt"]
    assert image_keys(tmp_path, "c") == (["c/d/e/9.png", "c/z.dcm", "c/z.dicom"], [])


def test_a_circle_of_links_ends(tmp_path):
    write_images(tmp_path, ["a/1.png"])
    (tmp_path / "a/again").symlink_to(tmp_path)
    assert image_keys(tmp_path)[0] == ["a/1.png"]


def test_names_are_unique(tmp_path):
    write_images(tmp_path, ["a/1.png", "b/2.jpg", "c/1.jpg"])
    assert images_by_name(tmp_path, ["a", "b"]) == {"1": "a/1.png", "2": "b/2.jpg"}
    with pytest.raises(DataError, match=r"image '1' lies in two places, a/1.png and c/1.jpg; .*image_dirs"):
        images_by_name(tmp_path)


def test_an_absent_folder_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; set data\.root"):
        image_keys(tmp_path, "nowhere")
