"""What etcd answers, as far as somebody looks at it: rpc.proto and kv.proto of its v3 API. Pure.

The package etcd3 carries the same messages as protobuf's descriptors, and the tests hold these against them. At
run time nothing of it is needed: protobuf's library takes 30 ms and 6 MB before the first message, and keeps
the octets of a whole list as long as one of its keys is there. Nor are these classes of attrs, each of which
takes the better part of a millisecond to make, at every start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from ..rpc.protobuf import fields, many, number, one, reader, signed, text

T = TypeVar("T")

DELETE = 1  # mvccpb.Event.EventType


class ResponseHeader(NamedTuple):
    """How far a member was when it answered."""

    cluster_id: int = 0
    revision: int = 0
    raft_term: int = 0


header = reader(ResponseHeader, cluster_id=number(1, int), revision=number(3), raft_term=number(4, int))


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


class RangeResponse(NamedTuple):
    """The keys that were asked for, and how many there are."""

    header: ResponseHeader = ResponseHeader()
    kvs: Sequence[KeyValue] = ()
    count: int = 0  # type: ignore[assignment]  # etcd's name; nobody counts in a tuple of three


range_response = reader(RangeResponse, header=one(1, header), kvs=many(2, key_value), count=number(4))


class ResponseOp(NamedTuple):
    """What one operation of a transaction has read."""

    response_range: RangeResponse = RangeResponse()


class TxnResponse(NamedTuple):
    """Whether the conditions held, and what was done then."""

    header: ResponseHeader = ResponseHeader()
    succeeded: bool = False
    responses: Sequence[ResponseOp] = ()


response_op = reader(ResponseOp, response_range=one(1, range_response))
txn_response = reader(
    TxnResponse, header=one(1, header), succeeded=number(2, bool), responses=many(3, response_op)
)


class LeaseResponse(NamedTuple):
    """A LeaseGrantResponse or LeaseKeepAliveResponse: a lease and the seconds that it has; 0: there is none."""

    header: ResponseHeader = ResponseHeader()
    id: int = 0
    ttl: int = 0


lease_response = reader(LeaseResponse, header=one(1, header), id=number(2), ttl=number(3))


class LeaseTimeToLiveResponse(NamedTuple):
    """The keys that hang on a lease."""

    keys: Sequence[bytes] = ()


class LeaseRevokeResponse(NamedTuple):
    """A lease has ended."""


class AuthenticateResponse(NamedTuple):
    """A token, by which etcd knows us from now on."""

    token: str = ""


class Event(NamedTuple):
    """A key was written, or deleted."""

    type: int = 0
    kv: KeyValue = KeyValue()


class WatchResponse(NamedTuple):
    """What a watch tells."""

    header: ResponseHeader = ResponseHeader()
    created: bool = False
    canceled: bool = False
    compact_revision: int = 0
    cancel_reason: str = ""
    events: Sequence[Event] = ()


event = reader(Event, type=number(1), kv=one(2, key_value))
watch_response = reader(
    WatchResponse,
    header=one(1, header),
    created=number(3, bool),
    canceled=number(4, bool),
    compact_revision=number(5),
    cancel_reason=text(6),
    events=many(11, event),
)


class Method(NamedTuple, Generic[T]):
    """A call of etcd's: its path, and what makes its answer of octets, or raises ValueError."""

    path: str
    read: Callable[[bytes], T]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]


RANGE = Method("/etcdserverpb.KV/Range", range_response)
TXN = Method("/etcdserverpb.KV/Txn", txn_response)
LEASE_GRANT = Method("/etcdserverpb.Lease/LeaseGrant", lease_response)
LEASE_REVOKE = Method("/etcdserverpb.Lease/LeaseRevoke", reader(LeaseRevokeResponse))
LEASE_KEEP_ALIVE = Method("/etcdserverpb.Lease/LeaseKeepAlive", lease_response)
LEASE_TIME_TO_LIVE = Method(
    "/etcdserverpb.Lease/LeaseTimeToLive", reader(LeaseTimeToLiveResponse, keys=many(5))
)
AUTHENTICATE = Method("/etcdserverpb.Auth/Authenticate", reader(AuthenticateResponse, token=text(2)))
WATCH = Method("/etcdserverpb.Watch/Watch", watch_response)
