"""JSON as Go's encoding/json reads and writes it, since flannel is at the other end.

Written: compact, in the order given, and so that it is safe inside HTML. Read: the names of an object's members
in any case, the last of several wins, null is as good as absent, bytes that are no UTF-8 become U+FFFD. What
Go's scanner refuses is refused here: NaN, trailing text, a byte order mark.

Pure. Whatever the bytes are, nothing but ValueError comes out.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 80

# json.Marshal escapes what a browser could take for markup, and the line ends that only JavaScript has.
_ESCAPED = str.maketrans({each: f"\\u{ord(each):04x}" for each in "<>&\u2028\u2029"})


def short(value: object) -> str:
    """Return `value` as one line of bounded length, for a message."""
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python makes no text of a number of more than 4300 digits
        return f"a {type(value).__name__} with a very large number"


def write(document: Mapping[str, Any]) -> bytes:
    """Return what Go's json.Marshal gives for the same members in the same order.

    Numbers are Python's: a float stays one, where Go would write 1 for 1.0.

    Raises:
        ValueError: a number that JSON does not have.
    """
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Half of a surrogate pair has no UTF-8. What the error handler writes happens to be JSON's escape for it.
    return text.translate(_ESCAPED).encode("utf-8", "backslashreplace")


def read(value: bytes, *, limit: int) -> dict[str, Any]:
    """Return the JSON object in `value`, of at most `limit` octets.

    Raises:
        ValueError: it is something else; the message is one line.
    """
    if len(value) > limit:
        raise ValueError(f"{len(value)} octets, expected at most {limit}")
    try:
        document = json.loads(
            value.decode("utf-8", "replace"),
            object_pairs_hook=_last_wins,
            parse_constant=_no_number,
            parse_float=_finite,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("expected a JSON object")
    return document


def members(document: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Return what `document` holds under `names`, read in any case; without null, and without the rest."""
    wanted = {name.casefold(): name for name in names}
    found = {wanted[key.casefold()]: value for key, value in document.items() if key.casefold() in wanted}
    return {name: value for name, value in found.items() if value is not None}


def _last_wins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """As dict(pairs), but in the order of the last ones: `members` has to know which that is."""
    document: dict[str, Any] = {}
    for name, value in pairs:
        document.pop(name, None)
        document[name] = value
    return document


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no number of JSON's")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{short(text)} is beyond every float")
    return number
