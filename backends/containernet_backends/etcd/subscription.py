"""A subscription: one list, then a watch from the revision behind it.

When the connection is lost the subscription says so and ends, as the contract wants it: the reader must know
that nothing is heard any more. But its view outlives it, in the store: the next subscription watches from the
last revision that was folded in, and its Snapshot is the view. Only where that cannot be right is everything
listed again: etcd has compacted that revision away, or goes on from an older one, because somebody restored a
backup.

A thread reads what etcd sends; everything else happens on the reader's.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from containernet.errors import ContainernetError, StoreUnavailable
from containernet.events import Event

from . import messages
from .client import Client, Watch
from .view import Keys, View

Ended = Callable[["EtcdSubscription", View | None], None]
DELETE = 1  # mvccpb.Event.EventType


class EtcdSubscription:
    """One reader's view of the routes.

    Args:
        client: the cluster.
        keys: where to look.
        view: what an earlier subscription knew at its end; a new one lists first.
        ended: called when the subscription ends, with the view as far as it got if its connection was lost.
    """

    def __init__(self, client: Client, keys: Keys, view: View | None, *, ended: Ended) -> None:
        self._client = client
        self._keys = keys
        self._view = view
        self._ended = ended
        self._due: collections.deque[Event] = collections.deque()
        self._received: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._watch: Watch | None = None
        self._closed = False
        self._lock = threading.Lock()

    def next_event(self, timeout: float) -> Event | None:
        """Wait up to `timeout` seconds for the next event; lists before the first."""
        end = time.monotonic() + timeout
        try:
            while not self._due:
                if self._closed:
                    return None
                if self._watch is None:
                    self._begin()
                    continue
                try:
                    received = self._received.get(timeout=max(0.0, end - time.monotonic()))
                except queue.Empty:
                    return None
                if received is not None:
                    self._fold(received)
            return self._due.popleft()
        except ContainernetError:
            if self._closed:
                return None
            self._end(self._view)
            raise

    def close(self) -> None:
        """End the subscription and wake its reader; may be called twice."""
        self._end(None)

    def _begin(self) -> None:
        if self._view is None or not self._view.revision:
            self._list()
        else:
            self._due.append(self._view.snapshot())
        self._listen()

    def _list(self) -> None:
        view = self._view or View(self._keys)
        begin, end = self._keys.told
        told = self._client.range(begin, end)
        self._due.append(view.load(told.kvs, revision=told.header.revision))
        self._view = view

    def _listen(self) -> None:
        assert self._view is not None
        begin, end = self._keys.told
        create = messages.load().WatchCreateRequest(
            key=begin, range_end=end, start_revision=self._view.revision + 1, progress_notify=True
        )
        with self._lock:
            if self._closed:
                return
            self._received = queue.SimpleQueue()
            self._watch = self._client.watch(create)
        threading.Thread(
            target=_pump, args=(self._watch, self._received), name="containernet-etcd-watch", daemon=True
        ).start()

    def _fold(self, received: Any) -> None:
        if isinstance(received, Exception):
            raise received
        assert self._view is not None
        if received.created and received.header.revision < self._view.revision:
            self._again()  # the cluster is younger than what we know
        elif received.canceled:
            if received.compact_revision:
                self._again()
            else:
                raise StoreUnavailable(f"etcd {self._client}: ended a watch: {received.cancel_reason}")
        else:
            for event in received.events:
                if event.type == DELETE:
                    self._due += self._view.delete(event.kv.key, revision=event.kv.mod_revision)
                else:
                    self._due += self._view.put(event.kv)
            if not received.events and not received.created:
                # Told to a watch at rest only. With events the header may be ahead of what comes next.
                self._view.revision = received.header.revision

    def _again(self) -> None:
        """List again, and watch from there: what was missed cannot be had one by one."""
        assert self._watch is not None
        self._watch.cancel()
        self._list()
        self._listen()

    def _end(self, view: View | None) -> None:
        with self._lock:
            self._closed = True
            watch = self._watch
        self._received.put(None)
        if watch is not None:
            watch.cancel()
        self._ended(self, view)


def _pump(watch: Watch, received: queue.SimpleQueue[Any]) -> None:
    """Hand over what etcd sends, and in the end why it ended."""
    try:
        for response in watch:
            received.put(response)
    except ContainernetError as error:
        received.put(error)
