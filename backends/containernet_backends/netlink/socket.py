"""One AF_NETLINK socket that asks for much at once and is answered about failures only.

Linux works a request off inside `sendmsg` and answers each message that asks for it (NLM_F_ACK), or that fails.
So a batch is: many messages without NLM_F_ACK, then one no-op with it, the barrier. What arrives before the
barrier's answer are the refusals, each with the sequence number of its message; everything else succeeded.
Against one round trip for each message this saves two system calls and a wake-up per item.

Every message of a batch may fail, and a reply that finds the receive buffer full is lost. So a batch is never
larger than the buffer can answer; should the kernel report a loss all the same (ENOBUFS), the batch is sent
again message by message, which the callers' operations allow: each may be repeated.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from containernet.errors import KernelError, PermissionRefused

from . import constants as c
from .frames import HEADER, Message, Refusal, Run, equal_messages, message, messages, refusal

_BUFFER = 4 << 20  # octets, each way; the kernel doubles it for its own bookkeeping
_REPLY = 2048  # octets of receive buffer that one refusal takes at most, with text and bookkeeping
_LARGEST_BATCH = 2048  # messages; more brings no speed, and a batch is memory that the kernel must find
_RECEIVE = 1 << 16  # octets; the kernel's dumps fill at most 32 KiB at a time
_PATIENCE = 30  # seconds; a kernel that does not answer for so long will not
_ATTEMPTS = 16
# linux/bpf_common.h: what loads 16 and 32 bits at a place, compares with a number, and ends
_LOAD_HALF, _LOAD_WORD, _IF_EQUAL, _RETURN = 0x28, 0x20, 0x15, 0x06
_TYPE_AT, _PORT_AT = 4, 12  # octets into a message's header
_LAST = frozenset({c.NLMSG_DONE, c.NLMSG_ERROR})  # what ends an answer


class NetlinkSocket:
    """A netlink socket in the network namespace of the calling thread.

    Args:
        groups: the multicast groups (RTNLGRP_*) to hear; a socket that hears any is for `notifications` only.
        protocol: the family, rtnetlink by default.
    """

    def __init__(self, groups: Iterable[int] = (), *, protocol: int = socket.NETLINK_ROUTE) -> None:
        try:
            raw = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except PermissionError as error:
            raise PermissionRefused(f"netlink socket: {error.strerror}: check seccomp and AppArmor") from error
        except OSError as error:
            raise KernelError(f"netlink socket: {error.strerror}") from error
        self._raw = raw
        _enlarge(raw, c.SO_RCVBUFFORCE, socket.SO_RCVBUF)
        _enlarge(raw, c.SO_SNDBUFFORCE, socket.SO_SNDBUF)
        for option in (c.NETLINK_CAP_ACK, c.NETLINK_EXT_ACK, c.NETLINK_GET_STRICT_CHK):
            try:
                raw.setsockopt(c.SOL_NETLINK, option, 1)
            except OSError:  # before Linux 4.20; what the kernel does not filter the decoders do
                continue
        raw.bind((0, sum(1 << (group - 1) for group in groups)))
        # Not settimeout: under it, Python waits for that long even where MSG_DONTWAIT says not to.
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", _PATIENCE, 0))
        self.port: int = raw.getsockname()[0]
        answerable = raw.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) // _REPLY
        self._batch = max(1, min(_LARGEST_BATCH, answerable))
        self._space = raw.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) // 4
        self._sequence = 0
        self._midway = False  # between a request and the end of its answer

    def fileno(self) -> int:
        """Return the descriptor, for poll."""
        return self._raw.fileno()

    def close(self) -> None:
        """Close the socket; may be called twice."""
        self._raw.close()

    def sequence(self, count: int = 1) -> int:
        """Reserve `count` sequence numbers and return the first."""
        if self._sequence + count > 0xFFFFFFFF:
            self._sequence = 0
        first = self._sequence + 1
        self._sequence += count
        return first

    def transact(self, runs: Iterable[Run]) -> Mapping[int, Refusal]:
        """Have the kernel carry out complete messages, in order; return the refusals by sequence number.

        Raises:
            KernelError: the kernel does not answer.
        """
        refusals = {}
        for reply in self._answers(runs):
            if reply.type == c.NLMSG_ERROR and (refused := refusal(reply)):
                refusals[reply.sequence] = refused
        return refusals

    def gather(self, runs: Iterable[Run]) -> list[bytes]:
        """Return the bodies of the objects that complete messages ask for, as far as they are there."""
        return [reply.body for reply in self._answers(runs) if reply.type not in _LAST]

    def request(self, type: int, flags: int, body: bytes) -> Refusal | None:
        """Have the kernel carry out one request; return its refusal, or None for success."""
        sequence = self.sequence()
        only = message(type, c.NLM_F_REQUEST | flags, sequence, body)
        return self.transact([Run(only, 1)]).get(sequence)

    def get(self, type: int, body: bytes) -> bytes | Refusal:
        """Return the body of the one object that a request asks for, or the refusal."""
        answer: bytes | Refusal = Refusal(errno.ENOENT)
        for reply in self._ask(message(type, c.NLM_F_REQUEST | c.NLM_F_ACK, self.sequence(), body)):
            if reply.type == c.NLMSG_ERROR:
                return refusal(reply) or answer
            answer = reply.body
        return answer

    def dump(self, type: int, body: bytes, *, keep: Callable[[bytes], object] | None = None) -> list[bytes]:
        """Return the bodies of all objects that a dump asks for, as they stood together at one moment.

        Args:
            keep: which of them are wanted, asked as they come, so that the others are never held; None: all.

        Raises:
            KernelError: the kernel refuses, or its tables change faster than they can be read.
        """
        for _ in range(_ATTEMPTS):
            sequence = self.sequence()
            self._write(message(type, c.NLM_F_REQUEST | c.NLM_F_DUMP, sequence, body))
            try:
                bodies = self._objects(sequence, keep)
            except _RepliesLost:
                continue
            if bodies is not None:
                return bodies
        raise KernelError(f"netlink dump {type}: torn {_ATTEMPTS} times by other writers: try again")

    def pass_over(self, port: int, *, but: Iterable[int]) -> None:
        """Hear no more of what the socket of that port causes, but for messages of these types.

        The kernel itself looks (socket(7), SO_ATTACH_FILTER): it wakes nobody for them, and they take no room.
        One that takes no filter tells everything, as if nobody had asked.
        """
        accept = list(but)
        # What is loaded counts as big-endian.
        code = [(_LOAD_HALF, 0, 0, _TYPE_AT)]
        code += [(_IF_EQUAL, len(accept) - at + 1, 0, socket.htons(each)) for at, each in enumerate(accept)]
        code += [(_LOAD_WORD, 0, 0, _PORT_AT), (_IF_EQUAL, 1, 0, socket.htonl(port))]
        code += [(_RETURN, 0, 0, 0xFFFFFFFF), (_RETURN, 0, 0, 0)]
        program = array.array("B", b"".join(struct.pack("@HBBI", *instruction) for instruction in code))
        where, _ = program.buffer_info()
        with contextlib.suppress(OSError):
            self._raw.setsockopt(socket.SOL_SOCKET, c.SO_ATTACH_FILTER, struct.pack("@HP", len(code), where))

    def notifications(self) -> Iterator[Message]:
        """Yield what has arrived, without waiting.

        Raises:
            OSError: ENOBUFS: some were lost.
        """
        while True:
            try:
                data = self._raw.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            yield from messages(data)

    def _answers(self, runs: Iterable[Run]) -> Iterator[Message]:
        """Send messages, in order; yield what the kernel has to say about them."""
        for batch in self._batches(runs):
            found = self._send(batch)
            if found is not None:
                yield from found
                continue
            for single in (one for run in batch for one in run.singly()):
                yield from self._send([single]) or ()

    def _batches(self, runs: Iterable[Run]) -> Iterator[Sequence[Run]]:
        batch: list[Run] = []
        room, space = self._batch, self._space
        for run in runs:
            start = 0
            while start < run.total:
                fits = min(room, space // run.stride)
                if batch and not fits:
                    yield batch
                    batch, room, space = [], self._batch, self._space
                    continue
                batch.append(run.part(start, max(1, fits)))
                start += batch[-1].total
                room -= batch[-1].total
                space -= len(batch[-1].messages)
        if batch:
            yield batch

    def _send(self, batch: Sequence[Run]) -> list[Message] | None:
        """Send one batch; return all replies, or None: some were lost."""
        barrier = self.sequence()
        stop = message(c.NLMSG_NOOP, c.NLM_F_REQUEST | c.NLM_F_ACK, barrier, b"")
        self._write(b"".join((*(run.messages for run in batch), stop)))
        replies: list[Message] = []
        try:
            for reply in self._replies():
                if reply.sequence == barrier:
                    self._midway = False
                    return replies
                replies.append(reply)
        except _RepliesLost:
            return None
        raise AssertionError("unreachable: replies end by the barrier or by an exception")

    def _ask(self, request: bytes) -> Iterator[Message]:
        """Send one request that is answered by objects; yield the replies, the one that ends them included."""
        self._write(request)
        sequence = HEADER.unpack_from(request)[3]
        for reply in self._replies():
            if reply.sequence == sequence:
                self._midway = reply.type not in _LAST
                yield reply
                if not self._midway:
                    return

    def _objects(self, sequence: int, keep: Callable[[bytes], object] | None) -> list[bytes] | None:
        """Return the bodies of a dump's answers; None: somebody changed the table meanwhile."""
        bodies: list[bytes] = []
        torn = 0
        for data in self._received():
            alike = equal_messages(data)
            if alike and alike[0].sequence == sequence and alike[0].type not in _LAST:
                torn |= alike[0].flags & c.NLM_F_DUMP_INTR
                bodies += filter(keep, alike[1]) if keep else alike[1]
                continue
            for reply in messages(data):
                if reply.sequence != sequence:
                    continue
                torn |= reply.flags & c.NLM_F_DUMP_INTR
                if reply.type in _LAST:
                    self._midway = False
                    _check(refusal(reply))
                    return None if torn else bodies
                if keep is None or keep(reply.body):
                    bodies.append(reply.body)
        raise AssertionError("unreachable: what is received ends by its last message or by an exception")

    def _write(self, data: bytes) -> None:
        if self._midway:  # something went wrong last time: what is still coming answers nobody
            self._discard()
        self._midway = True
        try:
            self._raw.send(data)
        except OSError as error:
            raise KernelError(f"netlink socket: {error.strerror}, sending {len(data)} octets") from error

    def _replies(self) -> Iterator[Message]:
        """Yield what arrives, for ever; see _received."""
        for data in self._received():
            yield from messages(data)

    def _received(self) -> Iterator[bytes]:
        """Yield messages as they arrive together, for ever.

        Raises:
            _RepliesLost: some were lost; what else was there has been thrown away.
        """
        while True:
            try:
                yield self._raw.recv(_RECEIVE)
            except BlockingIOError as error:
                raise KernelError(f"the kernel did not answer on netlink within {_PATIENCE} s") from error
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise KernelError(f"netlink socket: {error.strerror}") from error
                self._discard()
                raise _RepliesLost("netlink replies were lost: the receive buffer is too small") from error

    def _discard(self) -> None:
        while True:
            try:
                self._raw.recv(_RECEIVE, socket.MSG_DONTWAIT)
            except OSError as error:
                if error.errno != errno.ENOBUFS:  # EAGAIN mostly: nothing is left
                    return


class _RepliesLost(KernelError):
    """The receive buffer overflowed."""


def _check(refused: Refusal | None) -> None:
    # A dump of a table that does not exist yet is refused; it is as empty as one that does. So is one of things
    # that this kernel does not know.
    if refused is None or refused.errno in (errno.ENOENT, errno.EOPNOTSUPP):
        return
    if refused.errno in (errno.EPERM, errno.EACCES):
        raise PermissionRefused(f"reading the kernel's tables: {os.strerror(refused.errno)}: run as root")
    raise KernelError(f"reading the kernel's tables: {refused.text or os.strerror(refused.errno)}")


def _enlarge(raw: socket.socket, forced: int, polite: int) -> None:
    """Make a buffer large: beyond the system's limit where that is permitted, else up to it."""
    try:
        raw.setsockopt(socket.SOL_SOCKET, forced, _BUFFER)
    except PermissionError:
        raw.setsockopt(socket.SOL_SOCKET, polite, _BUFFER)
