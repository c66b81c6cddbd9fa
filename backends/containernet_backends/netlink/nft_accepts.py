"""Rules of ours in chains of somebody else's, which the operator named: what is forwarded is accepted there.

Two rules for each item, in front of all others, with a comment that says whose they are and what for. By that
they are found, and nothing else of that table is touched. They are spelled so that `iptables`, whose chains
these mostly are, reads them as its own (`-s 10.4.0.0/16 -j ACCEPT`). What `iptables-restore` makes of them, the
same with a comment in a form of its own, is known as well, and written anew.

Of a chain that is not there nothing is asked: it drops nothing. What is wanted of it counts as being so, and is
made so when somebody makes the chain, which is heard of.
"""

from __future__ import annotations

import contextlib
import errno
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from containernet.items import ForwardAccept, Item, Key
from containernet.model import Prefix
from containernet.planning import Delete, Operation

from .nft_generations import Generations
from .nft_library import Nft
from .refusals import Refused

_MARK = "containernet accept "  # a rule's comment begins so; the pool follows
_IP = {4: "ip", 6: "ip6"}
_WAYS = ("saddr", "daddr")


Listing = Iterable[Mapping[str, Any]]  # nft's JSON
Marked = Mapping[str, Mapping[int, Prefix]]  # by chain and by handle: for which pool a rule of ours is


class Accepts:
    """The chains of one namespace that have rules of ours, or are to have them.

    Args:
        handle: on the namespace's nftables.
        generations: of it.
    """

    def __init__(self, handle: Callable[[], Nft], generations: Generations) -> None:
        self._handle = handle
        self._generations = generations
        self._wanted: dict[Key, ForwardAccept] = {}
        self._looked = False  # what an earlier process left in whichever chain is known

    def read(self) -> dict[Key, Item]:
        """Return the items of all these chains. Raises Refused."""
        if self._looked and not self._generations.watched:
            return {}
        marked = self._marked()
        items: dict[Key, Item] = {}
        for chain in sorted(self._generations.watched):
            listing = self._list(chain)
            if listing is None:
                items |= {key: item for key, item in self._wanted.items() if item.chain == chain}
            else:
                items |= accepted(chain, listing, marked.get(chain, {}))
        return items

    def transaction(self, operation: Operation) -> str:
        """Return what carries an operation on a ForwardAccept out; empty: nothing is to do. Raises Refused."""
        item = operation.item
        assert isinstance(item, ForwardAccept)
        listing = self._list(item.chain)  # refused where there is no nftables: then nothing is wanted of it
        self._generations.watched.add(item.chain)
        if isinstance(operation, Delete):
            self._wanted.pop(item.key, None)
        else:
            self._wanted[item.key] = item
        if listing is None:
            return ""
        there = [handle for handle, pool in self._marked().get(item.chain, {}).items() if pool == item.pool]
        lines = [f"delete rule {item.chain} handle {handle}" for handle in there]
        if item.key in self._wanted:
            rest = f'{item.pool} accept comment "{_MARK}{item.pool}"'
            lines += [f"insert rule {item.chain} {_IP[item.pool.version]} {way} {rest}" for way in _WAYS]
        return "\n".join([*lines, ""]) if lines else ""

    def _marked(self) -> Marked:
        """Return our rules in all chains, which are watched from now on."""
        found: defaultdict[str, dict[int, Prefix]] = defaultdict(dict)
        commented = self._generations.rules_with(_MARK)
        for chain, handle, comment in commented or ():
            with contextlib.suppress(ValueError):  # somebody else's words
                found[chain][handle] = ip_network(comment.removeprefix(_MARK))
        self._looked |= commented is not None
        self._generations.watched |= found.keys()
        return found

    def _list(self, chain: str) -> Listing | None:
        try:
            return self._handle().list(f"chain {chain}")
        except Refused as refused:
            if refused.errno == errno.ENOENT:
                return None
            raise


def accepted(chain: str, listing: Listing, marked: Mapping[int, Prefix]) -> dict[Key, Item]:
    """Return the items that the rules of a chain are; pure.

    Args:
        chain: its family, table and name.
        marked: for which pool each rule of ours is, by its handle.
    """
    found: defaultdict[Prefix, Counter[str]] = defaultdict(Counter)
    for rule in (entry["rule"] for entry in listing if "rule" in entry):
        if pool := marked.get(rule["handle"]):
            found[pool][_way(rule["expr"], pool)] += 1
    items = (
        ForwardAccept(chain=chain, pool=pool, enforced=ways == Counter(_WAYS)) for pool, ways in found.items()
    )
    return {item.key: item for item in items}


def _way(expressions: Listing, pool: Prefix) -> str:
    """Return which address a rule of ours looks at; empty: it is not, or not any more, as we write it."""
    said = [each for each in expressions if "counter" not in each]  # iptables may have put one in
    for way in _WAYS:
        left = {"payload": {"protocol": _IP[pool.version], "field": way}}
        right = {"prefix": {"addr": str(pool.network_address), "len": pool.prefixlen}}
        if said == [{"match": {"op": "==", "left": left, "right": right}}, {"accept": None}]:
            return way
    return ""
