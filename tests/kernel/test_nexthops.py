"""Nexthop objects on a real kernel: made where they pay, found again, put right, and never another's."""

from __future__ import annotations

import errno
import time
from contextlib import closing
from ipaddress import ip_address

import attrs
import pytest

from containernet.items import by_key
from containernet.planning import Create, Delete, Replace, plan
from containernet_backends.netlink import NetlinkKernel, constants as c
from containernet_backends.netlink.namespaces import Namespace
from containernet_backends.netlink.socket import NetlinkSocket

from .conftest import Netns
from .peers import GROUND, by_rank, kernel_of, objects, peer, reach, subnet, through, used

pytestmark = pytest.mark.kernel

SOON, LONG = 0.05, 20.0  # seconds to hear nothing, and something
FIRST = 77 << 24


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
