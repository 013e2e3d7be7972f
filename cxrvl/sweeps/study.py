"""How is a search kept in one file, so that it goes on after any kill and never mixes with another search?"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from cxrvl.config.dotted import differing
from cxrvl.errors import ConfigError, RunError
from cxrvl.runs.claims import claimed

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

DEFINITION = "cxrvl_definition"
BATCH, RETRY_OF, RUN, REASON = "batch", "retry_of", "run", "reason"
"""Notes on a trial: with which others it was chosen, which failed one it repeats, its run, why it failed."""

STUDY = "search"
BEGINS = b'{"op_code":'
"""First bytes of a study's file: nothing else is ever written to."""


class SearchStudy:
    """An open Optuna study whose file this process holds alone."""

    def __init__(self, study: "Study", path: Path) -> None:
        self.study = study
        self.path = path

    def trials(self) -> "list[FrozenTrial]":
        """Return all trials in the order of their numbers."""
        return self.study.get_trials(deepcopy=False)

    def add(self, trial: "FrozenTrial", **notes: Any) -> int:
        """Write a chosen trial as running, in one line of the file, and return its number."""
        trial.user_attrs = {**trial.user_attrs, **notes}
        self.study.add_trial(trial)
        return len(self.study.get_trials(deepcopy=False)) - 1

    def tell(self, number: int, result: Sequence[float] | str, run_id: str) -> None:
        """Finish a running trial: with its values, or with the reason why it failed."""
        import optuna

        trial = optuna.trial.Trial(self.study, self.trials()[number]._trial_id)
        trial.set_user_attr(RUN, run_id)
        if isinstance(result, str):
            trial.set_user_attr(REASON, result)
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)
        else:
            self.study.tell(number, list(result))


@contextmanager
def open_study(path: Path, definition: Mapping[str, Any], directions: Sequence[str]) -> Iterator[SearchStudy]:
    """Open a search's file, or begin it, and hold it until the block ends.

    Args:
        definition: plain content that says what is searched; every later start must bring the same.

    Raises:
        ConfigError: the file holds a search for something else; the message names what differs.
        RunError: another process runs this search, or the file is damaged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        try:
            # As runs are held: on file systems, too, where one machine's locks are not seen by another.
            stack.enter_context(claimed(path.with_name(f".{path.name}.held"), path.stem, wait=False))
        except RunError as error:
            raise RunError(f"the search in {path} cannot be run now: {error}") from error
        _drop_torn_line(path)
        try:
            study = _load(path, directions)
        except (ValueError, KeyError, AssertionError) as error:
            raise RunError(
                f"the search in {path} cannot be read ({type(error).__name__}: {error}); remove it: runs stay, and the same "
                "search finds them done"
            ) from error
        known = study.user_attrs.get(DEFINITION)
        if known is None and study.get_trials(deepcopy=False):
            raise ConfigError(f"{path} holds a study that cxrvl did not begin; name another hydra.sweeper.storage")
        if known is None:
            study.set_user_attr(DEFINITION, dict(definition))
        else:
            _refuse_another(path, known, definition)
        yield SearchStudy(study, path)


def _drop_torn_line(path: Path) -> None:
    """Cut a last line that a crash or a full disk left half written; Optuna would refuse the whole file."""
    if not path.is_file():
        return
    with path.open("rb+") as file:
        content = file.read()
        if not content.startswith(BEGINS[: len(content)]):
            raise RunError(f"{path} is no file of a search; name another hydra.sweeper.storage")
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            file.truncate(whole)


def _load(path: Path, directions: Sequence[str]) -> "Study":
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    storage = JournalStorage(JournalFileBackend(str(path)))
    # A random sampler keeps nothing: every choice is made by cxrvl.sweeps.samplers.
    sampler = optuna.samplers.RandomSampler(0)
    names = optuna.get_all_study_names(storage)
    if names:
        return optuna.load_study(study_name=names[0], storage=storage, sampler=sampler)
    return optuna.create_study(
        study_name=STUDY, storage=storage, sampler=sampler, directions=cast(Any, list(directions))
    )


def _refuse_another(path: Path, known: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    found = differing(known, asked)
    if found:
        shown = "; ".join(
            f"{key}: {there!r} there, {here!r} asked for" for key, (there, here) in list(found.items())[:5]
        )
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        raise ConfigError(
            f"{path} holds another search ({shown}{more}); name another hydra.sweeper.study_name or "
            "hydra.sweeper.storage, or leave both out"
        )
