"""Chance in times: hosts that began something together do not go on together.

Not by the functions of `random`: their state belongs to the program that imports us, which may have seeded it.
"""

from __future__ import annotations

import os


def jitter(seconds: float, least: float, most: float = 1.0) -> float:
    """Return a time at random, from `least` to `most` times so many seconds."""
    chance = int.from_bytes(os.urandom(6)) / (1 << 48)
    return seconds * (least + (most - least) * chance)


def backoff(failures: int) -> float:
    """Return how many seconds to wait after so many failures in a row: 0.5 at first, 30 at last, at most."""
    return jitter(min(30.0, 0.25 * (1 << min(failures, 7))), 0.5)
