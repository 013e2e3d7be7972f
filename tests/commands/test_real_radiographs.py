"""The 14 labels of ChestX-ray14 from the set's own files to scores of new ones: trained, evaluated, predicted, tabled."""

import io

import numpy as np
import pandas as pd
import pytest

from cxrvl.evaluation.predictions import probabilities, read_predictions

SUBSET = ("experiment=acm_chestxray14/subset", "debug=fdr", "logger=none", "tracking.pictures_every=null")
LABELS = (
    "Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia", "Pneumothorax",
    "Consolidation", "Edema", "Emphysema", "Fibrosis", "Pleural_Thickening", "Hernia",
)  # fmt: skip


@pytest.mark.slow
def test_the_whole_path_on_real_radiographs(call, shared, tmp_path):
    trained = call("train", *SUBSET, f"data.root={shared}/data/nih14")
    assert trained.code == 0, trained.err
    (run,) = (path.parent for path in (tmp_path / "runs/debug").glob("*/status.json"))
    (path,) = (run / "predictions").glob("findings-*.parquet")
    evaluated = read_predictions(path).frame
    evaluated = evaluated[evaluated["split"] == "test"].reset_index(drop=True)
    assert len(evaluated) == 40
    assert len(list((run / "predictions").glob("marks-*.parquet"))) == 1, "boxes and peaks of the class maps"

    where = {path.name: path for path in (shared / "data/nih14").rglob("*.jpg")}
    listing = pd.DataFrame({"image": [str(where[key.rsplit("/")[-1]]) for key in evaluated["image"]]})
    listing.to_csv(tmp_path / "test.csv", index=False)
    predict = ("predict", "--run", run.name, "--runs", "runs/debug")
    scored = pd.read_csv(io.StringIO(call(*predict, "test.csv").out))
    assert list(scored) == ["file", *LABELS]
    expected = probabilities(evaluated[[f"logit/{label}" for label in LABELS]].to_numpy())
    np.testing.assert_allclose(scored[list(LABELS)], expected, atol=1e-5)

    result = call(*predict, f"{shared}/data/dicom", "--max-unreadable", "1")
    assert result.code == 0, result.err
    assert "RG3_JPLY.dcm: DICOM whose pixels cannot be decoded" in result.err, "the one syntax without a decoder"
    dicom = pd.read_csv(io.StringIO(result.out)).set_index("file")
    assert len(dicom) == 12
    assert dicom.to_numpy().min() >= 0
    assert dicom.to_numpy().max() <= 1
    leg = dicom[[name.rsplit("/")[-1].startswith("RG3_") for name in dicom.index]].to_numpy()
    assert len(leg) == 3
    assert np.ptp(leg, axis=0).max() == 0, "three lossless syntaxes of one radiograph"
    chest = f"{shared}/data/dicom/gdcm-CR-MONO1-10-chest.dcm"
    alone = pd.read_csv(io.StringIO(call(*predict, chest, "--maps", "maps").out)).set_index("file")
    np.testing.assert_allclose(alone, dicom.loc[[chest]], atol=1e-6)
    assert len(list((tmp_path / "maps").iterdir())) == len(LABELS)

    table = call("table", "acm_chestxray14", "--line", "subset", "--seeds", "0", "--collect-only",
                 "debug=fdr", "logger=none", "tracking.pictures_every=null", f"data.root={shared}/data/nih14")  # fmt: skip
    assert table.code == 0, table.err
    assert "EfficientNet-Lite0 + ACM" in table.out
