"""How fast peers get into the kernel and out of it again: ours beside the C tools and pyroute2, in turns.

    scripts/in-namespaces .venv/bin/python benchmarks/kernel_peers.py [--peers 1000 5000 10000]

A vxlan peer is an fdb entry, a neighbour and an IPv4 route, through a gateway of its own; a host-gw peer is a
route through a gateway of its own. Each side has a network namespace of its own. Ours starts from item objects,
once as it is (`ours`), once without nexthop objects (`ours, plain`). The C tools are `bridge -batch` for fdb
entries and `ip -batch` for the rest, from files. pyroute2 makes a request for each, of at most 300 peers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import frame
from benchmarks.namespaces import Netns, batches, enter, execute
from containernet.items import FdbEntry, Item, KernelRoute, Neighbour
from containernet.planning import Create, Delete
from containernet_backends.netlink import NetlinkKernel

TINY = ("--peers", "10", "--rounds", "1")
QUANTITIES = (frame.more("add", "peers/s"), frame.more("remove", "peers/s"))
AT_MOST = 300
DATAPLANES = ("vxlan", "host-gw")
Peers = Sequence[Sequence[Item]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--peers", type=int, nargs="+", default=[1000, 5000, 10_000])
    parser.add_argument("--dataplanes", nargs="+", choices=DATAPLANES, default=list(DATAPLANES))
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        cases = [case(stack, name, size) for name in options.dataplanes for size in options.peers]
        frame.run(options, QUANTITIES, cases)


def case(stack: ExitStack, dataplane: str, size: int) -> frame.Case:
    """Return the sides, each with a namespace of its own."""
    items = [peer(dataplane, number) for number in range(size)]
    own, plain, tools, others = (stack.enter_context(closing(Netns())) for _ in range(4))
    scratch = Path(stack.enter_context(TemporaryDirectory()))
    both = (frame.Program("ip", "iproute2"), frame.Program("bridge", "iproute2"))
    pyroute2 = frame.Module("pyroute2", "pyroute2")
    return frame.Case(
        name=dataplane,
        size=size,
        sides=(
            frame.Side(name="ours", play=lambda: ours(own, items)),
            frame.Side(name="ours, plain", play=lambda: ours(plain, items, plain_gateways=size)),
            frame.Side(name="ip, bridge", play=lambda: by_tools(tools, scratch, items), needs=both),
            frame.Side(
                name="pyroute2",
                play=lambda: frame.apart(by_pyroute2, others.path, items[:AT_MOST]),
                needs=(pyroute2,),
            ),
        ),
    )


def peer(dataplane: str, number: int) -> Sequence[Item]:
    """Return what a dataplane has for one peer."""
    subnet = IPv4Network((int(IPv4Address("16.0.0.0")) + (number << 8), 24))
    mac = f"02:01:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    if dataplane == "host-gw":  # eth0 has 192.0.2.1/24, and takes these as on link nonetheless
        return [KernelRoute(destination=subnet, gateway=subnet[1], link="eth0", onlink=True)]
    return [
        FdbEntry(link="vxlan.1", mac=mac, destination=IPv4Address(int(IPv4Address("10.0.0.0")) + number)),
        Neighbour(link="vxlan.1", address=subnet[0], mac=mac),
        KernelRoute(destination=subnet, gateway=subnet[0], link="vxlan.1", onlink=True),
    ]


def by_rank(peers: Peers) -> list[Item]:
    """Return all items in the order in which they are made."""
    return sorted((item for each in peers for item in each), key=lambda item: item.rank)


def ours(netns: Netns, peers: Peers, **options: int) -> frame.Values:
    """Play a round of ours."""
    items = by_rank(peers)
    create, delete = [Create(item) for item in items], [Delete(item) for item in reversed(items)]
    with closing(NetlinkKernel(netns=netns.path, **options)) as kernel:
        kernel.read()
        return rates(len(peers), add=execute(kernel, create), remove=execute(kernel, delete))


def by_tools(netns: Netns, scratch: Path, peers: Peers) -> frame.Values:
    """Play a round of the C tools."""
    items = by_rank(peers)
    entries = [item for item in items if isinstance(item, FdbEntry)]
    rest = items[len(entries) :]
    fdb = batches(scratch, {"append": entries, "del": entries})
    files = batches(scratch, {"add": rest, "delete": rest[::-1]})

    def add() -> None:
        if entries:
            netns.run("bridge", "-batch", str(fdb["append"]))
        netns.run("ip", "-batch", str(files["add"]))

    def remove() -> None:
        netns.run("ip", "-batch", str(files["delete"]))
        if entries:
            netns.run("bridge", "-batch", str(fdb["del"]))

    return rates(len(peers), add=frame.seconds(add), remove=frame.seconds(remove))


def by_pyroute2(path: str, peers: Peers) -> frame.Values:
    """Make a request for each item, in a process that is inside."""
    enter(path)
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        index = {name: kernel.link_lookup(ifname=name)[0] for name in ("eth0", "vxlan.1")}

        def each(verb: str, items: Sequence[Item]) -> None:
            for item in items:
                request(kernel, verb, item, index[item.link])

        items = by_rank(peers)
        add = frame.seconds(lambda: each("add", items))
        return rates(len(peers), add=add, remove=frame.seconds(lambda: each("del", items[::-1])))


def request(kernel: Any, verb: str, item: Item, index: int) -> None:
    """Make one request."""
    match item:
        case FdbEntry(mac=mac, destination=destination):
            kernel.fdb("append" if verb == "add" else verb, ifindex=index, lladdr=mac, dst=str(destination))
        case Neighbour(address=address, mac=mac):
            kernel.neigh(verb, ifindex=index, dst=str(address), lladdr=mac, state="permanent")
        case KernelRoute(destination=destination, gateway=gateway):
            words = {"dst": str(destination), "gateway": str(gateway), "oif": index, "proto": 77}
            kernel.route(verb, flags="onlink", **words)


def rates(count: int, **seconds: float) -> frame.Values:
    """Return peers a second."""
    return {what: count / each for what, each in seconds.items()}


if __name__ == "__main__":
    main()
