"""How a value shows itself: by one function, for all classes that a daemon's start makes.

attrs writes and compiles a `__repr__` for each class, a third of what a class costs, and a start calls none. A
class that has one of its own it leaves alone.
"""

from __future__ import annotations

import attrs


def shown(value: attrs.AttrsInstance) -> str:
    """Return what attrs' own `__repr__` returns, `Name(field=value, ...)`; to be a class's `__repr__`."""
    fields = [f"{each.name}={getattr(value, each.name)!r}" for each in attrs.fields(type(value)) if each.repr]
    return f"{type(value).__qualname__.rpartition('>.')[2]}({', '.join(fields)})"
