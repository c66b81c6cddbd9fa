"""What one event costs a host of a large cluster: others join, fail over, leave and come back; and a start.

    python benchmarks/events.py [--hosts 1000 5000] [--dataplanes vxlan]

One host hears of all others: each event goes through the RIB, the dataplane, the planner and a simulated
kernel, as it does in the agent. Time is the processor's, per event; memory is what a peer adds to the process,
the simulated kernel's own tables included. A start is the snapshot of all others, until it is planned. No root,
no network.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, ip_address, ip_interface

from benchmarks import frame
from containernet import derive, loading
from containernet.daemon import calm_collector
from containernet.desired import route_owner
from containernet.events import Announced, Event, Snapshot, Withdrawn
from containernet.model import NetworkConfig, Node, Pool, Route, Tunnel
from containernet.reconciler import Reconciler
from containernet.rendering import host_items, peer_items, with_subnets
from containernet.rib import Rib
from containernet.tables import Device
from containernet.testing import SimulatedKernel

TINY = ("--hosts", "3", "--rounds", "1")
STEPS = ("join", "fail over", "leave", "come back")
QUANTITIES = (
    *(frame.less(f"{step}{which}", "us") for step in STEPS for which in ("", ", 99 of 100")),
    frame.less("memory", "octets a peer"),
    frame.less("start", "ms"),
)
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
            self.reconciler.want(route_owner(route.prefix), items)

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


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--hosts", type=int, nargs="+", default=[1000, 2000, 5000, 10_000])
    parser.add_argument("--dataplanes", nargs="+", default=["vxlan"], choices=("vxlan", "ipip", "host-gw"))
    options = parser.parse_args(argv)

    def case(dataplane: str, hosts: int) -> frame.Case:
        ours = frame.Side(name="ours", play=lambda: frame.apart(measure, hosts, dataplane))
        return frame.Case(name=dataplane, size=hosts, sides=(ours,))

    cases = [case(dataplane, hosts) for dataplane in options.dataplanes for hosts in options.hosts]
    frame.run(options, QUANTITIES, cases, warm_up=False)


def measure(hosts: int, dataplane: str) -> frame.Values:
    calm_collector()  # as the daemon does
    before = frame.memory()
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
    values: dict[str, float] = {}
    for what, step in steps.items():
        values[what], values[f"{what}, 99 of 100"] = timed(host, list(step()))
        if what == "join":
            values["memory"] = (frame.memory() - before) * 2**20 / len(peers)
    return values | {"start": start(hosts, dataplane)}


def start(hosts: int, dataplane: str) -> float:
    """Return the milliseconds from the first snapshot to the plan."""
    routes = tuple(route(number, dataplane=dataplane) for number in range(1, hosts))
    host = Host(dataplane)
    gc.collect()
    begin = time.thread_time()
    host.want(Snapshot(routes=routes))
    host.reconciler.refresh()
    host.reconciler.pending()
    return (time.thread_time() - begin) * 1e3


def timed(host: Host, events: Sequence[Event]) -> tuple[float, float]:
    """Return the microseconds of an event, and of the 99th of 100."""
    gc.collect()
    micros = []
    for event in events:
        began = time.thread_time()
        host.hear(event)
        micros.append((time.thread_time() - began) * 1e6)
    return statistics.median(micros), sorted(micros)[len(micros) * 99 // 100]


if __name__ == "__main__":
    main()
