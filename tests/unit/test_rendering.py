"""rendering: what a whole host holds, in the operator's words."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface, ip_network

from containernet.model import Endpoint, Node, Route, Tunnel
from containernet.rendering import own_routes, render
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway

NODE = Node(
    name="a",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"),),
    subnets=(ip_network("10.4.1.0/24"),),
)


def test_a_host_with_a_peer_and_a_container() -> None:
    """The union of the host's own, the peers and the containers; a peer that is refused is named."""
    peer = Route(prefix=ip_network("10.4.2.0/24"), node="b", next_hop=ip_address("192.0.2.2"))
    far = Route(prefix=ip_network("10.4.3.0/24"), node="c", next_hop=ip_address("203.0.113.3"))
    container = Endpoint(container="c1", netns="/run/netns/c1", addresses=(ip_interface("10.4.1.2/24"),))
    rendering = render(NODE, [peer, far], local=Bridge(), remote=HostGateway(), endpoints=[container])
    assert sorted(str(item) for item in rendering.items.values() if "veth" not in str(item)) == [
        "address 10.4.1.1/24 dev cn0",
        "link cn0 address 4a:12:42:20:e8:09 mtu 1500 up type bridge",
        "route 10.4.2.0/24 via 192.0.2.2 dev eth0",
        "route blackhole 10.4.1.0/24 metric 4294967295",
        "sysctl net/ipv4/ip_forward=1",
    ]
    assert len([item for item in rendering.items.values() if "veth" in str(item)]) == 2
    assert list(rendering.refused) == [far.prefix]


def test_what_a_host_announces() -> None:
    """One route for each of its subnets, through its own address of that family."""
    assert own_routes(NODE, HostGateway()) == (
        Route(
            prefix=NODE.subnets[0],
            node="a",
            next_hop=ip_address("192.0.2.1"),
            tunnel=Tunnel(type="host-gw"),
        ),
    )
