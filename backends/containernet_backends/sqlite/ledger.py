"""The leases inside one transaction.

All subnets in the file are disjoint, those of ended leases included: a claim removes an ended lease that is in
its way. Disjoint ranges in the order of their first address are also in the order of their last; hence
what overlaps a new range are the rows that begin inside it, and at most one that begins before.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Sequence
from ipaddress import ip_address, summarize_address_range

from containernet.model import Lease, Prefix, Route

from ..leasing import lost, taken
from . import changes

Row = tuple[str, int, float | None, str]


def live(db: sqlite3.Connection, now: float) -> list[Lease]:
    """Return all leases that have not ended, and all reservations."""
    rows = db.execute(
        "SELECT id FROM leases WHERE ended = 0 AND (expires IS NULL OR expires > ?) ORDER BY id", (now,)
    )
    return [_lease(db, lease, now) for (lease,) in rows.fetchall()]


def claim(db: sqlite3.Connection, subnets: tuple[Prefix, ...], *, node: str, ttl: float, now: float) -> Lease:
    """Give `subnets` to `node`; ends what else the node holds. Raises LeaseTaken."""
    expire(db, now)
    own = db.execute("SELECT id FROM leases WHERE node = ?", (node,)).fetchone()
    _make_room(db, subnets, own=own and own[0], now=now)
    if own and set(_subnets(db, own[0])) == set(subnets):
        return _extend(db, own[0], ttl=ttl, now=now)  # routes under it stay: a restart loses no packet
    if own:
        _remove(db, own[0])
    return _insert(db, subnets, node=node, ttl=ttl, now=now)


def reserve(db: sqlite3.Connection, subnets: tuple[Prefix, ...], *, now: float) -> Lease:
    """Set `subnets` aside without an end. Raises LeaseTaken."""
    expire(db, now)
    _make_room(db, subnets, own=None, now=now)
    return _insert(db, subnets, node="", ttl=None, now=now)


def renew(db: sqlite3.Connection, lease: Lease, *, ttl: float, now: float) -> Lease:
    """Let `lease` end `ttl` seconds from now; a reservation keeps having no end. Raises LeaseLost."""
    expire(db, now)
    return _extend(db, _find(db, lease), ttl=ttl, now=now)


def release(db: sqlite3.Connection, lease: Lease, *, now: float) -> None:
    """Remove `lease` and the routes under it. Raises LeaseLost."""
    expire(db, now)
    _remove(db, _find(db, lease))


def expire(db: sqlite3.Connection, now: float) -> None:
    """Mark the leases whose time is over, and withdraw the routes under them."""
    ended = db.execute("SELECT id FROM leases WHERE ended = 0 AND expires <= ? ORDER BY expires", (now,))
    for (lease,) in ended.fetchall():
        changes.withdraw_under(db, lease)
        db.execute("UPDATE leases SET ended = 1 WHERE id = ?", (lease,))


def next_end(db: sqlite3.Connection) -> float | None:
    """Return when the next lease that is not marked as ended will end, or should have been marked."""
    row = db.execute("SELECT min(expires) FROM leases WHERE ended = 0 AND expires IS NOT NULL").fetchone()
    return None if row[0] is None else float(row[0])


def covering(db: sqlite3.Connection, route: Route) -> int | None:
    """Return the id of the lease, not ended, of the route's own node in which its prefix lies."""
    for lease, first, last in _touching(db, route.prefix):
        if first <= route.prefix.network_address.packed and route.prefix.broadcast_address.packed <= last:
            node, ended, *_ = _row(db, lease)
            if route.node and route.node == node and not ended:
                return lease
    return None


def _touching(db: sqlite3.Connection, prefix: Prefix) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield lease, first and last address of each leased subnet that shares an address with `prefix`."""
    first, last = prefix.network_address.packed, prefix.broadcast_address.packed
    before = db.execute(
        "SELECT lease, first, last FROM subnets WHERE family = ? AND first < ? ORDER BY first DESC LIMIT 1",
        (prefix.version, first),
    )
    yield from (row for row in before.fetchall() if row[2] >= first)
    inside = db.execute(
        "SELECT lease, first, last FROM subnets WHERE family = ? AND first BETWEEN ? AND ?",
        (prefix.version, first, last),
    )
    yield from inside.fetchall()


def _make_room(db: sqlite3.Connection, subnets: Sequence[Prefix], *, own: int | None, now: float) -> None:
    """Remove ended leases that overlap `subnets`; raise LeaseTaken where a live one does that is not `own`."""
    in_the_way = {lease for subnet in subnets for lease, *_ in _touching(db, subnet)} - {own}
    for lease in sorted(in_the_way):
        _, ended, *_ = _row(db, lease)
        if not ended:
            raise taken(subnets, _lease(db, lease, now))
        _remove(db, lease)


def _find(db: sqlite3.Connection, lease: Lease) -> int:
    row = db.execute("SELECT id FROM leases WHERE revision = ?", (lease.revision,)).fetchone()
    if row is None:
        raise lost(lease)
    return int(row[0])


def _extend(db: sqlite3.Connection, lease: int, *, ttl: float, now: float) -> Lease:
    db.execute(
        "UPDATE leases SET ttl = ?, expires = ?, ended = 0 WHERE id = ? AND node != ''", (ttl, now + ttl, lease)
    )
    db.execute("UPDATE leases SET revision = ? WHERE id = ?", (_revision(), lease))
    return _lease(db, lease, now)


def _insert(
    db: sqlite3.Connection, subnets: Sequence[Prefix], *, node: str, ttl: float | None, now: float
) -> Lease:
    inserted = db.execute(
        "INSERT INTO leases (node, ttl, expires, revision) VALUES (?1, ?2, ?3 + ?2, ?4)",
        (node, ttl, now, _revision()),  # NULL and a number make NULL: no end
    )
    lease = int(inserted.lastrowid or 0)
    for subnet in subnets:
        first, last = subnet.network_address.packed, subnet.broadcast_address.packed
        db.execute("INSERT INTO subnets VALUES (?, ?, ?, ?)", (subnet.version, first, last, lease))
    return _lease(db, lease, now)


def _remove(db: sqlite3.Connection, lease: int) -> None:
    changes.withdraw_under(db, lease)
    db.execute("DELETE FROM subnets WHERE lease = ?", (lease,))
    db.execute("DELETE FROM leases WHERE id = ?", (lease,))


def _revision() -> str:
    # Random, not counted: a file restored from a backup would count the same numbers again, for others.
    return os.urandom(8).hex()


def _row(db: sqlite3.Connection, lease: int) -> Row:
    row: Row | None = db.execute(
        "SELECT node, ended, expires, revision FROM leases WHERE id = ?", (lease,)
    ).fetchone()
    if row is None:
        raise sqlite3.DatabaseError(f"there are subnets of lease {lease}, but no such lease")
    return row


def _lease(db: sqlite3.Connection, lease: int, now: float) -> Lease:
    node, _, expires, revision = _row(db, lease)
    return Lease(
        subnets=_subnets(db, lease),
        node=node,
        expires=None if expires is None else expires - now,
        revision=revision,
    )


def _subnets(db: sqlite3.Connection, lease: int) -> tuple[Prefix, ...]:
    rows = db.execute("SELECT first, last FROM subnets WHERE lease = ?", (lease,)).fetchall()
    try:
        return tuple(_prefix(first, last) for first, last in rows)
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"the subnets of lease {lease} are not prefixes: {error}") from error


def _prefix(first: bytes, last: bytes) -> Prefix:
    (prefix,) = summarize_address_range(ip_address(first), ip_address(last))
    return prefix
