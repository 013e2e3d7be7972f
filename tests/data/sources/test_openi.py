"""Is Open-i read whole: every report, the images that are there, labels from whoever is asked, and nothing broken?"""

import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from openi_reports import STUDIES, write_archive, write_pictures, write_tables, xml

from cxrvl.data.labels import CHESTXRAY14, NO_FINDING
from cxrvl.data.sources.base import ReportSource, Source
from cxrvl.data.sources.openi import OpenI
from cxrvl.data.sources.openi_files import OPENI_SECTIONS, read_reports
from cxrvl.data.sources.openi_labels import LABEL_MAPS
from cxrvl.data.sources.xml_reader import DEEPEST, LARGEST, parse_xml
from cxrvl.errors import DataError

NAN = float("nan")
MAP = {"gold": {"Cardiomegaly": "Cardiomegaly", "Hernia": None, "normal": "No Finding"}}
NLM = ["images/CXR3_IM-0001-1001.png", "images/CXR1_1_IM-0002-1001.png", "images/CXR1_1_IM-0002-2001.png",
       "images/CXR20_IM-0003-1001.png"]  # fmt: skip
KAGGLE = ["images/images_normalized/3_IM-0001-1001.dcm.png", "images/images_normalized/1_IM-0002-1001.dcm.png",
          "images/images_normalized/1_IM-0002-2001.dcm.png", "images/images_normalized/20_IM-0003-1001.dcm.png"]  # fmt: skip
R2GEN = ["iu/CXR3_IM-0001/0.png", "iu/CXR1_1_IM-0002/0.png", "iu/CXR1_1_IM-0002/1.png", "iu/CXR20_IM-0003-1001/0.png"]


@pytest.fixture
def root(tmp_path):
    write_archive(tmp_path / "NLMCXR_reports.tgz")
    write_tables(tmp_path)
    return tmp_path


def openi(root, **options):
    return OpenI(root, **{"label_map": MAP, "projections": "indiana_projections.csv", **options})


def test_every_report_with_and_without_images(root):
    source = openi(root)
    table = source.reports()
    assert isinstance(source, Source)
    assert isinstance(source, ReportSource)
    assert table.frame["study"].tolist() == table.frame["patient"].tolist() == STUDIES
    assert table.frame["images"].tolist() == [2, 1, 0, 1]
    assert table.frame["findings"].tolist()[:2] == ["Lungs are clear & dry.", "Heart is mildly enlarged. No effusion."]
    assert table.frame["impression"].iloc[3] == "A nodule, size < 1 cm, in the left apex."
    assert table.frame["comparison"].tolist() == [""] * 4
    assert table.count().loc["all", ["reports", "findings", "indication"]].tolist() == [4, 2, 4]
    assert any("labels for 2 of 4 reports" in note for note in table.notes)
    assert pickle.loads(pickle.dumps(source)).reports().fingerprint() == table.fingerprint()


@pytest.mark.parametrize("kind", ["folder", "table"])
def test_folder_and_kaggles_table_hold_the_same_reports(root, kind):
    archive = openi(root).reports()
    if kind == "folder":
        with tarfile.open(root / "NLMCXR_reports.tgz") as tar:
            for member in tar:
                (root / "xml" / Path(member.name).name).parent.mkdir(exist_ok=True)
                (root / "xml" / Path(member.name).name).write_bytes(tar.extractfile(member).read())
        (root / "xml" / "._1.xml").write_bytes(b"what a Mac leaves behind")
        assert openi(root, reports="xml").reports().fingerprint() == archive.fingerprint()
        return
    table = openi(root, reports="indiana_reports.csv").reports()
    assert table.frame["study"].tolist() == ["CXR1", "CXR3", "CXR20"]
    assert table.frame["images"].tolist() == [2, 1, 0]  # the projections list no image of CXR20
    assert table.frame["impression"].tolist() == archive.frame["impression"][archive.frame["study"] != "CXR7"].tolist()
    assert table.frame["indication"].tolist() == [""] * 3
    assert any("3 fields hold #NAME?" in note for note in table.notes)


@pytest.mark.parametrize("files", [NLM, KAGGLE, R2GEN], ids=["nlm", "kaggle", "r2gen"])
def test_images_in_every_layout(root, files):
    write_pictures(root, files)
    table = openi(root).table()
    assert table.frame["study"].tolist() == ["CXR1", "CXR1", "CXR3", "CXR20"]
    assert table.frame["image"].tolist() == [files[1], files[2], files[0], files[3]]
    assert table.frame["view"].tolist() == ["Frontal", "L", "Frontal", ""]
    assert table.frame["impression"].tolist()[:2] == ["Nothing acute."] * 2
    np.testing.assert_array_equal(table.targets(), np.float32([[0, 1], [0, 1], [1, 0], [NAN, NAN]]))
    assert openi(root).read(table.frame["image"].iloc[0]).shape == (8, 8)
    reports = openi(root).reports().frame.set_index("study")
    assert table.frame["split"].tolist() == reports.loc[table.frame["study"], "split"].tolist()
    assert table.reports().frame["study"].tolist() == ["CXR1", "CXR3", "CXR20"]
    assert openi(root, views=["L"]).table().frame["image"].tolist() == [files[2]]


def test_absent_reports(root):
    write_archive(root / "NLMCXR_reports.tgz", {"1.xml": xml(1).encode()})
    with pytest.raises(
        DataError, match=r"projections.csv: its images 3_IM-0001-1001 belong to no report .*subset=true"
    ):
        openi(root).reports()
    with pytest.raises(
        DataError, match=r"labels_14.csv, row 1: report 'CXR3' is not among the 1 reports .*subset=true"
    ):
        openi(root, projections=None).reports()
    table = openi(root, subset=True).reports()
    assert table.frame["study"].tolist() == ["CXR1"]
    assert "subset: 1 reports of labels_14.csv are not there" in table.notes
    assert "subset: 1 images of indiana_projections.csv belong to no report" in table.notes
    assert "1 of the collection's 3,955 reports are there" in table.notes


def test_absent_images(root):
    with pytest.raises(DataError, match=r"4 of 4 images .* are absent \(1_IM-0002-1001"):
        openi(root, subset=True).table()
    write_pictures(root, [NLM[0], "images/strange.png"])
    with pytest.raises(DataError, match=r"3 of 4 images .*subset=true"):
        openi(root).table()
    table = openi(root, subset=True).table()
    assert table.frame["study"].tolist() == ["CXR3"]
    assert "subset: 1 of 4 images are on disk" in table.notes
    assert any("1 image files below" in note for note in table.notes)
    write_pictures(root, ["other/3_IM-0001-1001.dcm.png"])
    with pytest.raises(DataError, match="are the same image"):
        openi(root, subset=True).table()
    assert len(openi(root, subset=True, image_dirs=["other"]).table()) == 1


def test_labels_by_policy(root):
    rules = openi(root, labels_from="rules").reports().frame.set_index("study")
    assert rules.loc["CXR3", ["Cardiomegaly", "Effusion"]].tolist() == [1, 0]
    assert rules.loc["CXR1", NO_FINDING] == 1
    assert rules.loc["CXR20", "Nodule"] == 1
    assert np.isnan(rules.loc["CXR7", NO_FINDING])  # no text, no statement
    terms = {"Cardiomegaly": "Cardiomegaly", "Nodule/apex": "Nodule", "Thickening/pleura": "Pleural_Thickening",
             "Nodule/right": "Mass"}  # fmt: skip
    table = openi(root, labels_from="mesh", label_map={"mesh": terms}).reports()
    mesh = table.frame.set_index("study")
    assert mesh.loc["CXR20", ["Nodule", "Mass", "Pleural_Thickening", "Cardiomegaly"]].tolist() == [1, 0, 0, 0]
    assert mesh.loc["CXR3", "Cardiomegaly"] == 1
    assert mesh.loc["CXR7", list(table.labels)].isna().all()
    assert any("1 reports are not indexed" in note for note in table.notes)
    assert any("no report has the terms Thickening/pleura, Nodule/right" in note for note in table.notes)
    none = openi(root, labels_from="none").reports()
    assert (none.labels, none.targets().shape) == ((), (4, 0))


def test_options_about_labels(root):
    assert openi(root, labels=["No Finding", "Cardiomegaly"]).reports().labels == ("No Finding", "Cardiomegaly")
    with pytest.raises(DataError, match="no label 'Hernia'"):
        openi(root, labels=["Hernia"]).reports()
    with pytest.raises(DataError, match="labels_from is 'golden'; did you mean 'gold'"):
        openi(root, labels_from="golden").reports()
    with pytest.raises(DataError, match="unknown key 'golden'"):
        openi(root, label_map={"golden": {}}).reports()
    with pytest.raises(DataError, match="points to 'Cardiomegali'; did you mean 'Cardiomegaly'"):
        openi(root, label_map={"gold": {**MAP["gold"], "Cardiomegaly": "Cardiomegali"}}).reports()
    with pytest.raises(DataError, match="no report has one of the indexers' terms Sarcoma"):
        openi(root, labels_from="mesh", label_map={"mesh": {"Sarcoma": "Mass"}}).reports()


def test_split_options(root):
    (root / "mine.csv").write_text("patient,split\n" + "".join(f"{study},test\n" for study in STUDIES))
    assert set(openi(root, split="mine.csv").reports().frame["split"]) == {"test"}
    (root / "mine.csv").write_text("patient,split\nCXR1,test\n")
    with pytest.raises(DataError, match=r"patient 'CXR3' of .* is not listed"):
        openi(root, split="mine.csv").reports()
    (root / "mine.csv").write_text("image,split\nCXR1,test\n")
    with pytest.raises(DataError, match="split by image, but openi has reports without one"):
        openi(root, split="mine.csv").reports()
    again = [openi(root, labels_from=policy).reports().split_sha256 for policy in ("gold", "rules", "none")]
    assert len(set(again)) == 1


BOMB = '<?xml version="1.0"?><!DOCTYPE b [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">' for i in range(9)
) + "]>"  # fmt: skip
BROKEN = {
    "entity bomb": (xml(3, head=BOMB, findings="&j;"), "document type or entities"),
    "external entity": (xml(3, head='<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>', findings="&x;"), "document type"),
    "empty": ("", "the file is empty"),
    "cut off": (xml(3)[:300], "no well-formed XML"),
    "not closed": (xml(3).replace("</MeSH>", ""), r"no well-formed XML \(mismatched tag"),
    "bare ampersand": (xml(3, findings="Lungs & pleura clear."), "no well-formed XML"),
    "undefined entity": (xml(3, findings="Heart&nbsp;normal."), "undefined entity"),
    "cp1252": (xml(3, findings="Patient\x92s heart is normal.").encode("latin-1"), r"line 7: byte 0x92 .*cp1252"),
    "unknown encoding": (xml(3, head='<?xml version="1.0" encoding="klingon"?>'), "no well-formed XML"),
    "multi-byte encoding": (xml(3, head='<?xml version="1.0" encoding="shift_jis"?>'), "no well-formed XML"),
    "HTML in the text": (xml(3, findings="Lungs <b>clear</b>."), "<b> inside the text of FINDINGS"),
    "unknown section": (xml(3).replace("COMPARISON", "CONCLUSION"), "a section CONCLUSION, expected"),
    "section twice": (xml(3).replace("COMPARISON", "FINDINGS"), "a second section FINDINGS"),
    "no section": (xml(3).replace("AbstractText", "Text"), "no AbstractText"),
    "no id": (xml(3).replace("<uId", "<id"), "uId is ''"),
    "strange id": (xml(3, study="../../etc"), "expected CXR and a number"),
    "image of another": (xml(3, images=["CXR4_IM-0001-1001"]), "expected CXR3_IM-"),
    "image leaves the folder": (xml(3, images=["CXR3_IM-0001/../../x"]), "expected CXR3_IM-"),
    "image twice": (xml(3, images=["CXR3_IM-0001-1001"] * 2), "each image once"),
    "report twice": (xml(1), "CXR1 stands in .*1.xml' as well"),
    "too deep": ("<a>" * (DEEPEST + 1), "levels deep"),
    "too large": ("<a>" + " " * LARGEST + "</a>", "more than 1,000,000 bytes"),
    "long report": (xml(3, findings="Clear. " * 15_000), "row 2, study 'CXR3': findings has 104,999 characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_broken_reports_are_named(tmp_path, case):
    raw, message = BROKEN[case]
    members = {"r/1.xml": xml(1).encode(), "r/3.xml": raw if isinstance(raw, bytes) else raw.encode()}
    write_archive(tmp_path / "NLMCXR_reports.tgz", members)
    with pytest.raises(DataError, match=message) as error:
        OpenI(tmp_path, labels_from="none").reports()
    assert "NLMCXR_reports.tgz" in str(error.value)
    assert "member 'r/3.xml'" in str(error.value) or "row 2, study 'CXR3'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("encoding", "declared"), [("cp1252", "windows-1252"), ("utf-16", "utf-16"), ("utf-8-sig", "utf-8")]
)
def test_declared_encodings_are_read(encoding, declared):
    raw = xml(3, head=f'<?xml version="1.0" encoding="{declared}"?>', findings="Größe ‘normal’.").encode(encoding)
    assert parse_xml(raw, "x").find(".//AbstractText[@Label='FINDINGS']").text == "Größe ‘normal’."


@pytest.mark.parametrize("name", ["../evil.xml", "/etc/evil.xml", "r/../../evil.xml"])
def test_members_may_not_leave_the_archive(tmp_path, name):
    path = write_archive(tmp_path / "reports.tgz", {name: xml(1).encode()})
    with pytest.raises(DataError, match="its name"):
        read_reports(path)
    assert [p.name for p in tmp_path.rglob("*")] == ["reports.tgz"]


def test_links_and_bombs_in_archives(tmp_path):
    path = tmp_path / "reports.tgz"
    with tarfile.open(path, "w:gz") as archive:
        link = tarfile.TarInfo("1.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(DataError, match=r"member '1.xml': it is no regular file"):
        read_reports(path)
    huge = tarfile.TarInfo("huge.bin")
    huge.size = 2_000_000_000
    path.write_bytes(huge.tobuf() + b"\0" * 1024)
    with pytest.raises(DataError, match="unpacks to more than"):
        read_reports(path)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08" + b"x" * 50], ids=["empty", "text", "gzip"])
def test_broken_archives(tmp_path, content):
    path = tmp_path / "reports.tgz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"reports.tgz: cannot be read as an archive"):
        read_reports(path)
    whole = write_archive(tmp_path / "whole.tgz").read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"reports.tgz"):
        read_reports(path)
    write_archive(path, {"readme.txt": b"nothing here"})
    with pytest.raises(DataError, match="no report in it"):
        read_reports(path)
    with pytest.raises(DataError, match=r"data.source.reports"):
        OpenI(tmp_path).reports()


def test_damage_in_the_midst_of_an_archive_is_not_its_end(tmp_path):
    whole = bytearray(write_archive(tmp_path / "whole.tar", mode="w").read_bytes())
    path = tmp_path / "reports.tgz"
    path.write_bytes(whole)
    assert len(read_reports(path)[0]) == 4
    second = whole.index(b"ecgen-radiology/1.xml")
    path.write_bytes(whole[:second])
    with pytest.raises(DataError, match=r"reports.tgz: it is cut off behind its member 1"):
        read_reports(path)
    whole[second] ^= 255
    path.write_bytes(whole)
    with pytest.raises(DataError, match=r"reports.tgz: damaged behind its member 1"):
        read_reports(path)
    packed = bytearray(write_archive(path).read_bytes())
    packed[-8] ^= 1  # gzip's checksum
    path.write_bytes(packed)
    with pytest.raises(DataError, match=r"reports.tgz: cannot be read as an archive of reports \(CRC"):
        read_reports(path)


TABLES = {
    ("labels_14.csv", "CXR1,0,0,1", "CXR1,0,0,2"): r"labels_14.csv, row 2, column 'normal': found '2'",
    ("labels_14.csv", "CXR1,0", "CXR3,0"): r"labels_14.csv, row 2: report 'CXR3' is listed twice",
    ("labels_14.csv", "CXR1,0,0,1\n", "CXR1,0\n"): r"labels_14.csv, row 2: it ends after 2 of 4 fields",
    ("labels_14.csv", "Hernia", "Cardiomegaly"): r"labels_14.csv: column 'Cardiomegaly' appears twice",
    ("labels_14.csv", "Hernia", "Hernya"): r"names the column 'Hernia'; did you mean 'Hernya'",
    ("labels_14.csv", "filename", "file"): r"labels_14.csv: column 'filename' is missing",
    ("labels_14.csv", "CXR", "XR"): r"row 1: report 'XR3' is not among the 3 reports read \(2 of 2 are not\)",
    ("indiana_projections.csv", "Lateral", "Oblique"): r"row 2, column 'projection': found 'Oblique'",
    (
        "indiana_projections.csv",
        "1,1_IM-0002-2001",
        "1,../../etc/passwd",
    ): r"row 2: filename '../../etc/passwd.dcm.png' does not",
    (
        "indiana_projections.csv",
        "1,1_IM-0002-2001",
        "1,2_IM-0002-2001",
    ): r"row 2: filename '2_IM.* does not begin with its uid",
    ("indiana_projections.csv", "-2001", "-1001"): r"row 2: filename '1_IM-0002-1001.dcm.png' is listed twice",
    ("indiana_reports.csv", "\n20,", "\ntwenty,"): r"indiana_reports.csv, row 3: uid is 'twenty'",
    ("indiana_reports.csv", "\n20,", "\n1,"): r"indiana_reports.csv, row 3: report CXR1 stands in .*row 2 as well",
    ("indiana_reports.csv", "findings", "finding"): r"indiana_reports.csv: column 'findings' is missing",
    ("indiana_reports.csv", "Nothing acute.", "Nothing\0acute."): r"indiana_reports.csv, line 3: a NUL character",
}


@pytest.mark.parametrize("case", TABLES, ids=lambda case: f"{case[0]} {case[2].strip()}".replace("\0", "NUL"))
def test_broken_tables_are_named(root, case):
    name, good, bad = case
    text = (root / name).read_text()
    assert good in text
    (root / name).write_text(text.replace(good, bad))
    with pytest.raises(DataError, match=TABLES[case]):
        openi(root, reports="indiana_reports.csv").reports()


def test_html_and_marks_in_text_are_kept_for_the_cleaning_steps(root):
    members = {"1.xml": xml(1, findings="Heart normal.&lt;BR&gt;XXXX clear.").encode()}
    write_archive(root / "NLMCXR_reports.tgz", members)
    assert openi(root, labels_from="none", projections=None).reports().frame["findings"].tolist() == [
        "Heart normal.<BR>XXXX clear."
    ]


def test_the_yaml_shows_the_mapping():
    config = OmegaConf.load(Path(__file__).parents[3] / "conf" / "data" / "openi.yaml")
    assert OmegaConf.to_container(config.source.label_map) == LABEL_MAPS
    assert not config.source.shareable
    assert set(config.labels) == set(CHESTXRAY14) - {"Hernia"}


def test_the_real_collection(shared):
    source = OpenI(shared / "data" / "openi", projections="indiana_projections.csv", subset=True)
    reports = source.reports()
    count = reports.count()
    assert count.loc["all", ["reports", "patients", "images", "empty"]].tolist() == [3955, 3955, 7470, 28]
    assert count.loc["all", ["findings", "impression"]].tolist() == [3425, 3921]
    assert reports.sections == tuple(sorted(OPENI_SECTIONS, key=list(reports.frame.columns).index))
    assert abs(count.loc["train", "reports"] / 3955 - 0.7) < 0.02
    stated = (~np.isnan(reports.targets()[:, 0])).sum()
    assert "28 of 3,955 reports have neither findings nor impression" in reports.notes
    assert (int(stated), int((reports.frame["Cardiomegaly"] == 1).sum())) == (2310, 214)
    table = source.table()
    assert len(table) == 9
    assert table.frame["view"].value_counts().to_dict() == {"Frontal": 5, "L": 4}
    assert len(table.reports()) == 5
    assert source.read(table.frame["image"].iloc[0]).shape == (624, 512)
    assert table.frame.loc[table.frame["image"].str.contains("2843"), "view"].tolist() == ["Frontal"]
    kaggle = OpenI(shared / "data" / "openi", reports="indiana_reports.csv", projections="indiana_projections.csv")
    assert kaggle.reports().count().loc["all", ["reports", "images"]].tolist() == [3851, 7466]


def test_the_indexers_terms_agree_with_the_gold_labels(shared):
    root = shared / "data" / "openi"
    gold, mesh = OpenI(root).reports(), OpenI(root, labels_from="mesh").reports()
    names = [name for name in gold.labels if name in mesh.labels]
    annotated = gold.frame[names[0]].notna()
    expected = gold.frame.loc[annotated, names] == 1
    found = mesh.frame.loc[annotated, names] == 1
    assert 2 * (expected & found).sum().sum() / (expected.sum().sum() + found.sum().sum()) > 0.97
