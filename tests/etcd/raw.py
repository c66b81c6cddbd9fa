"""etcd as a test sees it: behind the back of the code that it tests, and straight to one member.

Nothing is shared with the backend: its messages are those of the package etcd3, its channel is gRPC's own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from threading import Event
from typing import Any, Self

import attrs
import grpc

from . import descriptors
from .certificates import Credentials

READ, WRITE, READWRITE = 0, 1, 2  # authpb.Permission.Type
NOSPACE = 1  # etcdserverpb.AlarmType
GET, DEACTIVATE = 0, 2  # etcdserverpb.AlarmRequest.AlarmAction

# One attempt after the other: a test waits for a member that is about to come back.
CHANNEL = [
    ("grpc.initial_reconnect_backoff_ms", 20),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 100),
    ("grpc.use_local_subchannel_pool", 1),  # what another client of this process learnt is not ours
    ("grpc.enable_http_proxy", 0),
]


@attrs.frozen(kw_only=True)
class Status:
    """What one member says of itself; it needs no quorum for that.

    Args:
        member: its id. leader: the id of its leader, 0 if it has none.
        revision: of its store. size: of its database, in octets.
    """

    member: int
    leader: int
    revision: int
    size: int


class Raw:
    """One channel to one member, with etcd's calls by their names. The caller closes it.

    Every call is tried until it is answered, even if it may have been carried out; it raises `grpc.RpcError`
    when it is refused, or after `timeout` seconds.

    Args:
        url: of the member.
        credentials: for https.
        user: the name and password to get a token with, at once and only once.
        timeout: seconds for each call.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials | None = None,
        user: tuple[str, str] | None = None,
        timeout: float = 10,
    ) -> None:
        self.timeout = timeout
        self._token: list[tuple[str, str]] = []
        target = url.partition("://")[2]
        self._channel = (
            grpc.secure_channel(
                target,
                grpc.ssl_channel_credentials(
                    credentials.ca.read_bytes(), credentials.key.read_bytes(), credentials.cert.read_bytes()
                ),
                options=CHANNEL,
            )
            if credentials
            else grpc.insecure_channel(target, options=CHANNEL)
        )
        if user:
            name, password = user
            self._token = [("token", self.call("Auth/Authenticate", name=name, password=password).token)]

    def call(self, method: str, **fields: Any) -> Any:
        """Call a method, such as `KV/Range`; return its answer.

        Args:
            fields: of the request.
        """
        path = f"/etcdserverpb.{method}"
        request, answer = descriptors.load().methods[path]
        call = self._channel.unary_unary(
            path, request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        message, deadline, pause = request(**fields), time.monotonic() + self.timeout, Event()
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            try:
                return call(message, timeout=remaining, metadata=self._token, wait_for_ready=True)
            except grpc.RpcError as error:
                # The connection broke, or there is no leader at the moment.
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() >= deadline:
                    raise
            pause.wait(0.02)

    def put(self, key: str, value: str | bytes = "", *, lease: int = 0) -> int:
        """Write a key; return the revision of that."""
        octets = value.encode() if isinstance(value, str) else value
        return int(self.call("KV/Put", key=key.encode(), value=octets, lease=lease).header.revision)

    def get(self, key: str) -> bytes | None:
        """Return a key's value; None: there is no such key."""
        found = self.call("KV/Range", key=key.encode()).kvs
        return bytes(found[0].value) if found else None

    def items(self, prefix: str) -> dict[str, bytes]:
        """Return all keys with that prefix and their values."""
        found = self.call("KV/Range", key=prefix.encode(), range_end=after(prefix)).kvs
        return {each.key.decode(): bytes(each.value) for each in found}

    def delete(self, key: str) -> int:
        """Delete a key; return how many there were, 0 or 1."""
        return int(self.call("KV/DeleteRange", key=key.encode()).deleted)

    def delete_all(self, prefix: str) -> int:
        """Delete all keys with that prefix; return how many."""
        return int(self.call("KV/DeleteRange", key=prefix.encode(), range_end=after(prefix)).deleted)

    def grant(self, ttl: int) -> int:
        """Return the id of a new lease; etcd may make its TTL longer."""
        return int(self.call("Lease/LeaseGrant", TTL=ttl).ID)

    def revoke(self, lease: int) -> None:
        """End a lease; its keys go."""
        self.call("Lease/LeaseRevoke", ID=lease)

    def remaining(self, lease: int) -> int:
        """Return how many seconds a lease has left; -1: it has ended."""
        return int(self.call("Lease/LeaseTimeToLive", ID=lease).TTL)

    def leases(self) -> set[int]:
        """Return the ids of all leases."""
        return {int(each.ID) for each in self.call("Lease/LeaseLeases").leases}

    def compact(self, revision: int | None = None) -> int:
        """Forget what was before a revision (default: the current one), for good; return that revision."""
        chosen = revision or self.status().revision
        self.call("KV/Compact", revision=chosen, physical=True)
        return chosen

    def status(self) -> Status:
        """Ask the member about itself."""
        told = self.call("Maintenance/Status")
        return Status(
            member=told.header.member_id, leader=told.leader, revision=told.header.revision, size=told.dbSize
        )

    def alarms(self) -> set[int]:
        """Return the alarms that are on, of all members."""
        return {int(each.alarm) for each in self.call("Maintenance/Alarm", action=GET).alarms}

    def fill(self, prefix: str) -> int:
        """Write until etcd refuses for want of space; return how many keys there are now.

        For a member with a small --quota-backend-bytes.
        """
        for number in range(1000):
            try:
                self.put(f"{prefix}{number}", bytes(1 << 18))
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
                return number
        raise AssertionError("1,000 keys of 256 KiB fit: start etcd with a small --quota-backend-bytes")

    def make_room(self, prefix: str, *, others: Sequence[Raw] = ()) -> None:
        """Do what an operator does about NOSPACE: delete, compact, defragment every member, disarm."""
        self.delete_all(prefix)
        self.compact()
        for member in (self, *others):
            member.call("Maintenance/Defragment")
        for each in self.call("Maintenance/Alarm", action=GET).alarms:
            self.call("Maintenance/Alarm", action=DEACTIVATE, alarm=each.alarm, memberID=each.memberID)

    def enable_auth(self, users: Mapping[str, Sequence[tuple[str, int]]]) -> None:
        """Make users, each with a role and password of its own name, and root; from now on etcd asks who it is.

        Args:
            users: for each the prefixes that it may use, each with READ, WRITE or READWRITE.
        """
        for name, grants in {"root": (), **users}.items():
            self.call("Auth/UserAdd", name=name, password=name)
            self.call("Auth/RoleAdd", name=name)
            for prefix, kind in grants:
                permission = {"permType": kind, "key": prefix.encode(), "range_end": after(prefix)}
                self.call("Auth/RoleGrantPermission", name=name, perm=permission)
            self.call("Auth/UserGrantRole", user=name, role=name)
        self.call("Auth/AuthEnable")

    def close(self) -> None:
        """Close the channel; may be called twice."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def after(prefix: str) -> bytes:
    """Return the first key behind all keys with that prefix."""
    octets = prefix.encode()
    return octets[:-1] + bytes([octets[-1] + 1])
