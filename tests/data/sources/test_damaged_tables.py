"""Are damaged tables of four sets refused in one line, or sound? Hundreds of broken copies, never a traceback."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_images import write_images, write_rows

from cxrvl.data.sources.covid_chestxray import CovidChestXray
from cxrvl.data.sources.kermany import Kermany
from cxrvl.data.sources.mhh_covid19 import MHHCovid19
from cxrvl.data.sources.siim import SIIM
from cxrvl.data.studies import StudyTable
from cxrvl.errors import DataError

TABLES = {
    "kermany": (
        Kermany,
        "labels.csv",
        "file,pneumonia,subtype,patient_key,kaggle_split",
        [f"images/p{i}.png,{int(i > 1)},{['normal', 'normal', 'virus', 'bacteria'][i]},p{i},train" for i in range(4)],
    ),
    "mhh_covid19": (
        MHHCovid19,
        "data.csv",
        "patient_id,image_id,sex,age,admission_offset,modality,projection",
        [f"p{i // 2},p{i},m,4{i},-{i},CR,ap" for i in range(4)],
    ),
    "covid_chestxray": (
        CovidChestXray,
        "metadata.csv",
        "patientid,offset,sex,age,finding,view,filename,license,clinical_notes,doi",
        [
            f'{i},{i},F,3{i},"{finding}",PA,p{i}.png,CC0,"Clear, said he.",'
            for i, finding in enumerate(["COVID-19, ARDS", "todo", "SARS", "No Finding"])
        ],
    ),
    "siim": (SIIM, "train-rle.csv", "ImageId, EncodedPixels", ["p0, -1", "p1, 5 4 1020 4", "p1, 9000 1", "p2, -1"]),
}  # fmt: skip
CELLS = (
    "", "2", "-1", "nan", "NaN", "inf", "-inf", "1e999", "../../etc", "/etc/passwd", "images", "C:\\x", "\\", '"', '""', ",", "'",
    "\0", "\ufeff", "ä", "\u202e", "a\nb", "a\rb", "0" * 400, "9" * 30, "1 2", "-5 3", "=1+1", "True", "None", "#", ";", "\t",
)  # fmt: skip


@st.composite
def damage(draw, rows):
    """A table as bytes, after one to three damages: cells, whole rows, bytes, or another encoding."""
    lines = [line.split(",") for line in rows]
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from(["cell", "cell", "cell", "drop", "twice", "swap", "cut"]))
        i = draw(st.integers(0, len(lines) - 1)) if lines else 0
        if not lines:
            break
        j = draw(st.integers(0, max(len(lines[i]) - 1, 0)))
        if kind == "cell" and lines[i]:
            cell = draw(st.one_of(st.sampled_from(CELLS), st.text(max_size=5)))
            lines[i][j] = cell
        elif kind == "drop":
            del lines[i]
        elif kind == "twice":
            lines.insert(i, list(lines[i]))
        elif kind == "swap":
            k = draw(st.integers(0, len(lines) - 1))
            lines[i], lines[k] = lines[k], lines[i]
        else:
            del lines[i][j:]
    text = "\n".join(",".join(line) for line in lines)
    data = text.encode(draw(st.sampled_from(["utf-8"] * 6 + ["utf-8-sig", "cp1252", "utf-16", "utf-16-le"])), "replace")
    if draw(st.booleans()) and data:
        start = draw(st.integers(0, len(data) - 1))
        data = data[:start] + draw(st.binary(max_size=3)) + data[start + draw(st.integers(0, 6)) :]
    return data


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    found = {}
    for name, (_, file, header, rows) in TABLES.items():
        found[name] = tmp_path_factory.mktemp(name)
        write_images(found[name], [f"images/p{i}.png" for i in range(4)])
        write_rows(found[name] / file, header, rows)
    return found


@pytest.mark.parametrize("name", TABLES)
def test_the_undamaged_table_is_read(name, roots):
    source, file, header, rows = TABLES[name]
    write_rows(roots[name] / file, header, rows)
    assert len(source(roots[name]).table()) == len(rows) - (name == "siim")


@pytest.mark.parametrize("name", TABLES)
@settings(max_examples=120, deadline=2000, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_table_is_refused_in_one_line_or_sound(name, roots, data):
    source, file, header, rows = TABLES[name]
    path = roots[name] / file
    path.write_bytes(data.draw(damage([header, *rows])))
    try:
        table = source(roots[name]).table()
    except DataError as fault:
        message = str(fault)
        assert "\n" not in message.strip(), message
        assert str(path) in message or str(roots[name]) in message or name in message, message
    else:
        sound(table, roots[name])


def sound(table: StudyTable, root: Path) -> None:
    values = table.targets()
    assert (np.isnan(values) | np.isin(values, [0, 1, -1])).all()
    assert all((root / key).is_file() and ".." not in key for key in table.frame["image"])
    assert (table.frame["patient"] != "").all()
    assert table.frame.groupby("patient")["split"].nunique().max() == 1
    ages = table.frame["age"]
    assert (ages.isna() | ages.between(0, 130)).all()
