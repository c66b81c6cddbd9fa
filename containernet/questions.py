"""Questions that only a store understands: from a request to the store, and from its answer to what people see.

`containernet bgp peers` is such a one: neither the daemon nor the command line knows what a peer is. So a store
of anybody's is asked like ours; see `contracts.Answers`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from .contracts import Answers
from .errors import ConfigError


@attrs.frozen(kw_only=True)
class Table:
    """A list of objects in an answer, as text: the columns are those of the first one that hold anything."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def answer(stores: Mapping[str, object], request: Mapping[str, Any]) -> Mapping[str, object]:
    """Return what the store named in a request answers; without a question, which ones it knows.

    Args:
        stores: the daemon's own, by name.
        request: has `store`, and perhaps `question` and `arguments`.

    Raises:
        ConfigError: there is no such store or question, or its arguments are wrong.
    """
    name, question, arguments = (request.get(key) for key in ("store", "question", "arguments"))
    store = stores.get(str(name))
    if store is None:
        raise ConfigError(f"{name!r} is no store of this host: its config file names {' and '.join(stores)}")
    if not isinstance(store, Answers):
        raise ConfigError(f"the store {name} answers no questions; `containernet routes` shows what it holds")
    words = store.questions()
    if not question:
        return {"questions": [{"question": word, "answers": line} for word, line in words.items()]}
    if not isinstance(question, str) or question not in words:
        raise ConfigError(f"{name} does not know {question!r}: ask {', '.join(words)}")
    if not isinstance(arguments, list) or not all(isinstance(each, str) for each in arguments):
        raise ConfigError(f"arguments = {arguments!r}: expected a list of words")
    return store.answer(question, arguments)


def shown(answer: Mapping[str, Any]) -> Iterator[str | Table]:
    """Yield an answer for people: tables, and a line for everything else."""
    for name, value in answer.items():
        if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
            cells = [[_cell(row.get(column)) for row in value] for column in value[0]]
            told = [any(column) for column in cells]  # what is empty from top to bottom only makes it wide
            rows = zip(*itertools.compress(cells, told), strict=True)
            yield Table(columns=tuple(itertools.compress(value[0], told)), rows=tuple(rows))
        else:
            yield f"{name}: {_cell(value) or 'none'}"


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case list():
            return " ".join(map(_cell, value))
        case dict():
            return " ".join(f"{name}={_cell(each)}" for name, each in value.items())
    return str(value)
