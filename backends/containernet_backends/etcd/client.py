"""Calls to an etcd cluster: one channel for each endpoint, and the next endpoint where one fails.

gRPC's own list of addresses would be one channel, but with one name for the certificates of all members. So
each endpoint has its channel, and a call goes to the one that answered last; where it fails in a way that
another member may not, the next is asked, once round. Every call that is made here may be made twice: the
callers compare before they write, and take what they find written by themselves for done.

A connection that has gone silent (a cable, a firewall that forgot it) is noticed by HTTP/2 pings. etcd ends
the connection of a client that pings more often than every 5 s (its --grpc-keepalive-min-time).

What comes out are our errors, never gRPC's.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from containernet.errors import ConfigError, ContainernetError, StoreError, StoreRefused, StoreUnavailable

from . import messages
from .options import EtcdOptions

CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.max_receive_message_length", 1 << 28),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
# An attempt gets this much at least, however many endpoints share the call's time.
SHORTEST_ATTEMPT = 1.0
STREAMS = {"/etcdserverpb.Watch/Watch", "/etcdserverpb.Lease/LeaseKeepAlive"}
SHOWN = 200  # characters of an error's details


def import_grpc() -> Any:
    """Return the package grpc, which takes its time to import.

    Raises:
        MissingPackage: it is not installed.
    """
    # Its handlers at fork abort in a child that forks once more, as the laboratory's do; ours use no channel.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        import grpc
    except ImportError as error:
        raise messages.missing("grpcio") from error
    return grpc


class NotThere(StoreError):
    """What was asked for by its id is not there."""


class Client:
    """A cluster, for any number of threads.

    Args:
        options: where and who; checked, and its files are read at the first call.
    """

    def __init__(self, options: EtcdOptions) -> None:
        self._options = options
        self._members = options.members
        self._current = 0
        self._channels: dict[int, Any] = {}
        self._token: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def call(self, path: str, request: Any) -> Any:
        """Return the response to a request; tries every endpoint once.

        Raises:
            StoreUnavailable: none of them answered in time.
            StoreRefused: etcd does not let this client do that.
        """
        end = time.monotonic() + self._options.timeout
        failure: ContainernetError | None = None
        for _ in self._members:
            left = end - time.monotonic()
            if left <= 0:
                break
            number = self._current
            share = min(left, max(SHORTEST_ATTEMPT, self._options.timeout / len(self._members)))
            try:
                return self._attempt(number, path, request, share)
            except StoreUnavailable as error:
                failure = error
                self._move_on(number)
        raise failure or StoreUnavailable("etcd: no time left")

    def range(self, begin: bytes, end: bytes) -> Any:
        """Return every key from `begin` to before `end`."""
        return self.call("/etcdserverpb.KV/Range", messages.load().RangeRequest(key=begin, range_end=end))

    def txn(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any] = ()) -> Any:
        """If all of `compare` holds, do `success`, else `failure`, in one step; see `requests`."""
        request = messages.load().TxnRequest(compare=compare, success=success, failure=failure)
        return self.call("/etcdserverpb.KV/Txn", request)

    def get(self, key: bytes) -> Any:
        """Return one key; None: it is not there."""
        told = self.call("/etcdserverpb.KV/Range", messages.load().RangeRequest(key=key)).kvs
        return told[0] if told else None

    def grant(self, seconds: int) -> int:
        """Return the id of a new etcd lease."""
        request = messages.load().LeaseGrantRequest(TTL=seconds)
        return int(self.call("/etcdserverpb.Lease/LeaseGrant", request).ID)

    def revoke(self, lease_id: int) -> None:
        """End an etcd lease, and with it every key that hangs on it; what has ended has ended."""
        with contextlib.suppress(NotThere):
            self.call("/etcdserverpb.Lease/LeaseRevoke", messages.load().LeaseRevokeRequest(ID=lease_id))

    def hanging(self, lease_id: int) -> Sequence[bytes]:
        """Return the keys that hang on an etcd lease."""
        request = messages.load().LeaseTimeToLiveRequest(ID=lease_id, keys=True)
        return list(self.call("/etcdserverpb.Lease/LeaseTimeToLive", request).keys)

    def keep_alive(self, lease_id: int) -> int:
        """Extend an etcd lease; return to how many seconds, or 0: there is none of that id."""
        request = messages.load().LeaseKeepAliveRequest(ID=lease_id)
        return int(self.call("/etcdserverpb.Lease/LeaseKeepAlive", request).TTL)

    def watch(self, create: Any) -> Watch:
        """Begin to watch, at a member that has a leader."""
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(messages.load().WatchRequest(create_request=create))
        number = self._current
        if self._options.username:
            self._token = None  # of a watch with an expired one nothing would ever be heard
        call = self._method(number, "/etcdserverpb.Watch/Watch")(
            iter(requests.get, None), metadata=self._metadata(number)
        )
        return Watch(self, number, call, end=lambda: requests.put(None))

    def lost(self, number: int, error: Any) -> ContainernetError:
        """Return what gRPC's error at an endpoint means; from now on another one is asked."""
        self._move_on(number)
        return self._translated(number, error)

    def close(self) -> None:
        """Close every channel, which ends the calls under way; may be called twice."""
        with self._lock:
            self._closed = True
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def __str__(self) -> str:
        return ", ".join(map(str, self._members))

    def _move_on(self, number: int) -> None:
        with self._lock:
            if self._current == number:
                self._current = (number + 1) % len(self._members)

    def _attempt(self, number: int, path: str, request: Any, timeout: float) -> Any:
        grpc = import_grpc()
        for again in (False, True):
            try:
                method = self._method(number, path)
                given = iter([request]) if path in STREAMS else request
                answer = method(given, timeout=timeout, metadata=self._metadata(number))
                return next(answer) if path in STREAMS else answer
            except grpc.RpcError as error:
                if again or not self._stale_token(error):
                    raise self._translated(number, error) from error
                self._token = None
            except StopIteration as error:
                where = self._members[number]
                raise StoreUnavailable(f"etcd {where}: ended a stream without an answer") from error
            except ValueError as error:  # the channel was closed by another thread
                raise self._shut() from error
        raise AssertionError("unreachable")

    def _stale_token(self, error: Any) -> bool:
        # etcd: ErrInvalidAuthToken; after a restart of its members a simple token is unknown as well.
        return bool(self._options.username) and (
            error.code() is import_grpc().StatusCode.UNAUTHENTICATED or "auth token" in (error.details() or "")
        )

    def _metadata(self, number: int) -> Sequence[tuple[str, str]]:
        found = [("hasleader", "true")]
        if self._options.username:
            if self._token is None:
                self._token = self._authenticate(number)
            found.append(("token", self._token))
        return found

    def _authenticate(self, number: int) -> str:
        authenticate = self._method(number, "/etcdserverpb.Auth/Authenticate")
        request = messages.load().AuthenticateRequest(
            name=self._options.username, password=self._options.password()
        )
        try:
            return str(authenticate(request, timeout=self._options.timeout).token)
        except import_grpc().RpcError as error:
            raise self._translated(number, error) from error

    def _method(self, number: int, path: str) -> Any:
        takes, gives = messages.load().methods[path]
        channel = self._channel(number)
        make = channel.stream_stream if path in STREAMS else channel.unary_unary
        return make(path, request_serializer=takes.SerializeToString, response_deserializer=gives.FromString)

    def _channel(self, number: int) -> Any:
        with self._lock:
            if self._closed:
                raise self._shut()
            if number not in self._channels:
                self._channels[number] = self._open(number)
            return self._channels[number]

    def _open(self, number: int) -> Any:
        grpc, member = import_grpc(), self._members[number]
        if not member.secure:
            return grpc.insecure_channel(member.target, options=CHANNEL_OPTIONS)
        ca, key, cert = self._options.files()
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        return grpc.secure_channel(member.target, credentials, options=CHANNEL_OPTIONS)

    def _shut(self) -> StoreUnavailable:
        return StoreUnavailable(f"etcd {self}: this store was closed; open another")

    def _translated(self, number: int, error: Any) -> ContainernetError:
        """Return what gRPC's error means, in our words."""
        if self._closed:
            return self._shut()
        codes = import_grpc().StatusCode
        code, details = error.code(), " ".join((error.details() or "").split())[:SHOWN]
        where = f"etcd {self._members[number]}: {details or code.name}"
        match code:
            case codes.PERMISSION_DENIED:
                who = self._options.username or self._options.cert or "a client without a name"
                return StoreRefused(f"{where}; give the role of {who} readwrite on {self._options.prefix}")
            case codes.UNAUTHENTICATED | codes.INVALID_ARGUMENT if "user" in details or "auth" in details:
                return StoreRefused(
                    f"{where}; set username and password_file, or cert and key, under [store.etcd]"
                )
            case codes.NOT_FOUND:
                return NotThere(where)
            case codes.RESOURCE_EXHAUSTED:
                return StoreUnavailable(
                    f"{where}; make room: etcdctl compact and defrag, then alarm disarm; or raise "
                    "--quota-backend-bytes"
                )
            case codes.INVALID_ARGUMENT | codes.UNIMPLEMENTED | codes.OUT_OF_RANGE | codes.FAILED_PRECONDITION:
                return ConfigError(f"{where}; is this an etcd of version 3.4 or later?")
            case _:
                return StoreUnavailable(where)


class Watch:
    """One watch: what etcd sends, until it is cancelled or the connection ends."""

    def __init__(self, client: Client, number: int, call: Any, end: Callable[[], None]) -> None:
        self._client = client
        self._number = number
        self._call = call
        self._end = end

    def __iter__(self) -> Iterator[Any]:
        """Yield every WatchResponse.

        Raises:
            ContainernetError: the stream ended, and what that means; the next watch is at another endpoint.
        """
        try:
            yield from self._call
            raise StoreUnavailable(f"etcd {self._client}: ended a watch")
        except import_grpc().RpcError as error:
            raise self._client.lost(self._number, error) from error
        finally:
            self._end()

    def cancel(self) -> None:
        """End it, from any thread; may be called twice."""
        self._end()
        self._call.cancel()
