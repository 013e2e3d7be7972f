"""Half-precision weights train, evaluate and predict; where their range is too small, the run says so."""

import json


def test_bfloat16_weights_go_the_whole_way(cli):
    cli.train("trainer.precision=bf16-true", "trainer.max_epochs=1")
    run = cli.only_run()
    assert json.loads((run / "status.json").read_text())["state"] == "done"
    values = next(
        e["values"] for e in json.loads((run / "metrics.json").read_text()).values() if e["name"] == "findings"
    )
    assert 0 < values["mean"]["auroc"] < 1


def test_a_diverged_training_stops_with_a_reason(cli):
    out = cli.train("trainer.max_epochs=2", "task.optimizer.lr=1e12", code=2)
    assert "validation logits are NaN or infinite in epoch" in out
    assert "Lower the learning rate" in out
