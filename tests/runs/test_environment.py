import json
import sys

import pytest

from cxrvl.runs.environment import HIDDEN, environment, without_secrets


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("logger.wandb.api_key=abc123", f"logger.wandb.api_key={HIDDEN}"),
        ("+logger.token=abc", f"+logger.token={HIDDEN}"),
        ("paths.password=abc", f"paths.password={HIDDEN}"),
        ("a.WANDB_API_KEY=abc", f"a.WANDB_API_KEY={HIDDEN}"),
        ("paths.url=https://me:word@host/x", f"paths.url=https://{HIDDEN}@host/x"),
        ("hf_" + "a1" * 17, HIDDEN),
        ("0123456789abcdef0123456789abcdef01234567", HIDDEN),
        ("data.max_tokens=512", "data.max_tokens=512"),
        ("model.keys=8", "model.keys=8"),
        ("experiment=phantom/acm", "experiment=phantom/acm"),
        ("init_from={run: 0123456789abcdef}", "init_from={run: 0123456789abcdef}"),
    ],
)
def test_a_command_line_is_kept_without_its_secrets(given, shown):
    assert without_secrets(["cxrvl", given]) == ["cxrvl", shown]


def test_the_record_says_what_a_result_may_depend_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["cxrvl", "train", "seed=1", "x.token=secretword"])
    monkeypatch.setenv("SOME_SERVICE", "anothersecret")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    record = environment({"split_sha256": "12", "fingerprint": {"study": {"rows": 3}}})
    text = json.dumps(record)
    assert "secretword" not in text
    assert "anothersecret" not in text
    assert record["command"] == ["cxrvl", "train", "seed=1", f"x.token={HIDDEN}"]
    assert record["threads"]["OMP_NUM_THREADS"] == "3"
    assert record["threads"]["torch"] >= 1
    assert record["cpu"]
    assert record["packages"]["torch"]
    assert record["data"]["fingerprint"] == {"study": {"rows": 3}}
    assert {"commit", "diff", "python", "platform", "gpus", "devices"} <= set(record)
