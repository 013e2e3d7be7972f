"""Adam's moments go from one generation to the next where the settings say so."""

import pytest
import pytorch_lightning as pl
import torch
from self_training_runs import HAND_OVER, config_of, fit

from cxrvl.errors import ConfigError, WeightsError
from cxrvl.runs.parts import Weights, take
from cxrvl.runs.trainer import build_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One folder, so that the images are drawn once."""
    return tmp_path_factory.mktemp("self_training")


def test_moments_go_from_a_frozen_feature_head_to_one_that_learns(folder):
    """T = initial trains on labels alone: its feature head has no moments, that of T = 1 begins without."""
    words = ("task.keep_optimizer=true", "trainer.max_epochs=1")
    first, _, _ = fit(config_of(folder, "task=labels_only", "data.generation=0", *words), folder)
    config = config_of(folder, *words)
    second = build_task(config)
    parts = {**HAND_OVER["student"], "optimizer": "optimizer"}
    take(second, second.parts(), Weights("initial", first.state_dict(), first.parts()), parts)
    started = {}

    class Start(pl.Callback):
        def on_train_start(self, trainer, task):
            started.update({name: p in trainer.optimizers[0].state for name, p in task.model.named_parameters()})

    fit(config, folder, Start(), task=second)
    assert {name.split(".")[0] for name, moved in started.items() if moved} == {"encoder", "class_head"}
    assert not any(moved for name, moved in started.items() if name.startswith("feature_head"))


def test_moments_are_handed_over_where_the_settings_say_so(folder):
    config = config_of(folder, "task.keep_optimizer=true", "trainer.max_epochs=1")
    first, _, trainer = fit(config, folder)
    moved = trainer.optimizers[0].state
    names = {name: p for name, p in first.model.named_parameters() if p.requires_grad and p in moved}
    state = first.state_dict()
    assert "class_head.mlp.0.weight" in names
    for name, parameter in names.items():
        torch.testing.assert_close(state[f"optimizer_memory.exp_avg.{name}"], moved[parameter]["exp_avg"])
    second = build_task(config)
    parts = {**HAND_OVER["each"], "optimizer": "optimizer"}
    take(second, second.parts(), Weights("first", state, first.parts()), parts)
    started = {}

    class Start(pl.Callback):
        def on_train_start(self, trainer, task):
            for name, parameter in task.model.named_parameters():
                if parameter in trainer.optimizers[0].state:
                    kept = trainer.optimizers[0].state[parameter]
                    started[name] = (float(kept["step"]), kept["exp_avg_sq"].clone())

    fit(config, folder, Start(), task=second)
    assert started.keys() == names.keys()
    for name, (step, squares) in started.items():
        assert step == float(moved[names[name]]["step"])
        torch.testing.assert_close(squares, moved[names[name]]["exp_avg_sq"])
    plain = build_task(config_of(folder))
    assert not any(name.startswith("optimizer_memory") for name in plain.state_dict())
    with pytest.raises(WeightsError, match=r"has no tensor under 'optimizer_memory\.'"):
        take(second, second.parts(), Weights("plain", plain.state_dict(), plain.parts()), parts)
    with pytest.raises(ConfigError, match="moments of Adam and AdamW, not of SGD"):
        fit(
            config_of(folder, "task.keep_optimizer=true", "task.optimizer={_target_:torch.optim.SGD,_partial_:true}"),
            folder,
        )
