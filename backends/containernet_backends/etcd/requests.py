"""The conditions and operations of a transaction, by what they are for."""

from __future__ import annotations

from typing import Any

from . import messages


def get(key: bytes) -> Any:
    """Read one key."""
    m = messages.load()
    return m.RequestOp(request_range=m.RangeRequest(key=key))


def created_since(begin: bytes, end: bytes, revision: int) -> Any:
    """Read what was created in a range after `revision`, and is still there."""
    m = messages.load()
    request = m.RangeRequest(key=begin, range_end=end, min_create_revision=revision + 1)
    return m.RequestOp(request_range=request)


def put(key: bytes, value: bytes, lease_id: int = 0) -> Any:
    """Write a key; with a lease, it goes when that ends."""
    m = messages.load()
    return m.RequestOp(request_put=m.PutRequest(key=key, value=value, lease=lease_id))


def put_again(key: bytes) -> Any:
    """Write what is there, for those who have missed it."""
    m = messages.load()
    return m.RequestOp(request_put=m.PutRequest(key=key, ignore_value=True, ignore_lease=True))


def hang(key: bytes, lease_id: int) -> Any:
    """Let a key hang on another lease."""
    m = messages.load()
    return m.RequestOp(request_put=m.PutRequest(key=key, ignore_value=True, lease=lease_id))


def delete(key: bytes) -> Any:
    """Delete one key."""
    m = messages.load()
    return m.RequestOp(request_delete_range=m.DeleteRangeRequest(key=key))


def unchanged(key: bytes, mod_revision: int) -> Any:
    """Nobody has written the key since; 0: nobody has made it."""
    return messages.load().Compare(target="MOD", result="EQUAL", key=key, mod_revision=mod_revision)


def hangs_on(key: bytes, lease_id: int) -> Any:
    """The key is there, and hangs on that lease."""
    return messages.load().Compare(target="LEASE", result="EQUAL", key=key, lease=lease_id)


def nothing_created(begin: bytes, end: bytes, revision: int) -> Any:
    """No key of the range was created after `revision`."""
    return messages.load().Compare(
        target="CREATE", result="LESS", key=begin, range_end=end, create_revision=revision + 1
    )
