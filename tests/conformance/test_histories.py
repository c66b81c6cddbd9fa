"""The search that judges what many clients were told at once, against trying every order."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, strategies as st

from containernet.model import Lease
from containernet.testing.histories import Call, Effect, State, claimed, linearizable, rewritten, standing
from containernet.testing.stores import ONE

MINE, NEXT, THEIRS = (
    Lease(subnets=ONE, node=node, expires=600, revision=revision) for node, revision in ("a1", "a2", "b3")
)


def listing(*leases: Lease) -> Effect:
    """Return the effect of a list with that answer."""
    answer = frozenset(map(standing, leases))
    return lambda state: state if state == answer else None


EFFECTS: dict[str, Effect] = {
    "a has it": claimed("a", ONE, MINE),
    "b has it": claimed("b", ONE, THEIRS),
    "b is refused": claimed("b", ONE, None),
    "a renews": rewritten(MINE, NEXT, found=True),
    "a has lost it": rewritten(MINE, None, found=False),
    "a gives back": rewritten(MINE, None, found=True),
    "nothing": listing(),
    "a's": listing(MINE),
    "a's renewed": listing(NEXT),
}


def call(name: str, begin: int, end: int) -> Call:
    """Return a call of that effect."""
    return Call(name=name, begin=begin, end=end, effect=EFFECTS[name])


def by_trying(calls: Sequence[Call]) -> bool:
    """Return the same, slowly."""
    for order in itertools.permutations(calls):
        state: State | None = frozenset()
        for each in order:
            state = None if state is None else each.effect(state)
        in_time = all(one.begin < other.end for one, other in itertools.combinations(order, 2))
        if state is not None and in_time:
            return True
    return False


@given(
    st.lists(st.sampled_from(sorted(EFFECTS)), max_size=5).flatmap(
        lambda names: st.tuples(st.just(names), st.permutations(range(2 * len(names))))
    )
)
def test_any_history(drawn: tuple[list[str], list[int]]) -> None:
    """It says what trying every order says."""
    names, moments = drawn
    pairs = map(sorted, zip(moments[::2], moments[1::2], strict=True))
    calls = [call(name, begin, end) for name, (begin, end) in zip(names, pairs, strict=True)]
    assert linearizable(calls) == by_trying(calls)


@pytest.mark.parametrize(
    ("history", "possible"),
    [
        ("a has it 0-1, b is refused 2-3", True),
        ("a has it 0-1, b has it 2-3", False),  # two owners
        ("a has it 0-3, b is refused 1-2", True),  # while it was answered
        ("b is refused 0-1, a has it 2-3", False),  # by whom?
        ("a has it 0-1, nothing 2-3", False),  # what was acknowledged is seen
        ("a has it 0-2, nothing 1-3", True),  # the list was first
        ("a has it 0-1, a renews 2-5, a renews 3-4", False),  # one revision, renewed twice
        ("a has it 0-1, a renews 2-5, a has lost it 3-4", True),
        ("a has it 0-1, a gives back 2-3, b has it 4-5", True),
    ],
)
def test_history(history: str, possible: bool) -> None:
    """What is possible, and what is not."""
    words = [each.rpartition(" ") for each in history.split(", ")]
    calls = [call(name, *map(int, moments.split("-"))) for name, _, moments in words]
    assert linearizable(calls) == by_trying(calls) == possible
