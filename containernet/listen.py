"""Reading a route store once: what is known now, without staying."""

from __future__ import annotations

import time
from contextlib import closing

from .contracts import RouteStore
from .errors import StoreUnavailable
from .events import Snapshot


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
