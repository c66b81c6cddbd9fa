"""What one event costs a host of a large cluster: others join, fail over, leave and come back; and a start.

    python benchmarks/events.py [--hosts 5000] [--dataplane vxlan] [--json]

One host hears of all others: each event goes through the RIB, the dataplane, the planner and a simulated
kernel, as it does in the agent. Time is per event; memory is what a peer adds to the process, the simulated
kernel's own tables included. A start is the snapshot of all others, until it is planned. No root, no network.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, ip_address, ip_interface
from typing import Any

from containernet import derive, loading
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Node, Pool, Route, Tunnel
from containernet.reconciler import Reconciler
from containernet.rendering import host_items, peer_items, with_subnets
from containernet.rib import Rib
from containernet.tables import Device
from containernet.testing import SimulatedKernel

POOL = Pool(prefix=IPv4Network("10.0.0.0/8"), subnet_length=24)
OWN = (ip_interface("172.16.0.1/12"),)


class Host:
    """One host of the cluster, settled, which has heard of nobody yet."""

    def __init__(self, dataplane: str) -> None:
        network = NetworkConfig(pools=(POOL,))
        self.remote = loading.remote_dataplane(dataplane, {})
        local = loading.local_dataplane("bridge", {})
        node = Node(name="host0", interface="eth0", addresses=OWN)
        self.node = with_subnets(node, (POOL.first,), network=network, remote=self.remote)
        self.kernel = SimulatedKernel()
        self.kernel.put_foreign(Device(name="eth0", mac=derive.mac("eth0")), OWN)
        self.rib = Rib(network, self.node, store="memory")
        self.reconciler = Reconciler(self.kernel)
        self.reconciler.want(("host",), host_items(self.node, local=local, remote=self.remote))
        self.reconciler.apply()

    def want(self, event: Event) -> None:
        """Do all that an event asks for, up to the kernel."""
        for change in self.rib.apply(event, now=0.0):
            route = change.new or change.old
            assert route is not None
            items, _ = peer_items(self.node, change.new, remote=self.remote) if change.new else ((), "")
            self.reconciler.want(("route", str(route.prefix)), items)

    def hear(self, event: Event) -> int:
        """Do all that an event asks for; return the number of kernel operations."""
        before = self.kernel.operations
        self.want(event)
        self.reconciler.apply()
        assert self.reconciler.settled
        return self.kernel.operations - before


def route(number: int, *, dataplane: str, machine: int = 0) -> Route:
    """Return what the host of that number announces; another machine has other addresses."""
    name = f"host{number}-{machine}"
    data: dict[str, str | int] = {"VNI": 1, "VtepMAC": derive.mac("vtep", name)} if dataplane == "vxlan" else {}
    return Route(
        prefix=IPv4Network((int(POOL.first.network_address) + number * 256, 24)),
        node=name,
        next_hop=ip_address(int(OWN[0].ip) + number + machine * 65536),
        tunnel=Tunnel(type=dataplane, data=data),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hosts", type=int, default=5000)
    parser.add_argument("--dataplane", default="vxlan", choices=("vxlan", "ipip", "host-gw"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measure(options.hosts, options.dataplane)
    if options.json:
        print(json.dumps({"hosts": options.hosts, "dataplane": options.dataplane, **result}, indent=2))
        return
    print(f"{options.hosts} hosts, {options.dataplane}; us an event: all, 99th of 100, first, last tenth")
    for what, row in result["events"].items():
        micros = " ".join(f"{row[column]:7.1f}" for column in ("median", "p99", "first_tenth", "last_tenth"))
        print(f"{what:10} {micros}   {row['operations']:.1f} kernel operations")
    print(f"memory     {result['bytes_per_peer']:.0f} octets a peer")
    print(f"start      {result['start']:.1f} ms until all is planned")


def measure(hosts: int, dataplane: str) -> dict[str, Any]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    host = Host(dataplane)
    peers = range(1, hosts)

    def told(machine: int) -> Iterator[Event]:
        return (Announced(route=route(number, dataplane=dataplane, machine=machine)) for number in peers)

    steps: dict[str, Callable[[], Iterator[Event]]] = {
        "join": lambda: told(0),
        "fail over": lambda: told(1),
        "leave": lambda: (Withdrawn(prefix=route(number, dataplane=dataplane).prefix) for number in peers),
        "come back": lambda: told(1),
    }
    events: dict[str, dict[str, float]] = {}
    memory = 0
    for what, step in steps.items():
        events[what] = timed(host, list(step()))
        memory = memory or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"events": events, "bytes_per_peer": memory * 1024 / len(peers), "start": start(hosts, dataplane)}


def start(hosts: int, dataplane: str) -> float:
    """Return the milliseconds from the first snapshot to the plan: the best of three."""
    routes = tuple(route(number, dataplane=dataplane) for number in range(1, hosts))
    millis = []
    for _ in range(3):
        host = Host(dataplane)
        gc.collect()
        begin = time.perf_counter()
        host.want(Snapshot(routes=routes))
        host.reconciler.refresh()
        host.reconciler.pending()
        millis.append((time.perf_counter() - begin) * 1e3)
    return min(millis)


def timed(host: Host, events: Sequence[Event]) -> dict[str, float]:
    gc.collect()
    micros, operations = [], 0
    for event in events:
        start = time.perf_counter()
        operations += host.hear(event)
        micros.append((time.perf_counter() - start) * 1e6)
    tenth = max(1, len(micros) // 10)
    return {
        "median": statistics.median(micros),
        "p99": sorted(micros)[len(micros) * 99 // 100],
        "first_tenth": statistics.median(micros[:tenth]),
        "last_tenth": statistics.median(micros[-tenth:]),
        "operations": operations / len(events),
    }


if __name__ == "__main__":
    main()
