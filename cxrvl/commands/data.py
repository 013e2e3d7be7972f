"""`cxrvl data`: look at data before training on them."""

import argparse
from types import ModuleType
from typing import Any

import cxrvl.commands.data_duplicates as duplicates
import cxrvl.commands.data_show as show

ACTIONS: dict[str, ModuleType] = {"show": show, "duplicates": duplicates}
"""Name -> module with HELP, `add_arguments(parser)` and `run(options)`; such a module imports little before it runs."""


def add_data_parser(commands: Any) -> None:
    """Add `data` and its actions to the commands of the parser."""
    data = commands.add_parser("data", help="look at a data set: counts, contact sheets, reports")
    actions = data.add_subparsers(dest="action", required=True, metavar="|".join(ACTIONS))
    for name, module in ACTIONS.items():
        module.add_arguments(actions.add_parser(name, help=module.HELP))


def data(options: argparse.Namespace) -> None:
    """Run the action that was asked for."""
    ACTIONS[options.action].run(options)
