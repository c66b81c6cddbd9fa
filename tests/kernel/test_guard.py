"""The source guard, with frames that a container's own kernel would never send: who gets them and who does not.

Each frame is sent twice: with the guard, and without, to show that it is the guard that stops it.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address

import attrs
import pytest

from containernet import derive
from containernet.derive import link_local
from containernet.edge import EdgeOptions
from containernet.items import Link, SourceGuard, by_key
from containernet.packet import Arp, Ethernet, Icmp, Ipv6, Layer, Payload, Udp, encode, header
from containernet.planning import plan
from containernet_backends.bridge import Bridge

from .edge import NEVER, Place
from .labs import wait_until

pytestmark = pytest.mark.kernel

ALL_FRAMES = 0x0003  # ETH_P_ALL
EVERYBODY = "ff:ff:ff:ff:ff:ff"
MAC = {name: derive.mac("endpoint", "host", name, "eth0") for name in "ab"}
OWN, OTHER = IPv4Address("10.4.1.2"), IPv4Address("10.4.1.3")
OWN6, OTHER6 = IPv6Address("fd00:4:0:1::2"), IPv6Address("fd00:4:0:1::3")
GATEWAY, GATEWAY6 = IPv4Address("10.4.1.1"), IPv6Address("fd00:4:0:1::1")
NOBODY, NOBODY6 = IPv4Address("0.0.0.0"), IPv6Address("::")
ALL_NODES = IPv6Address("ff02::1")
HOP_BY_HOP = bytes((58, 0, 1, 4, 0, 0, 0, 0))  # RFC 8200 s4.3, with padding only


def ethernet(kind: int, *, source: str = MAC["a"]) -> Ethernet:
    """Return a header of a frame to everybody."""
    return Ethernet(destination=EVERYBODY, source=source, ethertype=kind)


def udp(source: IPv4Address | IPv6Address, *, mac: str = MAC["a"], port: int = 9) -> list[Layer]:
    """Return a datagram to the neighbour."""
    to = OTHER if source.version == 4 else OTHER6
    ip = header(source=source, destination=to, protocol=17)
    return [
        ethernet(0x0800 if source.version == 4 else 0x86DD, source=mac),
        ip,
        Udp(source=9, destination=port),
    ]


def arp(sender: IPv4Address, target: IPv4Address, *, reply: bool = False, says: str = MAC["a"]) -> list[Layer]:
    """Return an ARP packet, from the own MAC whatever it says."""
    said = Arp(
        operation=2 if reply else 1,
        sender_mac=says,
        sender=sender,
        target_mac="00:00:00:00:00:00",
        target=target,
    )
    return [ethernet(0x0806), said]


def icmp6(source: IPv6Address, type: int, body: bytes = b"", *, hidden: bool = False) -> list[Layer]:
    """Return an ICMPv6 message to all nodes; hidden: behind a hop-by-hop header."""
    ip = Ipv6(source=source, destination=ALL_NODES, next_header=58, hop_limit=255)
    message: list[Layer] = [Icmp(version=6, type=type), Payload(data=body)]
    if not hidden:
        return [ethernet(0x86DD), ip, *message]
    behind = encode([ip, *message])[40:]
    return [ethernet(0x86DD), attrs.evolve(ip, next_header=0), Payload(data=HOP_BY_HOP + behind)]


def tagged(layers: list[Layer]) -> list[Layer]:
    """Return a frame with a priority tag, VLAN 0, which Linux takes off and believes (IEEE 802.1Q)."""
    first, *rest = layers
    assert isinstance(first, Ethernet)
    inner = struct.pack("!HH", 0, first.ethertype) + encode([first, *rest])[14:]
    return [attrs.evolve(first, ethertype=0x8100), Payload(data=inner)]


SOLICIT, ADVERT, ROUTER, REDIRECT, REPORT = 135, 136, 134, 137, 143

PASS: Mapping[str, list[Layer]] = {
    "own IPv4": udp(OWN),
    "own IPv6": udp(OWN6),
    "own link-local": udp(link_local(MAC["a"])),
    "own IPv4, priority-tagged": tagged(udp(OWN, port=10)),
    "ARP request": arp(OWN, OTHER),
    "ARP reply": arp(OWN, OTHER, reply=True),
    "gratuitous ARP": arp(OWN, OWN, reply=True),
    "ARP probe for the own address": arp(NOBODY, OWN),
    "solicitation": icmp6(OWN6, SOLICIT, OTHER6.packed),
    "advertisement of the own address": icmp6(OWN6, ADVERT, OWN6.packed),
    "duplicate address detection": icmp6(NOBODY6, SOLICIT, OWN6.packed),
    "duplicate address detection, link-local": icmp6(NOBODY6, SOLICIT, link_local(MAC["a"]).packed),
    "multicast listener report": icmp6(NOBODY6, REPORT, bytes(4)),
}
DROP: Mapping[str, list[Layer]] = {
    "the neighbour's IPv4": udp(OTHER),
    "the gateway's IPv4": udp(GATEWAY),
    "the neighbour's IPv6": udp(OTHER6),
    "the neighbour's link-local": udp(link_local(MAC["b"])),
    "somebody outside": udp(IPv4Address("203.0.113.9")),
    "nobody, IPv4": udp(NOBODY),
    "nobody, IPv6": udp(NOBODY6),
    "another MAC": udp(OWN, mac=MAC["b"]),
    "another MAC, IPv6": udp(OWN6, mac=MAC["b"]),
    "the neighbour's IPv4, priority-tagged": tagged(udp(OTHER, port=10)),
    "ARP reply for the neighbour": arp(OTHER, OWN, reply=True),
    "ARP reply for the gateway": arp(GATEWAY, OTHER, reply=True),
    "ARP reply for the gateway, priority-tagged": tagged(arp(GATEWAY, OWN, reply=True)),
    "ARP request as the neighbour": arp(OTHER, GATEWAY),
    "ARP reply with another MAC inside": arp(OWN, OTHER, reply=True, says=MAC["b"]),
    "ARP probe for the neighbour's address": arp(NOBODY, OTHER),
    "advertisement of the gateway": icmp6(OWN6, ADVERT, GATEWAY6.packed),
    "advertisement of the gateway, hidden": icmp6(OWN6, ADVERT, GATEWAY6.packed, hidden=True),
    "advertisement as the neighbour": icmp6(OTHER6, ADVERT, OTHER6.packed),
    "duplicate address detection of the neighbour's": icmp6(NOBODY6, SOLICIT, OTHER6.packed),
    "router advertisement": icmp6(link_local(MAC["a"]), ROUTER, bytes(8)),
    "router advertisement, hidden": icmp6(link_local(MAC["a"]), ROUTER, bytes(8), hidden=True),
    "redirect": icmp6(link_local(MAC["a"]), REDIRECT, OTHER6.packed + OWN6.packed),
    "another protocol": [ethernet(0x88B5), Payload(data=b"experimental")],
}


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    """Two containers on a bridge."""
    made = Place(local=Bridge())
    wait_until(lambda: bool(heard(made, {"first": udp(OWN)})), at_most=5)  # a port needs a moment to forward
    yield made
    made.close()


def raw(place: Place, name: str, interface: str = "eth0") -> socket.socket:
    """Return a socket for frames at somebody's interface; what a container sends itself is not heard there."""
    made = place.packet_socket(name)
    made.bind((interface, ALL_FRAMES))
    return made


def heard(place: Place, frames: Mapping[str, Iterable[Layer]]) -> set[str]:
    """Send frames from `a`; return which of them `b` gets. No two are equal, even without their tags."""
    sent = {name: encode(layers) for name, layers in frames.items()}
    arriving = {name: _untagged(frame) for name, frame in sent.items()}
    with raw(place, "b") as hearer, raw(place, "a") as sender:
        for frame in sent.values():
            sender.send(frame)
        found = set()
        hearer.settimeout(NEVER)
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            try:
                data = hearer.recv(2000)
            except TimeoutError:
                break
            found |= {name for name, frame in arriving.items() if data == frame}
        return found


def _untagged(frame: bytes) -> bytes:
    return frame[:12] + frame[16:] if frame[12:14] == b"\x81\x00" else frame


def test_a_container_says_only_what_is_true_of_itself(place: Place) -> None:
    """With the guard; without, all of it is heard."""
    frames = {**PASS, **DROP}
    for guard in (True, False, True):
        place.edge = attrs.evolve(place.edge, options=EdgeOptions(guard=guard))
        place.settle()
        found, wanted = heard(place, frames), set(PASS if guard else frames)
        assert sorted(found ^ wanted) == [], guard


def test_a_link_local_address_comes_up_behind_the_guard(place: Place) -> None:
    """Linux detects that nobody else has it, and then speaks to its gateway by it."""
    inside = place.spaces["a"]
    inside.run("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/accept_dad")
    inside.ip("link set eth0 down")
    inside.ip("link set eth0 up")
    own = link_local(MAC["a"])
    wait_until(lambda: f"{own}/64" in inside.ip("-6 address show dev eth0 -tentative"), at_most=5)
    place.settle()
    inside.run("ping", "-6", "-c", "1", "-W", "2", f"{place.link_local_of_bridge()}%eth0")


def test_the_guard_is_there_before_the_link_and_after_it(place: Place) -> None:
    """There is no moment in which the link is up and not guarded."""
    items = by_key(place.edge.endpoint(place.node, place.endpoints["a"]).host)
    for operations in (plan(items, {}), plan({}, items)[::-1]):
        order = [type(each.item) for each in operations if isinstance(each.item, SourceGuard | Link)]
        assert order == [SourceGuard, Link]
