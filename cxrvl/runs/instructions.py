"""With which instructions did a run learn, and which of them does an option mean by a task's name?"""

from collections.abc import Callable, Mapping
from typing import Any

from cxrvl.config.nearest import nearest
from cxrvl.errors import ConfigError

BY_NAME = "task"
"""The one key of an instruction that is given by a task's name: {task: findings_impression}."""
KEYS = ("instruction", "document_instruction")
"""Settings of an evaluator that are instructions, at any depth."""


def instructions_of(config: Mapping[str, Any]) -> dict[str, str]:
    """Return task -> instruction that a resolved config trains with; {} where it has no tasks, or none with one."""
    tasks = config["data"].get("tasks") or {}
    return {name: task["instruction"].strip() for name, task in tasks.items() if (task or {}).get("instruction")}


def instruction_of(name: str, known: Mapping[str, str], where: str) -> str:
    """Return the instruction of a task.

    Args:
        known: as `instructions_of` gives them.
        where: the option that names it, for errors.

    Raises:
        ConfigError: there is no such task; it lists those there are.
    """
    if name in known:
        return known[name]
    if not known:
        raise ConfigError(f"{where}: the run learnt no task with an instruction, so there is none of {name!r}; give the "
                          "instruction as text")  # fmt: skip
    close = nearest(name, known)
    hint = f"; did you mean {close!r}?" if close else ""
    raise ConfigError(
        f"{where}: the run learnt no task {name!r} with an instruction{hint}; it learnt "
        f"{', '.join(known)}: name one of these, or give the instruction as text"
    )


def with_instructions(evaluator: dict[str, Any], known: Callable[[], Mapping[str, str]], where: str) -> dict[str, Any]:
    """Return an evaluator's config with the texts of all instructions that it gives by name.

    Args:
        known: gives what `instructions_of` gives; called where an instruction is given by name alone.

    Raises:
        ConfigError: as `instruction_of`; an instruction that is neither a text nor {task: <name>}.
    """
    return {key: _told(key, value, known, f"{where}.{key}") for key, value in evaluator.items()}


def _told(key: str, value: Any, known: Callable[[], Mapping[str, str]], where: str) -> Any:
    if not isinstance(value, Mapping):
        return value
    if key not in KEYS:
        return with_instructions(dict(value), known, where)
    if set(value) != {BY_NAME} or not isinstance(value[BY_NAME], str):
        raise ConfigError(f"{where} is {dict(value)}; expected a text, or {{{BY_NAME}: <name of a task of the run>}}")
    return instruction_of(value[BY_NAME], known(), where)
