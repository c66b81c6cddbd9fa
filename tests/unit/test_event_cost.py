"""What an event costs does not grow with the cluster: counted, not timed."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from types import FrameType

import pytest

from benchmarks.events import Host, route
from containernet.events import Announced, Event, Withdrawn

FEW, MANY = 50, 2000


def cost(host: Host, event: Event) -> tuple[int, int]:
    """Return the kernel operations of an event, and the calls that Python makes for it."""
    calls = 0

    def count(frame: FrameType, what: str, argument: object) -> None:
        nonlocal calls
        calls += what in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # a finalizer of something else is no cost of ours
    sys.setprofile(count)
    try:
        operations = host.hear(event)
    finally:
        sys.setprofile(before)
        gc.enable()
    return operations, calls


def costs(dataplane: str, hosts: int) -> Iterator[tuple[int, int]]:
    """Yield what it costs a host that knows so many others when one more joins, fails over, leaves."""
    host = Host(dataplane)
    for number in range(1, hosts):
        host.hear(Announced(route=route(number, dataplane=dataplane)))
    newcomer = route(hosts, dataplane=dataplane)
    yield cost(host, Announced(route=newcomer))
    yield cost(host, Announced(route=route(hosts, dataplane=dataplane, machine=1)))
    yield cost(host, Withdrawn(prefix=newcomer.prefix))


@pytest.mark.parametrize(
    ("dataplane", "operations"), [("host-gw", [1, 1, 1]), ("ipip", [1, 1, 1]), ("vxlan", [3, 3, 3])]
)
def test_an_event_costs_the_same_however_large_the_cluster_is(dataplane: str, operations: list[int]) -> None:
    """The same kernel operations; and the same calls, but for a few that depend on hashes."""
    few, many = list(costs(dataplane, FEW)), list(costs(dataplane, MANY))
    assert [each for each, _ in few] == [each for each, _ in many] == operations
    for (_, calls_of_few), (_, calls_of_many) in zip(few, many, strict=True):
        assert abs(calls_of_many - calls_of_few) <= calls_of_few // 10
