"""How often the kernel is called does not grow with each item: counted, never timed."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from functools import partial
from ipaddress import IPv4Network, ip_address, ip_interface
from types import FrameType

import pytest

from containernet.items import Bridge, InterfaceAddress, Item, KernelRoute, Link
from containernet.planning import Create, Delete
from containernet_backends.netlink import NetlinkKernel

from .conftest import Netns

pytestmark = pytest.mark.kernel

GROUND: list[Item] = [
    Link(name="b0", type=Bridge(), mtu=1500),
    InterfaceAddress(link="b0", address=ip_interface("192.0.2.1/24")),
]
FEW, MANY = 10, 5000


def routes(count: int) -> list[KernelRoute]:
    """Return so many routes through one gateway."""
    return [
        KernelRoute(
            destination=IPv4Network((0x0A00_0000 + (nth << 8), 24)), link="b0", gateway=ip_address("192.0.2.2")
        )
        for nth in range(count)
    ]


def calls(work: Callable[[], object]) -> Counter[str]:
    """Return how often what sends and receives was called."""
    counted: Counter[str] = Counter()

    def count(frame: FrameType, what: str, argument: object) -> None:
        if what == "c_call":
            counted[getattr(argument, "__name__", "")] += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
    return Counter({name: counted[name] for name in counted if name.startswith(("send", "recv"))})


def cost(kernel: NetlinkKernel, count: int) -> dict[str, int]:
    """Return the system calls that so many routes take to be made, read and deleted."""
    items = routes(count)
    return {
        "create": calls(lambda: kernel.execute([Create(item) for item in items])).total(),
        "read": calls(kernel.read).total(),
        "delete": calls(lambda: kernel.execute([Delete(item) for item in items])).total(),
    }


def test_many_routes_take_hardly_more_system_calls_than_a_few(netns: Callable[[], Netns]) -> None:
    """They go in batches of hundreds, and come back in buffers of as many."""
    with closing(netns().kernel()) as kernel:
        assert not kernel.execute([Create(item) for item in GROUND])
        kernel.read()
        few, many = cost(kernel, FEW), cost(kernel, MANY)
    assert all(many[what] - few[what] < MANY / 50 for what in few), (few, many)


def test_of_our_own_routes_nothing_is_heard(netns: Callable[[], Netns]) -> None:
    """The kernel itself passes over them: nobody is woken, and no notification is lost for want of room."""
    with closing(netns().kernel()) as kernel:
        kernel.execute([Create(item) for item in GROUND])
        kernel.read()
        while kernel.changed(0.05):  # links and addresses are told to all
            kernel.read()
        kernel.execute([Create(item) for item in routes(MANY)])
        assert calls(lambda: kernel.changed(0)).total() == 0


def test_whose_routes_are_used_is_asked_of_others_alone(netns: Callable[[], Netns]) -> None:
    """Where nobody else has a route in the pool, no question is asked for any of ours."""
    host = netns()
    with closing(host.kernel()) as kernel:
        kernel.execute([Create(item) for item in GROUND])
        asked = {}
        for count in (FEW, MANY):
            kernel.execute([Create(item) for item in routes(count)])
            items = list(kernel.read().values())
            asked[count] = calls(partial(kernel.rivals, items)).total()
        assert asked[MANY] - asked[FEW] < MANY / 50
        host.ip("route add 10.0.9.128/25 dev b0 proto bird")
        assert kernel.rivals(items) == [
            "10.0.9.128/25 in 10.0.9.0/24 does not go by our route but by route 10.0.9.128/25 dev b0, "
            "proto bird (12): `ip route del 10.0.9.128/25 proto 12`"
        ]
