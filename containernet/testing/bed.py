"""What every suite shares: the bed that the author of a store makes for it, and how options are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import attrs

from ..contracts import Backend
from ..errors import ConfigError, ContainernetError


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
        gap: makes every subscriber miss what it has not fetched yet; None: this store loses nothing.
        close: called after the test, when all handles are closed.
    """

    open: Callable[[], StoreT_co]
    advance: Callable[[float], None]
    gap: Callable[[], None] | None = None
    close: Callable[[], None] = lambda: None


Error = TypeVar("Error", bound=ContainernetError)


def refused(expected: type[Error], call: Callable[..., object], *args: Any) -> Error:
    """Return the error with which the call was refused."""
    try:
        outcome = call(*args)
    except expected as error:
        return error
    raise AssertionError(f"expected {expected.__name__}, got {outcome!r}")


def refuses_unknown_options(backend: type[Backend]) -> None:
    """Check that an option that it does not know is refused by name."""
    assert "no-such-option" in str(refused(ConfigError, backend.from_options, {"no-such-option": 1}))
