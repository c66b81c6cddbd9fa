"""Which subnet a node gets: a pure choice, and the compare-and-swap loop around it.

The choice begins at a slot that is hashed from the node's name and takes the first free slot at or behind it,
cyclic. So a node that comes back tends to find its old subnet without anybody remembering it, and nodes that
join together spread over the pool instead of all running for its first slot.

A pool may have 2^96 slots, so nothing here counts them: a search costs O(n) in the prefixes that are in the
way. It rests on one fact about prefixes: two of them are nested or disjoint, never half over each other. A
walk that jumps from one blocker's end to the next blocker's beginning therefore cannot land inside another.

This module knows a lease store by its contract only; the clock and the dice are handed in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from . import derive
from .contracts import LeaseStore
from .errors import LeaseLost, LeaseTaken, SubnetsExhausted
from .jitter import jitter
from .model import Lease, NetworkConfig, Pool, Prefix

if TYPE_CHECKING:
    from random import Random

# A lost race means that somebody else has won one, so a node loses at most as often as others join. In lock
# step, the worst case, where all read one list before the first claims: 512 nodes that run for the last 512
# subnets are served in 13 rounds (29 without a new start for each try). The rest is margin.
ATTEMPTS = 128
FIRST_PAUSE = 0.01  # seconds; doubles with each lost race
LONGEST_PAUSE = 1.0


def choose_subnet(pool: Pool, taken: Iterable[Prefix], *, name: str, preferred: Prefix | None = None) -> Prefix:
    """Return the subnet of `pool` that the node `name` should ask for.

    The same arguments give the same answer on every host and in every process, whatever the order of `taken`.

    Args:
        pool: what to choose from; its own reservations count as taken.
        taken: what is leased or reserved in the store; of any length, family and place, overlapping or not.
        name: picks the slot where the search begins.
        preferred: taken instead if the pool admits it and nothing is in its way.

    Raises:
        SubnetsExhausted: every subnet between the pool's bounds is taken or reserved.
    """
    first, last = _slot(pool, pool.first), _slot(pool, pool.last)
    start = first + derive.number(name) % (last - first + 1)
    wish = _slot(pool, preferred) if preferred is not None and pool.admits(preferred) else None
    entries = (first, start) if wish is None else (first, start, wish)
    blocked = _blocked(pool, (*taken, *pool.reserved), entries=entries)
    if wish is not None and wish not in blocked:
        return _subnet(pool, wish)
    slot = _first_free(blocked, start)
    if slot > last:
        slot = _first_free(blocked, first)
    if slot > last:
        raise SubnetsExhausted(_exhausted(pool))
    return _subnet(pool, slot)


def choose_subnets(
    network: NetworkConfig, leases: Iterable[Lease], *, name: str, preferred: tuple[Prefix, ...] = ()
) -> tuple[Prefix, ...]:
    """Return one subnet for each pool of `network`, in the order of its pools.

    Args:
        network: whose pools to choose from.
        leases: what others hold, reservations included.
        name: picks the slots where the searches begin.
        preferred: wishes; of each family the first that its pool admits counts.

    Raises:
        SubnetsExhausted: one of the pools has none left.
    """
    taken = [subnet for lease in leases for subnet in lease.subnets]
    return tuple(
        choose_subnet(pool, taken, name=name, preferred=next(filter(pool.admits, preferred), None))
        for pool in network.pools
    )


def claim_subnet(
    store: LeaseStore,
    network: NetworkConfig,
    *,
    node: str,
    ttl: float,
    preferred: tuple[Prefix, ...] = (),
    sleep: Callable[[float], None] = time.sleep,
    random: Random | None = None,
    attempts: int = ATTEMPTS,
) -> Lease:
    """Return a lease of `node` on one subnet per pool: its own, renewed, or else one claimed now.

    May block on the store and in `sleep`. May be called again at any time: a node has one lease at most. A
    live lease that `network` no longer admits is traded for one that it does, keeping the family that fits.

    Args:
        store: where the lease is claimed.
        network: what the lease has to fit.
        node: the owner's name.
        ttl: seconds.
        preferred: what to ask for when the node holds no lease, such as the subnets it had before.
        sleep: waits that many seconds after a lost race.
        random: decides how many; None: by chance.
        attempts: how many fresh lists to try before giving up; at least 1.

    Raises:
        SubnetsExhausted: a list of the store shows no room.
        LeaseTaken: lost every race.
        StoreUnavailable, StoreCorrupt: from the store; whether the last write took effect is not known.
    """
    lost: LeaseTaken | LeaseLost | None = None
    for attempt in range(attempts):
        if attempt:
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**attempt)
            sleep(jitter(longest, 0) if random is None else random.uniform(0, longest))
        leases = store.leases()
        mine = next((lease for lease in leases if lease.node == node), None)
        try:
            if mine is not None and network.admits(mine.subnets):
                return store.renew(mine, ttl)
            subnets = choose_subnets(
                network,
                [lease for lease in leases if lease.node != node],
                # Losers of one race walked to one slot; another start for each try parts them. No name has '/'.
                name=f"{node}/{attempt}" if attempt else node,
                preferred=(*mine.subnets, *preferred) if mine is not None else preferred,
            )
            return store.claim(subnets, node, ttl)
        except LeaseTaken as error:
            # Ask for something else from now on: what refused us may be a thing that the list does not show.
            lost, preferred = error, ()
        except LeaseLost as error:
            lost, preferred = error, (*mine.subnets, *preferred) if mine is not None else preferred
    raise LeaseTaken(
        f"node {node} lost {attempts} races in a row for a subnet of "
        f"{' and '.join(str(pool.prefix) for pool in network.pools)}, the last one by: {lost}; try again when "
        "fewer nodes join at once, and check that no other network or node name shares this store"
    ) from lost


def _shift(pool: Pool) -> int:
    return pool.prefix.max_prefixlen - pool.subnet_length


def _slot(pool: Pool, subnet: Prefix) -> int:
    """Return which slot `subnet` is, counted from the address zero, so that no pool needs an offset."""
    return int(subnet.network_address) >> _shift(pool)


def _subnet(pool: Pool, slot: int) -> Prefix:
    return type(pool.prefix)((slot << _shift(pool), pool.subnet_length))


def _blocked(pool: Pool, prefixes: Iterable[Prefix], *, entries: tuple[int, ...]) -> dict[int, int]:
    """Return for the first slot of every blocker its last one; nothing else is needed to walk.

    A walk may also enter at `entries`, which may lie inside a blocker: that one is listed there too.
    """
    family, length, shift = type(pool.prefix), pool.subnet_length, _shift(pool)
    ends: dict[int, int] = {}
    wide = []
    # Hot: one turn for each lease of the cluster. Nearly all are exactly one slot, which `ipaddress` tells
    # fastest by the object that it makes once for each length.
    mask = pool.first.netmask
    for prefix in prefixes:
        if prefix.netmask is mask:
            slot = int(prefix.network_address) >> shift
            ends[slot] = slot
        elif isinstance(prefix, family):
            if prefix.prefixlen >= length:
                slot = int(prefix.network_address) >> shift
                ends[slot] = slot
            else:
                wide.append(prefix)
    for prefix in wide:
        begin = _slot(pool, prefix)
        end = begin + (1 << (length - prefix.prefixlen)) - 1
        for slot in (begin, *(entry for entry in entries if begin < entry <= end)):
            ends[slot] = max(end, ends.get(slot, end))
    return ends


def _first_free(blocked: dict[int, int], slot: int) -> int:
    while slot in blocked:
        slot = blocked[slot] + 1
    return slot


def _exhausted(pool: Pool) -> str:
    first, last = _slot(pool, pool.first), _slot(pool, pool.last)
    reserved, free = 0, first
    for prefix in sorted(pool.reserved, key=lambda prefix: int(prefix.network_address)):
        end = min(int(prefix.broadcast_address) >> _shift(pool), last)
        begin = max(_slot(pool, prefix), free)
        reserved += max(0, end - begin + 1)
        free = max(free, end + 1)
    total = last - first + 1
    return (
        f"pool {pool.prefix} has no subnet left: of {total} /{pool.subnet_length} from {pool.first} to "
        f"{pool.last}, {total - reserved} are leased and {reserved} reserved in the configuration; release "
        "leases of nodes that are gone, lift a reservation, or choose a larger pool or smaller subnets"
    )
