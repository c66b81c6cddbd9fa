"""Leases like etcd's, and events that take their time.

Leases: whole seconds and not too few of them, deleted at their end, kept alive without a write, and
nobody tells when another's ends. Events are there soon, and whoever does not wait for them has none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import attrs

from containernet.events import Event
from containernet.model import Lease, Prefix
from containernet.testing import Bed, Clock, LeaseStoreContract
from containernet_backends.leasing import check_claim, check_ttl
from containernet_backends.memory import MemoryStore, MemorySubscription

SHORTEST = 5  # seconds

# etcd deletes what hangs on a lease when that ends; KeepAlive writes nothing; what is left of a lease costs
# a call each; and who watches is told a moment after the writer is answered.
SUPPORTS = LeaseStoreContract.supports - {"late renewal", "renewal revisions", "remaining time", "immediate"}


class Watch(MemorySubscription):
    """Its events are on their way until somebody waits."""

    def next_event(self, timeout: float) -> Event | None:
        """Wait for the next event."""
        return super().next_event(timeout) if timeout else None


class KeptAlive(MemoryStore):
    """Keeps a lease alive in place, and deletes it when its time is over."""

    def leases(self) -> Sequence[Lease]:
        """Return all live leases, without their time."""
        return [attrs.evolve(lease, expires=None) for lease in super().leases()]

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take, for whole seconds."""
        check_claim(subnets, node, ttl)
        with self._memory.changed:
            self._delete_ended()
            return super().claim(subnets, node, max(SHORTEST, math.ceil(ttl)))

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend, without a write."""
        check_ttl(ttl)
        with self._memory.changed:
            self._delete_ended()
            held = self._memory.find(lease)
            renewed = super().renew(lease, max(SHORTEST, math.ceil(ttl)))
            held.revision = lease.revision
            return attrs.evolve(renewed, revision=lease.revision)

    def release(self, lease: Lease) -> None:
        """Give back what has not ended."""
        with self._memory.changed:
            self._delete_ended()
            super().release(lease)

    def subscribe(self) -> Watch:
        """Begin to listen."""
        with self._memory.changed:
            watch = Watch(self._open())
            self._memory.subscriptions.add(watch)
            self._subscriptions.add(watch)
            return watch

    def _delete_ended(self) -> None:
        memory = self._open()
        memory.held = [held for held in memory.held if not held.ended]


def bed() -> Bed[KeptAlive]:
    """Return a bed in this process's memory."""
    clock = Clock()
    name = f"kept alive {id(clock)}"
    first = KeptAlive(now=clock, name=name)
    return Bed(open=lambda: KeptAlive(now=clock, name=name), advance=clock.advance, close=first.close)
