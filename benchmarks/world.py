"""How long it takes to build a simulated cluster, to trace through it, and to settle every host of it.

    python benchmarks/world.py [--hosts 1000] [--containers 10] [--dataplane vxlan] [--versions 4 6]

Lazily, a host hears of its peers when the first packet gets there; eagerly, all hosts do. Seconds are of CPU
time. No root, no network.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from ipaddress import ip_interface, ip_network

from benchmarks import frame
from containernet import loading
from containernet.model import Interface, NetworkConfig, Pool
from containernet.testing.simulation import Reply, World

TINY = ("--hosts", "3", "--containers", "1", "--rounds", "1")
QUANTITIES = (
    frame.less("build", "s"),
    frame.less("first ping", "s"),
    frame.less("settle all", "s"),
    frame.less("an item", "us"),
)
POOLS = {
    4: Pool(prefix=ip_network("10.0.0.0/8"), subnet_length=24),
    6: Pool(prefix=ip_network("fd00:4::/32"), subnet_length=64),
}
UNDERLAYS = {4: ip_network("172.16.0.0/12"), 6: ip_network("2001:db8::/64")}


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=1)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 300, 1000])
    parser.add_argument("--containers", type=int, default=10)
    parser.add_argument("--dataplane", default="vxlan", choices=("vxlan", "ipip", "host-gw"))
    parser.add_argument("--versions", type=int, nargs="+", default=[4], choices=(4, 6))
    options = parser.parse_args(argv)

    def case(hosts: int) -> frame.Case:
        def play() -> frame.Values:
            return measure(hosts, options.containers, options.dataplane, options.versions)

        return frame.Case(name=options.dataplane, size=hosts, sides=(frame.Side(name="ours", play=play),))

    frame.run(options, QUANTITIES, map(case, options.hosts), warm_up=False)


def world(hosts: int, containers: int, *, dataplane: str = "vxlan", versions: Sequence[int] = (4,)) -> World:
    """Return hosts on one switch, with containers; nobody has heard of anybody yet."""
    network = NetworkConfig(pools=tuple(POOLS[version] for version in versions))
    remote, local = loading.remote_dataplane(dataplane, {}), loading.local_dataplane("bridge", {})
    made = World(network, remote=remote, local=local)
    made.add_switch("switch")
    for number in range(hosts):
        addresses = tuple(_address(version, number + 1) for version in versions)
        made.add_host(f"h{number}", "switch", addresses)
        for container in range(containers):
            made.attach(f"h{number}-c{container}", f"h{number}")
    return made


def _address(version: int, number: int) -> Interface:
    underlay = UNDERLAYS[version]
    return ip_interface((underlay[number], underlay.prefixlen))


def measure(hosts: int, containers: int, dataplane: str, versions: Sequence[int]) -> frame.Values:
    start = time.process_time()
    made = world(hosts, containers, dataplane=dataplane, versions=versions)
    built = time.process_time()
    last = f"h{hosts - 1}-c{containers - 1}"
    for version in versions:
        assert made.ping("h0-c0", last, version=version) == Reply()
    pinged = time.process_time()
    made.settle_all()
    settled = time.process_time()
    items = sum(len(member.kernel.read()) for member in made.members.values())
    return {
        "build": built - start,
        "first ping": pinged - built,
        "settle all": settled - pinged,
        "an item": (settled - pinged) * 1e6 / items,
    }


if __name__ == "__main__":
    main()
