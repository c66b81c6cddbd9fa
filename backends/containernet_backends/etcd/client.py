"""Calls to an etcd cluster: one channel for each endpoint, and the next endpoint where one fails.

gRPC's own list of addresses would be one channel, but with one name for the certificates of all members. So
each endpoint has its channel, and a call goes to the one that answered last; where it fails in a way that
another member may not, the next is asked, once round, within the time of one call. Every call that is made
here may be made twice: the callers compare before they write, and take what they find written by themselves
for done.

Every request asks for a member that has a leader. One that was cut off from the others would answer a watch
for ever, with silence.

A connection that has gone silent (a cable, a firewall that forgot it, a frozen process) is noticed by HTTP/2
pings, 9 s later at most. etcd ends the connection of a client that pings more often than every 5 s (its
--grpc-keepalive-min-time), or while no call is open: there the next call finds out, by its deadline.

What comes out are our errors, never gRPC's (`failures`). Nothing of gRPC is touched before the first call, so
that a process may fork until then.
"""

from __future__ import annotations

import contextlib
import os
import queue
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from containernet.errors import ConfigError, ContainernetError, StoreUnavailable

from . import messages
from .failures import NoSpace, NotThere, StaleToken, translated
from .moments import Moment
from .options import EtcdOptions

CHANNEL_OPTIONS = [
    ("grpc.keepalive_time_ms", 6_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.http2.ping_timeout_ms", 3_000),  # without it, today's gRPC waits a minute for the answer
    ("grpc.http2.max_pings_without_data", 0),
    # While a server is away: a try each 0.2 s, then ever fewer, down to one each 3 s, give or take a fifth.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # the name misleads: time for a connection to be made
    ("grpc.max_receive_message_length", 1 << 28),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
]
# An attempt gets this much at least, however many endpoints share the call's time.
SHORTEST_ATTEMPT = 1.0
WATCH = "/etcdserverpb.Watch/Watch"
STREAMS = {WATCH, "/etcdserverpb.Lease/LeaseKeepAlive"}


_importing = threading.Lock()


def import_grpc() -> Any:
    """Return the package grpc, which takes its time to import.

    Raises:
        MissingPackage: it is not installed.
    """
    with _importing:
        if "grpc" not in sys.modules:
            # Its handlers at fork abort in a child that forks once more, as the laboratory's do.
            os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        try:
            with _quiet():
                import grpc
        except ImportError as error:
            raise messages.missing("grpcio") from error
    return grpc


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep gRPC from writing to stderr, where nobody has asked for it; it reads the variable when imported."""
    name = "GRPC_VERBOSITY"
    if "grpc" in sys.modules or name in os.environ:
        yield
        return
    os.environ[name] = "NONE"
    try:
        yield
    finally:
        del os.environ[name]


class Cancellation:
    """Ends whichever call is under way, and every later one: from any thread, at once, for good."""

    def __init__(self) -> None:
        self._call: Any = None
        self._cancelled = False
        self._lock = threading.Lock()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def cancel(self) -> None:
        """End it; may be called twice."""
        with self._lock:
            self._cancelled = True
            call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def hold(self, call: Any) -> None:
        """Take note of the call that is under way now."""
        with self._lock:
            if not self._cancelled:
                self._call = call
                return
        call.cancel()


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
        self._files: object = None  # what the channels were opened with
        self._token: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def call(self, path: str, request: Any, cancellation: Cancellation | None = None) -> Any:
        """Return the response to a request; tries every endpoint once, within the option `timeout`.

        Raises:
            StoreUnavailable: none of them answered in time.
            StoreRefused: etcd does not let this client do that.
        """
        cancellation = cancellation or Cancellation()
        end = time.monotonic() + self._options.timeout
        share = max(SHORTEST_ATTEMPT, self._options.timeout / len(self._members))
        failure: ContainernetError | None = None
        for _ in self._members:
            number, now = self._current, time.monotonic()
            if now >= end:
                break
            try:
                return self._attempt(number, path, request, min(end, now + share), cancellation)
            except NoSpace:
                raise
            except StoreUnavailable as error:
                failure = error
                if self._closed or cancellation.cancelled:
                    break
                self._move_on(number)
        assert failure is not None
        raise failure

    def range(self, begin: bytes, end: bytes, cancellation: Cancellation | None = None) -> Any:
        """Return every key from `begin` to before `end`."""
        request = messages.load().RangeRequest(key=begin, range_end=end)
        return self.call("/etcdserverpb.KV/Range", request, cancellation)

    def newest(self, begin: bytes, end: bytes, revision: int, cancellation: Cancellation) -> Any:
        """Return, as of `revision`, the key that was written last, and how many there are.

        Raises:
            NotThere: etcd knows that revision no more, or not yet.
        """
        request = messages.load().RangeRequest(
            key=begin, range_end=end, revision=revision, limit=1, sort_order="DESCEND", sort_target="MOD"
        )
        return self.call("/etcdserverpb.KV/Range", request, cancellation)

    def txn(self, compare: Sequence[Any], success: Sequence[Any], failure: Sequence[Any] = ()) -> Any:
        """If all of `compare` holds, do `success`, else `failure`, in one step; see `requests`."""
        request = messages.load().TxnRequest(compare=compare, success=success, failure=failure)
        return self.call("/etcdserverpb.KV/Txn", request)

    def get(self, key: bytes) -> Any:
        """Return one key; None: it is not there."""
        told = self.call("/etcdserverpb.KV/Range", messages.load().RangeRequest(key=key)).kvs
        return told[0] if told else None

    def grant(self, seconds: int) -> tuple[int, Moment]:
        """Return the id of a new etcd lease, and when it was granted."""
        granted = self.call("/etcdserverpb.Lease/LeaseGrant", messages.load().LeaseGrantRequest(TTL=seconds))
        return int(granted.ID), Moment.of(granted.header)

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

    def watch(self, begin: bytes, end: bytes, since: Moment, cancellation: Cancellation) -> Iterator[Any]:
        """Yield what happens to a range after a moment, in order, and now and then how far etcd is.

        Blocks while nothing happens. The endpoint is the one that answered last; when the watch ends, the next.

        Raises:
            NotThere: etcd has compacted what came after that.
            StoreUnavailable: the connection is gone, or what the member knows does not follow that moment.
            StoreRefused: etcd does not let this client watch.
        """
        m, number = messages.load(), self._current
        create = m.WatchCreateRequest(
            key=begin, range_end=end, start_revision=since.revision + 1, progress_notify=True
        )
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(m.WatchRequest(create_request=create))
        try:
            for response in self._stream(number, iter(requests.get, None), cancellation):
                if response.canceled:
                    raise self._ended(number, response)
                if response.created and not (there := Moment.of(response.header)).follows(since):
                    raise StoreUnavailable(
                        f"etcd {self._members[number]}: at {there}, expected {since} or later: it is behind, "
                        "or was restored from a backup"
                    )
                if not response.created:
                    yield response
            raise StoreUnavailable(f"etcd {self._members[number]}: ended a watch")
        except StoreUnavailable:
            if not cancellation.cancelled:
                self._move_on(number)
            raise
        finally:
            requests.put(None)

    def close(self) -> None:
        """Close every channel, which ends the calls under way; may be called twice."""
        with self._lock:
            self._closed = True
        self._drop_channels()

    def __str__(self) -> str:
        return ", ".join(map(str, self._members))

    def _move_on(self, number: int) -> None:
        """Ask another endpoint from now on, and by new certificates if there are any."""
        with self._lock:
            if self._current == number:
                self._current = (number + 1) % len(self._members)
        if self._files is not None:
            with contextlib.suppress(ConfigError):  # half of them are in place
                if self._files != self._options.files():
                    self._drop_channels()

    def _attempt(self, number: int, path: str, request: Any, end: float, cancellation: Cancellation) -> Any:
        try:
            return self._ask(number, path, request, end, cancellation)
        except StaleToken:  # one of ours ends with its time, and with the member that gave it
            return self._ask(number, path, request, end, cancellation)

    def _ask(self, number: int, path: str, request: Any, end: float, cancellation: Cancellation) -> Any:
        with self._our_errors(number):
            metadata = self._metadata(number, end, cancellation)
            timeout = max(0.0, end - time.monotonic())
            method = self._method(number, path)
            if path not in STREAMS:
                call = method.future(request, timeout=timeout, metadata=metadata)
                cancellation.hold(call)
                return call.result()
            call = method(iter([request]), timeout=timeout, metadata=metadata)
            cancellation.hold(call)
            for answer in call:
                call.cancel()
                return answer
        raise StoreUnavailable(f"etcd {self._members[number]}: ended a stream without an answer")

    def _stream(self, number: int, requests: Iterator[Any], cancellation: Cancellation) -> Iterator[Any]:
        with self._our_errors(number):
            metadata = self._metadata(number, time.monotonic() + self._options.timeout, cancellation)
            call = self._method(number, WATCH)(requests, metadata=metadata)
            cancellation.hold(call)
            try:
                yield from call
            finally:
                call.cancel()

    def _ended(self, number: int, response: Any) -> ContainernetError:
        """Return why etcd ended a watch by its own will."""
        where, reason = self._members[number], response.cancel_reason
        if response.compact_revision:
            return NotThere(f"etcd {where}: compacted at revision {response.compact_revision}")
        if "permission denied" in reason:
            return translated("PERMISSION_DENIED", reason, where=where, options=self._options)
        return self._translated(number, "UNAVAILABLE", reason)

    @contextlib.contextmanager
    def _our_errors(self, number: int) -> Iterator[None]:
        grpc = import_grpc()
        try:
            yield
        except grpc.RpcError as error:
            raise self._translated(number, error.code().name, error.details()) from error
        except grpc.FutureCancelledError as error:
            raise self._shut() from error
        except ValueError as error:  # the channel was closed by another thread
            if self._closed or "closed channel" in str(error).lower():
                raise self._shut() from error
            raise

    def _translated(self, number: int, code: str, details: str | None) -> ContainernetError:
        if self._closed:
            return self._shut()
        found = translated(code, details, where=self._members[number], options=self._options)
        if isinstance(found, StaleToken):
            self._token = None
        return found

    def _metadata(self, number: int, end: float, cancellation: Cancellation) -> Sequence[tuple[str, str]]:
        found = [("hasleader", "true")]
        if self._options.username:
            token = self._token or self._authenticate(number, end, cancellation)
            self._token = token
            found.append(("token", token))
        return found

    def _authenticate(self, number: int, end: float, cancellation: Cancellation) -> str:
        request = messages.load().AuthenticateRequest(
            name=self._options.username, password=self._options.password()
        )
        method = self._method(number, "/etcdserverpb.Auth/Authenticate")
        call = method.future(request, timeout=max(0.0, end - time.monotonic()))
        cancellation.hold(call)
        return str(call.result().token)

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
        self._files = ca, key, cert = self._options.files()
        credentials = grpc.ssl_channel_credentials(ca, key, cert)
        return grpc.secure_channel(member.target, credentials, options=CHANNEL_OPTIONS)

    def _drop_channels(self) -> None:
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def _shut(self) -> StoreUnavailable:
        return StoreUnavailable(f"etcd {self}: this store was closed, or this call; open another")
