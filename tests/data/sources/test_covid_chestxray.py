"""Is the COVID-19 image data collection read rightly: findings of all generations, notes, licences, real rows, faults?"""

import numpy as np
import pandas as pd
import pytest
from made_images import write_images, write_rows

from cxrvl.data.sources.covid_chestxray import LABEL_MAP, CovidChestXray
from cxrvl.data.sources.covid_findings import DIAGNOSES, read_findings
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

# The collection's own header; this folder's copy has `file` first and no modality and folder.
HEADER = (
    "patientid,offset,sex,age,finding,RT_PCR_positive,survival,intubated,view,modality,date,location,folder,filename,"
    "doi,url,license,clinical_notes,other_notes"
)
ROWS = [
    '2,0,M,65,Pneumonia/Viral/COVID-19,Y,Y,N,PA,X-ray,2020,"A, B",images,a.jpg,,,CC BY 4.0,Patchy opacity on the left.,',
    "2,3,M,65,Pneumonia/Viral/COVID-19,Y,Y,N,AP Supine,X-ray,2020,,images,b.jpg,,,CC BY 4.0,,credit",
    "2,3,M,65,Pneumonia/Viral/COVID-19,Y,Y,N,Axial,CT,2020,,volumes,c.nii.gz,,,CC BY 4.0,,",
    "7,,F,,No Finding,,,,L,X-ray,2019,,images,d.jpg,,,,,",
    "9,,,40,todo,,,,PA,X-ray,2019,,images,e.jpg,10.6084/m9.figshare.12275009,,CC0,,",
]


@pytest.fixture
def collection(tmp_path):
    write_rows(tmp_path / "metadata.csv", HEADER, ROWS)
    write_images(tmp_path / "images", ["a.jpg", "b.jpg", "d.jpg", "e.jpg"])
    return tmp_path


def findings(*texts):
    return read_findings(pd.Series(texts, name="finding", dtype=object), "metadata.csv")


@pytest.mark.parametrize(
    ("text", "positive"),
    [
        ("Pneumonia/Viral/COVID-19", {"Pneumonia", "Viral", "COVID-19"}),
        ("COVID-19, ARDS", {"Pneumonia", "Viral", "COVID-19", "ARDS"}),
        ("Mycoplasma Bacterial Pneumonia", {"Pneumonia", "Bacterial"}),
        ("Pneumonia/Viral/Herpes ", {"Pneumonia", "Viral"}),
        ("Pneumonia/Bacterial/Staphylococcus/MRSA", {"Pneumonia", "Bacterial"}),
        ("Pneumocystis", {"Pneumonia", "Fungal"}),
        ("Lipoid", {"Pneumonia"}),
        ("Pneumonia", {"Pneumonia"}),
        ("ARDS", {"ARDS"}),
        ("Tuberculosis", {"Tuberculosis"}),
        ("No Finding", {"No Finding"}),
    ],
)
def test_findings_of_all_generations(text, positive):
    row = findings(text).iloc[0]
    assert set(row.index[row == 1]) == positive
    assert set(row.index[row == 0]) == set(DIAGNOSES) - positive


@pytest.mark.parametrize("text", ["todo", "Unknown", "", None, " TODO "])
def test_unlabelled_is_not_negative(text):
    assert findings(text).isna().all(axis=None)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Pneumothorax", r"row 2, column 'finding': found 'Pneumothorax', where 'Pneumothorax' is no known diagnosis"),
        ("COVID-19, 2", r"row 2, .*'2' is no known"),
        ("No Finding, ARDS", r"row 2, .*No Finding beside a diagnosis"),
        ("SARS-CoV-3", r"row 2, .*no known diagnosis"),
    ],
)
def test_other_findings_are_refused(text, words):
    with pytest.raises(DataError, match=words):
        findings("COVID-19", text)


def test_the_collection_as_cloned(collection):
    table = CovidChestXray(collection).table()
    frame = table.frame
    assert frame["image"].tolist() == ["images/a.jpg", "images/b.jpg", "images/d.jpg", "images/e.jpg"]
    assert frame["view"].tolist() == ["PA", "AP", "L", "PA"]
    assert frame["position"].tolist() == ["PA", "AP Supine", "L", "PA"]
    assert frame["notes"].tolist() == ["Patchy opacity on the left.", "", "", ""]
    assert frame["license"].tolist() == ["CC BY 4.0", "CC BY 4.0", "", "CC0"]
    assert table.labels == ("Pneumonia", "Tuberculosis", "COVID-19", "No Finding")
    np.testing.assert_array_equal(table.targets(), np.float32([[1, 0, 1, 0], [1, 0, 1, 0], [0, 0, 0, 1], [np.nan] * 4]))
    joined = "; ".join(table.notes)
    assert "1 rows that are no X-ray" in joined
    assert "1 of 4 images have no diagnosis" in joined
    assert "1 images are from mhh_covid19" in joined
    assert "2 CC BY 4.0, 1 none stated, 1 CC0" in joined
    frontal = CovidChestXray(collection, views=["AP", "PA"]).table()
    assert len(frontal) == 3
    assert "text" in frontal.fingerprint()


def test_the_map_decides_about_labels(collection):
    label_map = LABEL_MAP | {"Pneumonia": None, "ARDS": "Lung Opacity"}
    table = CovidChestXray(collection, label_map=label_map).table()
    assert table.labels == ("Lung Opacity", "Tuberculosis", "COVID-19", "No Finding")
    assert CovidChestXray(collection, labels=["COVID-19"]).table().labels == ("COVID-19",)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("patientid", "Patientid", r"column 'patientid' is missing"),
        ("license", "view", r"column 'view' appears twice"),
        ("No Finding", "2", r"row 4, column 'finding': found '2'"),
        (",PA,X-ray", ",oblique,X-ray", r"row 1, column 'view': found 'oblique', expected one of PA, AP"),
        ("images,b.jpg", "images,../../etc", r"row 2, image 'images/../../etc': .*may leave the root"),
        ("images,b.jpg", "images,", r"row 2, column 'filename': it is empty"),
        ("images,b.jpg", "images,b2.jpg", r"row 2, image 'images/b2.jpg': the file is not below"),
        ("F,,No", "F,old,No", r"row 4, .*age is 'old', expected a number"),
    ],
)
def test_faults_name_file_and_row(collection, old, new, words):
    path = collection / "metadata.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(DataError, match=words):
        CovidChestXray(collection).table()


def test_subset_drops_absent_images_and_says_so(collection):
    (collection / "images/b.jpg").unlink()
    table = CovidChestXray(collection, subset=True).table()
    assert len(table) == 3
    assert "subset: 3 of 4 images of metadata.csv are on disk" in table.notes


def test_real_copy(shared):
    source = CovidChestXray(shared / "data/covid_chestxray")
    table = source.table()
    raw = pd.read_csv(shared / "data/covid_chestxray/metadata.csv", dtype=str, keep_default_na=False)
    assert len(table) == 246
    assert table.frame["patient"].nunique() == raw["patientid"].nunique()
    values = dict(zip(table.labels, table.targets().T, strict=True))
    assert (values["COVID-19"] == 1).sum() == raw["finding"].str.contains("COVID-19").sum() == 163
    assert (values["No Finding"] == 1).sum() == 12
    np.testing.assert_array_equal(np.isnan(values["Pneumonia"]), raw["finding"] == "todo")
    # All other diagnoses here are kinds of pneumonia, but for the two of ARDS alone.
    assert (values["Pneumonia"] == 0).sum() == 12 + 2
    assert table.frame["view"].value_counts().to_dict() == {"PA": 154, "AP": 92}
    assert (table.frame["notes"] != "").sum() == (raw["clinical_notes"].str.strip() != "").sum()
    assert any(note.startswith("85 images are from mhh_covid19") for note in table.notes)
    for key in table.frame["image"][:3]:
        assert min(source.read(key).shape) == 256


def test_real_copy_names_the_images_it_shares_with_hannover(shared):
    """Half of the overlap can be told by name, before any hash: a case for the near-duplicate check."""
    ours = CovidChestXray(shared / "data/covid_chestxray").table().frame
    hannover = pd.read_csv(shared / "data/mhh_covid19/data.csv")["image_id"]
    stems = ours["image"].str.extract(r"images/(.*)\.jpg")[0]
    shared_names = stems.isin(hannover)
    assert shared_names.sum() == 75
    assert ours.loc[shared_names, "doi"].str.contains("figshare.12275009").all()


def test_joins_with_hannover(shared):
    from cxrvl.data.sources.mhh_covid19 import MHHCovid19

    tables = [CovidChestXray(shared / "data/covid_chestxray").table(), MHHCovid19(shared / "data/mhh_covid19").table()]
    joint = StudyTable.concat(tables, ("COVID-19", "Pneumonia"))
    assert len(joint) == 246 + 243
    assert np.isnan(joint.targets()[246:, 1]).all()
