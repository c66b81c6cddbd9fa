"""Containers that hang on their host by a cable alone: what they see, and what they cannot do."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address

import attrs
import pytest

from containernet import derive
from containernet.derive import link_local
from containernet.edge import EdgeOptions
from containernet.model import Address
from containernet.packet import Ethernet, Payload, Udp, encode, header
from containernet_backends.routed import Routed

from .edge import NEVER, OUTSIDE, Place

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("version", [4, 6])
MAC = {name: derive.mac("endpoint", "host", name, "eth0") for name in "ab"}
ETHERTYPE = {4: 0x0800, 6: 0x86DD}
OTHERS = {
    4: ["10.4.1.3", "10.4.1.9", "192.0.2.1", "203.0.113.9"],
    6: ["fd00:4:0:1::3", "2001:db8::1", str(link_local(MAC["b"]))],
}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Two containers; the host has a default route, through somebody outside."""
    made = Place(local=Routed(), options=EdgeOptions(masquerade=False))
    for version, outside in OUTSIDE.items():
        made.spaces["host"].ip(f"-{version} route add default via {outside}")
    yield made
    made.close()


@FAMILIES
def test_two_containers_of_a_host_reach_each_other(place: Place, version: int) -> None:
    """Through it, and each is seen by its own address."""
    with place.server("b", 80, version=version, protocol="tcp"):
        seen = place.seen_from("a", place.address("b", version), 80, protocol="tcp")
    assert str(seen) == place.address("a", version)


@FAMILIES
def test_a_gateway_that_was_forgotten_answers(place: Place, version: int) -> None:
    """169.254.1.1 by proxy ARP, the link-local address by itself."""
    gateway = {4: "169.254.1.1", 6: str(link_local(place.gateway_mac()))}[version]
    place.spaces["a"].ip(f"neighbour del {gateway} dev eth0")
    with place.server("b", 80, version=version, protocol="tcp"):
        place.seen_from("a", place.address("b", version), 80, protocol="tcp")
    assert place.gateway_mac() in place.spaces["a"].ip(f"neighbour show to {gateway} dev eth0")
    place.settle()


@FAMILIES
def test_a_container_sends_from_its_own_addresses_alone(place: Place, version: int) -> None:
    """With the guard; without, the host forwards for anybody."""
    own: list[tuple[str, Address]] = [(MAC["a"], ip_address(place.address("a", version)))]
    others = [(MAC["a"], ip_address(other)) for other in OTHERS[version]] + [(MAC["b"], own[0][1])]
    for guard in (True, False, True):
        place.edge = attrs.evolve(place.edge, options=EdgeOptions(masquerade=False, guard=guard))
        place.settle()
        through = forwarded(place, [*own, *others])
        assert own[0] in through
        assert bool(through & {*others}) is not guard


def forwarded(place: Place, claims: list[tuple[str, Address]]) -> set[tuple[str, Address]]:
    """Send a datagram to `b` as each of those claims, by MAC and source; return which it gets."""
    version = claims[0][1].version
    to = ip_address(place.address("b", version))
    with place.packet_socket("b") as hearer, place.packet_socket("a") as sender:
        hearer.bind(("eth0", ETHERTYPE[version]))
        sender.bind(("eth0", 0))
        for number, (mac, source) in enumerate(claims):
            frame = Ethernet(destination=place.gateway_mac(), source=mac, ethertype=ETHERTYPE[version])
            ip = header(source=source, destination=to, protocol=17)
            sender.send(encode([frame, ip, Udp(source=9, destination=9), Payload(data=b"claim %d" % number)]))
        hearer.settimeout(NEVER)
        found = set()
        try:
            while True:
                payload = hearer.recv(2000).partition(b"claim ")[2]
                found |= {claims[int(payload)]} if payload else set()
        except TimeoutError:
            return found
