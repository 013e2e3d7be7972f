"""Does every real set that lies here feed a training batch through its own config, from table to augmented tensor?"""

from types import SimpleNamespace

import numpy as np
import pytest

from cxrvl.config.build import build
from cxrvl.config.compose import compose_config, resolved

# Config -> folder of the set, what a subset of the set needs to be told, least number of rows to train on.
SETS = {
    "nih14": ("nih14", ["data.source.image_suffix=.jpg"], 1200),
    "kermany": ("kermany", [], 1500),
    "covid_chestxray": ("covid_chestxray", [], 150),
    "covid_chestxray_pairs": ("covid_chestxray", [], 100),
    "mhh_covid19": ("mhh_covid19", [], 150),
    "openi": ("openi", ["data.source.subset=true", "data.source.projections=indiana_projections.csv"], 8),
    "openi_reports": ("openi", [], 2500),
}


@pytest.mark.parametrize("name", SETS)
def test_a_training_batch(shared, tmp_path_factory, name):
    folder, words, least = SETS[name]
    stores = tmp_path_factory.getbasetemp() / "real_stores"  # one store for both configs of a set
    words = [f"data={name}", f"data.root={shared / 'data' / folder}", "data.batch_size=8", "data.num_workers=0", *words]
    if name != "openi_reports":
        words += [f"data.store_root={stores}", "data.store.size=32", "data.input_size=32", "+data.prepare_workers=0"]
    data = build(resolved(compose_config(words))["data"])
    data.trainer = SimpleNamespace(
        training=True, current_epoch=0, global_rank=0, world_size=1, accumulate_grad_batches=1
    )
    assert len(data.rows("train")) >= least
    batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
    rows = data.table.frame.iloc[batch["index"]]
    assert set(rows["split"]) == {"train"}
    np.testing.assert_array_equal(batch["target"], data.table.targets()[batch["index"]])
    if "image" in batch:
        assert batch["image"].shape[-2:] == (32, 32)
        assert batch["image"].flatten(1).std(dim=1).min() > 0.01, "no image is blank"
    if "text" in batch:
        for text, (start, end) in zip(batch["text"], batch["body"].tolist(), strict=True):
            assert text[start:end].strip()
            assert "XXXX" not in text
