"""The routes: in the record of the host whose subnets they lead to, or under keys of their own.

A record says where its subnets live, in flannel's words, and that is what flannel's hosts hear. It says so of
all its subnets or of none: a host of flannel's that reads an IPv6 subnet without an address for it does not
survive. What a record cannot say has a key of its own beside the records, which only we read: one family of
two as long as the other is not announced, a part of a subnet, another tunnel for each family, somebody else's
subnet. Such a key hangs on the lease of its host if its prefix lies in the subnets of that lease, and goes
with it.

Every change is one transaction, on condition that nobody wrote what it was decided on, and decided again
where somebody did. What it is decided on at first is what the last claim or renewal saw, and no key beside:
so a host that starts asks nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import attrs

from containernet.errors import ConfigError, StoreUnavailable
from containernet.model import Prefix, Route, contains
from containernet.values import shown

from ..leasing import check_announcement
from . import records, requests
from .client import Client
from .ledger import Ledger
from .messages import KeyValue
from .records import BadRecord, Record
from .view import Keys

ROUNDS = 100


@attrs.frozen(kw_only=True)
class Standing:
    """What there is about a prefix and its announcer.

    Args:
        own: the announcer's record as etcd shows it, and what it says; None: it has none.
        beside: the keys beside the records, of the prefix and of the subnets of `own`; None: it is not there.
    """

    own: KeyValue | None
    record: Record | None
    beside: Mapping[Prefix, KeyValue | None]
    __repr__ = shown

    def covers(self, prefix: Prefix) -> bool:
        """Return whether a prefix goes with the announcer's lease."""
        return self.record is not None and any(contains(subnet, prefix) for subnet in self.record.subnets)

    def told(self, node: str) -> dict[Prefix, Route]:
        """Return what the announcer has said of the subnets of its record, by whichever key."""
        if self.record is None:
            return {}
        told = {route.prefix: route for route in records.routes(self.record)}
        for subnet in self.record.subnets:
            route = _read(subnet, self.beside[subnet])
            if route is not None and route.node == node:
                told[subnet] = route
        return told


class Announcements:
    """What hosts announce; for any number of threads."""

    def __init__(self, client: Client, keys: Keys, ledger: Ledger) -> None:
        self._client = client
        self._keys = keys
        self._ledger = ledger

    def announce(self, route: Route) -> None:
        """Tell everybody; see RouteStore."""
        check_announcement(route)
        self._change(route, withdraw=False)

    def withdraw(self, route: Route) -> None:
        """Take it back; see RouteStore."""
        self._change(route, withdraw=True)

    def _change(self, route: Route, *, withdraw: bool) -> None:
        guess = self._guess(route)
        for _ in range(ROUNDS):
            standing = guess or self._look(route)
            writes = self._unsay(standing, route) if withdraw else self._say(standing, route)
            seen = [requests.unchanged(key, kv.mod_revision if kv else 0) for key, kv in self._seen(standing)]
            if (not writes and not guess) or self._client.txn(seen, writes).succeeded:
                return
            guess = None
        raise StoreUnavailable(f"{route.prefix}: somebody else writes its keys all the time; try again")

    def _guess(self, route: Route) -> Standing | None:
        """Return what there would be if nobody has written since the claim; None: look."""
        own = self._ledger.seen(route.node)
        return None if own is None else self._standing(route, own, lambda _: None)

    def _look(self, route: Route) -> Standing:
        return self._standing(route, self._ledger.own(route.node), self._client.get)

    def _standing(
        self, route: Route, own: KeyValue | None, get: Callable[[bytes], KeyValue | None]
    ) -> Standing:
        record = self._ledger.record(own) if own is not None else None
        prefixes = dict.fromkeys((route.prefix, *(record.subnets if record is not None else ())))
        return Standing(own=own, record=record, beside={prefix: get(self._key(prefix)) for prefix in prefixes})

    def _seen(self, standing: Standing) -> Sequence[tuple[bytes, KeyValue | None]]:
        seen = [(self._key(prefix), kv) for prefix, kv in standing.beside.items()]
        return seen if standing.own is None else [(standing.own.key, standing.own), *seen]

    def _say(self, standing: Standing, route: Route) -> list[bytes]:
        if standing.record is not None and route.prefix in standing.record.subnets:
            return self._say_own(standing, route.node, {**standing.told(route.node), route.prefix: route})
        return self._say_beside(standing, route)

    def _unsay(self, standing: Standing, route: Route) -> list[bytes]:
        beside = _read(route.prefix, standing.beside[route.prefix])
        if beside is not None and beside.node == route.node:
            gone = [requests.delete(self._key(route.prefix))]
        else:
            gone = []
        told = standing.told(route.node)
        if told.pop(route.prefix, None) is None:
            return gone
        return [*self._say_own(standing, route.node, told), *gone]

    def _say_own(self, standing: Standing, node: str, told: Mapping[Prefix, Route]) -> list[bytes]:
        """Say of the record's subnets what `told` says: in the record if that can say it all, else beside it.

        What is said goes before what is unsaid: who hears it in this order never hears of less than there is.
        """
        assert standing.own is not None
        assert standing.record is not None
        record = attrs.evolve(standing.record, node=node)  # one that flannel wrote bears no name
        whole = records.telling(record, told)
        writes, gone = [], []
        for subnet in standing.record.subnets:
            if whole is None and subnet in told:
                writes += self._say_beside(standing, told[subnet])
            elif standing.beside[subnet] is not None:
                gone.append(requests.delete(self._key(subnet)))
        value = records.encode(whole or records.silent(record))
        if value != standing.own.value:
            writes.append(requests.put(standing.own.key, value, standing.own.lease))
        return [*writes, *gone]

    def _say_beside(self, standing: Standing, route: Route) -> list[bytes]:
        try:
            value = records.encode_route(route)
        except BadRecord as error:
            raise ConfigError(f"{route.prefix} cannot be announced: {error}") from error
        lease_id = standing.own.lease if standing.own is not None and standing.covers(route.prefix) else 0
        there = standing.beside[route.prefix]
        if there is not None and (there.value, there.lease) == (value, lease_id):
            return []
        return [requests.put(self._key(route.prefix), value, lease_id)]

    def _key(self, prefix: Prefix) -> bytes:
        return self._keys.routes + records.route_key(prefix).encode()


def _read(prefix: Prefix, kv: KeyValue | None) -> Route | None:
    try:
        return None if kv is None else records.decode_route(records.route_key(prefix), kv.value)
    except BadRecord:
        return None
