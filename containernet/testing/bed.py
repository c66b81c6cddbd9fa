"""What a suite for stores gets from the author of a store: an empty one, and its clock."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import attrs


class Closes(Protocol):
    """All that the contracts share."""

    def close(self) -> None:
        """Let go."""


StoreT_co = TypeVar("StoreT_co", bound=Closes, covariant=True)


@attrs.frozen(kw_only=True)
class Bed(Generic[StoreT_co]):
    """One store for one test.

    Args:
        open: returns a new handle; all handles of a bed hold the same leases and routes.
        advance: lets that many seconds pass for the store: moves its clock, or waits.
        close: called after the test, when all handles are closed.
    """

    open: Callable[[], StoreT_co]
    advance: Callable[[float], None]
    close: Callable[[], None] = lambda: None
