"""A backend's own table of the config file, checked at the moment the backend is made.

A backend is an attrs class whose fields are its options; `build` turns a table into an instance, refusing what
the class does not know. Ranges and relations are the class's own validators, so that a library user who calls
the class directly meets the same checks.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import TypeVar

import attrs

from .errors import ConfigError

_Built = TypeVar("_Built", bound=attrs.AttrsInstance)


def build(cls: type[_Built], options: Mapping[str, object], *, table: str) -> _Built:
    """Make `cls` from a table whose keys are its fields.

    Args:
        cls: an attrs class; fields with `init=False` are not options.
        options: the table as TOML gives it.
        table: the table's name in the config file, for messages, such as `dataplane.vxlan`.

    Raises:
        ConfigError: a key that the class does not have, a required one that is missing, or a value of another
            type; with the table, the key and the value.
    """
    fields = {field.name: field for field in attrs.fields(cls) if field.init}
    hints = typing.get_type_hints(cls)
    for key, value in options.items():
        if key not in fields:
            raise unknown_key(key, known=list(fields), table=table)
        if not _is(value, hints[key]):
            raise ConfigError(
                f"[{table}] {key} = {value!r}: expected {_words(hints[key])}, got {type(value).__name__}"
            )
    for name, field in fields.items():
        if field.default is attrs.NOTHING and name not in options:
            raise ConfigError(f"[{table}] {name} is missing, and it has no default")
    try:
        return cls(**options)
    except ConfigError as error:
        raise ConfigError(f"[{table}] {error}") from None


def unknown_key(key: str, *, known: list[str], table: str) -> ConfigError:
    """Return the error for a key that nobody reads, with the nearest one that somebody does."""
    near = nearest(key, known)
    hint = f"did you mean {near!r}?" if near else f"known are: {', '.join(sorted(known)) or 'none'}"
    return ConfigError(f"[{table}] {key!r} is not an option; {hint}")


def nearest(word: str, known: list[str]) -> str:
    """Return the known word that somebody may have meant; empty: none is like it."""
    import difflib  # when something is wrong, and not at each start

    return next(iter(difflib.get_close_matches(word, known, n=1)), "")


def between(low: int, high: int) -> typing.Callable[[object, attrs.Attribute[int], int], None]:
    """Return an attrs validator: the value is an integer from `low` to `high`."""

    def check(instance: object, attribute: attrs.Attribute[int], value: int) -> None:
        if not low <= value <= high:
            raise ConfigError(f"{attribute.name} = {value}: expected {low} to {high}")

    return check


def _is(value: object, hint: object) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_is(value, choice) for choice in typing.get_args(hint))
    expected = origin or hint
    if expected in (int, float) and isinstance(value, bool):
        return False
    if expected is float and isinstance(value, int):
        return True
    if expected in (tuple, list):
        return isinstance(value, tuple | list)
    return isinstance(value, expected) if isinstance(expected, type) else True


def _words(hint: object) -> str:
    names = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}
    return names.get(hint, str(hint)) if isinstance(hint, type) else str(hint)
