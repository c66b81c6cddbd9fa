"""What etcd answers, as far as somebody looks at it: rpc.proto and kv.proto of its v3 API. Pure.

The package etcd3 carries the same messages as protobuf's descriptors, and the tests hold these against them. At
run time nothing of it is needed: protobuf's library takes 30 ms and 6 MB before the first message, and keeps
the octets of a whole list as long as one of its keys is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import attrs

from ..rpc.protobuf import decode, fields, many, number, one, signed, text

T = TypeVar("T")

DELETE = 1  # mvccpb.Event.EventType


@attrs.frozen
class ResponseHeader:
    """How far a member was when it answered."""

    cluster_id: int = number(1, int)
    revision: int = number(3)
    raft_term: int = number(4, int)


class KeyValue(NamedTuple):
    """A key as etcd shows it; `create_revision` and `version` nobody asks for."""

    key: bytes = b""
    mod_revision: int = 0
    value: bytes = b""
    lease: int = 0


def key_value(encoded: bytes) -> KeyValue:
    """Return a key out of a list or an event.

    A list has thousands of them, so this is written out: what reads the other messages takes three times as
    long.

    Raises:
        ValueError: it is none.
    """
    key = value = b""
    mod_revision = lease = at = 0
    end = len(encoded)
    try:
        while at < end:
            tag, found = encoded[at], encoded[at + 1]
            at += 2
            if found > 127:
                found &= 127
                shift = 7
                while (octet := encoded[at]) > 127 and shift < 63:
                    found |= (octet & 127) << shift
                    at += 1
                    shift += 7
                found |= (octet & 127) << shift
                at += 1
            if tag == 0x0A:
                at += found
                key = encoded[at - found : at]
            elif tag == 0x18:
                mod_revision = found
            elif tag == 0x2A:
                at += found
                value = encoded[at - found : at]
            elif tag == 0x30:
                lease = found
            elif tag not in (0x10, 0x20):  # create_revision, version
                return _key_value(encoded)
    except IndexError:
        at = end + 1
    if at != end:
        raise ValueError("a key that is cut off")
    return KeyValue(key, signed(mod_revision), value, signed(lease))


def _key_value(encoded: bytes) -> KeyValue:
    """Return the same, whatever fields a later etcd may add."""
    found: dict[int, Any] = dict(fields(encoded))
    return KeyValue(found.get(1, b""), signed(found.get(3, 0)), found.get(5, b""), signed(found.get(6, 0)))


@attrs.frozen
class RangeResponse:
    """The keys that were asked for, and how many there are."""

    header: ResponseHeader = one(1, partial(decode, ResponseHeader))
    kvs: Sequence[KeyValue] = many(2, key_value)
    count: int = number(4)


@attrs.frozen
class ResponseOp:
    """What one operation of a transaction has read."""

    response_range: RangeResponse = one(1, partial(decode, RangeResponse))


@attrs.frozen
class TxnResponse:
    """Whether the conditions held, and what was done then."""

    header: ResponseHeader = one(1, partial(decode, ResponseHeader))
    succeeded: bool = number(2, bool)
    responses: Sequence[ResponseOp] = many(3, partial(decode, ResponseOp))


@attrs.frozen
class LeaseResponse:
    """A LeaseGrantResponse or LeaseKeepAliveResponse: a lease and the seconds that it has; 0: there is none."""

    header: ResponseHeader = one(1, partial(decode, ResponseHeader))
    id: int = number(2)
    ttl: int = number(3)


@attrs.frozen
class LeaseTimeToLiveResponse:
    """The keys that hang on a lease."""

    keys: Sequence[bytes] = many(5)


@attrs.frozen
class LeaseRevokeResponse:
    """A lease has ended."""


@attrs.frozen
class AuthenticateResponse:
    """A token, by which etcd knows us from now on."""

    token: str = text(2)


@attrs.frozen
class Event:
    """A key was written, or deleted."""

    type: int = number(1)
    kv: KeyValue = one(2, key_value)


@attrs.frozen
class WatchResponse:
    """What a watch tells."""

    header: ResponseHeader = one(1, partial(decode, ResponseHeader))
    created: bool = number(3, bool)
    canceled: bool = number(4, bool)
    compact_revision: int = number(5)
    cancel_reason: str = text(6)
    events: Sequence[Event] = many(11, partial(decode, Event))


@attrs.frozen
class Method(Generic[T]):
    """A call of etcd's: its path, and what its answer means."""

    path: str
    answer: type[T]

    def read(self, message: bytes) -> T:
        """Return an answer.

        Raises:
            ValueError: it is none.
        """
        return decode(self.answer, message)

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


RANGE = Method("/etcdserverpb.KV/Range", RangeResponse)
TXN = Method("/etcdserverpb.KV/Txn", TxnResponse)
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", LeaseResponse)
LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", LeaseRevokeResponse)
LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", LeaseResponse)
LEASE_TIME_TO_LIVE = Method("/etcdserverpb.Lease/LeaseTimeToLive", LeaseTimeToLiveResponse)
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", AuthenticateResponse)
WATCH = Method("/etcdserverpb.Watch/Watch", WatchResponse)
