"""A subscription: one list, then a watch from the revision behind it.

When the connection is lost the subscription says so and ends, as the contract wants it: the reader must know
that nothing is heard any more. But its view outlives it, in the store: the next subscription watches from the
last revision that was folded in, and its Snapshot is the view. Only where that cannot be right is everything
listed again: etcd has compacted that revision away, or does not remember it as we do, because somebody
restored a backup.

To find that out, etcd is asked how many keys there were at that revision, and for the one that was written
last. A cluster that was restored and has gone past our revision is not noticed if at that very revision it had
as many keys as we knew, with the same one written last, at the same revision, with the same value on the same
etcd lease, and if it was restored under the same cluster token and peer URLs, and if it has held as many
elections since as the lost one had in all its life (`moments`).

The first list of a host that starts may be a part of another that was asked for a moment ago (`opening`). What
came since the watch tells.

A thread asks, and reads what etcd sends; what it means is found out on the reader's. So `next_event` keeps its
time however long etcd does not answer, and `close` wakes it at once.
"""

from __future__ import annotations

import collections
import queue
import threading
import time
from collections.abc import Callable
from functools import partial

from containernet.events import Event

from .client import Cancellation, Client
from .failures import NotThere
from .messages import DELETE, WatchResponse
from .moments import Moment
from .opening import Listed, Opening
from .view import Keys, View

Ended = Callable[["EtcdSubscription", View | None], None]


class EtcdSubscription:
    """One reader's view of the routes.

    Args:
        client: the cluster.
        keys: where to look.
        opening: what a host that starts has listed already.
        view: what an earlier subscription knew at its end; a new one lists first.
        ended: called when the subscription ends, with the view as far as it got if its connection was lost.
    """

    def __init__(
        self, client: Client, keys: Keys, opening: Opening, view: View | None, *, ended: Ended
    ) -> None:
        self._client = client
        self._keys = keys
        self._opening = opening
        self._view = view or View(keys)
        self._ended = ended
        self._due: collections.deque[Event] = collections.deque()
        # What to fold in, one after the other; None: look whether it is closed.
        self._received: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._cancellation = Cancellation()
        self._thread: threading.Thread | None = None

    def next_event(self, timeout: float) -> Event | None:
        """Wait up to `timeout` seconds for the next event; the first call begins to listen."""
        end = time.monotonic() + timeout
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="containernet-etcd-watch", daemon=True)
            self._thread.start()
        while not self._cancellation.cancelled:
            if self._due:
                return self._due.popleft()
            try:
                fold = self._received.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                return None
            if fold is not None:
                fold()
        return None

    def close(self) -> None:
        """End the subscription and wake its reader; may be called twice."""
        self._end(None)

    def _end(self, view: View | None) -> None:
        self._cancellation.cancel()
        self._received.put(None)
        self._ended(self, view)

    def _listen(self) -> None:
        """Ask, and hand over what comes; runs on the thread."""
        try:
            since = self._resume() if self._view.revision else self._list(self._opening)
            while not self._cancellation.cancelled:
                try:
                    for response in self._client.watch(*self._keys.told, since, self._cancellation):
                        self._received.put(partial(self._changed, response))
                except NotThere:  # what was missed cannot be had one by one
                    since = self._list()
        except Exception as error:  # whatever it is, the reader must not wait for ever
            self._received.put(partial(self._lost, error))

    def _resume(self) -> Moment:
        """Go on from the view if etcd remembers its revision as we do, else list."""
        view = self._view  # nobody changes it before we hand something over
        try:
            told = self._client.newest(*self._keys.told, view.revision, self._cancellation)
        except NotThere:
            return self._list()
        if not Moment.of(told.header).follows(view.moment) or not view.like(told.kvs, count=told.count):
            return self._list()
        self._received.put(self._resumed)
        return view.moment

    def _list(self, opening: Opening | None = None) -> Moment:
        listed = opening and opening.take(self._keys.told, self._cancellation)
        listed = listed or Listed.of(self._client.range(*self._keys.told, self._cancellation), self._keys.read)
        self._received.put(partial(self._listed, listed))
        return listed.moment

    # The rest runs on the reader's thread.

    def _resumed(self) -> None:
        self._due.append(self._view.snapshot())

    def _listed(self, listed: Listed) -> None:
        self._due.append(self._view.load(listed.kvs, moment=listed.moment, read=listed.read))

    def _changed(self, response: WatchResponse) -> None:
        for event in response.events:
            if event.type == DELETE:
                self._due += self._view.delete(event.kv.key, revision=event.kv.mod_revision)
            else:
                self._due += self._view.put(event.kv)
        self._view.term = max(self._view.term, response.header.raft_term)
        if not response.events:
            # Told to a watch at rest only. With events the header may be ahead of what comes next.
            self._view.revision = response.header.revision

    def _lost(self, error: Exception) -> None:
        if not self._cancellation.cancelled:
            self._end(self._view)
            raise error
