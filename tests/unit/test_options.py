"""options: a table becomes an instance, or one sentence with table, key, value and what was expected."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from containernet.errors import ConfigError
from containernet.options import between, build


@attrs.frozen(kw_only=True)
class Table:
    """A backend's options of every kind."""

    path: str
    size: int = attrs.field(default=1, validator=between(1, 9))
    pause: float = 0.5
    loud: bool = False
    names: list[str] = attrs.Factory(list)
    maybe: int | None = None
    hidden: int = attrs.field(default=7, init=False)


def test_a_table_becomes_an_instance() -> None:
    """A whole number is a number too; what is not said has its default."""
    table = build(Table, {"path": "/x", "pause": 2, "names": ["a"], "maybe": None}, table="store.x")
    assert table == Table(path="/x", pause=2, names=["a"])


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, "[store.x] path is missing, and it has no default"),
        ({"path": 1}, "[store.x] path = 1: expected text"),
        ({"path": "", "sise": 1}, "[store.x] 'sise' is not an option; did you mean 'size'?"),
        ({"path": "", "hidden": 1}, "[store.x] 'hidden' is not an option; "),
        ({"path": "", "size": 10}, "[store.x] size = 10: expected 1 to 9"),
        ({"path": "", "size": 1.5}, "[store.x] size = 1.5: expected a whole number"),
        ({"path": "", "size": True}, "[store.x] size = True: expected a whole number"),
        ({"path": "", "pause": True}, "[store.x] pause = True: expected a number"),
        ({"path": "", "loud": 1}, "[store.x] loud = 1: expected true or false"),
        ({"path": "", "names": "a"}, "[store.x] names = 'a': expected"),
        ({"path": "", "maybe": "x"}, "[store.x] maybe = 'x': expected"),
    ],
)
def test_a_table_that_cannot_be(options: dict[str, Any], error: str) -> None:
    """The first mistake is named whole."""
    with pytest.raises(ConfigError) as refusal:
        build(Table, options, table="store.x")
    assert str(refusal.value).startswith(error)
