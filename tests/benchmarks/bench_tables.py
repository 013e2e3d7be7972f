"""How long does a table of MIMIC-CXR's size take to build with all checks, its image files looked for, and in how much memory?"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxrvl.data.labels import CHEXPERT14

PATIENTS, STUDIES, IMAGES = 65_379, 227_835, 377_110
SECONDS, GIGABYTES = 20.0, 2.0

# In a process of its own: its peak memory is then the table's, with what Python and pandas need to begin with.
CHILD = """
import json, sys, time
from pathlib import Path
from cxrvl.data.sources.mimic_cxr import MimicCXR

source = MimicCXR(sys.argv[1], reports=sys.argv[2] or None, check_files=sys.argv[3] == "True")
start, processor = time.perf_counter(), time.process_time()
table = source.table()
taken, processor = time.perf_counter() - start, time.process_time() - processor
start = time.perf_counter()
fingerprint = table.fingerprint()["rows"] if source.check_files else None
fingerprinted = time.perf_counter() - start
# Not getrusage: a child's begins with the peak of the process that started it.
lines = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 2**20
print(json.dumps({
    "rows": len(table), "patients": table.frame["patient"].nunique(), "positive": int((table.targets() == 1).sum()),
    "seconds": taken, "processor": processor, "fingerprint": fingerprinted,
    "gigabytes": peak,
}))
"""


def write_tables(root: Path) -> pd.DataFrame:
    """Write tables with MIMIC-CXR-JPG's columns, counts and ids, and a CSV of sections; return the images' places."""
    rng = np.random.default_rng(0)
    subject = 10_000_000 + np.sort(rng.choice(9_990_000, PATIENTS, replace=False))
    of_study = np.sort(np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, STUDIES - PATIENTS)]))
    study = 50_000_000 + rng.permutation(9_000_000)[:STUDIES]
    of_image = np.sort(np.concatenate([np.arange(STUDIES), rng.integers(0, STUDIES, IMAGES - STUDIES)]))
    words = pd.Series(rng.bytes(IMAGES * 20).hex()).str.findall(".{40}").explode()
    dicom = words.str.replace(r"(.{8})(?=.)", r"\1-", regex=True)
    images = pd.DataFrame(
        {
            "dicom_id": dicom.to_numpy(),
            "subject_id": subject[of_study[of_image]],
            "study_id": study[of_image],
            "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
            "ViewPosition": rng.choice(["AP", "PA", "LATERAL", "LL", ""], IMAGES, p=[0.39, 0.25, 0.22, 0.09, 0.05]),
            "Rows": rng.choice([2022, 2544, 3056], IMAGES),
            "Columns": rng.choice([2022, 2544, 3056], IMAGES),
            "StudyDate": 21800506,
            "StudyTime": 213014.531,
            "ProcedureCodeSequence_CodeMeaning": "CHEST (PA AND LAT)",
            "ViewCodeSequence_CodeMeaning": "postero-anterior",
            "PatientOrientationCodeSequence_CodeMeaning": "Erect",
        }
    )
    images.to_csv(root / "mimic-cxr-2.0.0-metadata.csv", index=False)
    part = rng.choice(["train", "validate", "test"], PATIENTS, p=[0.98, 0.01, 0.01])[of_study[of_image]]
    split = images[["dicom_id", "study_id", "subject_id"]].assign(split=part)
    split.sample(frac=1, random_state=1).to_csv(root / "mimic-cxr-2.0.0-split.csv", index=False)
    labels = rng.choice(["", "1.0", "0.0", "-1.0"], (STUDIES, len(CHEXPERT14)), p=[0.75, 0.15, 0.07, 0.03])
    studies = pd.DataFrame({"subject_id": subject[of_study], "study_id": study})
    table = pd.concat([studies, pd.DataFrame(labels, columns=list(CHEXPERT14))], axis=1)
    table.to_csv(root / "mimic-cxr-2.0.0-chexpert.csv", index=False)
    sections = pd.DataFrame({"study": "s" + pd.Series(study.astype(str))})
    sections["impression"] = "No change since the film of day " + pd.Series(study.astype(str)) + "."
    sections["findings"] = "The lungs are clear and the heart is of normal size. " * 6
    sections.to_csv(root / "sectioned.csv", index=False)
    return images[["subject_id", "study_id", "dicom_id"]].astype(str)


def write_images(root: Path, images: pd.DataFrame) -> None:
    """Lay an empty file where each image belongs: files/p10/p10000032/s50414267/<dicom_id>.jpg."""
    folders = "files/p" + images["subject_id"].str[:2] + "/p" + images["subject_id"] + "/s" + images["study_id"]
    for folder in folders.unique():
        (root / folder).mkdir(parents=True)
    for folder, name in zip(folders, images["dicom_id"], strict=True):
        (root / folder / f"{name}.jpg").touch()


def build(root: Path, reports: str, check_files: bool) -> dict[str, float]:
    command = [sys.executable, "-c", CHILD, str(root), reports, str(check_files)]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    what = f"{'with reports, ' if reports else ''}{'files looked for' if check_files else 'check_files=false'}"
    print(
        f"\nMIMIC-CXR-shaped table of {int(result['rows']):,} images, {what}: {result['seconds']:.1f} s (at most {SECONDS:g}; "
        f"{result['processor']:.1f} s of the processor), "
        f"{result['gigabytes']:.2f} GB (at most {GIGABYTES:g}); fingerprint {result['fingerprint']:.1f} s"
    )
    assert result["rows"] == IMAGES
    assert result["patients"] == PATIENTS
    assert result["positive"] > IMAGES
    return result


@pytest.fixture
def root(tmp_path):
    """A folder that goes with the test, in memory where there is room: a disk takes minutes to forget 670,000 entries."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and os.statvfs(memory).f_favail > 2 * IMAGES
    with tempfile.TemporaryDirectory(dir=memory if roomy else tmp_path) as folder:
        yield Path(folder)


def test_a_table_of_mimic_cxr_size(root):
    images = write_tables(root)
    results = [build(root, "", False), build(root, "sectioned.csv", False)]
    write_images(root, images)
    results.append(build(root, "", True))
    # Time of the processor: what the wall clock shows too where nothing else runs, since the files lie in memory.
    assert max(result["processor"] for result in results) <= SECONDS
    assert max(result["gigabytes"] for result in results) <= GIGABYTES
