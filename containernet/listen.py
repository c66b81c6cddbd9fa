"""Reading a route store once: what is known now, without staying."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from pathlib import Path

from . import control
from .contracts import OnePerHost, RouteStore
from .errors import DaemonUnavailable, StoreUnavailable
from .events import Snapshot
from .jsonform import route_from_json


def snapshot(store: RouteStore, *, timeout: float = 10.0) -> Snapshot:
    """Return everything that `store` holds now; blocks up to `timeout` seconds.

    Raises:
        StoreUnavailable: it does not answer, or not in time.
    """
    deadline = time.monotonic() + timeout
    with closing(store.subscribe()) as subscription:
        while (left := deadline - time.monotonic()) > 0:
            event = subscription.next_event(left)
            if isinstance(event, Snapshot):
                return event
    raise StoreUnavailable(f"the route store did not tell its routes within {timeout:.0f} s; try again")


def snapshot_beside(store: RouteStore, daemon: Path) -> Snapshot:
    """Return what `store` holds, as far as that can be known beside a daemon which may have it open.

    Args:
        daemon: its socket. Of a store that is `OnePerHost` it tells what it believes.

    Raises:
        StoreUnavailable: as `snapshot`.
    """
    if isinstance(store, OnePerHost):
        with suppress(DaemonUnavailable):
            told = control.ask(daemon, "status")
            return Snapshot(routes=tuple(map(route_from_json, told["routes"])))
    return snapshot(store)
