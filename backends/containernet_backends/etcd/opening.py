"""The first list of a host that starts: asked for once, by whoever needs a part of it first.

A host that starts wants to know three things of etcd: the network's settings, which subnets are taken, and the
routes. All of it lies in one range of keys, and among thousands of hosts the two lists are most of what a
start costs etcd and us. So a start that was announced (`begin`) asks for the whole range once, and each part
serves one asker:

- the settings: whoever asks for them, until somebody writes;
- the records: the first list of leases. A claim that was decided on it is a transaction on condition that
  nothing was created since, so an old list loses a race and no more: what was created comes with the refusal,
  and what is in the way in an old list is looked at again in a new one;
- what tells of routes: the first subscription of all. Its watch begins behind the list, so what came since is
  told once more, in order; where etcd has compacted that away, it lists again.

An old list is no answer in any other case, and these are the rules:

- Only at a start, and only the first time: a part that was taken is gone. A subscription after a gap, or a
  claim after a failure, asks etcd.
- Only in the history that it is from. Who goes on from a list compares its `Moment` with that of the next
  answer, which is a grant's or a watch's: where etcd was restored meanwhile, the list is thrown away.
- Only for `AGE` seconds, on a clock that goes on in suspend. That bounds how much there is to replay, how old
  the word of an operator may be, and the time for a backup to be restored and outgrow the list unnoticed.
- Not behind one's own back: what this store writes ends the parts that would not show it.

A part is let go of when it is taken, and what nobody takes when it is too old and the store is used again.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Self

import attrs

from containernet.values import shown

from ..leasing import Clock, boot_clock
from .client import Cancellation, Client
from .messages import KeyValue, RangeResponse
from .moments import Moment
from .view import Keys, Part, Read

AGE = 10.0  # seconds


@attrs.frozen(kw_only=True, eq=False)
class Listed:
    """Keys of a range, all of them, as etcd held them at a moment; `read` reads those that are records."""

    kvs: Sequence[KeyValue]
    moment: Moment
    read: Read
    __repr__ = shown

    @classmethod
    def of(cls, told: RangeResponse, read: Read, part: Part | None = None) -> Self:
        """Return what an answer to a list shows, or a part of that."""
        kvs = told.kvs if part is None else [kv for kv in told.kvs if part[0] <= kv.key < part[1]]
        return cls(kvs=kvs, moment=Moment.of(told.header), read=read)


class Opening:
    """One list for a start; for any number of threads.

    While one thread asks, the others wait for its answer, no longer than a call takes.
    """

    def __init__(self, client: Client, keys: Keys, *, clock: Clock = boot_clock) -> None:
        self._client = client
        self._keys = keys
        self._clock = clock
        self._due: set[Part] = set()  # what nobody has taken
        self._listed: dict[Part, Listed] = {}  # all that is due, or nothing yet
        self._asked = 0.0
        self._lock = threading.Lock()

    def begin(self) -> None:
        """A host starts: who asks for a part next lists everything. While that goes on: changes nothing."""
        with self._lock:
            self._drop_old()
            self._due = self._due or {self._keys.settings, self._keys.records, self._keys.told}

    def look(self, part: Part, cancellation: Cancellation | None = None) -> Listed | None:
        """Return a part, and leave it there for the next; None: ask etcd."""
        with self._lock:
            return self._find(part, cancellation)

    def take(self, part: Part, cancellation: Cancellation | None = None) -> Listed | None:
        """Return a part, this one time; None: ask etcd."""
        with self._lock:
            found = self._find(part, cancellation)
            self._let_go(part)
        return found

    def end(self, part: Part) -> None:
        """Let go of a part: this store is about to write there."""
        with self._lock:
            self._drop_old()
            self._let_go(part)

    def _find(self, part: Part, cancellation: Cancellation | None) -> Listed | None:
        self._drop_old()
        if self._due and not self._listed and part in self._due:
            asked = self._clock()
            told = self._client.range(*self._keys.everything, cancellation)
            self._asked = asked
            read = functools.cache(self._keys.read)  # once, for the claim and for the routes
            self._listed = {each: Listed.of(told, read, each) for each in self._due}
        return self._listed.get(part)

    def _drop_old(self) -> None:
        if self._listed and self._clock() - self._asked > AGE:
            self._due, self._listed = set(), {}

    def _let_go(self, part: Part) -> None:
        self._due.discard(part)
        self._listed.pop(part, None)
