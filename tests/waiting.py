"""Waiting for what nobody tells, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event
from typing import TypeVar

T = TypeVar("T")

PATIENCE = 30  # seconds


def wait_until(ask: Callable[[], T | None], *, what: str, patience: float = PATIENCE, pause: float = 0.02) -> T:
    """Ask until the answer is true, and return it.

    Args:
        pause: seconds between two questions; longer where each is a process.

    Raises:
        AssertionError: it did not become true within `patience` seconds.
    """
    deadline, never = time.monotonic() + patience, Event()
    while not (answer := ask()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        never.wait(pause)
    return answer
