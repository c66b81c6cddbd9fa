"""What etcd is asked, by what it is for: the requests of its v3 API, and the parts of a transaction. Pure.

Each is a message of rpc.proto as octets; the numbers are those of its fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..rpc.protobuf import chosen, integer, message, octets

EQUAL, LESS = 0, 2  # Compare.CompareResult
CREATE, MOD, LEASE = 1, 2, 4  # Compare.CompareTarget
DESCEND, BY_MOD = 2, 3  # RangeRequest.SortOrder and SortTarget


def one(key: bytes, revision: int = 0) -> bytes:
    """Read one key, as of now or of a revision."""
    return octets(1, key) + integer(4, revision)


def all_of(begin: bytes, end: bytes) -> bytes:
    """Read every key from `begin` to before `end`."""
    return octets(1, begin) + octets(2, end)


def newest(begin: bytes, end: bytes, revision: int) -> bytes:
    """Read, as of `revision`, the key of a range that was written last; with it comes how many there are."""
    limit = integer(3, 1)
    return all_of(begin, end) + limit + integer(4, revision) + integer(5, DESCEND) + integer(6, BY_MOD)


def txn(compare: Iterable[bytes], success: Iterable[bytes], failure: Iterable[bytes] = ()) -> bytes:
    """If all of `compare` holds, do `success`, else `failure`, in one step."""
    parts = ((1, compare), (2, success), (3, failure))
    return b"".join(message(number, each) for number, part in parts for each in part)


def get(key: bytes) -> bytes:
    """In a transaction: read one key."""
    return message(1, one(key))


def created_since(begin: bytes, end: bytes, revision: int) -> bytes:
    """In a transaction: read what was created in a range after `revision`, and is still there."""
    return message(1, all_of(begin, end) + integer(12, revision + 1))


def put(key: bytes, value: bytes, lease_id: int = 0) -> bytes:
    """In a transaction: write a key; with a lease, it goes when that ends."""
    return message(2, octets(1, key) + octets(2, value) + integer(3, lease_id))


def put_again(key: bytes) -> bytes:
    """In a transaction: write what is there, for those who have missed it."""
    ignore_value, ignore_lease = integer(5, True), integer(6, True)
    return message(2, octets(1, key) + ignore_value + ignore_lease)


def hang(key: bytes, lease_id: int) -> bytes:
    """In a transaction: let a key hang on another lease."""
    ignore_value = integer(5, True)
    return message(2, octets(1, key) + integer(3, lease_id) + ignore_value)


def delete(key: bytes) -> bytes:
    """In a transaction: delete one key."""
    return message(3, octets(1, key))


def unchanged(key: bytes, mod_revision: int) -> bytes:
    """On condition that nobody has written the key since; 0: nobody has made it."""
    return _compare(EQUAL, MOD, key) + chosen(6, mod_revision)


def hangs_on(key: bytes, lease_id: int) -> bytes:
    """On condition that the key is there, and hangs on that lease."""
    return _compare(EQUAL, LEASE, key) + chosen(8, lease_id)


def nothing_created(begin: bytes, end: bytes, revision: int) -> bytes:
    """On condition that no key of the range was created after `revision`."""
    return _compare(LESS, CREATE, begin) + chosen(5, revision + 1) + octets(64, end)


def _compare(result: int, target: int, key: bytes) -> bytes:
    return integer(1, result) + integer(2, target) + octets(3, key)


def grant(seconds: int) -> bytes:
    """Make an etcd lease."""
    return integer(1, seconds)


def lease(lease_id: int) -> bytes:
    """Extend or end an etcd lease."""
    return integer(1, lease_id)


def hanging(lease_id: int) -> bytes:
    """Ask which keys hang on an etcd lease."""
    return integer(1, lease_id) + integer(2, True)


def authenticate(name: str, password: str) -> bytes:
    """Ask for a token."""
    return octets(1, name.encode()) + octets(2, password.encode())


def watch(begin: bytes, end: bytes, revision: int) -> bytes:
    """Tell what happens to a range from `revision` on, and now and then how far etcd is."""
    progress_notify = integer(4, True)
    return message(1, all_of(begin, end) + integer(3, revision) + progress_notify)
