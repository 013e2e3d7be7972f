"""Does docs/clusters.md tell the truth? Its commands are sound, and every setting it names is one, with that default."""

import re
import shlex
import tomllib
from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

import hydra_plugins.cxrvl_gpus.launcher
import hydra_plugins.cxrvl_gpus.sweeper
import hydra_plugins.cxrvl_optuna.sweeper
import hydra_plugins.cxrvl_ray.launcher
import hydra_plugins.cxrvl_submitit.launcher  # noqa: F401 - all of them enter their settings into Hydra's store
from cxrvl.config.check import check
from cxrvl.config.compose import compose_config, resolved
from cxrvl.runs import stopping
from cxrvl.sweeps.search_space import read_space

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "clusters.md").read_text(encoding="utf-8")
SECTIONS = {"One machine": ("gpus",), "Search": (), "Slurm": ("submitit_slurm", "submitit_local"), "Ray": ("ray",)}
"""Which launchers each section is about."""
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, flags=re.M | re.S)
COMMANDS = [
    line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines() if line.startswith("cxrvl train")
]


def settings(group: str, option: str) -> dict:
    return OmegaConf.to_container(ConfigStore.instance().load(f"{group}/{option}.yaml").node)


def section(title: str) -> str:
    (found,) = [part for part in re.split(r"^## ", TEXT, flags=re.M) if part.startswith(title)]
    return found


def exists(node: dict, key: str) -> bool:
    """Whether a dotted key is one of these settings; below a free mapping every key is."""
    first, _, rest = key.partition(".")
    return first in node and (
        not rest or not isinstance(node[first], dict) or not node[first] or exists(node[first], rest)
    )


def test_there_is_something_to_check():
    assert len(COMMANDS) == 3
    assert len(BLOCKS) == 3


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_sound(command):
    words = shlex.split(command)[2:]
    assert words.pop(0) == "-m"
    hydra, overrides = ([w for w in words if w.lstrip("+").startswith("hydra") is own] for own in (True, False))
    chosen = dict(w.split("=", 1) for w in hydra if w.startswith("hydra/"))
    for word in (w for w in hydra if not w.startswith("hydra/")):
        group, key = re.fullmatch(r"\+?hydra\.(launcher|sweeper)\.([\w.]+)=.*", word).groups()
        option = chosen.get(f"hydra/{group}") or {"launcher": "gpus", "sweeper": "grid"}[group]
        assert exists(settings(f"hydra/{group}", option), key), word
    assert check(resolved(compose_config(read_space(overrides).representative()))) > 10


@pytest.mark.parametrize(("title", "launchers"), SECTIONS.items())
def test_every_setting_named_is_one(title, launchers):
    for group, key in re.findall(r"hydra\.(launcher|sweeper)\.(\w+(?:\.\w+)*)", section(title)):
        options = launchers if group == "launcher" else ("cxrvl_optuna",)
        assert any(exists(settings(f"hydra/{group}", option), key) for option in options), f"hydra.{group}.{key}"
    for cell in re.findall(r"^\| (`hydra\.launcher\..*?) \|", section(title), flags=re.M):
        for key in re.findall(r"`(?:hydra\.launcher\.)?(\w+)(?:=[^`]*)?`", cell):
            assert any(exists(settings("hydra/launcher", option), key) for option in launchers), key


def test_defaults_are_those_of_the_code():
    slurm, stated = settings("hydra/launcher", "submitit_slurm"), {}
    for row in re.findall(r"^\| `hydra\.launcher\.(\w+)` \| .*?\(default (\d+)\)", section("Slurm"), flags=re.M):
        stated[row[0]] = int(row[1])
    assert stated.keys() == {"timeout_min", "max_requeues", "array_parallelism"}
    assert stated == {key: slurm[key] for key in stated}
    assert f"{slurm['signal_delay_s']} s before the time limit (`signal_delay_s`)" in TEXT
    every = resolved(compose_config())["checkpoint"]["every_seconds"]
    assert f"`checkpoint.every_seconds`, {every:g}" in TEXT


def test_exit_codes_extras_and_variables_exist():
    assert f"exit with code {stopping.STOPPED}" in TEXT
    assert f"Ctrl-C does the same with code {stopping.INTERRUPTED}" in TEXT
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"cxrvl\[(\w+)\]", TEXT)) == {"optuna", "slurm", "ray"} <= extras.keys()
    known = set(re.findall(r"oc\.env:(\w+)", (ROOT / "conf/paths/default.yaml").read_text()))
    assert set(re.findall(r"CXRVL_[A-Z]+", TEXT)) <= known
