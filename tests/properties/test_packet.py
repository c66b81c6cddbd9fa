"""Properties of the packet codec: it never raises, and what it encodes it decodes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, strategies as st

from containernet import packet
from containernet.packet import (
    Arp,
    Ethernet,
    Extension,
    Icmp,
    Ipv4,
    Ipv6,
    Layer,
    Payload,
    Tcp,
    Truncated,
    Udp,
    Vxlan,
)

Stack = tuple[Layer, ...]

octet = st.integers(0, 0xFF)
word = st.integers(0, 0xFFFF)
double = st.integers(0, 0xFFFFFFFF)
macs = st.binary(min_size=6, max_size=6).map(lambda octets: octets.hex(":"))
v4 = st.builds(IPv4Address, double)
v6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
options = st.integers(0, 10).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))
nothing: st.SearchStrategy[Stack] = st.just(())
payloads: st.SearchStrategy[Stack] = nothing | st.binary(min_size=1, max_size=64).map(
    lambda octets: (Payload(data=octets),)
)
plain_ports = word.filter(lambda port: port not in packet.VXLAN_PORTS)
quiet_icmp = [(version, kind) for version in (4, 6) for kind in (0, 8, 128, 129, 200)]


def behind(header: st.SearchStrategy[Layer], rest: st.SearchStrategy[Stack]) -> st.SearchStrategy[Stack]:
    """Draw a header with what follows it."""
    return st.tuples(header, rest).map(lambda parts: (parts[0], *parts[1]))


transports: st.SearchStrategy[tuple[int, Stack]] = st.one_of(
    behind(st.builds(Udp, source=word, destination=plain_ports), payloads).map(lambda stack: (17, stack)),
    behind(
        st.builds(
            Tcp,
            source=word,
            destination=word,
            sequence=double,
            acknowledgement=double,
            flags=octet,
            window=word,
            urgent=word,
            options=options,
        ),
        payloads,
    ).map(lambda stack: (6, stack)),
    st.sampled_from(quiet_icmp).flatmap(
        lambda kind: behind(
            st.builds(Icmp, version=st.just(kind[0]), type=st.just(kind[1]), code=octet, rest=double), payloads
        ).map(lambda stack: ({4: 1, 6: 58}[kind[0]], stack))
    ),
    payloads.map(lambda stack: (253, stack)),  # RFC 3692: an experiment's protocol, which nobody reads
)


def ip(inside: st.SearchStrategy[tuple[int, Stack]]) -> st.SearchStrategy[tuple[int, Stack]]:
    """Packets, as (version, stack), that carry `inside`, given as (protocol, stack)."""

    def over_ipv4(carried: tuple[int, Stack]) -> st.SearchStrategy[tuple[int, Stack]]:
        header = st.builds(
            Ipv4,
            source=v4,
            destination=v4,
            protocol=st.just(carried[0]),
            ttl=octet,
            tos=octet,
            identification=word,
            dont_fragment=st.booleans(),
            more_fragments=st.booleans(),
            options=options,
        )
        return header.map(lambda outer: (4, (outer, *carried[1])))

    def over_ipv6(carried: tuple[int, Stack]) -> st.SearchStrategy[tuple[int, Stack]]:
        number, stack = carried
        extension = st.sampled_from((0, 43, 60)).flatmap(
            lambda kind: st.integers(0, 3).flatmap(
                lambda units: st.builds(
                    Extension,
                    kind=st.just(kind),
                    next_header=st.just(number),
                    body=st.binary(min_size=6 + 8 * units, max_size=6 + 8 * units),
                )
            )
        )
        extensions = st.just(()) | extension.map(lambda header: (header,))
        return st.tuples(v6, v6, octet, octet, st.integers(0, 0xFFFFF), extensions).map(
            lambda parts: (
                6,
                (
                    Ipv6(
                        source=parts[0],
                        destination=parts[1],
                        next_header=parts[5][0].kind if parts[5] else number,
                        hop_limit=parts[2],
                        traffic_class=parts[3],
                        flow_label=parts[4],
                    ),
                    *parts[5],
                    *stack,
                ),
            )
        )

    return inside.flatmap(lambda carried: over_ipv4(carried) | over_ipv6(carried))


def tunnels(packets: st.SearchStrategy[tuple[int, Stack]]) -> st.SearchStrategy[tuple[int, Stack]]:
    """What can be inside of an IP packet and holds one itself: IP, VXLAN, an ICMP error."""
    vxlan = st.tuples(
        st.builds(Udp, source=word, destination=st.sampled_from(sorted(packet.VXLAN_PORTS))),
        st.builds(Vxlan, vni=st.integers(0, 2**24 - 1)),
        ethernet(packets),
    ).map(lambda parts: (17, (parts[0], parts[1], *parts[2])))
    return ip(
        packets.map(lambda inner: ({4: 4, 6: 41}[inner[0]], inner[1]))
        | vxlan
        | packets.map(
            lambda inner: (
                {4: 1, 6: 58}[inner[0]],
                (Icmp(version=inner[0], type=inner_error(inner[0])), *inner[1]),
            )
        )
    )


def inner_error(version: int) -> int:
    """Return the ICMP type for time exceeded, which quotes a packet."""
    return {4: 11, 6: 3}[version]  # time exceeded


def ethernet(packets: st.SearchStrategy[tuple[int, Stack]]) -> st.SearchStrategy[Stack]:
    """Put packets into frames."""

    def framed(inner: tuple[int, Stack]) -> st.SearchStrategy[Stack]:
        ethertype = {4: 0x0800, 6: 0x86DD}[inner[0]]
        header = st.builds(Ethernet, destination=macs, source=macs, ethertype=st.just(ethertype))
        return header.map(lambda outer: (outer, *inner[1]))

    return packets.flatmap(framed)


packets = st.recursive(ip(transports), tunnels, max_leaves=3)
arp_frames: st.SearchStrategy[Stack] = st.tuples(
    st.builds(Ethernet, destination=macs, source=macs, ethertype=st.just(0x0806)),
    st.builds(Arp, operation=word, sender_mac=macs, sender=v4, target_mac=macs, target=v4),
)
frames = ethernet(packets) | arp_frames


def slow_checksum(data: bytes) -> int:
    """Sum up as RFC 1071 says it: words, with the carry added back in."""
    data += b"\0" * (len(data) % 2)
    total = 0
    for (number,) in struct.iter_unpack("!H", data):
        total += number
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


@given(st.binary(max_size=200))
def test_decoding_never_raises_and_every_header_prints_in_one_line(octets: bytes) -> None:
    """Whatever the octets are, decoding ends, and each header fits on one line."""
    for decode in (packet.decode, packet.decode_ip):
        assert all("\n" not in str(layer) for layer in decode(octets))


@given(frames, st.data())
def test_a_damaged_frame_decodes_to_something(frame: Stack, data: st.DataObject) -> None:
    """A frame with some octets overwritten still decodes."""
    octets = bytearray(packet.encode(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(octet)
    assert packet.decode(bytes(octets))


@given(frames)
def test_what_is_encoded_is_decoded(frame: Stack) -> None:
    """Decoding undoes encoding, through any number of tunnels."""
    assert packet.decode(packet.encode(frame)) == frame


@given(frames)
def test_what_is_decoded_encodes_to_the_same_octets(frame: Stack) -> None:
    """Encoding undoes decoding, with every length and checksum."""
    octets = packet.encode(frame)
    assert packet.encode(packet.decode(octets)) == octets


@given(frames, st.data())
def test_a_frame_cut_short_shows_the_headers_that_are_complete(frame: Stack, data: st.DataObject) -> None:
    """A prefix of a frame shows a prefix of its headers, then at most one remainder."""
    octets = packet.encode(frame)
    short = packet.decode(octets[: data.draw(st.integers(0, len(octets) - 1))])
    complete = [layer for layer in short if not isinstance(layer, Truncated | Payload)]
    assert tuple(complete) == frame[: len(complete)]
    assert len(short) - len(complete) <= 1


@given(ethernet(packets), st.binary(max_size=40))
def test_padding_behind_a_packet_is_not_taken_for_a_part_of_it(frame: Stack, padding: bytes) -> None:
    """Ethernet fills short frames up; the packet's own length says where it ends."""
    assert packet.decode(packet.encode(frame) + padding) == frame


@given(st.binary(max_size=101))
def test_the_checksum_is_that_of_rfc_1071(octets: bytes) -> None:
    """The one division agrees with the loop over words."""
    assert packet.checksum(octets) == slow_checksum(octets)


@given(packets)
def test_a_receiver_that_sums_up_an_ipv4_header_gets_zero(carried: tuple[int, Stack]) -> None:
    """RFC 791: the checksum makes the header's sum come out right."""
    version, stack = carried
    octets = packet.encode(stack)
    if version == 4:
        assert packet.checksum(octets[: (octets[0] & 15) * 4]) == 0


_PROTOCOL: dict[type, int] = {Udp: 17, Tcp: 6, Icmp: 58}


@given(v6, v6, st.binary(max_size=40), st.sampled_from([Udp, Tcp, Icmp]))
def test_a_receiver_that_sums_up_a_segment_with_its_pseudo_header_gets_zero(
    source: IPv6Address, destination: IPv6Address, octets: bytes, kind: type
) -> None:
    """RFC 8200 s8.1: UDP, TCP and ICMPv6 sum up the addresses too."""
    make: dict[type, Callable[[], Layer]] = {
        Udp: lambda: Udp(source=1, destination=2),
        Tcp: lambda: Tcp(source=1, destination=2, sequence=3),
        Icmp: lambda: packet.echo_request(version=6, identifier=1, sequence=2),
    }
    outer = Ipv6(source=source, destination=destination, next_header=_PROTOCOL[kind])
    segment = packet.encode((outer, make[kind](), Payload(data=octets)))[40:]
    assert packet.checksum(outer.pseudo_header(len(segment), _PROTOCOL[kind]) + segment) == 0
