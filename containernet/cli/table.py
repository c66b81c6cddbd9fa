"""How commands print: a table for people, JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from containernet.printable import printable


def show_json(value: Any) -> None:
    """Print one JSON document."""
    print(json.dumps(value, indent=2))


def show_line(text: object) -> None:
    """Print one line."""
    print(printable(text))


def show_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; on a terminal it fits the width, elsewhere no cell is ever cut."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    if not console.is_terminal:
        console = Console(width=10_000)
    # Not printed by rich itself: it would end the program where the reader of a pipe has gone.
    with console.capture() as printed:
        console.print(table)
    sys.stdout.write(printed.get())
