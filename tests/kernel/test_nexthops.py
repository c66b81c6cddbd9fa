"""Nexthop objects on a real kernel: made where they pay, found again, put right, and never another's."""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface
from math import ceil
from typing import Any

import attrs
import pytest

from containernet.errors import KernelError
from containernet.items import (
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Vxlan,
    by_key,
)
from containernet.planning import Create, Delete, Operation, Replace, plan
from containernet_backends.netlink import NetlinkKernel, constants as c
from containernet_backends.netlink.frames import Message, Refusal, Run, messages
from containernet_backends.netlink.namespaces import Namespace
from containernet_backends.netlink.nexthops import Nexthops
from containernet_backends.netlink.programming import Programmer
from containernet_backends.netlink.socket import NetlinkSocket

from .conftest import Netns

pytestmark = pytest.mark.kernel

Make = Callable[[], Netns]
SOON, LONG = 0.05, 20.0  # seconds to hear nothing, and something
FIRST = 77 << 24
VXLAN = Link(
    name="vx0",
    type=Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0"),
    mtu=1400,
    mac="02:00:00:00:00:02",
)
GROUND: list[Item] = [VXLAN, InterfaceAddress(link="vx0", address=ip_interface("10.4.0.0/32"))]


def subnet(number: int) -> IPv4Network:
    """Return the subnet of a peer."""
    return IPv4Network((0x10000000 + (number << 8), 24))


def through(number: int, *, link: str = "vx0", gateway: str = "") -> KernelRoute:
    """Return the route to a peer, by the peer's own gateway if not by another."""
    hop = ip_address(gateway) if gateway else subnet(number)[0]
    return KernelRoute(destination=subnet(number), link=link, gateway=hop, onlink=link == "vx0")


def peer(number: int) -> list[Item]:
    """Return all that vxlan has for one peer."""
    mac = f"02:01:00:00:{number >> 8:02x}:{number & 255:02x}"
    return [
        FdbEntry(link="vx0", mac=mac, destination=IPv4Address(0x0A000000 + number)),
        Neighbour(link="vx0", address=subnet(number)[0], mac=mac),
        through(number),
    ]


def by_rank(items: Iterable[Item]) -> list[Item]:
    """Return items in the order in which a plan creates them."""
    return sorted(items, key=lambda item: item.rank)


@pytest.fixture
def far(netns: Make) -> Netns:
    """Whoever is at the other end of eth0."""
    return netns()


@pytest.fixture
def host(netns: Make, far: Netns) -> Netns:
    """A host with an underlay link."""
    host = netns()
    host.ip(f"link add eth0 type veth peer name eth0 netns {far.path}")
    far.ip("link set eth0 up")
    host.ip("link set eth0 up")
    host.ip("address add 192.0.2.1/24 dev eth0")
    return host


def kernel_of(host: Netns, *, plain: int = 0) -> NetlinkKernel:
    """Return a kernel that gives every gateway after the first so many an object of its own."""
    return NetlinkKernel.from_options({"netns": host.path, "plain_gateways": plain})


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """A kernel that listens."""
    with closing(kernel_of(host)) as kernel:
        kernel.changed(0)
        reach(kernel, GROUND)
        yield kernel


def reach(kernel: NetlinkKernel, desired: Iterable[Item]) -> None:
    """Make it so, without a failure, and find nothing left to do."""
    wanted = by_key(desired)
    assert kernel.execute(plan(wanted, kernel.read())) == []
    assert plan(wanted, kernel.read()) == ()


def objects(host: Netns) -> list[str]:
    """Return the nexthop objects that there are, in the words of `ip`."""
    return host.ip("nexthop show").splitlines()


def used(host: Netns) -> set[str]:
    """Return the numbers of the objects that routes use."""
    words = host.ip("route show").split()
    return {words[at + 1] for at, word in enumerate(words) if word == "nhid"}


class TestMaking:
    """Where objects are used, and where not."""

    def test_the_first_gateways_are_told_plainly(self, host: Netns) -> None:
        """Two of three; a route more through the second is plain too, and through the third by its object."""
        with closing(kernel_of(host, plain=2)) as kernel:
            routes = [through(number, gateway=f"192.0.2.{9 - number}", link="eth0") for number in range(3)]
            reach(kernel, routes)
            assert objects(host) == [f"id {FIRST} via 192.0.2.7 dev eth0 scope link proto 77 "]
            reach(kernel, [*routes, through(4, gateway="192.0.2.8", link="eth0")])
            assert len(objects(host)) == 1
            reach(kernel, [*routes, through(4, gateway="192.0.2.7", link="eth0")])
            assert host.ip("route show").count(f"nhid {FIRST}") == 2

    def test_by_default_a_small_cluster_has_none(self, host: Netns) -> None:
        """Some hundred gateways are plain, and a restart counts those that it finds."""
        with closing(host.kernel()) as kernel:
            reach(kernel, [*GROUND, *map(through, range(512))])
            assert objects(host) == []
        with closing(host.kernel()) as kernel:
            reach(kernel, [*GROUND, *map(through, range(514))])
            assert len(objects(host)) == 2

    def test_an_object_is_shared_and_goes_with_its_last_route(self, kernel: NetlinkKernel, host: Netns) -> None:
        """It is marked as ours, and made once, whether its routes come together or not."""
        routes = [through(number, gateway="10.9.9.9") for number in range(3)]
        reach(kernel, [*GROUND, *routes[:2]])
        reach(kernel, [*GROUND, *routes])
        assert objects(host) == [f"id {FIRST} via 10.9.9.9 dev vx0 scope link proto 77 onlink "]
        reach(kernel, [*GROUND, routes[1]])
        assert len(objects(host)) == 1
        reach(kernel, GROUND)
        assert objects(host) == []

    def test_a_route_moves_from_gateway_to_gateway(self, kernel: NetlinkKernel, host: Netns) -> None:
        """In one step each, never without a route; what it leaves behind is taken away."""
        route = through(1)
        hop, other, last = (ip_address(text) for text in ("10.9.9.1", "10.9.9.2", "fe80::9"))
        steps = [
            attrs.evolve(route, gateway=hop),
            attrs.evolve(route, gateway=last),
            attrs.evolve(route, gateway=hop, equal_cost=(other,)),
            attrs.evolve(route, gateway=None, onlink=False, link="eth0"),
            route,
        ]
        reach(kernel, [*GROUND, route])
        heard = Namespace(host.path).run(lambda: NetlinkSocket((c.RTNLGRP_IPV4_ROUTE,)))
        with closing(heard):
            before = route
            for step in steps:
                assert kernel.execute([Replace(step, before)]) == []
                assert kernel.read()[route.key] == step
                before = step
            assert [each.type for each in heard.notifications()] == [c.RTM_NEWROUTE] * 5
        assert len(objects(host)) == 1

    def test_what_cannot_be_is_told_as_ever(self, kernel: NetlinkKernel, host: Netns) -> None:
        """The failure is that of the route, not that of the object; and no object stays behind."""
        afar = through(1, link="eth0", gateway="198.51.100.1")
        nowhere = attrs.evolve(through(2), link="eth7")
        good = through(3)
        failures = kernel.execute([Create(afar), Create(nowhere), Create(good)])
        assert [(failure.operation, failure.errno) for failure in failures] == [
            (Create(afar), errno.ENETUNREACH),
            (Create(nowhere), errno.ENODEV),
        ]
        assert "198.51.100.1 is not on link at eth0" in failures[0].reason
        assert len(objects(host)) == 1

    def test_who_is_in_the_way_is_named_and_costs_no_object(self, kernel: NetlinkKernel, host: Netns) -> None:
        """A route of somebody else's stays; the object that was made for ours does not."""
        host.ip(f"route add {subnet(1)} dev eth0 proto bird")
        (failure,) = kernel.execute([Create(through(1))])
        assert failure.errno == errno.EEXIST
        assert "proto bird" in failure.reason
        assert objects(host) == []

    def test_ten_thousand_peers(self, kernel: NetlinkKernel, host: Netns) -> None:
        """Made, found, half of them replaced by others, and removed: no object stays behind."""
        first, second = (
            by_rank([*GROUND, *(item for number in span for item in peer(number))])
            for span in (range(10_000), range(5_000, 15_000))
        )
        for wanted in (first, second):
            reach(kernel, wanted)
            assert len(objects(host)) == 10_000
        reach(kernel, GROUND)
        assert objects(host) == []


# What others may do to an object of ours, and to the kernel's way of telling of it.
DAMAGE = (
    f"nexthop del id {FIRST}", "nexthop flush proto 77",
    f"nexthop replace id {FIRST} via 10.9.9.9 dev vx0 onlink",
    f"nexthop replace id {FIRST} via 10.9.9.9 dev vx0 onlink proto 77",
    f"nexthop replace id {FIRST} via 192.0.2.9 dev eth0 proto 77",
    f"nexthop replace id {FIRST} blackhole proto 77",
    "link set vx0 down", "link set vx0 mtu 1300", "link del vx0", "address del 10.4.0.0/32 dev vx0",
    f"route replace {subnet(1)} via 10.9.9.9 dev vx0 onlink proto 77", f"route del {subnet(1)}",
)  # fmt: skip


class TestDrift:
    """Whatever somebody does, it is heard, and after a pass all is as it was."""

    @pytest.mark.uml
    def test_it_is_heard_and_put_right_on_an_older_kernel(self, host: Netns) -> None:
        """That of user-mode-linux: 6.1."""
        self.test_it_is_heard_and_put_right(host, "1")

    @pytest.mark.parametrize("expanded", ["1", "0"])
    def test_it_is_heard_and_put_right(self, host: Netns, expanded: str) -> None:
        """Whether the kernel shows with each route where its object leads, or not."""
        host.run("sh", "-c", f"echo {expanded} > /proc/sys/net/ipv4/nexthop_compat_mode")
        items = [*GROUND, *map(through, range(3))]
        for line in DAMAGE:
            with closing(kernel_of(host)) as kernel:
                kernel.changed(0)
                reach(kernel, items)
                assert not kernel.changed(SOON), line
                before = set(host.ip("route show").splitlines())
                host.ip(line.replace(str(FIRST), min(used(host))))
                assert kernel.changed(LONG), line
                reach(kernel, items)
                while kernel.changed(0):
                    kernel.read()
                assert {each.split(" nhid ")[0] for each in host.ip("route show").splitlines()} == {
                    each.split(" nhid ")[0] for each in before
                }, line
                reach(kernel, [])
                assert [each for each in objects(host) if "proto 77" in each] == [], line
            host.ip("nexthop flush")

    def test_what_somebody_made_of_ours_is_theirs(self, kernel: NetlinkKernel, host: Netns) -> None:
        """Who puts another object in the place of ours keeps it, heard of or not."""
        reach(kernel, [*GROUND, through(1)])
        host.ip(f"nexthop replace id {FIRST} via 192.0.2.9 dev eth0 proto static")
        assert kernel.execute([Delete(through(1))]) == []
        assert objects(host) == [f"id {FIRST} via 192.0.2.9 dev eth0 scope link proto static "]
        reach(kernel, [*GROUND, through(1)])
        assert f"{subnet(1)} nhid {FIRST + 1}" in host.ip("route show")
        reach(kernel, GROUND)
        assert len(objects(host)) == 1

    def test_an_object_that_vanished_unheard(self, kernel: NetlinkKernel, host: Netns) -> None:
        """A route that names it is refused, and told plainly instead, in the same pass."""
        reach(kernel, [*GROUND, through(1, gateway="10.9.9.9")])
        host.ip("nexthop flush proto 77")
        more = [through(number, gateway="10.9.9.9") for number in (2, 3)]
        assert kernel.execute([Create(route) for route in more]) == []
        assert kernel.read().keys() >= {route.key for route in more}
        reach(kernel, [*GROUND, *more, through(1, gateway="10.9.9.9")])

    def test_a_carrier_that_goes_and_comes(self, kernel: NetlinkKernel, host: Netns, far: Netns) -> None:
        """Linux drops the objects with their routes, silently; while it is gone, the routes are plain."""
        wanted = [*GROUND, *(through(n, link="eth0", gateway=f"192.0.2.{9 + n}") for n in range(3))]
        reach(kernel, wanted)
        while kernel.changed(SOON):
            kernel.read()
        far.ip("link set eth0 down")
        kernel.read()  # shows that the carrier is gone, before anything else is
        assert kernel.changed(LONG)
        deadline = time.monotonic() + LONG
        while objects(host) and time.monotonic() < deadline:
            kernel.changed(SOON)
        reach(kernel, wanted)
        while kernel.changed(SOON):
            reach(kernel, wanted)
        assert objects(host) == []
        assert plan(by_key(wanted), kernel.read()) == ()
        far.ip("link set eth0 up")
        reach(kernel, wanted)

    def test_an_object_without_a_route_is_taken_away(self, kernel: NetlinkKernel, host: Netns) -> None:
        """As a process leaves it that dies between the two; also where there is nothing else to do."""
        host.ip("nexthop add id 5 via 192.0.2.9 dev eth0 proto 77")
        host.ip("nexthop add id 6 via 192.0.2.9 dev eth0 proto static")
        host.ip("nexthop add id 7 group 6 proto 77")
        kernel.read()
        assert kernel.execute([]) == []
        assert objects(host) == ["id 6 via 192.0.2.9 dev eth0 scope link proto static "]


class TestRestart:
    """A process knows the work of the one before it."""

    def test_nothing_is_touched_and_all_is_known(self, kernel: NetlinkKernel, host: Netns) -> None:
        """A second process finds nothing to do, shares the objects that there are, and takes the last away."""
        routes = [through(number, gateway=f"10.9.9.{number % 3}") for number in range(9)]
        reach(kernel, [*GROUND, *routes])
        before = objects(host), host.ip("route show")
        with closing(kernel_of(host)) as second:
            reach(second, [*GROUND, *routes])
            assert (objects(host), host.ip("route show")) == before
            reach(second, [*GROUND, *routes, through(10, gateway="10.9.9.1"), through(11, gateway="10.9.9.7")])
            assert len(objects(host)) == 4
            reach(second, GROUND)
            assert objects(host) == []

    def test_from_plain_routes_to_objects_and_back(self, host: Netns) -> None:
        """Neither an upgrade nor a change of the option touches a route; what comes later is as it says."""
        items = [*GROUND, *map(through, range(4))]
        with closing(kernel_of(host, plain=99)) as plainly:
            reach(plainly, items)
        before = host.ip("route show")
        with closing(kernel_of(host)) as by_objects:
            reach(by_objects, items)
            assert host.ip("route show") == before
            reach(by_objects, [*items, through(5)])
            assert len(objects(host)) == 1
        with closing(kernel_of(host, plain=99)) as plainly:
            reach(plainly, [*items, through(5), through(6)])
            assert len(objects(host)) == 1
            reach(plainly, GROUND)
            assert objects(host) == []

    def test_a_number_that_is_taken(self, host: Netns) -> None:
        """Is passed over where it was seen, and else the route is plain."""
        host.ip(f"nexthop add id {FIRST} via 192.0.2.9 dev eth0 proto static")
        with closing(kernel_of(host)) as unaware:
            assert unaware.execute([Create(item) for item in [*GROUND, through(1)]]) == []
            assert used(host) == set()
            reach(unaware, [*GROUND, through(1), through(2)])
            assert used(host) == {str(FIRST + 1)}


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
