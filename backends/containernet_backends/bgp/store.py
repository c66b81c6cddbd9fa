"""The RouteStore above the speaker: what this node announces, and what the table holds, as routes.

**When the first Snapshot comes.** A speaker that has just started knows nothing, and its peers tell it one
after the other. A Snapshot says that what is not in it is gone, so it waits until every peer has told
everything or could not be reached, at most `start_wait` seconds after the first session came up; peers out of
a range get as long from the start (RFC 4724 s4.1 calls it the Selection_Deferral_Timer).

**When nobody is there.** A peer whose session ends takes its routes along, after graceful restart's time. But
when the last session ends, it is us who are cut off: then nothing is told as withdrawn, the subscription ends
with StoreUnavailable, and the next one begins with a Snapshot as above, once somebody is there again.

**What is announced** holds as long as the store is open. When it closes, peers keep our routes for
`restart_time` if they know graceful restart; so a daemon that restarts, or is killed, loses no packet. What
was withdrawn before is gone at once.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar, Literal, Self

from containernet.contracts import Options
from containernet.errors import ConfigError, StoreUnavailable
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Prefix, Route, multipath as joined
from containernet.options import build

from . import communities, encapsulation, nlri, questions
from .attributes import IGP, Attributes
from .decision import multipath
from .families import FAMILIES, IPV4, IPV6, Family
from .nlri import Nlri
from .options import BgpOptions
from .paths import Entry, Path
from .prefixes import Match, Range, matching
from .remote import Remote
from .rib import Watch
from .speaker import Speaker

BATCH = 256  # prefixes that a subscription looks at with one lock


class BgpStore:
    """A route store that is a BGP speaker. It opens no socket before the first call that needs one."""

    one_per_host: ClassVar[Literal[True]] = True  # two speakers at one address would end each other's sessions

    def __init__(self, options: BgpOptions) -> None:
        self.options = options
        self.speaker = Speaker(options)
        self._own: dict[Prefix, Route] = {}
        self._within: dict[Family, Match] = {}
        self._subscriptions: list[BgpSubscription] = []
        self._communities = tuple(map(communities.parse, options.communities))
        self._closed = False

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build it from [store.bgp]."""
        return cls(build(BgpOptions, options, table="store.bgp"))

    def announce(self, route: Route) -> None:
        """Tell all peers that the policies let know."""
        if route.equal_cost:
            raise ConfigError(f"{route.prefix} with {len(route.paths)} next hops: a node announces one")
        with self._running():
            self._own[route.prefix] = route
            self.speaker.originate(_family(route.prefix), nlri.encode(route.prefix), self._attributes(route))

    def withdraw(self, route: Route) -> None:
        """Take back what was announced through this store."""
        with self._running():
            if self._own.pop(route.prefix, None) is not None:
                self.speaker.originate(_family(route.prefix), nlri.encode(route.prefix), None)

    def subscribe(self) -> BgpSubscription:
        """Begin to listen to what the table would use."""
        with self._running():
            subscription = BgpSubscription(self)
            self._subscriptions.append(subscription)
        return subscription

    def confine(self, network: NetworkConfig) -> None:
        """Tell only of prefixes within the pools; until we announce in each, our peers wait for the rest."""
        with self.speaker.lock:
            versions = {pool.version for pool in network.pools}
            self.speaker.promised = tuple(family for family in FAMILIES if family.version in versions)
            for family in FAMILIES:
                ranges = [
                    Range(pool.prefix, pool.prefix.prefixlen, pool.prefix.max_prefixlen)
                    for pool in network.pools
                    if pool.version == family.version
                ]
                self._within[family] = matching(ranges, family.version)

    def drain(self, timeout: float) -> None:
        """Ask all peers to take other ways (RFC 8326), and give them the time to."""
        with self._running():
            self.speaker.drain()
            self.speaker.changed.wait_for(lambda: self._closed, timeout)

    def questions(self) -> Mapping[str, str]:
        """Return what operators can ask."""
        return questions.QUESTIONS

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Answer from the table, as it is now."""
        with self._running():
            return questions.answer(self.speaker, question, arguments)

    def close(self) -> None:
        """End every subscription and every session."""
        with self.speaker.lock:
            self._closed = True
            for subscription in tuple(self._subscriptions):
                subscription.close()
        # Without a route of ours there is nothing that a peer should keep for us.
        self.speaker.close(hard=not self._own or not self.options.restart_time)

    def route(self, prefix: Prefix, path: Path) -> Route:
        """Return a path as a route. Our own is what was announced, word by word."""
        if path.source.address is None:
            return self._own[prefix]
        tunnel, endpoint = encapsulation.decode(path.attributes.encapsulations)
        next_hop = endpoint or path.attributes.next_hop
        assert next_hop is not None  # such paths are never chosen
        return Route(prefix=prefix, node="", next_hop=next_hop, tunnel=tunnel)

    def tells(self, family: Family, raw: Nlri) -> bool:
        """Return whether a prefix lies within what it is confined to."""
        within = self._within.get(family)
        return within is None or within(raw)

    def away(self) -> str:
        """Return why nothing can be heard, by peer; empty: something can, or nobody is to be heard."""
        remotes = self.speaker.remotes.values()
        if self.speaker.established or not self.options.peers:
            return ""
        reasons = [f"{remote.address}: {_why(remote)}" for remote in remotes if not remote.peer.dynamic]
        return f"no BGP session is up: {'; '.join(reasons[:3]) or 'nobody has called'}" + (
            f"; and {len(reasons) - 3} more" if len(reasons) > 3 else ""
        )

    def forget(self, subscription: BgpSubscription) -> None:
        """Note that a subscription has ended."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    @contextmanager
    def _running(self) -> Iterator[None]:
        """Hold the lock of a speaker that runs."""
        with self.speaker.lock:
            if self._closed or self.speaker.closed:
                raise StoreUnavailable("this BGP speaker was closed")
            self.speaker.start()
            yield

    def _attributes(self, route: Route) -> Attributes:
        return Attributes(
            origin=IGP,
            next_hop=route.next_hop,
            local_pref=self.options.preference,
            communities=tuple(sorted(each for each in self._communities if isinstance(each, int))),
            extended=tuple(sorted(each for each in self._communities if isinstance(each, bytes))),
            large=tuple(sorted(each for each in self._communities if isinstance(each, tuple))),
            encapsulations=encapsulation.encode(route.tunnel, route.next_hop),
        )


class BgpSubscription:
    """One reader of the table: what it would use now, against what was told."""

    def __init__(self, store: BgpStore) -> None:
        self._store = store
        self._speaker = store.speaker
        self._table = store.speaker.table
        self._outages = store.speaker.outages
        self._watches: tuple[Watch, ...] = ()
        self._told: dict[Prefix, Route] | None = None
        self._unseen: deque[tuple[Watch, int]] = deque()  # what the table held when the Snapshot was begun
        self._events: Iterator[Event] = iter(())
        self._begun = time.monotonic()
        self._closed = False

    def next_event(self, timeout: float) -> Event | None:
        """Wait for what changes."""
        deadline = time.monotonic() + timeout
        while True:
            with self._speaker.changed:  # let go after each batch: the speaker has to keep its sessions
                now = time.monotonic()
                event = self._next(now)
                if event is not None or self._closed or now >= deadline:
                    return event
                if not self._unseen:
                    self._speaker.changed.wait(min(deadline, self._next_look(now)) - now)

    def _next(self, now: float) -> Event | None:
        if self._closed:
            return None
        try:
            return self._change() if self._told is not None and not self._unseen else self._snapshot(now)
        except StoreUnavailable:
            self._unwatch()
            raise

    def close(self) -> None:
        """End it; whoever waits is woken."""
        with self._speaker.changed:
            self._closed = True
            self._unwatch()
            self._store.forget(self)
            self._speaker.changed.notify_all()

    def _unwatch(self) -> None:
        for watch in self._watches:
            self._table.unwatch(watch)
        self._watches = ()

    def _next_look(self, now: float) -> float:
        """Return when time alone may change something."""
        if self._told is not None:
            return now + 3600.0
        heard = self._speaker.heard_all_at()
        return max(heard if heard is not None else self._begun + self._store.options.start_wait, now + 0.001)

    def _snapshot(self, now: float) -> Event | None:
        if self._told is None:
            heard = self._speaker.heard_all_at()
            if heard is None and now >= self._begun + self._store.options.start_wait:
                raise StoreUnavailable(self._store.away())
            if heard is None or heard > now:
                return None
            self._outages, self._table = self._speaker.outages, self._speaker.table
            self._watches = tuple(self._table.watch(family) for family in FAMILIES)
            self._unseen += ((watch, len(watch.pending)) for watch in self._watches)
            self._told = {}
        self._check()
        watch, left = self._unseen.popleft()
        self._look(watch, min(left, BATCH))
        if left > BATCH:
            self._unseen.appendleft((watch, left - BATCH))
        return None if self._unseen else Snapshot(routes=self._told.values())

    def _check(self) -> None:
        """Raise StoreUnavailable where what would be withdrawn now is only what we cannot hear of."""
        if self._outages != self._speaker.outages or self._speaker.closed:
            raise StoreUnavailable(self._store.away() or "every BGP session was lost; one is back")

    def _change(self) -> Event | None:
        self._check()
        event = next(self._events, None)
        while event is None and any(watch.pending for watch in self._watches):
            self._events = iter([event for watch in self._watches for event in self._look(watch, BATCH)])
            event = next(self._events, None)
        return event

    def _look(self, watch: Watch, most: int) -> list[Event]:
        """Look at up to `most` prefixes, those that changed first, and return what is new of them."""
        assert self._told is not None
        events: list[Event] = []
        nlris, _ = watch.take(most)
        for prefix, route in self._looked_at(watch.family, nlris):
            if route == self._told.get(prefix):
                continue
            if route is None:
                del self._told[prefix]
                events.append(Withdrawn(prefix=prefix))
            else:
                self._told[prefix] = route
                events.append(Announced(route=route))
        return events

    def _looked_at(self, family: Family, nlris: Sequence[Nlri]) -> Iterator[tuple[Prefix, Route | None]]:
        """Yield prefixes that are told of, each with its route now."""
        routes = self._table.routes[family]
        for raw in nlris:
            if self._store.tells(family, raw):
                prefix = nlri.decode(family, raw)
                yield prefix, self._route(prefix, routes.get(raw))

    def _route(self, prefix: Prefix, entry: Entry | None) -> Route | None:
        paths = multipath(entry, self._store.options.multipath) if entry else ()
        return joined([self._store.route(prefix, path) for path in paths]) if paths else None


def _family(prefix: Prefix) -> Family:
    return IPV4 if prefix.version == 4 else IPV6


def _why(remote: Remote) -> str:
    return remote.reason or f"not yet ({remote.session.state})"
