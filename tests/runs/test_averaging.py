"""Is the averaged network the one that is kept and judged, also where training was stopped in between?"""

import pytest
import torch

from cxrvl.runs.store import RunStore

FEW = ("evaluation=none", "callbacks=ema", "trainer.max_epochs=2", "logger=none")


def weights(run, name="final.ckpt"):
    return torch.load(run.checkpoints / name, weights_only=True)["state_dict"]


def made(cli, *words):
    before = {run.run_id for run in RunStore(cli.runs)} if cli.runs.is_dir() else set()
    cli.train(*words)
    (run,) = [run for run in RunStore(cli.runs) if run.run_id not in before]
    return run


@pytest.mark.slow
def test_averaged_weights_are_kept(cli):
    start = weights(made(cli, "evaluation=none", "logger=none", "trainer.max_steps=0"))
    still = made(cli, *FEW, "callbacks.ema.decay=1.0")
    moved = made(cli, *FEW, "callbacks.ema.decay=0.9")
    plain = weights(made(cli, "evaluation=none", "logger=none", "trainer.max_epochs=2"))
    key = "model.backbone.layer2.0.conv1.weight"
    # The first step is taken over whole; with a decay of 1 nothing is added to it, so the first validation is as the last.
    torch.testing.assert_close(weights(still, "best.ckpt")[key], weights(still)[key], rtol=0, atol=0)
    far = (plain[key] - start[key]).norm()
    assert 0 < (weights(still)[key] - start[key]).norm() < 0.2 * far
    assert 0.2 * far < (weights(moved)[key] - start[key]).norm() < far
