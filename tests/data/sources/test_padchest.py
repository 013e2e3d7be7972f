"""Is PadChest read rightly: lists of terms without evaluation, labels, views, keys, and every fault by file and row?"""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_sets import write_padchest

from cxrvl.data.labels import VOCABULARY
from cxrvl.data.sources.base import Source
from cxrvl.data.sources.padchest import FILE, PadChest
from cxrvl.data.sources.padchest_terms import OTHER_TERMS, TERM_MAP, parse_terms
from cxrvl.errors import DataError

ALL = {"by": "patient", "fractions": {"train": 1.0}, "seed": 0}


@pytest.fixture
def toy(tmp_path):
    return write_padchest(tmp_path)


def read(root, **options):
    return PadChest(root, **{"split": ALL, **options}).table()


def test_rows_and_labels(toy):
    source = PadChest(toy, split=ALL)
    table = source.table()
    frame = table.frame
    assert isinstance(source, Source)
    assert pickle.loads(pickle.dumps(source)).table().fingerprint() == table.fingerprint()
    assert frame["image"].tolist() == ["0/a1.png", "0/a2.png", "14/b1.png", "14/c1.png", "54/d1.png", "54/e1.png"]
    assert frame["view"].tolist() == ["PA", "L", "AP", "PA", "COSTAL", "EXCLUDE"]
    assert frame["position"].iloc[2] == "AP_horizontal"
    assert frame["sex"].tolist() == ["F", "F", "M", "", "", "F"]
    np.testing.assert_array_equal(frame["age"], np.float32([84, 84, 65, 55, np.nan, np.nan]))
    assert frame["report"].iloc[2] == "derram pleural izquierd ."
    assert frame["method"].tolist() == ["Physician"] * 2 + ["RNN_model"] * 4
    assert set(table.labels) <= set(VOCABULARY)
    positive = [{label for label in table.labels if row[label] == 1} for _, row in frame.iterrows()]
    assert positive == [
        {"No Finding"}, {"No Finding"}, {"Effusion", "Support Devices"}, {"Cardiomegaly"}, set(),
        {"Effusion", "Pneumothorax"},
    ]  # fmt: skip
    # "Unchanged" denies nothing; the row without a list states nothing.
    assert np.isnan(table.targets()[3]).sum() == len(table.labels) - 1
    assert np.isnan(table.targets()[4]).all()
    assert (table.targets()[[0, 1, 2, 5]] >= 0).all()
    assert table.notes == (
        f"{FILE}: 1 of 6 images have no readable list of findings and no labels",
        f"{FILE}: 1 ages below 0 or above 130 years are unknown",
    )


def test_choices(toy):
    table = read(toy, views=["PA", "AP"], methods=["RNN_model"], labels=["Effusion", "Cardiomegaly"])
    assert table.frame["image"].tolist() == ["14/b1.png", "14/c1.png"]
    assert table.labels == ("Effusion", "Cardiomegaly")
    assert "report" not in read(toy, reports=False).frame
    own = read(toy, label_map={"COPD signs": "Emphysema", "normal": "No Finding"})
    assert own.frame["Emphysema"].tolist()[:3] == [0, 0, 1]
    default = PadChest(toy).table()
    assert default.split_name == "padchest: stratified by patient 0.7/0.1/0.2 seed 0"
    assert default.frame.groupby("patient")["split"].nunique().max() == 1


def test_one_folder_of_images_and_subset(toy):
    (toy / "all").mkdir()
    for path in sorted(toy.glob("*/*.png"))[1:]:
        path.rename(toy / "all" / path.with_suffix(".jpg").name)
    with pytest.raises(DataError, match=r"row 1, image 'all/a1.jpg': the file is not below"):
        read(toy, image_dirs="all", image_suffix=".jpg")
    table = read(toy, image_dirs="all", image_suffix=".jpg", subset=True)
    assert len(table) == 5
    assert table.notes[-1].startswith("subset: 5 of 6")


def test_sixteen_bit_png_uses_its_bits(toy):
    pixels = np.linspace(0, 4095, 64, dtype=np.uint16).reshape(8, 8)
    Image.fromarray(pixels).save(toy / "0" / "a1.png")
    image = PadChest(toy).read("0/a1.png")
    np.testing.assert_allclose(image, pixels / 4095, atol=1e-6)


def test_gzipped_table(toy):
    import gzip

    plain = read(toy).fingerprint()
    (toy / f"{FILE}.gz").write_bytes(gzip.compress((toy / FILE).read_bytes()))
    (toy / FILE).unlink()
    assert read(toy).fingerprint() == plain


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("a2.png", "../a2.png", "row 2, column 'ImageID': found '../a2.png'"),
        ("a2.png", "a1.png", "row 2, .*already used in row 1"),
        ("a2.png,0", "a2.png,/etc", "row 2, column 'ImageDir': found '/etc', expected a number"),
        (",PA,", ",XY,", "row 1, column 'Projection': found 'XY'"),
        ("['normal']", "['norml']", r"row 1, column 'Labels': found 'norml', .*did you mean 'normal'.*norml: null"),
        ("['normal']", "['2']", "row 1, column 'Labels': found '2', which PadChest does not know"),
        ("['normal']", "__import__('os')", "row 1, column 'Labels': found .*expected a list"),
        ("['normal']", "['normal'", "row 1, column 'Labels': found"),
        (",p2,", ",,", "row 3, .*no patient"),
        (",M,AP,", ",X,AP,", "row 3, column 'PatientSex_DICOM': found 'X'"),
        (",MethodLabel,", ",Method,", "column 'MethodLabel' is missing"),
        (",Localizations,", ",Labels,", "column 'Labels' appears twice"),
    ],
)
def test_faults_name_file_and_row(toy, old, new, words):
    text = (toy / FILE).read_text()
    assert old in text
    (toy / FILE).write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words) as error:
        read(toy)
    assert FILE in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"views": ["XX"]}, r"no image has the view XX; views there: PA \(2\)"),
        ({"methods": ["Robot"]}, "no row has Robot; found Physician, RNN_model"),
        ({"labels": ["Masses"]}, "did you mean 'Mass'"),
        ({"label_map": {"normal": "Normal"}}, "label_map points to 'Normal'"),
        ({"file": "other.csv"}, "other.csv: no such file"),
        ({"split": {"by": "image"}}, "expected by: patient"),
    ],
)
def test_bad_options(toy, options, words):
    with pytest.raises(DataError, match=words):
        read(toy, **options)


@given(st.lists(st.sampled_from(sorted(OTHER_TERMS)).map(lambda term: f" {term} "), max_size=6))
@settings(max_examples=50)
def test_printed_lists_are_read_back(terms):
    assert parse_terms(str(terms)) == [term.strip() for term in terms]


@given(st.text(alphabet="[]'\", nanbc\\(", max_size=20))
@settings(max_examples=200)
def test_a_list_or_nothing(text):
    terms = parse_terms(text)
    assert terms is None or all(term == term.strip().lower() and term for term in terms)


@pytest.mark.parametrize("text", ["", "nan", "[", "['a' 'b']", "['a',]x", "['a'", "[a]", "{'a'}", "['a'] + ['b']"])
def test_no_list(text):
    assert parse_terms(text) is None


def test_every_term_has_one_place():
    assert not OTHER_TERMS & set(TERM_MAP)
    assert all(term == " ".join(term.split()).lower() for term in {*OTHER_TERMS, *TERM_MAP})


def test_the_full_table(tmp_path):
    """The real table, as the package torchxrayvision ships it."""
    package = importlib.util.find_spec("torchxrayvision")
    if package is None or package.origin is None:
        pytest.skip("torchxrayvision is not installed")
    full = Path(package.origin).parent / "data" / f"{FILE}.gz"
    (tmp_path / f"{FILE}.gz").symlink_to(full)
    table = PadChest(tmp_path, check_files=False).table()
    assert 150_000 < len(table) <= 160_868
    assert (table.frame["No Finding"] == 1).sum() > 30_000
