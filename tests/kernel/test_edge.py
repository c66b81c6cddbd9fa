"""Masquerade and ports of the host, with real packets: who is seen from where, and who is not reached."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from containernet import derive
from containernet.explaining import explain
from containernet.packet import Ethernet, Payload, Udp, encode, header
from containernet_backends.bridge import Bridge
from containernet_backends.routed import Routed

from .edge import HOST, NEVER, OUTSIDE, Place, port

pytestmark = pytest.mark.kernel

FAMILIES = pytest.mark.parametrize("version", [4, 6])
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])
IN_POOL = {4: "10.4.8.8", 6: "fd00:4:0:8::8"}  # addresses of the host itself
SECOND = {4: "198.51.100.1", 6: "2001:db8:1::1"}


@pytest.fixture(scope="module", params=[Bridge(), Routed()], ids=["bridge", "routed"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A host; ports of both protocols lead to `a`, one only at one address of the host."""
    ports = [port(8000, to=80, protocol=protocol) for protocol in ("tcp", "udp", "sctp")]
    ports += [port(8001, to=80, at=own) for own in HOST.values()]
    made = Place(local=request.param, ports={"a": ports})
    for own in (*IN_POOL.values(), *SECOND.values()):
        made.spaces["host"].ip(f"address add {own} dev lo")
    yield made
    made.close()


@FAMILIES
@PROTOCOLS
def test_the_outside_sees_the_host(place: Place, version: int, protocol: str) -> None:
    """It knows no way to a container, and needs none."""
    with place.server("outside", 80, version=version, protocol=protocol):
        seen = place.seen_from("a", OUTSIDE[version], 80, protocol=protocol)
    assert str(seen) == HOST[version]


@FAMILIES
def test_a_container_of_another_host_sees_the_container(place: Place, version: int) -> None:
    """What stays in the pool keeps its source."""
    far = {4: "10.4.9.9", 6: "fd00:4:0:9::9"}[version]
    place.spaces["host"].ip(f"route replace {far} via {OUTSIDE[version]}")
    with place.server("outside", 80, version=version, protocol="tcp"):
        seen = place.seen_from("a", far, 80, protocol="tcp")
    assert str(seen) == place.address("a", version)


@FAMILIES
def test_multicast_keeps_its_source(place: Place, version: int) -> None:
    """Whoever hears it takes part in a protocol of the link's, and the host is somebody else."""
    group = {4: "239.1.2.3", 6: "ff05::1:2:3"}[version]
    with place.socket("outside", version, socket.SOCK_DGRAM) as hearer:
        hearer.bind(("::" if version == 6 else "0.0.0.0", 5353))
        _join(hearer, group, version, place, "outside")
        with place.socket("host", version, socket.SOCK_DGRAM) as sender:
            _send_by_eth0(sender, version, place)
            sender.bind((IN_POOL[version], 0))
            sender.sendto(b"!", (group, 5353))
        assert hearer.recvfrom(9)[1][0] == IN_POOL[version]


def _index(place: Place, name: str) -> int:
    return int(place.spaces[name].ip("-o link show dev eth0").split(":")[0])


def _join(hearer: socket.socket, group: str, version: int, place: Place, name: str) -> None:
    index = _index(place, name)
    if version == 6:
        value = ip_address(group).packed + index.to_bytes(4, "little")
        hearer.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, value)
    else:
        value = ip_address(group).packed + bytes(4) + index.to_bytes(4, "little")
        hearer.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, value)


def _send_by_eth0(sender: socket.socket, version: int, place: Place) -> None:
    index = _index(place, "host")
    if version == 6:
        sender.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF, index)
    else:
        sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + index.to_bytes(4, "little"))


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("who", ["outside", "a", "b", "host"])
def test_a_port_of_the_host_leads_to_the_container(place: Place, who: str, version: int, protocol: str) -> None:
    """For somebody outside, for the container itself, for its neighbour and for the host; each is answered.

    Somebody outside is seen by his own address.
    """
    with place.server("a", 80, version=version, protocol=protocol):
        seen = place.seen_from(who, HOST[version], 8000, protocol=protocol)
    assert str(seen) == OUTSIDE[version] or who != "outside"


@FAMILIES
def test_a_port_of_sctp_leads_to_the_container(place: Place, version: int) -> None:
    """By the first packet of an association (RFC 9260 s3.3.2), from outside; the checksum is made anew."""
    with (
        place.socket("a", version, socket.SOCK_RAW, SCTP) as listener,
        place.socket("outside", version, socket.SOCK_RAW, SCTP) as client,
    ):
        client.sendto(init_chunk(5000, 8000), (HOST[version], 0))
        arrived, (source, *_) = listener.recvfrom(200)
    assert source == OUTSIDE[version]
    assert arrived[-len(init_chunk(0, 0)) :] == init_chunk(5000, 80)


SCTP = 132


def init_chunk(source: int, destination: int) -> bytes:
    """Return an SCTP packet with an INIT chunk."""
    init = struct.pack("!BBHIIHHI", 1, 0, 20, 1, 65536, 1, 1, 1)
    ports = struct.pack("!HHI", source, destination, 0)
    return ports + struct.pack("<I", crc32c(ports + bytes(4) + init)) + init


def crc32c(data: bytes) -> int:
    """Return the checksum of RFC 9260 appendix A, bit by bit."""
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ 0x82F63B78 * (value & 1)
    return value ^ 0xFFFFFFFF


@PROTOCOLS
def test_a_port_of_the_host_is_there_on_localhost(place: Place, protocol: str) -> None:
    """The container sees an address that it can answer."""
    with place.server("a", 80, version=4, protocol=protocol):
        seen = place.seen_from("host", "127.0.0.1", 8000, protocol=protocol)
    assert not seen.is_loopback


@FAMILIES
@PROTOCOLS
@pytest.mark.parametrize("who", ["outside", "a", "b", "host"])
def test_a_port_is_traced_as_it_is(place: Place, who: str, version: int, protocol: str) -> None:
    """To whom it leads, as whom he sees the client, and that the answer comes back."""
    asked = (protocol, 8000)
    told = explain(place.network(), who, ip_address(HOST[version]), port=asked)
    assert told.way.arrived == "a"
    assert told.answer is not None
    assert told.answer.way.arrived == who
    assert told.first_fault is None
    with place.server("a", 80, version=version, protocol=protocol):
        seen = place.seen_from(who, HOST[version], 8000, protocol=protocol)
    assert told.way.seen is not None
    assert told.way.seen.source == seen


@FAMILIES
def test_masquerade_is_traced_as_it_is(place: Place, version: int) -> None:
    """From whom the outside sees it come, and how the answer finds the container."""
    told = explain(place.network(), "a", ip_address(OUTSIDE[version]))
    assert told.verdict == f"a > {OUTSIDE[version]} arrives at outside, and its answer comes back"
    own, pool = place.address("a", version), {4: "10.4.0.0/16", 6: "fd00:4::/48"}[version]
    becomes = f"{own} > {OUTSIDE[version]} becomes {HOST[version]} > {OUTSIDE[version]}"
    assert f"    masquerade saddr {pool} daddr != {pool}: {becomes}" in list(told.lines())
    assert told.answer is not None
    back = f"{OUTSIDE[version]} > {HOST[version]} becomes {OUTSIDE[version]} > {own}"
    assert f"    conntrack: {back}" in list(told.answer.steps())


def test_localhost_of_ipv6_is_refused_at_once(place: Place) -> None:
    """So that a program that tries ::1 first goes on to 127.0.0.1."""
    with place.server("a", 80, version=6, protocol="tcp"), pytest.raises(ConnectionRefusedError):
        place.seen_from("host", "::1", 8000, protocol="tcp")


@FAMILIES
def test_a_port_at_one_address_is_not_at_others(place: Place, version: int) -> None:
    """Such as one that is open on the internal network only."""
    with place.server("a", 80, version=version, protocol="tcp"):
        place.seen_from("outside", HOST[version], 8001, protocol="tcp")
        with pytest.raises(ConnectionRefusedError):
            place.seen_from("b", SECOND[version], 8001, protocol="tcp")


def test_nobody_gets_in_by_127_0_0_1(place: Place) -> None:
    """route_localnet would let a container at what listens on the host's loopback only, if a rule did not."""
    own = derive.mac("endpoint", "host", "a", "eth0")
    ethernet = Ethernet(destination=place.gateway_mac(), source=own, ethertype=0x0800)
    ip = header(source=ip_address("10.4.1.2"), destination=ip_address("127.0.0.1"), protocol=17)
    frame = encode([ethernet, ip, Udp(source=9, destination=99), Payload(data=b"let me in")])
    with place.socket("host", 4, socket.SOCK_DGRAM) as private, place.packet_socket("a") as sender:
        private.bind(("127.0.0.1", 99))
        private.settimeout(NEVER)
        sender.bind(("eth0", 0))
        sender.send(frame)
        with pytest.raises(TimeoutError):
            private.recv(99)
        assert place.spaces["host"].nft("flush chain inet containernet martian")
        sender.send(frame)
        assert private.recv(99) == b"let me in"
    place.settle()


TABLE = "nft 'table inet filter {{\nchain forward {{\ntype filter hook forward priority 10\n{}\n}}\n}}'"
CLOSED = {
    "iptables": "iptables -P FORWARD DROP && ip6tables -P FORWARD DROP",
    "policy": TABLE.format("policy drop"),
    "last rule": TABLE.format("ct state established accept\nreject with icmpx admin-prohibited"),
}


@pytest.mark.parametrize("closed", CLOSED.values(), ids=CLOSED.keys())
def test_somebody_elses_drop_is_named_with_what_opens_it(place: Place, closed: str) -> None:
    """An accept of ours would not help: each table decides for itself."""
    host = place.spaces["host"]
    before = host.run("nft", "list", "ruleset")
    assert place.kernel.rivals(place.kernel.read().values()) == []
    host.run("sh", "-c", closed)
    try:
        for version in (4, 6):
            with pytest.raises(OSError):  # noqa: PT011 - silence, or a refusal
                place.seen_from("a", OUTSIDE[version], 80, protocol="tcp", patience=NEVER)
        lines = place.kernel.rivals(place.kernel.read().values())
        assert [line.split(" is dropped")[0].split()[-1] for line in lines] == ["10.4.0.0/16", "fd00:4::/48"]
        for line in lines:
            host.run("sh", "-c", line.split("`")[1])
        assert place.kernel.rivals(place.kernel.read().values()) == []
        for version in (4, 6):
            with place.server("outside", 80, version=version, protocol="tcp"):
                place.seen_from("a", OUTSIDE[version], 80, protocol="tcp")
    finally:
        for family in ("ip", "ip6", "inet"):
            host.nft(f"delete table {family} filter")
    assert host.run("nft", "list", "ruleset") == before
