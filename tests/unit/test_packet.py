"""Frames as they are seen on the wire, and what the decoder says about them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from containernet import packet
from containernet.packet import Ethernet, Icmp, Ipv4, Payload, Truncated

MACS = bytes.fromhex("020000000002 020000000001")


def words(frame: bytes) -> list[str]:
    """Return what the decoder says, line by line."""
    return [str(layer) for layer in packet.decode(frame)]


def test_vxlan_shows_the_outer_headers_before_the_inner_ones() -> None:
    """A ping between two containers, as captured on a host's NIC, the checksums left to the card."""
    frame = bytes.fromhex(
        "020000000002 020000000001 0800"
        "4500 004e 1234 0000 4011 0000 c0000201 c0000202"
        "d431 2118 003a 0000"
        "08000000 00000100"
        "0e0000000002 0e0000000001 0800"
        "4500 001c 0000 4000 3f01 0000 0a040102 0a040203"
        "0800 0000 0007 0001"
    )
    assert words(frame) == [
        "Ethernet 02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype IPv4",
        "IP 192.0.2.1 > 192.0.2.2: proto UDP, ttl 64, length 78",
        "UDP 54321 > 8472, length 58",
        "VXLAN vni 1",
        "Ethernet 0e:00:00:00:00:01 > 0e:00:00:00:00:02, ethertype IPv4",
        "IP 10.4.1.2 > 10.4.2.3: proto ICMP, ttl 63, DF, length 28",
        "ICMP echo request, id 7, seq 1",
    ]


def test_ip_in_ip_is_one_ip_header_after_the_other() -> None:
    """RFC 2003: nothing stands between the two headers."""
    inner = packet.header(source=ip_address("10.4.1.2"), destination=ip_address("10.4.2.2"), protocol=1)
    outer = packet.header(source=ip_address("192.0.2.1"), destination=ip_address("192.0.2.2"), protocol=4)
    echo = packet.echo_request(version=4, identifier=7, sequence=1)
    assert [str(layer) for layer in packet.decode_ip(packet.encode((outer, inner, echo)))] == [
        "IP 192.0.2.1 > 192.0.2.2: proto IPv4, ttl 64, length 48",
        "IP 10.4.1.2 > 10.4.2.2: proto ICMP, ttl 64, length 28",
        "ICMP echo request, id 7, seq 1",
    ]


def test_ipv6_in_ipv6_with_the_encapsulation_limit_that_linux_adds() -> None:
    """RFC 2473 s4.1.1: a destination options header stands between the two."""
    inner = packet.header(source=ip_address("fd00:4::2"), destination=ip_address("fd00:4:1::2"), protocol=59)
    outer = packet.header(source=ip_address("2001:db8::1"), destination=ip_address("2001:db8::2"), protocol=60)
    limit = packet.Extension(kind=60, next_header=41, body=bytes.fromhex("040104010100"))
    assert [str(layer) for layer in packet.decode_ip(packet.encode((outer, limit, inner)))] == [
        "IP6 2001:db8::1 > 2001:db8::2: next-header Destination Options, hlim 64, payload length 48",
        "IP6 Destination Options header, next-header IPv6",
        "IP6 fd00:4::2 > fd00:4:1::2: next-header none, hlim 64, payload length 0",
    ]


@pytest.mark.parametrize(
    ("operation", "said"),
    [
        (1, "ARP, Request who-has 10.4.1.3 tell 10.4.1.2"),
        (2, "ARP, Reply 10.4.1.2 is-at 02:00:00:00:00:01"),
        (9, "ARP, operation 9 from 10.4.1.2"),
    ],
)
def test_arp(operation: int, said: str) -> None:
    """ARP reads as the question and the answer that it is, and padding is not part of it."""
    arp = packet.Arp(
        operation=operation,
        sender_mac="02:00:00:00:00:01",
        sender=IPv4Address("10.4.1.2"),
        target_mac="00:00:00:00:00:00",
        target=IPv4Address("10.4.1.3"),
    )
    ethernet = Ethernet(destination="ff:ff:ff:ff:ff:ff", source="02:00:00:00:00:01", ethertype=0x0806)
    assert words(packet.encode((ethernet, arp)) + bytes(18))[1:] == [said]


@pytest.mark.parametrize(
    ("icmp", "said"),
    [
        (Icmp(version=4, type=3, code=4, rest=1450), "ICMP unreachable - need to frag, mtu 1450"),
        (Icmp(version=6, type=2, rest=1430), "ICMP6 packet too big, mtu 1430"),
        (Icmp(version=4, type=3, code=1), "ICMP unreachable - host"),
        (Icmp(version=6, type=1, code=0), "ICMP6 unreachable - no route"),
        (Icmp(version=6, type=1, code=77), "ICMP6 unreachable - code 77"),
        (Icmp(version=4, type=11), "ICMP time exceeded"),
        (Icmp(version=6, type=135), "ICMP6 neighbor solicitation"),
        (Icmp(version=4, type=129, rest=1), "ICMP type 129 code 0"),
    ],
)
def test_icmp_says_what_is_the_matter(icmp: Icmp, said: str) -> None:
    """An ICMP message says in words what it means."""
    assert str(icmp) == said


def test_an_icmp_error_is_followed_by_the_packet_that_it_quotes() -> None:
    """The quoted headers tell whose packet the error is about."""
    router, sender, target = (IPv4Address(f"192.0.2.{number}") for number in (254, 1, 2))
    quoted = packet.header(source=sender, destination=target, protocol=1)
    echo = packet.echo_request(version=4, identifier=1, sequence=2)
    stack = (
        packet.header(source=router, destination=sender, protocol=1),
        Icmp(version=4, type=3, code=4, rest=1400),
        quoted,
        echo,
    )
    assert packet.decode_ip(packet.encode(stack)) == stack


def test_a_later_fragment_has_no_transport_header() -> None:
    """Octets from the middle of a datagram are not read as a header."""
    later = Ipv4(
        source=IPv4Address(1), destination=IPv4Address(2), protocol=17, offset=1480, more_fragments=True
    )
    stack = (later, Payload(data=b"\x21\x18" * 20))
    assert packet.decode_ip(packet.encode(stack)) == stack
    assert "fragment at 1480+" in str(later)


def test_a_later_ipv6_fragment_has_no_transport_header() -> None:
    """RFC 8200 s4.5: the offset stands in an extension header, and means the same."""
    outer = packet.header(source=IPv6Address(1), destination=IPv6Address(2), protocol=44)
    later = packet.Extension(kind=44, next_header=17, body=(185 << 3).to_bytes(2, "big") + bytes(4))
    stack = (outer, later, Payload(data=b"\x21\x18" * 20))
    assert packet.decode_ip(packet.encode(stack)) == stack


def test_tcp_flags_are_written_as_tcpdump_writes_them() -> None:
    """A SYN with an ACK is [S.]."""
    assert str(packet.Tcp(source=1, destination=2, sequence=3, acknowledgement=4, flags=0x12, window=5)) == (
        "TCP 1 > 2: Flags [S.], seq 3, ack 4, win 5"
    )


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (MACS, "Ethernet"),
        (MACS + b"\x08\x00" + b"\x45" * 10, "IPv4"),
        (MACS + b"\x86\xdd" + b"\x60" * 39, "IPv6"),
        (MACS + b"\x08\x06" + bytes(27), "ARP"),
    ],
)
def test_what_ends_too_early_says_what_it_would_have_been(octets: bytes, name: str) -> None:
    """A header of which a part is missing is named."""
    last = packet.decode(octets)[-1]
    assert isinstance(last, Truncated)
    assert last.name == name


@pytest.mark.parametrize("octets", [MACS + b"\x08\x00" + b"\x65" * 20, MACS + b"\x08\x00" + b"\x41" * 20])
def test_junk_where_a_header_should_be_is_payload(octets: bytes) -> None:
    """A version that is not the ethertype's, and a header length below the least one."""
    assert packet.decode(octets)[1:] == (Payload(data=octets[14:]),)


def test_a_vxlan_header_without_its_flag_is_payload() -> None:
    """RFC 7348 s5: without the I flag there is no VNI."""
    udp = packet.Udp(source=1, destination=4789)
    outer = packet.header(source=ip_address("192.0.2.1"), destination=ip_address("192.0.2.2"), protocol=17)
    assert packet.decode_ip(packet.encode((outer, udp, Payload(data=bytes(30)))))[2:] == (
        Payload(data=bytes(30)),
    )


def test_a_udp_checksum_of_zero_is_sent_as_all_ones() -> None:
    """RFC 768: zero means that the sender made none."""
    sums = {
        packet.encode((packet.Udp(source=source, destination=0),))[6:8] for source in (0xFFFF - 8, 0xFFFF - 9)
    }
    assert sums == {b"\xff\xff", b"\x00\x01"}


def test_two_families_make_no_header() -> None:
    """There is no header from IPv4 to IPv6."""
    with pytest.raises(ValueError, match="two families"):
        packet.header(source=IPv4Address(1), destination=IPv6Address(1), protocol=1)
