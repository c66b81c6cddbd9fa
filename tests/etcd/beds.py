"""What the suites for stores need of etcd: an empty prefix, and time that passes when told to.

etcd measures time itself, and no clock of its can be moved. But all that the end of a lease does is what
revoking it does: its keys are deleted at one revision. So the bed keeps the book on every lease that is
granted and kept alive through its handles, and when time is to pass revokes those whose time is over.
"""

from __future__ import annotations

from collections.abc import Mapping

from containernet.testing import Bed
from containernet_backends.etcd import EtcdOptions, EtcdStore
from containernet_backends.etcd.client import Client
from containernet_backends.etcd.moments import Moment


class Book:
    """The leases that were granted through clients of this book, and when they end."""

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._client = Client(options)
        self._now = 0.0
        self._granted: dict[int, int] = {}
        self._ends: dict[int, float] = {}

    def client(self) -> Client:
        """Return a client whose leases are in the book."""
        return _Booked(self._options, self)

    def note(self, lease_id: int, seconds: int | None = None) -> None:
        """Write down that a lease was granted, or kept alive."""
        if seconds is not None:
            self._granted[lease_id] = seconds
        if lease_id in self._granted:
            self._ends[lease_id] = self._now + self._granted[lease_id]

    def advance(self, seconds: float) -> None:
        """Let time pass, and end what ends meanwhile."""
        self._now += seconds
        for lease_id in [each for each, end in self._ends.items() if end <= self._now]:
            del self._ends[lease_id]
            self._client.revoke(lease_id)

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class _Booked(Client):
    def __init__(self, options: EtcdOptions, book: Book) -> None:
        super().__init__(options)
        self._book = book

    def grant(self, seconds: int) -> tuple[int, Moment]:
        lease_id, granted = super().grant(seconds)
        self._book.note(lease_id, seconds)
        return lease_id, granted

    def keep_alive(self, lease_id: int) -> int:
        left = super().keep_alive(lease_id)
        if left:
            self._book.note(lease_id)
        return left


def bed(options: Mapping[str, object]) -> Bed[EtcdStore]:
    """Return a bed at the prefix that `options` name."""
    checked = EtcdOptions.read(options)
    book = Book(checked)
    return Bed(open=lambda: EtcdStore(checked, client=book.client()), advance=book.advance, close=book.close)
