"""Which Weights & Biases run belongs to a run's folder, and how is it opened, filled and closed? Knows no torch."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from netrc import NetrcParseError, netrc
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cxrvl.errors import ConfigError
from cxrvl.files import read_json, read_yaml
from cxrvl.tracking.pictures import PAGES, Kept, told

STEP = "trainer/global_step"
"""The axis all metrics are drawn against; W&B's own `_step` is the same number, so that a server knows what it has."""
STOPPED_CODE = 75
MODES = ("auto", "online", "offline", "disabled")
WANDB_WORDS = {"dryrun": "offline", "run": "online", "shared": "online"}
CLOUD = (".wandb.ai", ".coreweave.com")
NOT_SENT = ("logger", "paths")
"""Sections of the config that say nothing about the run, only about this machine and how it is watched."""


def chosen_mode(asked: str) -> str:
    """Return online, offline or disabled: what the config asks, else WANDB_MODE, else online where there is an API key.

    WANDB_MODE=disabled switches W&B off whatever the config says.

    Raises:
        ConfigError: a word that is no mode.
    """
    environment = os.environ.get("WANDB_MODE", "").lower()
    environment = WANDB_WORDS.get(environment, environment)
    if environment == "disabled":
        return "disabled"
    if asked not in MODES:
        raise ConfigError(f"the W&B mode is {asked!r}; expected one of {', '.join(MODES)}")
    if asked != "auto":
        return asked
    if environment:
        if environment not in MODES:
            raise ConfigError(f"WANDB_MODE is {environment!r}; expected online, offline or disabled")
        return chosen_mode(environment) if environment != "auto" else _mode_by_key()
    return _mode_by_key()


def _mode_by_key() -> str:
    return "online" if has_api_key() else "offline"


def has_api_key() -> bool:
    """Return whether this user can log in to W&B without being asked: by environment, settings or netrc; no network."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    settings = imported().setup().settings
    if settings.api_key:
        return True
    host = urlsplit(settings.base_url).hostname or ""
    hosts = {host, "api.wandb.ai"} if host.endswith(CLOUD) else {host}
    path = Path(os.environ.get("NETRC") or "~/.netrc").expanduser()
    try:
        return path.is_file() and any(netrc(path).authenticators(h) for h in hosts)
    except NetrcParseError:
        return False


def imported() -> Any:
    """Import wandb, quiet and without reports on its own errors: they hold a process up where there is no network."""
    os.environ.setdefault("WANDB_SILENT", "true")
    os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
    import wandb

    return wandb


def init_arguments(
    folder: Path, project: str, entity: str | None, group: str | None, tags: Sequence[str]
) -> dict[str, Any]:
    """Return how wandb.init names and describes a run, from its folder's plain files alone.

    The group is the one asked for, else the sweep that started the run, else the experiment; tags are those asked
    for and the experiment's line.
    """
    config = read_yaml(folder / "config.yaml")
    status = _json(folder / "status.json")
    name = str(config["name"])
    facts = {
        "run_id": folder.name,
        "split_name": status.get("split_name"),
        "split_sha256": status.get("split_sha256"),
        "commit": _json(folder / "environment.json").get("commit"),
    }
    return {
        "project": project,
        "entity": entity,
        "id": folder.name,
        "name": f"{name}-s{config['seed']}",
        "group": group or status.get("sweep") or name,
        "job_type": "train",
        "tags": list(dict.fromkeys([*tags, name.partition("/")[0][:64]])),
        "config": {k: _without_rows(v) if k == "data" else v for k, v in config.items() if k not in NOT_SENT} | facts,
        "dir": str(folder),
    }


def _without_rows(node: Any) -> Any:
    """Leave out where the data lie, and filters on rows: they may name patients."""
    if isinstance(node, dict):
        return {k: _without_rows(v) for k, v in node.items() if k not in ("root", "store_root", "where")}
    return [_without_rows(v) for v in node] if isinstance(node, list) else node


def _json(path: Path) -> dict[str, Any]:
    return read_json(path) if path.is_file() else {}


def open_run(
    arguments: dict[str, Any], mode: str, *, init_timeout: float, finish_timeout: float, system_metrics: bool = False
) -> Any:
    """Start a W&B run that continues the server's run of this id, if it has one.

    Args:
        init_timeout: seconds to wait for the server.
        finish_timeout: seconds the end of the run may wait for what is still to be sent.
        system_metrics: let W&B sample CPU, disk and GPU load.

    Raises:
        Exception: whatever wandb raises where it cannot start, such as wandb.errors.CommError.
    """
    wandb = imported()
    settings = wandb.Settings(
        mode=mode, init_timeout=init_timeout, finish_timeout=finish_timeout, finish_timeout_raises=True,
        console="off", silent=True, disable_git=True, disable_code=True, disable_job_creation=True,
        x_disable_stats=not system_metrics, x_disable_meta=True, x_disable_machine_info=not system_metrics,
        x_save_requirements=False,
    )  # fmt: skip
    online = {"resume": "allow"} if mode == "online" else {}
    run = wandb.init(**arguments, **online, settings=settings)
    run.define_metric(STEP)
    run.define_metric("*", step_metric=STEP)
    return run


def first_missing(run: Any) -> int:
    """Return the first step the server does not have."""
    return int(run.starting_step or 0)


def by_step(rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield each step once with everything that was logged at it; what is null in the history is left out."""
    merged: dict[int, dict[str, Any]] = {}
    for row in rows:
        if row["step"] is not None:
            values = {k: v for k, v in row.items() if k != "step" and v is not None}
            merged.setdefault(int(row["step"]), {}).update(values)
    yield from sorted(merged.items())


def send(run: Any, metrics: Mapping[str, Any], step: int) -> None:
    """Log one step."""
    run.log({**metrics, STEP: step}, step=step)


def images(folder: Path, pictures: Sequence[Kept]) -> dict[str, list[Any]]:
    """Return pictures of a run's pages as W&B takes them, by kind; those that may leave: `sharing.kept_to_share`."""
    shown: dict[str, list[Any]] = {}
    for picture in pictures:
        image = imported().Image(str(folder / PAGES / picture.file), caption=told(picture))
        shown.setdefault(picture.kind, []).append(image)
    return shown


def summary_of(folder: Path) -> dict[str, Any]:
    """Return the numbers of a run's metrics.json, those the tables use: {evaluation: {nested names: number}}.

    Of several evaluations of one name the one that the run's config asks for carries the name; the others are found
    under the names of their prediction files.
    """
    entries = _json(folder / "metrics.json")
    if not entries:
        return {}
    asked = read_yaml(folder / "config.yaml").get("evaluation") or {}
    named: dict[str, str] = {}
    for key, entry in entries.items():
        if entry["name"] not in named or entry.get("evaluator") == asked.get(entry["name"]):
            named[entry["name"]] = key
    return {
        entry["name"] if named[entry["name"]] == key else key: _numbers(entry["values"])
        for key, entry in entries.items()
    }


def _numbers(node: Mapping[str, Any]) -> dict[str, Any]:
    found = {k: _numbers(v) if isinstance(v, Mapping) else v for k, v in node.items()}
    return {k: v for k, v in found.items() if v != {} and isinstance(v, (int, float, dict))}


def close_run(run: Any, summary: Mapping[str, Any] | None, exit_code: int) -> None:
    """Write the summary and end a W&B run; one that was only stopped is marked as pre-empted.

    Raises:
        TimeoutError: not everything could be sent in time.
    """
    if summary:
        run.summary.update(dict(summary))
    if exit_code == STOPPED_CODE:
        run.mark_preempting()
    run.finish(exit_code=exit_code)


def tear_down() -> None:
    """Let go of what a failed start left behind, so that another start in this process is possible."""
    imported().teardown()


def offline_folders(folder: Path) -> list[Path]:
    """Return the offline W&B folders of a run, oldest first."""
    return sorted((folder / "wandb").glob(f"offline-run-*-{folder.name}"))


def plain_json(content: Any) -> str:
    """Return JSON that is the same for the same content."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"))
