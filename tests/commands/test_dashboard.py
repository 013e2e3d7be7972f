"""Does `cxrvl dashboard` write its files without a network, and save to W&B where there is one?"""

import argparse
import json

import pytest

from cxrvl.commands import dashboard as command
from cxrvl.errors import RunError
from cxrvl.tracking import dashboard_wandb, wandb_run


@pytest.fixture
def offline(cli):
    cli.environment |= {"WANDB_MODE": "offline"}
    return cli


def test_without_a_network_the_json_is_written(offline):
    out = offline("dashboard", "--project", "mine", "--entity", "ours")
    assert "not sent" in out
    workspace = json.loads((offline.folder / "tables/dashboard/workspace.json").read_text())
    assert (workspace["project"], workspace["entity"]) == ("mine", "ours")
    report = json.loads((offline.folder / "tables/dashboard/report.json").read_text())
    assert report["project"] == {"name": "mine", "entityName": "ours"}


def options(**given):
    return argparse.Namespace(**({"project": "p", "entity": "e", "out": None} | given))


class Item:
    """A workspace or report that is saved in memory."""

    saved: list = []  # noqa: RUF012
    url = "https://example.org/a-place"

    def __init__(self, kind, broken=False):
        self.kind, self.broken = kind, broken
        self.id = self._internal_name = self._internal_id = ""

    def save(self):
        if self.broken:
            raise ConnectionError("no route")
        self.saved.append((self.kind, self.id or self._internal_id))
        self.id = self._internal_id = self.id or self._internal_id or f"{self.kind}-id"
        self._internal_name = self._internal_name or "nw-name"


@pytest.fixture
def online(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(wandb_run, "chosen_mode", lambda asked: "online")
    monkeypatch.setattr(dashboard_wandb, "as_json", lambda item: {"kind": item.kind})
    Item.saved = []

    def use(broken=False):
        for kind in ("workspace", "report"):
            monkeypatch.setattr(dashboard_wandb, kind, lambda project, entity, kind=kind: Item(kind, broken))

    use()
    return use


def test_with_a_key_it_is_saved_and_a_second_call_saves_over_it(online, capsys):
    command.dashboard(options())
    assert Item.saved == [("report", ""), ("workspace", "")]
    assert capsys.readouterr().out.count("https://example.org/a-place") == 2
    command.dashboard(options())
    assert Item.saved[2:] == [("report", "report-id"), ("workspace", "workspace-id")]
    command.dashboard(options(project="another"))
    assert Item.saved[4:] == [("report", ""), ("workspace", "")]


def test_with_a_folder_nothing_is_sent(online, tmp_path):
    command.dashboard(options(out=str(tmp_path / "there")))
    assert Item.saved == []
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["report.json", "workspace.json"]


def test_a_server_that_does_not_answer_is_named_and_the_files_are_there(online, tmp_path):
    online(broken=True)
    with pytest.raises(RunError, match=r"ConnectionError: no route.*network, --entity and --project"):
        command.dashboard(options())
    assert (tmp_path / "tables/dashboard/workspace.json").is_file()
