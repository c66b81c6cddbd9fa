"""A reader of a route store: what its events add up to, judged by what the store says that it can do.

Where a store tells what happened soon, and not at once, a reader may know the right thing for a moment and only
because a message is still on its way. So every handle announces a mark, and what is known counts when all marks
have arrived behind whatever was said before.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network

from ..contracts import RouteStore, Subscription
from ..errors import StoreUnavailable
from ..events import Announced, Event, Snapshot, Withdrawn
from ..model import Prefix, Route
from .faults import SOON
from .supports import EVERYTHING

MARKS: Sequence[Prefix] = tuple(ip_network("198.51.100.0/24").subnets(new_prefix=32))


class Reader:
    """A subscription, and the routes that its events add up to.

    Args:
        subscription: a new one.
        handles: every handle that may have said something; those that are closed do no harm.
        supports: what the store can do.
        soon: seconds within which it tells what must come.
    """

    def __init__(
        self,
        subscription: Subscription,
        *,
        handles: Sequence[RouteStore],
        supports: frozenset[str] = EVERYTHING,
        soon: float = SOON,
    ) -> None:
        self.subscription = subscription
        self.known: dict[Prefix, Route] = {}
        self._handles = handles
        self._supports = supports
        self._soon = soon
        self._begun = False

    def next_event(self, timeout: float) -> Event | None:
        """Wait for an event and add it to what is known; None: nothing happened."""
        event = self.subscription.next_event(timeout)
        if event is not None:
            assert self._begun or isinstance(event, Snapshot), f"first, before any snapshot: {event}"
            self._begun = True
            self._add(event)
        return event

    def must_hear(self) -> Event:
        """Return the event that must come."""
        event = self.next_event(self._soon)
        while isinstance(event, Announced | Withdrawn) and _prefix(event) in MARKS:  # of another reader
            event = self.next_event(self._soon)
        assert event is not None, "no event came"
        return event

    def hears(self, expected: Announced | Withdrawn) -> None:
        """Check that this comes: as the next event, or else as part of what is known soon."""
        if "exact events" in self._supports:
            event = self.must_hear()
            assert type(event) is type(expected), (event, expected)
            assert self._told(expected), (event, expected)
        else:
            self._read_until(lambda: self._told(expected), within=self._soon)
            assert self._told(expected), (self.known, expected)

    def comes_to(self, *expected: Route) -> None:
        """Check that these routes, and no others, are known when all is read; of several for a prefix any."""
        if "immediate" in self._supports:
            self._come_to(expected, within=0)
            return
        marks = list(self._announce_marks())
        self._come_to([*expected, *(mark for _, mark in marks)], within=self._soon)
        for handle, mark in marks:
            handle.withdraw(mark)
        self._come_to(expected, within=self._soon)

    def _announce_marks(self) -> Iterator[tuple[RouteStore, Route]]:
        for number, handle in enumerate(self._handles):
            mark = Route(prefix=MARKS[number], node="mark", next_hop=ip_address("192.0.2.9"))
            try:
                handle.announce(mark)
            except StoreUnavailable:
                continue  # it is closed: what it said last is on its way, and cannot be waited for
            yield handle, mark

    def _come_to(self, expected: Iterable[Route], *, within: float) -> None:
        routes: dict[Prefix, list[Route]] = {}
        for route in expected:
            routes.setdefault(route.prefix, []).append(route)
        self._read_until(lambda: self._agrees(routes), within=within)
        assert self._agrees(routes), f"known: {list(self.known.values())}; expected: {routes}"

    def _read_until(self, condition: Callable[[], bool], *, within: float) -> None:
        """Read all that there is, and until the condition holds then or so many seconds are over."""
        deadline = time.monotonic() + within
        while True:
            while self.next_event(0) is not None:
                pass
            remaining = deadline - time.monotonic()
            if condition() or remaining <= 0:
                return
            self.next_event(remaining)

    def _add(self, event: Event) -> None:
        match event:
            case Snapshot(routes=routes):
                self.known = _by_prefix(routes)
            case Announced(route=route):
                self.known[route.prefix] = route
            case Withdrawn(prefix=prefix):
                self.known.pop(prefix, None)
            case _:
                raise AssertionError(event)

    def _agrees(self, routes: Mapping[Prefix, Sequence[Route]]) -> bool:
        return (
            self._begun
            and self.known.keys() == routes.keys()
            and all(any(self._tells(heard, each) for each in routes[key]) for key, heard in self.known.items())
        )

    def _told(self, event: Announced | Withdrawn) -> bool:
        if isinstance(event, Withdrawn):
            return event.prefix not in self.known
        heard = self.known.get(event.route.prefix)
        return heard is not None and self._tells(heard, event.route)

    def _tells(self, heard: Route, announced: Route) -> bool:
        """Return whether `heard` is what such a store makes of `announced`."""
        tunnel, original = heard.tunnel, announced.tunnel
        return (
            (heard.prefix, heard.next_hop) == (announced.prefix, announced.next_hop)
            and ("nodes" not in self._supports or heard.node == announced.node)
            and ("tunnels" not in self._supports or tunnel == original)
            and tunnel.type in ("", original.type)
            and set(tunnel.data) <= set(original.data)
        )


def _prefix(event: Announced | Withdrawn) -> Prefix:
    return event.route.prefix if isinstance(event, Announced) else event.prefix


def _by_prefix(routes: Iterable[Route]) -> dict[Prefix, Route]:
    known: dict[Prefix, Route] = {}
    for route in routes:
        assert route.prefix not in known, f"twice in one snapshot: {route}"
        known[route.prefix] = route
    return known
