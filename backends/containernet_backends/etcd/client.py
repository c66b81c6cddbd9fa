"""Calls to an etcd cluster: one channel for each endpoint, and the next endpoint where one fails.

A call goes to the endpoint that answered last; where it fails in a way that another member may not, the next is
asked, once round, within the time of one call. Every call that is made here may be made twice: the callers
compare before they write, and take what they find written by themselves for done.

Every request asks for a member that has a leader. One that was cut off from the others would answer a watch
for ever, with silence.

A connection that has gone silent (a cable, a firewall that forgot it, a frozen process) is noticed by HTTP/2
pings, 9 s later at most (`link`). While no call is open none are sent: there the next call finds out.

What comes out are our errors (`failures`). Nothing is opened before the first call, so that a process may fork
until then.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from containernet.errors import ConfigError, ContainernetError, StoreUnavailable

from ..rpc.channel import Channel
from ..rpc.link import CallFailed, Metadata, Server, Stream
from . import messages, requests
from .failures import NoSpace, NotThere, StaleToken, translated
from .messages import KeyValue, Method, RangeResponse, TxnResponse, WatchResponse
from .moments import Moment
from .options import EtcdOptions

T = TypeVar("T")

# An attempt gets this much at least, however many endpoints share the call's time.
SHORTEST_ATTEMPT = 1.0


class Cancellation:
    """Ends whichever call is under way, and every later one: from any thread, at once, for good."""

    def __init__(self) -> None:
        self._call: Stream | None = None
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

    def hold(self, call: Stream) -> None:
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
        self._channels: dict[int, Channel] = {}
        self._files: object = None  # what the channels were opened with
        self._token: str | None = None
        self._closed = False
        self._lock = threading.Lock()

    def call(self, method: Method[T], request: bytes, cancellation: Cancellation | None = None) -> T:
        """Return the answer to a request; tries every endpoint once, within the option `timeout`.

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
                return self._attempt(number, method, request, min(end, now + share), cancellation)
            except NoSpace:
                raise
            except StoreUnavailable as error:
                failure = error
                if self._closed or cancellation.cancelled:
                    break
                self._move_on(number)
        assert failure is not None
        raise failure

    def range(self, begin: bytes, end: bytes, cancellation: Cancellation | None = None) -> RangeResponse:
        """Return every key from `begin` to before `end`."""
        return self.call(messages.RANGE, requests.all_of(begin, end), cancellation)

    def newest(self, begin: bytes, end: bytes, revision: int, cancellation: Cancellation) -> RangeResponse:
        """Return, as of `revision`, the key that was written last, and how many there are.

        Raises:
            NotThere: etcd knows that revision no more, or not yet.
        """
        return self.call(messages.RANGE, requests.newest(begin, end, revision), cancellation)

    def txn(
        self, compare: Sequence[bytes], success: Sequence[bytes], failure: Sequence[bytes] = ()
    ) -> TxnResponse:
        """If all of `compare` holds, do `success`, else `failure`, in one step; see `requests`."""
        return self.call(messages.TXN, requests.txn(compare, success, failure))

    def get(self, key: bytes) -> KeyValue | None:
        """Return one key; None: it is not there."""
        told = self.call(messages.RANGE, requests.one(key)).kvs
        return told[0] if told else None

    def grant(self, seconds: int) -> tuple[int, Moment]:
        """Return the id of a new etcd lease, and when it was granted."""
        granted = self.call(messages.LEASE_GRANT, requests.grant(seconds))
        return granted.id, Moment.of(granted.header)

    def revoke(self, lease_id: int) -> None:
        """End an etcd lease, and with it every key that hangs on it; what has ended has ended."""
        with contextlib.suppress(NotThere):
            self.call(messages.LEASE_REVOKE, requests.lease(lease_id))

    def hanging(self, lease_id: int) -> Sequence[bytes]:
        """Return the keys that hang on an etcd lease."""
        return self.call(messages.LEASE_TIME_TO_LIVE, requests.hanging(lease_id)).keys

    def keep_alive(self, lease_id: int) -> int:
        """Extend an etcd lease; return to how many seconds, or 0: there is none of that id."""
        return self.call(messages.LEASE_KEEP_ALIVE, requests.lease(lease_id)).ttl

    def watch(
        self, begin: bytes, end: bytes, since: Moment, cancellation: Cancellation
    ) -> Iterator[WatchResponse]:
        """Yield what happens to a range after a moment, in order, and now and then how far etcd is.

        Blocks while nothing happens. The endpoint is the one that answered last; when the watch ends, the next.

        Raises:
            NotThere: etcd has compacted what came after that.
            StoreUnavailable: the connection is gone, or what the member knows does not follow that moment.
            StoreRefused: etcd does not let this client watch.
        """
        number = self._current
        request = requests.watch(begin, end, since.revision + 1)
        try:
            for response in self._stream(number, request, cancellation):
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

    def _attempt(
        self, number: int, method: Method[T], request: bytes, end: float, cancellation: Cancellation
    ) -> T:
        try:
            return self._ask(number, method, request, end, cancellation)
        except StaleToken:  # one of ours ends with its time, and with the member that gave it
            return self._ask(number, method, request, end, cancellation)

    def _ask(self, number: int, method: Method[T], request: bytes, end: float, cancellation: Cancellation) -> T:
        """Make one call, with one request and one answer; a stream of KeepAlives with one is no other."""
        with self._our_errors(number):
            metadata = self._metadata(number, end, cancellation)
            try:
                return self._answer(number, method, request, end, cancellation, metadata)
            except CallFailed as error:
                if not error.unprocessed:  # the server went away as the call was on its way
                    raise
                return self._answer(number, method, request, end, cancellation, metadata)

    def _answer(
        self,
        number: int,
        method: Method[T],
        request: bytes,
        end: float,
        cancellation: Cancellation,
        metadata: Metadata,
    ) -> T:
        timeout = max(0.0, end - time.monotonic())
        call = self._channel(number).open(
            method.path, request, timeout=timeout, metadata=metadata, secret="token"
        )
        cancellation.hold(call)
        message = call.receive(end)
        if message is None or call.receive(end) is not None:
            raise StoreUnavailable(f"etcd {self._members[number]}: gave no answer, or more than one")
        return method.read(message)

    def _stream(self, number: int, request: bytes, cancellation: Cancellation) -> Iterator[WatchResponse]:
        with self._our_errors(number):
            metadata = self._metadata(number, time.monotonic() + self._options.timeout, cancellation)
            call = self._channel(number).open(
                messages.WATCH.path, request, last=False, metadata=metadata, secret="token"
            )
            cancellation.hold(call)
            try:
                while (message := call.receive()) is not None:
                    yield messages.WATCH.read(message)
            finally:
                call.cancel()

    def _ended(self, number: int, response: WatchResponse) -> ContainernetError:
        """Return why etcd ended a watch by its own will."""
        where, reason = self._members[number], response.cancel_reason
        if response.compact_revision:
            return NotThere(f"etcd {where}: compacted at revision {response.compact_revision}")
        if "permission denied" in reason:
            return translated("PERMISSION_DENIED", reason, where=where, options=self._options)
        return self._translated(number, "UNAVAILABLE", reason)

    @contextlib.contextmanager
    def _our_errors(self, number: int) -> Iterator[None]:
        try:
            yield
        except CallFailed as error:
            raise self._translated(number, error.status.code, error.status.details) from error
        except ValueError as error:
            raise StoreUnavailable(f"etcd {self._members[number]}: an answer that is none: {error}") from error

    def _translated(self, number: int, code: str, details: str) -> ContainernetError:
        if self._closed:
            return self._shut()
        found = translated(code, details, where=self._members[number], options=self._options)
        if isinstance(found, StaleToken):
            self._token = None
        return found

    def _metadata(self, number: int, end: float, cancellation: Cancellation) -> Metadata:
        found = [("hasleader", "true")]
        if self._options.username:
            self._token = self._token or self._authenticate(number, end, cancellation)
            found.append(("token", self._token))
        return found

    def _authenticate(self, number: int, end: float, cancellation: Cancellation) -> str:
        request = requests.authenticate(self._options.username, self._options.password())
        return self._answer(number, messages.AUTHENTICATE, request, end, cancellation, ()).token

    def _channel(self, number: int) -> Channel:
        with self._lock:
            if self._closed:
                raise self._shut()
            if number not in self._channels:
                self._channels[number] = self._open(number)
            return self._channels[number]

    def _open(self, number: int) -> Channel:
        member = self._members[number]
        if member.secure:
            self._files = self._options.files()
        tls = self._options.tls if member.secure else None
        return Channel(Server(host=member.host, port=member.port, tls=tls))

    def _drop_channels(self) -> None:
        with self._lock:
            channels, self._channels = list(self._channels.values()), {}
        for channel in channels:
            channel.close()

    def _shut(self) -> StoreUnavailable:
        return StoreUnavailable(f"etcd {self}: this store was closed, or this call; open another")
