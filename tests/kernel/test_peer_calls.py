"""What peers cost in calls to a real kernel, and what follows when one of these calls fails."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from math import ceil
from typing import Any

import attrs
import pytest

from containernet.errors import KernelError
from containernet.items import by_key
from containernet.planning import Create, Delete, Operation, plan
from containernet_backends.netlink import NetlinkKernel, constants as c
from containernet_backends.netlink.frames import Message, Refusal, Run, messages
from containernet_backends.netlink.namespaces import Namespace
from containernet_backends.netlink.nexthops import Nexthops
from containernet_backends.netlink.programming import Programmer
from containernet_backends.netlink.socket import NetlinkSocket

from .conftest import Netns
from .peers import GROUND, by_rank, kernel_of, objects, peer, reach, through, used

pytestmark = pytest.mark.kernel


class Counting(NetlinkSocket):
    """A socket that counts what is sent over it."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[list[Message]] = []

    def _write(self, data: bytes) -> None:
        self.sent.append(list(messages(data)))
        super()._write(data)


class Older(Counting):
    """Before Linux 5.3 there are no nexthop objects."""

    def transact(self, runs: Iterable[Run]) -> Mapping[int, Refusal]:
        """Refuse what is about them."""
        runs = list(runs)
        about = [each for run in runs for each in messages(run.messages) if each.type == c.RTM_NEWNEXTHOP]
        if not about:
            return super().transact(runs)
        assert len(about) == sum(run.total for run in runs)
        self.sent.append(about)
        return {each.sequence: Refusal(errno.EOPNOTSUPP) for each in about}


@pytest.fixture
def program(kernel: NetlinkKernel, host: Netns) -> Callable[[type[Counting], Sequence[Operation]], list[int]]:
    """Carry out operations with a socket of one's choice; return how many messages each of its calls sent."""
    programmer = Programmer(Nexthops(plain=0))

    def run(kind: type[Counting], operations: Sequence[Operation]) -> list[int]:
        with closing(Namespace(host.path).run(kind)) as netlink:
            assert programmer.send(netlink, operations) == {}
            programmer.tidy(netlink)
            return [len(sent) for sent in netlink.sent]

    return run


def test_a_kernel_without_objects_is_asked_once(
    program: Callable[[type[Counting], Sequence[Operation]], list[int]], kernel: NetlinkKernel, host: Netns
) -> None:
    """Then routes are plain, and nobody notices."""
    routes = [through(number) for number in range(3)]
    # The link; what is refused; the routes, with a barrier.
    assert program(Older, [Create(routes[0]), Create(routes[1])]) == [1, 2, 3]
    assert program(Older, [Create(routes[2])]) == [1, 2]
    assert kernel.read() == by_key([*GROUND, *routes])
    assert program(Older, [Delete(route) for route in routes]) == [4]
    assert kernel.read() == by_key(GROUND)


@pytest.mark.parametrize("peers", [1, 10, 3000])
def test_what_peers_cost(
    program: Callable[[type[Counting], Sequence[Operation]], list[int]], peers: int
) -> None:
    """Four messages to add one and to remove it, and as few calls as their number allows."""
    items = by_rank(item for number in range(peers) for item in peer(number))
    added = program(Counting, [Create(item) for item in items])
    assert sum(added) == 1 + 4 * peers + len(added) - 1  # the link, the peers, a barrier for each batch
    assert len(added) == 1 + ceil(peers / 2048) + ceil(3 * peers / 2048)
    removed = program(Counting, [Delete(item) for item in reversed(items)])
    assert sum(removed) == 1 + 4 * peers + 1 + len(removed) - 2  # and a look at the objects
    assert len(removed) == 1 + ceil(3 * peers / 2048) + 1 + ceil(peers / 2048)


def test_what_one_peer_of_many_costs(
    program: Callable[[type[Counting], Sequence[Operation]], list[int]],
) -> None:
    """As much as one of one: nothing is read whole for its sake."""
    items = by_rank(item for number in range(1000) for item in peer(number))
    program(Counting, [Create(item) for item in items])
    removed = program(Counting, [Delete(item) for item in peer(500)])
    assert removed == [1, 4, 2, 2]  # the link; three items; is the object ours; the object; with barriers
    assert program(Counting, [Create(item) for item in by_rank(peer(500))]) == [1, 2, 4]


def test_a_full_read_costs_the_same_number_of_requests_however_much_there_is(host: Netns) -> None:
    """One dump for each table."""

    def requests(peers: int) -> int:
        with closing(kernel_of(host)) as kernel:
            reach(kernel, [*GROUND, *by_rank(item for number in range(peers) for item in peer(number))])
            assert kernel._socket is not None
            kernel._socket.close()
            kernel._socket = counting = Namespace(host.path).run(Counting)
            kernel.read()
            return len(counting.sent)

    assert requests(1) == requests(1000) == 9


class Faulty:
    """A socket of which one call fails, before it is made or after."""

    def __init__(self, raw: socket.socket, *, at: int, code: int, after: bool) -> None:
        self._raw = raw
        self._left, self._code, self._after = at, code, after
        self.tripped = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def send(self, data: bytes) -> int:
        """Send, or not."""
        return int(self._call(lambda: self._raw.send(data)))

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive, or not."""
        return bytes(self._call(lambda: self._raw.recv(size, flags)))

    def _call(self, work: Callable[[], Any]) -> Any:
        self._left -= 1
        if self._left:
            return work()
        self.tripped = True
        if self._after:
            work()
        raise OSError(self._code, "so that it fails once")


@pytest.mark.parametrize(("code", "after"), [(errno.EIO, False), (errno.ENOBUFS, True)])
def test_a_fault_in_any_call_costs_a_pass(host: Netns, code: int, after: bool) -> None:
    """Whichever call fails: the next pass converges, no route is lost on the way, and no object is left."""
    standing = [*GROUND, *peer(1), through(2), through(3, gateway="192.0.2.9", link="eth0")]
    wanted = [*standing[:-2], *peer(4), through(5), through(6, gateway="192.0.2.9", link="eth0")]
    at, tripped = 0, True
    with closing(kernel_of(host)) as kernel:
        while tripped:
            at += 1
            reach(kernel, standing)
            netlink: Any = kernel._socket
            raw = netlink._raw
            netlink._raw = faulty = Faulty(raw, at=at, code=code, after=after)
            with suppress(KernelError):
                kernel.execute(plan(by_key(wanted), kernel.read()))
                kernel.execute(plan(by_key(wanted), by_key(standing)))
            netlink._raw, tripped = raw, faulty.tripped
            left = host.ip("route show")
            assert kernel.execute([]) == []  # takes nothing away of which it is not sure
            assert host.ip("route show") == left, at
            with closing(kernel_of(host)) as other:
                kept = by_key(standing).keys() & by_key(wanted).keys()
                assert other.read().keys() >= kept, at
            reach(kernel, wanted)
            assert {line.split()[1] for line in objects(host)} == used(host), at
            reach(kernel, GROUND)
            assert objects(host) == [], at
    assert at > 20


def test_answers_that_are_lost(kernel: NetlinkKernel, host: Netns) -> None:
    """A receive buffer that is too small for so many refusals: each is told all the same."""
    netlink = kernel._socket
    assert netlink is not None
    with socket.socket(fileno=netlink.fileno()) as same:
        same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)
        same.detach()
    good = [through(number) for number in range(300)]
    bad = [attrs.evolve(through(number, link="eth0", gateway="198.51.100.1")) for number in range(300, 600)]
    mixed = [Create(route) for pair in zip(good, bad, strict=True) for route in pair]
    failures = kernel.execute(mixed)
    assert [failure.operation.item for failure in failures] == bad
    with closing(kernel_of(host)) as other:
        assert other.read() == by_key([*GROUND, *good])
    assert kernel.execute([Delete(route) for route in good]) == []
    assert objects(host) == []
