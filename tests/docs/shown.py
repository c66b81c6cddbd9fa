"""What docs/packets.md shows in the blocks behind a comment `items: ...` or `wire: ...`, made anew.

    items: PART IPvN                          what a dataplane renders for host1 of a lab of two hosts
    wire: DATAPLANE UNDERLAY WHERE LINK       an echo request, captured there: octets and headers

Run as a program, with the words that the comments to be renewed begin with, it writes the page anew.
"""

from __future__ import annotations

import functools
import os
import re
import sys
from collections.abc import Iterable, Iterator
from ipaddress import ip_interface, ip_network

import containernet as cn
from containernet import packet
from containernet.edge import Edge
from containernet.lab import capture, ping, whole
from containernet.lab.topology import Host, Topology
from tests.docs.pages import TOP

PAGE = "docs/packets.md"
_MARKED = re.compile(r"<!-- (items|wire): ([^>]*) -->\n```text\n(.*?)```", re.DOTALL)
_POOLS = {
    4: cn.Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
    6: cn.Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
}
_LOCAL = {"host", "container", "edge", "routed"}  # parts that are the same under any remote dataplane
_OPTIONS: dict[str, dict[str, object]] = {"bridge": {"uplink": "eth1"}}


def marked() -> Iterator[tuple[str, str, str]]:
    """Yield the kind, the words and the text of every marked block."""
    for match in _MARKED.finditer((TOP / PAGE).read_text()):
        yield match[1], match[2], match[3]


def items(part: str) -> str:
    """Return the items of one part: a dataplane's and a family's, or those of host and container under any.

    `routed` is another local dataplane; `edge` is what stands around one, for a container with a port.
    """
    name, _, version = part.partition(" IPv")
    remote = cn.remote_dataplane("vxlan" if name in _LOCAL else name, _options(name))
    local = cn.local_dataplane("routed" if name == "routed" else "bridge", _options(name))
    topology = Topology(hosts=2, containers=1, versions=(int(version),))
    node, peer = (_node(host, remote) for host in topology.members)
    container = cn.Endpoint(
        container="host1-c1",
        netns="/run/netns/host1-c1",
        addresses=tuple(ip_interface((each[2], each.prefixlen)) for each in node.subnets),
        ports=[cn.PortMapping(host_port=8080, container_port=80)],
    )
    delivery = local.endpoint(node, container)
    match name:
        case "host":
            return _lines([*local.host(node), *delivery.host])
        case "edge":
            edge = Edge(local)
            around = [*edge.host(node), *edge.endpoint(node, container).host]
            return _lines(item for item in around if item not in {*local.host(node), *delivery.host})
        case "routed":
            return _lines([*delivery.host, *delivery.container])
        case "container":
            return _lines(delivery.container)
        case "bridge":
            uplink = [each for each in local.host(node) if each.link == "eth1"]
            return _lines([*uplink, *_towards(peer, node, remote)])
        case _:
            return _lines([*remote.host(node), *_towards(peer, node, remote)])


def wire(dataplane: str, underlay: str, where: str, link: str) -> str:
    """Return the headers of one echo request from host1-c1 to host2-c1 as they pass a link of a lab."""
    local, remote = ("routed", "vxlan") if dataplane == "routed" else ("bridge", dataplane)
    topology = Topology(hosts=2, containers=1, dataplane=remote, local=local, underlay=underlay, versions=(4,))
    with whole.up(f"docs-wire-{os.getpid()}", topology) as lab:
        try:
            (target,) = whole.addresses(lab, "host2-c1")
            whole.ping(lab, topology.container_names)  # who has which MAC is asked and known now
            probe = ping.Probe(netns=lab.netns("host1-c1"), target=target)
            layers = lab.call(functools.partial(capture.echo_on_wire, probe, lab.netns(where), link))
        finally:
            lab.down()
    sizes = [len(packet.encode(layers[at:])) for at in range(len(layers) + 1)]
    rows = [f"{size - rest:4}  {layer}" for size, rest, layer in zip(sizes, sizes[1:], layers, strict=False)]
    return "\n".join([*rows, f"{sizes[0]:4}  octets in all"]) + "\n"


def renew(kind: str, words: str) -> str:
    """Return what a marked block should hold."""
    return items(words) if kind == "items" else wire(*words.split())


def _options(part: str) -> dict[str, object]:
    return _OPTIONS.get(part, {})


def _node(host: Host, remote: cn.Dataplane) -> cn.Node:
    network = cn.NetworkConfig(pools=tuple(_POOLS[own.version] for own in host.addresses))
    node = cn.Node(name=host.name, interface="eth0", addresses=host.addresses)
    subnets = cn.choose_subnets(network, (), name=host.name)
    return cn.with_subnets(node, subnets, network=network, remote=remote)


def _towards(peer: cn.Node, node: cn.Node, remote: cn.Dataplane) -> list[cn.Item]:
    return [item for route in cn.own_routes(peer, remote) for item in remote.peer(node, route)]


def _lines(items: Iterable[cn.Item]) -> str:
    return "".join(f"{item}\n" for item in items)


def main() -> None:
    """Write the page anew where a comment begins with the words of the command line."""
    chosen = " ".join(sys.argv[1:])

    def replace(match: re.Match[str]) -> str:
        if not f"{match[1]}: {match[2]}".startswith(chosen):
            return match[0]
        return f"<!-- {match[1]}: {match[2]} -->\n```text\n{renew(match[1], match[2])}```"

    path = TOP / PAGE
    path.write_text(_MARKED.sub(replace, path.read_text()))


if __name__ == "__main__":
    main()
