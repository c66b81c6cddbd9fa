"""file: routes in a file that hosts share and an operator edits: one line of JSON for each.

A writer holds a lock and puts a whole new file in the place of the old one, so a reader never sees half of one.
Readers look ten times a second. A line that cannot be read is told as such, and as long as it stands nothing is
withdrawn: it may be a route that somebody has half edited.
"""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import attrs

import containernet as cn
from containernet.jsonform import route_from_json, route_to_json
from containernet.options import build

LOOK_EVERY = 0.1  # seconds

Entry = cn.Route | cn.Quarantined


@attrs.frozen(kw_only=True)
class FileOptions:
    """The table [store.file].

    Args:
        path: the file; its directory must exist.
    """

    path: str


class FileSubscription:
    """One reader: what the file says now, against what it was told before."""

    def __init__(self, read: Callable[[], dict[str, Entry]]) -> None:
        self._read = read
        self._known: dict[str, Entry] | None = None
        self._told: deque[cn.Event] = deque()
        self._closed = threading.Event()

    def next_event(self, timeout: float) -> cn.Event | None:
        """Wait up to `timeout` seconds for the next event; None: nothing happened, or it was closed."""
        deadline = time.monotonic() + timeout
        while not self._closed.is_set():
            if not self._told:
                self._look()
            if self._told:
                return self._told.popleft()
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return None
            self._closed.wait(min(LOOK_EVERY, remaining))
        return None

    def close(self) -> None:
        """End it; wakes a waiting `next_event`. May be called twice."""
        self._closed.set()

    def _look(self) -> None:
        now = self._read()
        broken = [entry for entry in now.values() if isinstance(entry, cn.Quarantined)]
        if self._known is None:
            routes = [entry for entry in now.values() if isinstance(entry, cn.Route)]
            self._told.append(cn.Snapshot(routes=routes, quarantined=broken))
        else:
            self._told.extend(_changes(self._known, now))
            kept = self._known if broken else {}
            now = {key: entry for key, entry in {**kept, **now}.items() if key in now or _is_route(entry)}
        self._known = now


def _is_route(entry: Entry) -> bool:
    return isinstance(entry, cn.Route)


def _changes(known: Mapping[str, Entry], now: Mapping[str, Entry]) -> Iterator[cn.Event]:
    for key, entry in now.items():
        if known.get(key) != entry:
            yield cn.Announced(route=entry) if isinstance(entry, cn.Route) else entry
    if not any(isinstance(entry, cn.Quarantined) for entry in now.values()):
        for key, entry in known.items():
            if key not in now and isinstance(entry, cn.Route):
                yield cn.Withdrawn(prefix=entry.prefix)


class FileStore:
    """The route store `file`; threads, processes and hosts may share the file.

    Args:
        path: the file; none yet is an empty one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._closed = False
        self._subscriptions: list[FileSubscription] = []

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it from [store.file]."""
        return cls(Path(build(FileOptions, options, table="store.file").path))

    def announce(self, route: cn.Route) -> None:
        """Put the route's line in the place of that of the same prefix."""
        with self._writing() as entries:
            entries[str(route.prefix)] = route

    def withdraw(self, route: cn.Route) -> None:
        """Take the line away, if it is the node's own."""
        with self._writing() as entries:
            known = entries.get(str(route.prefix))
            if isinstance(known, cn.Route) and known.node == route.node:
                del entries[str(route.prefix)]

    def subscribe(self) -> FileSubscription:
        """Begin to listen."""
        self._refuse_closed()
        subscription = FileSubscription(self._read)
        self._subscriptions.append(subscription)
        return subscription

    def questions(self) -> Mapping[str, str]:
        """Return what `containernet file` can be asked."""
        return {"broken": "the lines of the file that are no routes"}

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Return the lines that an operator has to mend."""
        if arguments:
            raise cn.ConfigError(f"file {question} {' '.join(arguments)}: expected nothing behind {question}")
        entries = self._read().values()
        broken = [entry for entry in entries if isinstance(entry, cn.Quarantined)]
        return {"broken": [{"line": each.key, "reason": each.reason} for each in broken]}

    def close(self) -> None:
        """End every subscription; may be called twice."""
        self._closed = True
        for subscription in self._subscriptions:
            subscription.close()

    def _read(self) -> dict[str, Entry]:
        try:
            lines = self._path.read_text().splitlines() if self._path.exists() else []
        except OSError as error:
            raise cn.StoreUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        return dict(_parse(line) for line in lines if line.strip())

    @contextmanager
    def _writing(self) -> Iterator[dict[str, Entry]]:
        """Give out the entries under the lock, and write what has become of them."""
        self._refuse_closed()
        try:
            with self._path.with_suffix(".lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # its end unlocks
                entries = self._read()
                before = dict(entries)
                yield entries
                if entries != before:
                    new = self._path.with_suffix(".new")
                    new.write_text("".join(f"{_line(key, entry)}\n" for key, entry in entries.items()))
                    new.replace(self._path)
        except OSError as error:
            raise cn.StoreUnavailable(f"{self._path} cannot be written: {error.strerror}") from error

    def _refuse_closed(self) -> None:
        if self._closed:
            raise cn.StoreUnavailable("this store was closed; open another")


def _parse(line: str) -> tuple[str, Entry]:
    try:
        route = route_from_json(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        return line, cn.Quarantined(key=line, reason=f"not a route: {type(error).__name__}: {error}")
    return str(route.prefix), route


def _line(key: str, entry: Entry) -> str:
    return json.dumps(route_to_json(entry)) if isinstance(entry, cn.Route) else key
