"""How does a run get to Weights & Biases afterwards, from its plain files alone, once and without a step twice?"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxrvl.errors import RunError
from cxrvl.files import read_yaml
from cxrvl.tracking import wandb_run
from cxrvl.tracking.history import read_history
from cxrvl.tracking.pictures import Kept
from cxrvl.tracking.sharing import kept_to_share
from cxrvl.tracking.synced import OFFLINE, content_of, destination, read_note, write_note

EXIT_CODES = {"done": 0, "failed": 1, "queued": wandb_run.STOPPED_CODE}


@dataclass(frozen=True)
class Synced:
    """What became of a run that was to be synchronised.

    Attributes:
        run_id: the run.
        sent: steps that were sent now; None = nothing had changed since the last time.
        where: the run's page, or its offline folder.
    """

    run_id: str
    sent: int | None
    where: str


def sync(
    folder: Path,
    state: str,
    mode: str,
    project: str | None = None,
    entity: str | None = None,
    init_timeout: float = 60.0,
    finish_timeout: float = 600.0,
) -> Synced:
    """Bring one W&B run to what a run's plain files say: config, history, the tables' numbers, how it ended.

    Online the server is asked which steps it has, and gets those after them: W&B can replace none, and a step that a
    resumed run computed again is the same step. Offline one folder is written, in place
    of the ones before it.

    Args:
        folder: the run's folder; its name is the run id.
        state: of the run: done, failed or queued (stopped, to be continued).
        mode: online | offline.
        project, entity: where on the server; None = as the run's config says.

    Raises:
        RunError: the run is being computed or has not begun, or W&B cannot be reached.
    """
    if state not in EXIT_CODES or not (folder / "config.yaml").is_file():
        raise RunError(f"run {folder.name} is {state}; it can be sent to W&B once it was stopped or is done")
    settings = (read_yaml(folder / "config.yaml").get("logger") or {}).get("wandb") or {}
    project, entity = project or settings.get("project") or "cxrvl", entity or settings.get("entity")
    where = destination(project, entity) if mode == "online" else OFFLINE
    content = content_of(folder, state)
    before = read_note(folder).get(where)
    folders = wandb_run.offline_folders(folder)
    if before is not None and before["content"] == content and (mode == "online" or folders):
        return Synced(folder.name, None, before["url"] if mode == "online" else str(folders[-1]))
    steps = list(wandb_run.by_step(read_history(folder)))
    for earlier in folders if mode == "offline" else ():
        shutil.rmtree(earlier)
    arguments = wandb_run.init_arguments(folder, project, entity, settings.get("group"), settings.get("tags") or ())
    pictures = kept_to_share(folder, settings.get("share_data") is True)
    sent, url = _send(folder, arguments, steps, pictures, state, mode, init_timeout, finish_timeout)
    write_note(folder, where, content, url)
    return Synced(folder.name, sent, url if mode == "online" else str(wandb_run.offline_folders(folder)[-1]))


def _send(
    folder: Path, arguments: dict[str, Any], steps: list[tuple[int, dict[str, Any]]], pictures: list[Kept], state: str,
    mode: str, init_timeout: float, finish_timeout: float,
) -> tuple[int, str]:  # fmt: skip
    errors: Any = wandb_run.imported().errors
    try:
        run = wandb_run.open_run(arguments, mode, init_timeout=init_timeout, finish_timeout=finish_timeout)
    except (errors.Error, OSError) as error:
        wandb_run.tear_down()
        raise RunError(
            f"run {arguments['id']} cannot be sent to W&B ({' '.join(str(error).split())[:200]}); try again when the server "
            "can be reached, or with --mode offline"
        ) from error
    first = wandb_run.first_missing(run)
    missing = [(step, values) for step, values in steps if step >= first]
    for step, values in missing:
        shown = wandb_run.images(folder, [p for p in pictures if p.step == step])
        wandb_run.send(run, values | shown, step)
    url = str(getattr(run, "url", None) or "")
    try:
        wandb_run.close_run(run, wandb_run.summary_of(folder), EXIT_CODES[state])
    except TimeoutError as error:
        raise RunError(
            f"W&B did not take all of run {arguments['id']} within {finish_timeout:.0f} s; ask again, it goes on from there"
        ) from error
    return len(missing), url
