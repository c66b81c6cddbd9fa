"""One reader of the routes: its own connection, its own sleep."""

from __future__ import annotations

import threading
import time
from collections import deque

from containernet.errors import StoreUnavailable
from containernet.events import Event

from ..inotify import Watch
from . import changes, ledger
from .database import Database, Place


class SqliteSubscription:
    """Follows the store by the number of its latest change.

    It belongs to the file that it was opened on. Any error ends it: the reader subscribes again and begins with
    a Snapshot, which is right whatever happened in between.
    """

    def __init__(self, place: Place, *, history: int) -> None:
        self._place = place
        self._history = history
        self._seen: int | None = None
        self._pending: deque[Event] = deque()
        self._next_end: float | None = None
        self._closed = False
        self._failed = False
        self._lock = threading.Lock()  # held by a waiting next_event: nobody closes what it waits on
        self._database = Database(place)
        try:
            # Opened after the database: the first read finds out if the file was replaced in between.
            self._watch = Watch(place.path)
        except OSError as error:
            self._database.close()
            raise StoreUnavailable(f"{place.path}: cannot listen for changes: {error}") from error

    def next_event(self, timeout: float) -> Event | None:
        """Wait up to `timeout` seconds for the next event; None: nothing happened, or it was closed."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while not self._closed:
                if not self._pending:
                    self._read()
                if self._pending:
                    return self._pending.popleft()
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return None
                self._watch.wait(self._sleep(remaining))
            return None

    def close(self) -> None:
        """End the subscription; wakes a waiting `next_event`. May be called twice."""
        if self._closed:
            return
        self._closed = True
        self._watch.wake()
        with self._lock:
            self._database.close()
            self._watch.close()

    def _sleep(self, remaining: float) -> float:
        if self._next_end is None:
            return remaining
        return max(0.0, min(remaining, self._next_end - self._place.now()))

    def _read(self) -> None:
        if self._failed:
            raise StoreUnavailable(f"{self._place.path}: this subscription has failed before; subscribe again")
        try:
            self._end_leases()
            with self._database.reading() as db:
                self._pending.extend(changes.since(db, self._seen, history=self._history))
                self._seen = changes.latest(db)
                self._next_end = ledger.next_end(db)
        except BaseException:
            self._failed = True
            self._database.close()  # now: a lost file that is held open stands in the way of a new one
            raise

    def _end_leases(self) -> None:
        """Write down that leases have ended, unless somebody else was faster."""
        with self._database.reading() as db:
            end = ledger.next_end(db)
        if end is not None and end <= self._place.now():
            with self._database.writing() as db:
                ledger.expire(db, self._place.now())
