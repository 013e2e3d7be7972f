"""`cxrvl dashboard`: the project's W&B workspace and report, from code."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from cxrvl.config.compose import compose_config, resolved
from cxrvl.errors import CxrvlError, RunError
from cxrvl.files import read_json, write_json

SAVED = "saved.json"


def dashboard(options: argparse.Namespace) -> None:
    """Save workspace and report to W&B and print their addresses; without a key or with --out, write them as JSON.

    Raises:
        RunError: W&B knows no entity to save to, or refuses.
    """
    from cxrvl.tracking.dashboard_wandb import as_json, report, workspace
    from cxrvl.tracking.wandb_run import chosen_mode

    folder = Path(options.out or Path(resolved(compose_config())["paths"]["tables"]) / "dashboard")
    entity = options.entity or os.environ.get("WANDB_ENTITY", "")
    built = {"workspace": workspace(options.project, entity), "report": report(options.project, entity)}
    for name, item in built.items():
        write_json(folder / f"{name}.json", as_json(item))
        print(f"wrote {folder / f'{name}.json'}")
    if options.out:
        return
    if chosen_mode("auto") != "online":
        print("not sent: no W&B API key, or WANDB_MODE says not to (wandb login; WANDB_MODE=online)", file=sys.stderr)
        return
    try:
        _save(options.project, entity or _default_entity(), folder)
    except CxrvlError:
        raise
    except Exception as error:  # wandb, requests and its GraphQL client each raise their own
        raise RunError(
            f"W&B did not take the dashboard ({type(error).__name__}: {' '.join(str(error).split())[:300]}); the JSON "
            f"files in {folder} are whole. Check the network, --entity and --project, and start again"
        ) from error


def _default_entity() -> str:
    from cxrvl.tracking.wandb_run import imported

    entity = imported().Api().default_entity
    if not entity:
        raise RunError("W&B names no default entity for this key; give one with --entity")
    return str(entity)


def _save(project: str, entity: str, folder: Path) -> None:
    """Save to W&B, over what an earlier call saved, and note under which ids."""
    from cxrvl.tracking.dashboard_wandb import report, workspace

    path, key = folder / SAVED, f"{entity}/{project}"
    known: dict[str, Any] = read_json(path) if path.is_file() else {}
    ids = known.get(key, {})
    view, text = workspace(project, entity), report(project, entity)
    view._internal_name, view._internal_id = ids.get("workspace", ("", ""))
    text.id = ids.get("report", "")
    text.save()  # first: it makes the project where there is none yet
    view.save()
    write_json(path, known | {key: {"workspace": (view._internal_name, view._internal_id), "report": text.id}})
    print(f"workspace: {view.url}\nreport: {text.url}")
