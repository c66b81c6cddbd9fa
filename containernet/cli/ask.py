"""`containernet STORE QUESTION ...`: what only a store can tell, such as `containernet bgp peers`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from containernet import control, loading, questions
from containernet.cli.operate import load
from containernet.cli.table import show_json, show_table


def add_parser(commands: argparse._SubParsersAction[Any], arguments: Sequence[str]) -> None:
    """Add the first word of the command line where it is no command, and a store of that name is installed.

    Not every store at once: to learn their names costs a look at all that is installed.
    """
    values = {at + 1 for at, word in enumerate(arguments) if word == "--config"}
    words = (word for at, word in enumerate(arguments) if not word.startswith("-") and at not in values)
    name = next(words, "")
    if not name or name in commands.choices:
        return
    groups = (loading.ROUTE_STORES, loading.LEASE_STORES)
    if name not in {store.name for group in groups for store in loading.installed(group)}:
        return
    parser = commands.add_parser(name, help=f"ask the store {name} what only it can tell")
    parser.add_argument("question", nargs="?", default="", metavar="QUESTION", help="default: which there are")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=ask, store=name)


def ask(arguments: argparse.Namespace) -> int:
    """Ask the daemon's store, and show its answer."""
    answer = control.ask(
        load(arguments).socket,
        "ask",
        store=arguments.store,
        question=arguments.question,
        arguments=arguments.arguments,
    )
    if arguments.json:
        show_json(answer)
        return 0
    for part in questions.shown(answer):
        if isinstance(part, str):
            print(part)
        else:
            show_table([column.upper().replace("_", " ") for column in part.columns], part.rows)
    return 0
