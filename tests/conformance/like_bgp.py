"""Routes without a store, as with BGP: many speakers, of which each knows what it was told.

Speakers tell each other their own routes, prefix and next hop alone, and each chooses among what it heard. What
was said arrives when somebody waits for it, one word at a time: nothing is ever known at once, and no test
depends on a thread being quick.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Self, TypeVar

import attrs

from containernet.errors import ConfigError, StoreUnavailable
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Prefix, Route, Tunnel, contains
from containernet.options import build
from containernet.testing import Bed

NUMBERS = itertools.count(1)


class Mesh:
    """Who has a session with whom: each with all. Whoever touches a speaker holds `changed`."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.speakers: list[Speaker] = []
        self.leaving: set[str] = set()


class Listener:
    """One reader of a speaker: what it would use now, against what was told."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._told: dict[Prefix, Route] | None = None
        self._closed = False

    def next_event(self, timeout: float) -> Event | None:
        """Wait for the next event; whoever waits gets the mail."""
        deadline = time.monotonic() + timeout
        with (changed := self._speaker.mesh.changed):
            while not self._closed:
                event = self._change(self._speaker.best())
                remaining = deadline - time.monotonic()
                if event is not None or remaining <= 0:
                    return event
                if not self._speaker.receive():
                    changed.wait(remaining)
            return None

    def close(self) -> None:
        """End it."""
        with (changed := self._speaker.mesh.changed):
            self._closed = True
            changed.notify_all()

    def _change(self, best: Mapping[Prefix, Route]) -> Event | None:
        if self._told is None:
            self._told = dict(best)
            return Snapshot(routes=best.values())
        for prefix in self._told.keys() - best.keys():
            del self._told[prefix]
            return Withdrawn(prefix=prefix)
        for prefix, route in best.items():
            if self._told.get(prefix) != route:
                self._told[prefix] = route
                return Announced(route=route)
        return None


@attrs.frozen
class SpeakerOptions:
    """None."""


class Speaker:
    """A route store that is one of many speakers."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.own: dict[Prefix, Route] = {}
        self.heard: dict[tuple[Prefix, str], Route] = {}
        self.mail: deque[tuple[Prefix, str, Route | None]] = deque()
        self._name = f"speaker{next(NUMBERS)}"
        self._listeners: list[Listener] = []
        with mesh.changed:
            for peer in mesh.speakers:
                self.mail.extend((prefix, peer._name, route) for prefix, route in peer.own.items())
            mesh.speakers.append(self)

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Be alone."""
        build(SpeakerOptions, options, table="store.speaker")
        return cls(Mesh())

    def announce(self, route: Route) -> None:
        """Tell the peers as much as there is room for."""
        with self.mesh.changed:
            self._refuse_closed()
            told = attrs.evolve(route, node=self._name, tunnel=Tunnel())
            if route.prefix in self.own:
                self.tell(route.prefix, None)  # as speakers may that take their time between two updates
            self.own[route.prefix] = told
            self.tell(route.prefix, told)

    def withdraw(self, route: Route) -> None:
        """Take back what this speaker said."""
        with self.mesh.changed:
            self._refuse_closed()
            if self.own.pop(route.prefix, None):
                self.tell(route.prefix, None)

    def subscribe(self) -> Listener:
        """Begin to listen."""
        self._refuse_closed()
        self._listeners.append(listener := Listener(self))
        return listener

    def close(self) -> None:
        """End every session; the peers forget what was said in them."""
        with self.mesh.changed:
            if self in self.mesh.speakers:
                self.mesh.speakers.remove(self)
                for prefix in self.own:
                    self.tell(prefix, None)
        for listener in self._listeners:
            listener.close()

    def tell(self, prefix: Prefix, route: Route | None) -> None:
        """Write to every peer."""
        for peer in self.mesh.speakers:
            if peer is not self:
                peer.mail.append((prefix, self._name, route))
        self.mesh.changed.notify_all()

    def receive(self) -> bool:
        """Read one letter; return whether there was one."""
        if not self.mail:
            return False
        prefix, peer, route = self.mail.popleft()
        self.heard.pop((prefix, peer), None)
        if route is not None:
            self.heard[prefix, peer] = route
        return True

    def best(self) -> Mapping[Prefix, Route]:
        """Choose: own before others', then the lowest name."""
        others = {prefix: route for (prefix, _), route in sorted(self.heard.items(), key=str, reverse=True)}
        return {**others, **self.own}

    def _refuse_closed(self) -> None:
        if self not in self.mesh.speakers:
            raise StoreUnavailable("this speaker was closed")


class OperatedSpeaker(Speaker):
    """One that is asked, confined and drained as well."""

    network: NetworkConfig | None = None

    def questions(self) -> Mapping[str, str]:
        """Return one question."""
        return {"heard": "PREFIX...: from whom"}

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Return who said something of prefixes, or of all."""
        with self.mesh.changed:
            known = {str(prefix) for prefix, _ in self.heard}
            if unknown := set(arguments) - known:
                raise ConfigError(f"nobody said anything of {', '.join(unknown)}")
            return {"heard": [[str(prefix), peer] for prefix, peer in self.heard]}

    def confine(self, network: NetworkConfig) -> None:
        """Keep to the pools."""
        self.network = network

    def drain(self, timeout: float) -> None:
        """Be everybody's last choice; they know at once."""
        with self.mesh.changed:
            self.mesh.leaving.add(self._name)
            self.mesh.changed.notify_all()

    def best(self) -> Mapping[Prefix, Route]:
        """Choose those who stay, and what lies in the pools."""
        staying = {
            prefix: route for (prefix, peer), route in self.heard.items() if peer not in self.mesh.leaving
        }
        routes = {**super().best(), **staying, **self.own}
        return {prefix: route for prefix, route in routes.items() if self.tells(prefix)}

    def tells(self, prefix: Prefix) -> bool:
        """Return whether a prefix may be told."""
        pools = self.network.pools if self.network else ()
        return not pools or any(contains(pool.prefix, prefix) for pool in pools)


SpeakerT = TypeVar("SpeakerT", bound=Speaker)


def bed(speaker: Callable[[Mesh], SpeakerT]) -> Bed[SpeakerT]:
    """Return a mesh without speakers."""
    mesh = Mesh()
    return Bed(open=lambda: speaker(mesh), advance=lambda _: None)
