"""What not every backend can do, in the words of a suite's `supports`; those of stores are many."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import ConfigError

ABILITIES: Mapping[str, tuple[str, str]] = {
    "late renewal": (
        "a lease whose time is over, and which nobody took, is renewed",
        "it is lost, and can be claimed",
    ),
    "renewal revisions": (
        "a renewal gives a new revision",
        "it may leave the revision as it is, so that an older `Lease` still stands for the claim",
    ),
    "remaining time": (
        "`leases` tells when each lease ends",
        "`expires` may be None there",
    ),
    "shared": (
        "a route is the store's: the last one for a prefix stands, and outlives its handle",
        "each handle has routes of its own, which go with it; of several for a prefix any is told",
    ),
    "immediate": (
        "when a call returns, every subscriber can fetch what it did",
        "soon after; a snapshot may lag as well",
    ),
    "exact events": (
        "a change is one event to who waits for it, and what changes nothing is none",
        "the events add up to the same",
    ),
    "nodes": (
        "a route comes with its node's name",
        "with any name",
    ),
    "tunnels": (
        "a route comes with its tunnel, every JSON scalar with its type",
        "with some of its data, or none, and its type or none",
    ),
}
"""Words for `supports`: what a store does that can do it, and what one that cannot does instead."""

EVERYTHING = frozenset(ABILITIES)


def check_supports(suite: type, expected: frozenset[str] | frozenset[type]) -> None:
    """Refuse a suite that says of its backend what no test asks for: that would be a slip, and found by nobody.

    Raises:
        ConfigError: with the words that there are.
    """
    supports: frozenset[object] = suite.supports  # type: ignore[attr-defined]
    if unknown := supports - expected:
        words = (", ".join(sorted(map(_word, some))) for some in (unknown, expected))
        raise ConfigError(f"{suite.__name__}.supports: {': expected some of '.join(words)}")


def _word(word: object) -> str:
    return word.__name__ if isinstance(word, type) else str(word)
