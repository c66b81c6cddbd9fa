"""The leases: one record per host, and one etcd lease that it hangs on.

A claim lists, decides, and writes on condition that no record was created since the list. The condition is on
the whole range of records, so that no two leases ever overlap, whatever their lengths; renewals and
announcements of others, which create nothing, do not disturb it. Who loses gets what was created since along
with the refusal, and decides again without another list.

The id of the etcd lease is the revision of ours, new with every claim. KeepAlive extends it and writes
nothing, so that a cluster at rest is at rest; that the record still hangs on it is asked at each renewal. A
key without a lease is a reservation, and has no end.

A claim that fails in any way leaves nothing: its etcd lease is revoked, and with it whatever hangs there.

Every write may be made twice, because an answer can be lost: what is found hanging on this very lease is
done.

A list may be old when it is used (`opening`), and a transaction cannot ask which history it is in. But between
the two the etcd lease is granted: an answer that does not follow the list shows that etcd was restored from a
backup, and a cluster that is restored after it does not know that lease, and refuses the transaction.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, suppress

import attrs

from containernet.errors import ContainernetError, LeaseTaken
from containernet.model import Address, Lease, Prefix

from ..leasing import check_claim, check_subnets, check_ttl, lost, taken
from . import records, requests
from .client import Client
from .messages import KeyValue, TxnResponse
from .moments import Moment
from .opening import Listed, Opening
from .records import BadRecord, Reading, Record
from .view import Keys, Read, text

# A lost round means that somebody else has created a record.
ROUNDS = 1000


class Listing:
    """The records as etcd held them at `moment`, and what they mean."""

    def __init__(self, listed: Listed, lease: Callable[[KeyValue, Read], Lease | None]) -> None:
        self.moment = listed.moment
        self._lease, self._read = lease, listed.read
        self._held: dict[bytes, tuple[KeyValue, Lease]] = {}
        self.update(listed.kvs)

    def update(self, told: Iterable[KeyValue]) -> None:
        """Take note of records that were made or written since."""
        for kv in told:
            if (lease := self._lease(kv, self._read)) is not None:
                self._held[kv.key] = (kv, lease)

    def forget(self, key: bytes) -> None:
        """Take note that a record is gone."""
        self._held.pop(key, None)

    def leases(self) -> list[Lease]:
        """Return every lease and reservation."""
        return [lease for _, lease in self._held.values()]

    def of(self, node: str) -> list[KeyValue]:
        """Return the records of a node."""
        return [kv for kv, lease in self._held.values() if node and lease.node == node]

    def in_the_way(self, subnets: Iterable[Prefix], node: str) -> Lease | None:
        """Return a lease or reservation, of anybody but `node`, that overlaps one of `subnets`."""
        subnets = tuple(subnets)
        for _, lease in self._held.values():
            if lease.overlaps(subnets) and (not node or lease.node != node):
                return lease
        return None


class Ledger:
    """Who owns which subnets; for any number of threads.

    Args:
        client: the cluster.
        keys: where the records are.
        opening: what a host that starts has listed already.
        put_again: seconds after which a renewal puts the record again; 0: never.
    """

    def __init__(self, client: Client, keys: Keys, opening: Opening, *, put_again: float) -> None:
        self._client = client
        self._keys = keys
        self._opening = opening
        self._put_again = put_again
        self._names: dict[str, str] = {}  # nodes by address, whose records may bear no name
        self._addresses: dict[str, tuple[Address, ...]] = {}  # the other way round, the first of each family
        self._own: dict[str, KeyValue] = {}  # by node, the record that it was last seen to hold
        self._last_put: dict[bytes, float] = {}
        self._listing: Listing | None = None  # what `leases` showed, for the claim that follows
        self._lock = threading.Lock()

    def recognise(self, node: str, addresses: Iterable[Address]) -> None:
        """Take a record that bears one of `addresses` and no name for one of `node`."""
        addresses = tuple(addresses)
        self._names.update((str(address), node) for address in addresses)
        self._addresses[node] = tuple({each.version: each for each in reversed(addresses)}.values())

    def leases(self) -> list[Lease]:
        """Return all leases and reservations."""
        listed = self._opening.take(self._keys.records)
        listing = Listing(listed, self._lease) if listed else self.listed()
        with self._lock:
            self._listing = listing
        return listing.leases()

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take `subnets` for `node`; see LeaseStore."""
        check_claim(subnets, node, ttl)
        return self._enter(Record(subnets=subnets, node=node, next_hops=self._addresses.get(node, ())), ttl)

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Set `subnets` aside; see Reserves."""
        check_subnets(subnets)
        return self._enter(Record(subnets=subnets), None)

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend `lease`; see LeaseStore."""
        check_ttl(ttl)
        self._listing = None
        self._opening.end(self._keys.records)
        key, lease_id = self.key(lease.subnets), _lease_id(lease)
        granted = self._client.keep_alive(lease_id) if lease_id else 0
        if lease_id and not granted:
            raise lost(lease)
        now = time.monotonic()
        due = self._put_again and now - self._last_put.get(key, -math.inf) >= self._put_again
        again = [requests.put_again(key)] if lease_id and due else []
        answer = self._client.txn([_stands(key, lease)], [*again, requests.get(key)])
        if not answer.succeeded:
            if lease_id:
                self._client.revoke(lease_id)  # nothing of a lost lease may go on to be told
            raise lost(lease)
        if due:
            self._last_put[key] = now
        self._saw(lease.node, answer)
        if lease_id and granted != _seconds(ttl):
            return self._hang_on_another(lease, key, ttl)
        return attrs.evolve(lease, expires=float(granted) if lease_id else None)

    def release(self, lease: Lease) -> None:
        """Give `lease` back, with every route that hangs on it; see LeaseStore."""
        self._opening.end(self._keys.records)
        key, lease_id = self.key(lease.subnets), _lease_id(lease)
        # With its etcd lease the record goes, in one step with all that hangs there.
        writes = [] if lease_id else [requests.delete(key)]
        if not self._client.txn([_stands(key, lease)], writes).succeeded:
            raise lost(lease)
        if lease_id:
            self._client.revoke(lease_id)

    def key(self, subnets: tuple[Prefix, ...]) -> bytes:
        """Return the key of the record of those subnets."""
        return self._keys.subnets + records.key_of(subnets).encode()

    def listed(self) -> Listing:
        """Return every record that there is now."""
        return Listing(Listed.of(self._client.range(*self._keys.records), self._keys.read), self._lease)

    def seen(self, node: str) -> KeyValue | None:
        """Return the record that `node` was last seen to hold, as etcd showed it then; None: none was seen."""
        return self._own.get(node)

    def own(self, node: str) -> KeyValue | None:
        """Return the record that `node` holds, as etcd shows it now; None: it holds none."""
        seen = self._own.get(node)
        if seen is not None:
            kv = self._client.get(seen.key)
            if kv is not None and self.node(kv) == node:
                return kv
        found = next(iter(self.listed().of(node)), None)
        if found is not None:
            self._own[node] = found
        return found

    def _saw(self, node: str, answer: TxnResponse) -> None:
        """Keep the record that the last operation of a transaction has read."""
        if node:
            (self._own[node],) = answer.responses[-1].response_range.kvs

    def node(self, kv: KeyValue) -> str:
        """Return whose record that is: by name, by an address that we know, or by its address; or empty."""
        try:
            return self._whose(self._keys.read(kv), kv)
        except BadRecord:
            return ""

    def _whose(self, said: Reading, kv: KeyValue) -> str:
        if said.node:
            return said.node
        known = (self._names[str(hop)] for hop in said.next_hops if str(hop) in self._names)
        return next(known, said.owner if kv.lease else "")

    def record(self, kv: KeyValue) -> Record | None:
        """Return what a record says; None: it cannot be read."""
        try:
            return records.decode(text(kv.key, self._keys.subnets), kv.value)
        except BadRecord:
            return None

    def _enter(self, record: Record, ttl: float | None) -> Lease:
        """Write a new record, on a lease of its own if it is to have an end."""
        with self._lock:
            listing, self._listing = self._listing, None
        self._opening.end(self._keys.records)
        fresh = listing is None
        listing = listing or self.listed()
        lease_id = 0
        with ExitStack() as unless_entered:
            for _ in range(ROUNDS):
                standing = listing.in_the_way(record.subnets, record.node)
                if standing is not None and fresh:
                    raise taken(record.subnets, standing)
                if standing is not None:  # it was in the way when somebody looked; perhaps it is gone
                    listing, fresh = self.listed(), True
                    continue
                if ttl is not None and not lease_id:
                    lease_id, granted = self._client.grant(_seconds(ttl))
                    unless_entered.callback(self._take_back, lease_id)
                    if not granted.follows(listing.moment):
                        listing, fresh = self.listed(), True
                        continue
                own = listing.of(record.node)
                if (entered := self._create(listing, own, record, lease_id)) is not None:
                    unless_entered.pop_all()
                    self._settle(own, self.key(record.subnets), lease_id)
                    return attrs.evolve(entered, expires=ttl)
                fresh = True
            raise LeaseTaken(f"{record.subnets}: others were quicker {ROUNDS} times in a row; try again")

    def _take_back(self, lease_id: int) -> None:
        with suppress(ContainernetError):  # then it ends with its time
            self._client.revoke(lease_id)

    def _create(self, listing: Listing, own: Sequence[KeyValue], record: Record, lease_id: int) -> Lease | None:
        """Write the record in place of the node's `own`, if nothing was created since the list.

        Returns:
            The lease; None: something was created, and `listing` shows it now.
        """
        key = self.key(record.subnets)
        standing = next((kv for kv in own if kv.key == key), None)
        if standing is not None and (known := self.record(standing)) is not None:
            record = attrs.evolve(known, node=record.node)
        since = listing.moment.revision
        answer = self._client.txn(
            [
                requests.nothing_created(*self._keys.records, since),
                *(requests.unchanged(kv.key, kv.mod_revision) for kv in own),
            ],
            [
                requests.put(key, records.encode(record), lease_id),
                *(requests.delete(kv.key) for kv in own if kv.key != key),
                requests.get(key),
            ],
            [requests.created_since(*self._keys.records, since), *(requests.get(kv.key) for kv in own)],
        )
        revision = answer.header.revision
        if answer.succeeded:
            self._saw(record.node, answer)
        else:
            self._take_note(listing, own, answer)
            mine = next((kv for kv in listing.of(record.node) if kv.key == key and kv.lease == lease_id), None)
            if mine is None or not lease_id:
                return None
            revision = mine.mod_revision  # an earlier try of this very request was carried out
            self._own[record.node] = mine
        if record.node:
            self._last_put[key] = time.monotonic()
        return Lease(
            subnets=record.subnets, node=record.node, expires=None, revision=_revision(lease_id, revision)
        )

    def _take_note(self, listing: Listing, own: Sequence[KeyValue], answer: TxnResponse) -> None:
        created, *standing = (response.response_range.kvs for response in answer.responses)
        for kv in own:
            listing.forget(kv.key)
        for told in (*standing, created):
            listing.update(told)
        listing.moment = Moment.of(answer.header)

    def _settle(self, own: Sequence[KeyValue], key: bytes, lease_id: int) -> None:
        """End the etcd leases that the node's records hung on; routes of subnets that stay move over."""
        for kv in own:
            if kv.lease and kv.lease != lease_id:
                if kv.key == key:
                    self._move(kv.lease, lease_id)
                self._client.revoke(kv.lease)

    def _move(self, old: int, new: int) -> None:
        """Hang every key of an etcd lease on another."""
        for key in self._client.hanging(old):
            self._client.txn([requests.hangs_on(key, old)], [requests.hang(key, new)])

    def _hang_on_another(self, lease: Lease, key: bytes, ttl: float) -> Lease:
        """Give a record an etcd lease of another duration, which etcd cannot change."""
        old, (new, _) = _lease_id(lease), self._client.grant(_seconds(ttl))
        if not self._client.txn([_stands(key, lease)], [requests.hang(key, new)]).succeeded:
            self._client.revoke(new)
            raise lost(lease)
        self._move(old, new)
        self._client.revoke(old)
        return attrs.evolve(lease, revision=_revision(new, 0), expires=ttl)

    def _lease(self, kv: KeyValue, read: Read) -> Lease | None:
        """Return what a record means; None: its key names no subnets."""
        node = ""
        try:
            said = read(kv)
            subnets, node = said.subnets, self._whose(said, kv)
        except BadRecord:
            try:
                subnets = records.subnets_of(text(kv.key, self._keys.subnets))
            except BadRecord:
                return None
        node = node or ("?" if kv.lease else "")
        return Lease(subnets=subnets, node=node, expires=None, revision=_revision(kv.lease, kv.mod_revision))


def _revision(lease_id: int, mod_revision: int) -> str:
    return f"{lease_id:016x}" if lease_id else f"r{mod_revision}"


def _lease_id(lease: Lease) -> int:
    """Return the id of the etcd lease; 0: it is a reservation."""
    return 0 if lease.revision.startswith("r") else int(lease.revision, 16)


def _stands(key: bytes, lease: Lease) -> bytes:
    """The store holds exactly that revision."""
    lease_id = _lease_id(lease)
    if lease_id:
        return requests.hangs_on(key, lease_id)
    return requests.unchanged(key, int(lease.revision.removeprefix("r")))


def _seconds(ttl: float) -> int:
    return max(1, math.ceil(ttl))
