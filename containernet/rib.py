"""The RIB: every route that is known, where it came from, and every route that was not believed.

A store's word is input, not truth: each route is judged once, here, for all stores (see `judging`).
Of a route with several next hops of equal cost each is judged by itself, and those that pass are the route.

What fails is kept beside the routes with its reason, so that it can be shown, and judged again when our own
subnets change. A refusal removes the route that stood for the same prefix, since the announcer took that one
back; a record that could not even be read (`Quarantined`) removes nothing.

A Snapshot after a gap may come from a store that has forgotten: its file was deleted, or a backup restored.
Everybody who lives will announce again, but not at the same moment. So with `linger` the routes of a node that
such a Snapshot does not name at all stay, until `forget`, or until somebody tells of their prefix. (BGP has the
same for a speaker that restarts: stale routes, RFC 4724 s4.2.)

Pure: no clock (`now` is passed in), no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from .events import Announced, Event, Quarantined, Snapshot, Withdrawn
from .judging import Judge
from .model import NetworkConfig, Node, Prefix, Route, multipath
from .values import shown


@attrs.frozen(kw_only=True)
class Known:
    """A believed route.

    Args:
        route: what was announced.
        store: the name of the store that it came from.
        since: when it was first heard in this form, seconds since the epoch.
    """

    route: Route
    store: str
    since: float
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Change:
    """What an event did to one prefix; None stands for no route."""

    old: Route | None
    new: Route | None
    __repr__ = shown


class Rib:
    """Folds a store's events into the known routes, and says what changed.

    An event costs O(1) in the number of routes, a Snapshot O(routes).

    `linger` may be set at any time. True: what a Snapshot does not tell of stays, and is in `lingering`, where
    it has nothing from the same announcer; False, the default: it goes.
    """

    def __init__(self, network: NetworkConfig, node: Node, *, store: str) -> None:
        self.routes: dict[Prefix, Known] = {}
        self.refused: dict[Prefix, tuple[Route, str]] = {}
        self.quarantined: dict[str, Quarantined] = {}
        self.linger = False
        self.lingering: set[Prefix] = set()
        self._network = network
        self._judge = Judge(network, node)
        self._store = store

    def apply(self, event: Event, *, now: float) -> list[Change]:
        """Fold one event in; return the changes of believed routes, one per prefix at most."""
        match event:
            case Announced(route=route):
                return self._set(route.prefix, route, now)
            case Withdrawn(prefix=prefix):
                return self._set(prefix, None, now)
            case Quarantined(key=key, reason=reason):
                if reason:
                    self.quarantined[key] = event
                else:
                    self.quarantined.pop(key, None)
                return []
            case Snapshot(routes=routes, quarantined=quarantined):
                self.quarantined = {record.key: record for record in quarantined}
                return self._replace_all(routes, now)

    def believed(self) -> tuple[Route, ...]:
        """Return every route that is believed."""
        return tuple(known.route for known in self.routes.values())

    def forget(self, *, now: float) -> list[Change]:
        """Let go of what lingers: nobody has announced it again."""
        return [change for prefix in tuple(self.lingering) for change in self._set(prefix, None, now)]

    def judge_again(self, node: Node, *, now: float) -> list[Change]:
        """Take note that this node has changed (subnets, addresses), and judge again what depends on it.

        What is believed are subnets of the pools, all of one length. So where nothing but our own subnets has
        changed, they alone can be in the way.
        """
        before, self._judge = self._judge, Judge(self._network, node)
        lingering = set(self.lingering)
        if self._judge.differs_in_subnets_alone(before) and self._network.admits(node.subnets):
            heard = {own: self.routes[own].route for own in node.subnets if own in self.routes}
        else:
            heard = {prefix: known.route for prefix, known in self.routes.items()}
        heard |= {prefix: route for prefix, (route, _reason) in self.refused.items()}  # with all their paths
        changes = [change for prefix, route in heard.items() for change in self._set(prefix, route, now)]
        self.lingering = lingering  # a refusal for the time being is no announcement
        return changes

    def _replace_all(self, routes: Iterable[Route], now: float) -> list[Change]:
        heard = {route.prefix: route for route in routes}
        if self.linger:
            named = {_announcer(path) for route in heard.values() for path in route.paths}
            self.lingering |= {
                prefix
                for prefix, known in self.routes.items()
                if named.isdisjoint(map(_announcer, known.route.paths))
            } - heard.keys()
        gone = [
            prefix
            for prefix in (*self.routes, *self.refused)
            if prefix not in heard and prefix not in self.lingering
        ]
        changes = [change for prefix in gone for change in self._set(prefix, None, now)]
        changes += [change for prefix, route in heard.items() for change in self._set(prefix, route, now)]
        return changes

    def _set(self, prefix: Prefix, route: Route | None, now: float) -> list[Change]:
        if self.refused:  # mostly there is none, and the hash of a prefix is dear
            self.refused.pop(prefix, None)
        if self.lingering:
            self.lingering.discard(prefix)
        if route is not None:
            route = self._judged(route)
        known = self.routes.get(prefix)
        old = known.route if known else None
        if old is route or old == route:  # mostly the very one that is judged again
            return []
        if route is None:
            del self.routes[prefix]
        else:
            self.routes[prefix] = Known(route=route, store=self._store, since=now)
        return [Change(old=old, new=route)]

    def _judged(self, route: Route) -> Route | None:
        """Return what of a route is believed."""
        if not route.equal_cost:
            return route if self._believes(route, of=route) else None
        believed = [path for path in route.paths if self._believes(path, of=route)]
        return multipath(believed) if believed else None

    def _believes(self, path: Route, *, of: Route) -> bool:
        if self._judge.is_ours(path):
            return False
        reason = self._judge.refusal(path)
        if reason is not None:
            self.refused[of.prefix] = (of, reason)
        return reason is None


def _announcer(route: Route) -> str:
    return route.node or str(route.next_hop)  # a store that carries no names carries next hops
