"""The routes inside one transaction: a table whose rows are numbered by their last change.

One row a prefix, so a reader who was away sees the last state of each, not every step. A withdrawn route
stays as a row without a node until `history` more changes have happened. The highest number is never pruned;
it is the state's own number.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from ipaddress import ip_network

from containernet.events import Announced, Event, Quarantined, Snapshot, Withdrawn
from containernet.jsonform import route_from_json, route_to_json
from containernet.model import Route

Row = tuple[str, str | None, str]


def announce(db: sqlite3.Connection, route: Route, *, lease: int | None, history: int) -> None:
    """Write the route, tied to `lease` where there is one; nothing changes where it stands already."""
    new = (str(route.prefix), route.node, json.dumps(route_to_json(route)))
    old = db.execute("SELECT prefix, node, route FROM routes WHERE prefix = ?", new[:1]).fetchone()
    if old == new:
        db.execute("UPDATE routes SET lease = ? WHERE prefix = ? AND lease IS NOT ?", (lease, new[0], lease))
        return
    db.execute(
        "INSERT OR REPLACE INTO routes (prefix, node, route, lease, changed) VALUES (?, ?, ?, ?, ?)",
        (*new, lease, latest(db) + 1),
    )
    _prune(db, history)


def withdraw(db: sqlite3.Connection, route: Route, *, history: int) -> None:
    """Remove the route of that prefix if it is still that node's."""
    row = db.execute("SELECT node FROM routes WHERE prefix = ?", (str(route.prefix),)).fetchone()
    if row == (route.node,):
        _bury(db, str(route.prefix))
        _prune(db, history)


def withdraw_under(db: sqlite3.Connection, lease: int) -> None:
    """Remove the routes that are tied to that lease."""
    for (prefix,) in db.execute("SELECT prefix FROM routes WHERE lease = ?", (lease,)).fetchall():
        _bury(db, prefix)


def latest(db: sqlite3.Connection) -> int:
    """Return the number of the latest change; 0: there was none."""
    return int(db.execute("SELECT coalesce(max(changed), 0) FROM routes").fetchone()[0])


def since(db: sqlite3.Connection, number: int | None, *, history: int) -> Iterator[Event]:
    """Yield what a reader who has seen everything up to `number` (None: nothing) must hear."""
    if number is None or number < latest(db) - history:
        yield _snapshot(db)
        return
    for row in db.execute(
        "SELECT prefix, node, route FROM routes WHERE changed > ? ORDER BY changed", (number,)
    ):
        yield _event(row)


def _bury(db: sqlite3.Connection, prefix: str) -> None:
    db.execute(
        "UPDATE routes SET node = NULL, route = NULL, lease = NULL, changed = ? WHERE prefix = ?",
        (latest(db) + 1, prefix),
    )


def _prune(db: sqlite3.Connection, history: int) -> None:
    db.execute("DELETE FROM routes WHERE node IS NULL AND changed <= ?", (latest(db) - history,))


def _snapshot(db: sqlite3.Connection) -> Snapshot:
    rows = db.execute("SELECT prefix, node, route FROM routes WHERE node IS NOT NULL ORDER BY changed")
    events = [_event(row) for row in rows]
    routes = [event.route for event in events if isinstance(event, Announced)]
    quarantined = [event for event in events if isinstance(event, Quarantined)]
    return Snapshot(routes=routes, quarantined=quarantined)


def _event(row: Row) -> Announced | Withdrawn | Quarantined:
    prefix, node, text = row
    try:
        if node is None:
            return Withdrawn(prefix=ip_network(prefix))
        route = route_from_json(json.loads(text))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        return Quarantined(key=prefix, reason=f"not a route: {error!r}")
    if (str(route.prefix), route.node) != (prefix, node):
        return Quarantined(key=prefix, reason=f"the row of {prefix}, {node} holds the route of {route}")
    return Announced(route=route)
