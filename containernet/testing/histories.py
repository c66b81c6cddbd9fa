"""Whether what many clients were told at once could have been told to them one after the other.

Herlihy and Wing call such a history linearizable: each call takes effect at one moment between its beginning
and its end. The search is Wing and Gong's: take any call that began before every other one ended, see whether
the model could have given its answer, and go on with the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from contextlib import suppress
from random import Random

import attrs

from ..contracts import LeaseStore
from ..errors import LeaseLost, LeaseTaken
from ..model import Lease, Prefix, overlaps

TTL = 600.0  # seconds; no lease ends while a history is written

Standing = tuple[str, tuple[Prefix, ...], str]  # node, subnets, revision
DEEDS = ["claim", "claim", "claim", "renew", "renew", "renew", "release", "list", "list"]

State = frozenset[Standing]
Effect = Callable[[State], State | None]


@attrs.frozen(kw_only=True)
class Call:
    """One call and its answer.

    Args:
        name: both, in words.
        begin, end: moments of one counter.
        effect: from the leases before to the leases after; None: such an answer cannot be given then.
    """

    name: str
    begin: int
    end: int
    effect: Effect

    def __str__(self) -> str:
        return f"{self.begin}-{self.end} {self.name}"


def linearizable(calls: Sequence[Call]) -> bool:
    """Return whether a store that was empty could have answered so, to one call after the other."""
    start = (frozenset(range(len(calls))), State())
    seen, pending = {start}, [start]
    while pending:
        left, state = pending.pop()
        if not left:
            return True
        first_end = min(calls[index].end for index in left)
        for index in left:
            if calls[index].begin < first_end and (after := calls[index].effect(state)) is not None:
                step = (left - {index}, after)
                if step not in seen:
                    seen.add(step)
                    pending.append(step)
    return False


def standing(lease: Lease) -> Standing:
    """Return what of a lease time does not change."""
    return lease.node, lease.subnets, lease.revision


def claimed(node: str, subnets: tuple[Prefix, ...], lease: Lease | None) -> Effect:
    """Return the effect of a claim; None: it was taken."""

    def effect(state: State) -> State | None:
        others = frozenset(each for each in state if each[0] != node)
        taken = any(overlaps(one, other) for _, held, _ in others for one in held for other in subnets)
        if taken is not (lease is None):
            return None
        return state if lease is None else others | {standing(lease)}

    return effect


def rewritten(old: Lease, lease: Lease | None, *, found: bool) -> Effect:
    """Return the effect of a renewal, or with None of a release; not `found`: the lease was lost."""
    after = frozenset() if lease is None else frozenset({standing(lease)})

    def effect(state: State) -> State | None:
        if found is not (standing(old) in state):
            return None
        return state - {standing(old)} | after if found else state

    return effect


class Client:
    """One of many that use a store at once, and write down what they are told.

    Args:
        store: a handle; clients may share it.
        node: the name that it claims for.
        had: every lease that was ever had, by any of the clients.
        moments: the counter that all clients share.
        random: decides what it does next.
    """

    def __init__(
        self,
        store: LeaseStore,
        *,
        node: str,
        had: list[Lease],
        moments: itertools.count[int],
        random: Random,
    ) -> None:
        self.calls: list[Call] = []
        self._store = store
        self._node = node
        self._moments = moments
        self._random = random
        self._had = had

    def act(self, subnets: Sequence[tuple[Prefix, ...]]) -> None:
        """Claim some subnets, renew or release one of the last leases that anybody had, or list them all."""
        begin, do = next(self._moments), self._random.choice(DEEDS)
        old = self._random.choice(self._had[-2:] or [None])
        if do == "list":
            listed = frozenset(map(standing, self._store.leases()))
            self._write(begin, f"list: {listed}", lambda state: state if state == listed else None)
        elif do == "claim" or old is None:
            wanted = self._random.choice(subnets)
            lease = self._claim(wanted)
            self._write(begin, f"{self._node} claims {wanted}: {lease}", claimed(self._node, wanted, lease))
        else:
            lease, found = self._rewrite(old, self._renew if do == "renew" else self._release)
            self._write(begin, f"{do} {old}: {lease or found}", rewritten(old, lease, found=found))

    def _claim(self, subnets: tuple[Prefix, ...]) -> Lease | None:
        try:
            lease = self._store.claim(subnets, self._node, TTL)
        except LeaseTaken:
            return None
        self._had.append(lease)
        return lease

    def _rewrite(self, old: Lease, how: Callable[[Lease], Lease | None]) -> tuple[Lease | None, bool]:
        try:
            return how(old), True
        except LeaseLost:
            with suppress(ValueError):  # another one lost it too
                self._had.remove(old)
            return None, False

    def _renew(self, old: Lease) -> Lease:
        self._had.append(lease := self._store.renew(old, TTL))
        return lease

    def _release(self, old: Lease) -> None:
        self._store.release(old)

    def _write(self, begin: int, name: str, effect: Effect) -> None:
        self.calls.append(Call(name=name, begin=begin, end=next(self._moments), effect=effect))
