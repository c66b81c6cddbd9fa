"""What the cost of a cluster is made of does not grow with the cluster: counted, never timed.

An event's operations are counted in test_event_cost, a start's calls of etcd in tests/etcd/test_calls, and
the system calls of a batch in tests/kernel/test_netlink_calls.
"""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from benchmarks.events import Host, route
from containernet.events import Snapshot

FEW, MANY = 400, 4000


def octets(dataplane: str, hosts: int) -> float:
    """Return what a peer takes in memory, from its route to what the kernel is believed to hold."""
    host = Host(dataplane)
    gc.collect()
    tracemalloc.start()
    try:
        host.hear(Snapshot(routes=tuple(route(number, dataplane=dataplane) for number in range(1, hosts))))
        gc.collect()
        return tracemalloc.get_traced_memory()[0] / hosts
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(("dataplane", "most"), [("host-gw", 1500), ("vxlan", 2800)])
def test_a_peer_takes_the_same_memory_however_many_there_are(dataplane: str, most: int) -> None:
    """But for how full a dict is; the simulated kernel's own tables are in it."""
    few, many = octets(dataplane, FEW), octets(dataplane, MANY)
    assert many == pytest.approx(few, rel=0.25)
    assert many < most
