"""A frame's bytes as headers, outermost first, and back.

Pure: bytes in, values out. It knows the headers met on a container's way: Ethernet, ARP, IPv4, IPv6 and its
extension headers, ICMP for both, UDP, TCP, VXLAN with the Ethernet frame inside, and IP in IP. A tunnel is
no special case: the inner headers simply follow the outer ones, and an ICMP error is followed by the packet
that it quotes.

Decoding never raises: what ends too early becomes `Truncated`, what nobody here knows becomes `Payload`.
Checksums are computed when encoding and not judged when decoding, because a frame captured on a veth often
has none: the kernel leaves them to a network card that is not there.

Each value prints itself in one line, in words near tcpdump's.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar

import attrs

from .model import Address

ETHERNET_HEADER = 14  # octets
VXLAN_PORTS = frozenset({4789, 8472})  # IANA's (RFC 7348 s5), and the one that Linux and flannel took before

ECHO_REQUEST = {4: 8, 6: 128}  # RFC 792, RFC 4443 s4.1: ICMP type by IP version
ECHO_REPLY = {4: 0, 6: 129}
_ICMP_PROTOCOL = {4: 1, 6: 58}
_IN_IP = {4: 4, 6: 41}  # RFC 2003 s3.1, RFC 2473 s3: the protocol number of IP inside IP

_ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "802.1Q"}
_PROTOCOLS = {
    0: "Hop-by-Hop", 1: "ICMP", 4: "IPv4", 6: "TCP", 17: "UDP", 41: "IPv6", 43: "Routing", 44: "Fragment",
    47: "GRE", 50: "ESP", 58: "ICMPv6", 59: "none", 60: "Destination Options",
}  # fmt: skip
_EXTENSIONS = frozenset({0, 43, 44, 60})  # RFC 8200 s4: those that say themselves where they end
_FRAGMENT = 44


class _Undecodable(Exception):
    """The bytes are not that header. `args`: its name where they end too early, nothing where they are junk."""


Parser = Callable[[bytes], "tuple[Layer, bytes]"]


def _need(data: bytes, octets: int, name: str) -> None:
    if len(data) < octets:
        raise _Undecodable(name)


def _mac(data: bytes) -> str:
    return data.hex(":")


def checksum(data: bytes) -> int:
    """Return the Internet checksum of `data` (RFC 1071): the complement of the ones' complement sum."""
    # 2**16 is 1 modulo 2**16 - 1, so the sum of all 16-bit words is the whole number's remainder. The
    # remainder 0 stands for both zeros of ones' complement; only all-zero data sums to the positive one.
    number = int.from_bytes(data + b"\0" * (len(data) % 2), "big")
    return 0xFFFF - (number % 0xFFFF or (0xFFFF if number else 0))


@attrs.frozen(kw_only=True)
class Ethernet:
    """An Ethernet II header (RFC 894); the frame check sequence never reaches software."""

    destination: str
    source: str
    ethertype: int

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Ethernet, bytes]:
        """Return the header at the beginning of `data`, and what follows it."""
        _need(data, ETHERNET_HEADER, "Ethernet")
        ethertype = int.from_bytes(data[12:14], "big")
        header = cls(destination=_mac(data[:6]), source=_mac(data[6:12]), ethertype=ethertype)
        return header, data[ETHERNET_HEADER:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets, with `payload` behind them."""
        addresses = bytes.fromhex((self.destination + self.source).replace(":", ""))
        return addresses + self.ethertype.to_bytes(2, "big") + payload

    def following(self) -> Parser | None:
        """Return what reads the next header; None: what follows is payload."""
        parsers: dict[int, Parser] = {0x0800: Ipv4.unpack, 0x0806: Arp.unpack, 0x86DD: Ipv6.unpack}
        return parsers.get(self.ethertype)

    def __str__(self) -> str:
        name = _ETHERTYPES.get(self.ethertype, f"0x{self.ethertype:04x}")
        return f"Ethernet {self.source} > {self.destination}, ethertype {name}"


@attrs.frozen(kw_only=True)
class Arp:
    """Who has that IPv4 address, for Ethernet (RFC 826)."""

    operation: int
    sender_mac: str
    sender: IPv4Address
    target_mac: str
    target: IPv4Address

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("!HHBBH6s4s6s4s")
    _ETHERNET_IPV4: ClassVar[tuple[int, int, int, int]] = (1, 0x0800, 6, 4)

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Arp, bytes]:
        """Return the header, and nothing: what follows an ARP packet is the frame's padding."""
        _need(data, cls._LAYOUT.size, "ARP")
        *kind, operation, sender_mac, sender, target_mac, target = cls._LAYOUT.unpack_from(data)
        if tuple(kind) != cls._ETHERNET_IPV4:
            raise _Undecodable
        header = cls(
            operation=operation,
            sender_mac=_mac(sender_mac),
            sender=IPv4Address(sender),
            target_mac=_mac(target_mac),
            target=IPv4Address(target),
        )
        return header, b""

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the packet's octets, with `payload`, which can only be padding, behind them."""
        macs = [bytes.fromhex(mac.replace(":", "")) for mac in (self.sender_mac, self.target_mac)]
        addresses = (macs[0], self.sender.packed, macs[1], self.target.packed)
        return self._LAYOUT.pack(*self._ETHERNET_IPV4, self.operation, *addresses) + payload

    def following(self) -> Parser | None:
        """Return None: nothing follows."""
        return None

    def __str__(self) -> str:
        if self.operation == 1:
            return f"ARP, Request who-has {self.target} tell {self.sender}"
        if self.operation == 2:
            return f"ARP, Reply {self.sender} is-at {self.sender_mac}"
        return f"ARP, operation {self.operation} from {self.sender}"


@attrs.frozen(kw_only=True)
class Ipv4:
    """An IPv4 header (RFC 791).

    Args:
        protocol: what follows, by IANA's number.
        offset: where this fragment belongs, in octets, a multiple of 8.
        options: 0 to 40 octets, a multiple of 4.
        length: of the packet with its header, as the header has it; computed when encoding.
    """

    source: IPv4Address
    destination: IPv4Address
    protocol: int
    ttl: int = 64
    tos: int = 0
    identification: int = 0
    dont_fragment: bool = False
    more_fragments: bool = False
    offset: int = 0
    options: bytes = b""
    length: int = attrs.field(default=0, eq=False)

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("!BBHHHBBH4s4s")

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Ipv4, bytes]:
        """Return the header, and what its length says is the packet's own: no padding of the frame."""
        _need(data, 20, "IPv4")
        first, tos, length, identification, fragment, ttl, protocol, _, source, destination = (
            cls._LAYOUT.unpack_from(data)
        )
        start = (first & 15) * 4
        if first >> 4 != 4 or start < 20:
            raise _Undecodable
        _need(data, start, "IPv4")
        header = cls(
            source=IPv4Address(source),
            destination=IPv4Address(destination),
            protocol=protocol,
            ttl=ttl,
            tos=tos,
            identification=identification,
            dont_fragment=bool(fragment & 0x4000),
            more_fragments=bool(fragment & 0x2000),
            offset=(fragment & 0x1FFF) * 8,
            options=data[20:start],
            length=length,
        )
        # Length 0 is what segmentation offload leaves in a packet of more than 65535 octets.
        return header, data[start : max(length, start)] if length else data[start:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets with length and checksum, and `payload` behind them."""
        start = 20 + len(self.options)
        fragment = self.dont_fragment << 14 | self.more_fragments << 13 | self.offset // 8
        fields = [4 << 4 | start // 4, self.tos, start + len(payload), self.identification, fragment]
        fields += [self.ttl, self.protocol]
        addresses = (self.source.packed, self.destination.packed)
        unsummed = self._LAYOUT.pack(*fields, 0, *addresses) + self.options
        return self._LAYOUT.pack(*fields, checksum(unsummed), *addresses) + self.options + payload

    def following(self) -> Parser | None:
        """Return what reads the next header; None in a later fragment, which begins anywhere."""
        return None if self.offset else _by_protocol(self.protocol)

    def pseudo_header(self, octets: int, protocol: int) -> bytes:
        """Return what UDP and TCP sum up besides themselves (RFC 768, RFC 9293 s3.1)."""
        return self.source.packed + self.destination.packed + struct.pack("!HH", protocol, octets)

    def __str__(self) -> str:
        words = [f"IP {self.source} > {self.destination}: proto {_protocol_name(self.protocol)}"]
        words.append(f"ttl {self.ttl}")
        words += ["DF"] * self.dont_fragment
        if self.offset or self.more_fragments:
            words.append(f"fragment at {self.offset}{'+' * self.more_fragments}")
        return ", ".join([*words, f"length {self.length}"])


@attrs.frozen(kw_only=True)
class Ipv6:
    """An IPv6 header (RFC 8200).

    Args:
        next_header: what follows, by IANA's number.
        length: of what follows the header, as the header has it; computed when encoding.
    """

    source: IPv6Address
    destination: IPv6Address
    next_header: int
    hop_limit: int = 64
    traffic_class: int = 0
    flow_label: int = 0
    length: int = attrs.field(default=0, eq=False)

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("!IHBB16s16s")

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Ipv6, bytes]:
        """Return the header, and what its length says is the packet's own: no padding of the frame."""
        _need(data, 40, "IPv6")
        first, length, next_header, hop_limit, source, destination = cls._LAYOUT.unpack_from(data)
        if first >> 28 != 6:
            raise _Undecodable
        header = cls(
            source=IPv6Address(source),
            destination=IPv6Address(destination),
            next_header=next_header,
            hop_limit=hop_limit,
            traffic_class=first >> 20 & 0xFF,
            flow_label=first & 0xFFFFF,
            length=length,
        )
        # RFC 2675 s3: length 0 before a hop-by-hop header is a jumbogram, which says its length in there.
        return header, data[40:] if length == next_header == 0 else data[40 : 40 + length]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets with its length, and `payload` behind them."""
        first = 6 << 28 | self.traffic_class << 20 | self.flow_label
        addresses = (self.source.packed, self.destination.packed)
        return self._LAYOUT.pack(first, len(payload), self.next_header, self.hop_limit, *addresses) + payload

    def following(self) -> Parser | None:
        """Return what reads the next header."""
        return _by_protocol(self.next_header)

    def pseudo_header(self, octets: int, protocol: int) -> bytes:
        """Return what UDP, TCP and ICMPv6 sum up besides themselves (RFC 8200 s8.1)."""
        return self.source.packed + self.destination.packed + struct.pack("!II", octets, protocol)

    def __str__(self) -> str:
        name = _protocol_name(self.next_header)
        return (
            f"IP6 {self.source} > {self.destination}: next-header {name}, "
            f"hlim {self.hop_limit}, payload length {self.length}"
        )


@attrs.frozen(kw_only=True)
class Extension:
    """An IPv6 extension header (RFC 8200 s4), its content left as octets.

    Args:
        kind: its own number: 0, 43, 44 or 60.
        next_header: what follows.
        body: what comes after the first two octets; with them a multiple of 8 octets.
    """

    kind: int
    next_header: int
    body: bytes

    @classmethod
    def unpack(cls, data: bytes, *, kind: int) -> tuple[Extension, bytes]:
        """Return the header, and what follows it."""
        _need(data, 8, "IPv6 extension")
        # RFC 8200 s4.5: a fragment header has 8 octets, and its second one is reserved.
        end = 8 if kind == _FRAGMENT else 8 * (data[1] + 1)
        _need(data, end, "IPv6 extension")
        return cls(kind=kind, next_header=data[0], body=data[2:end]), data[end:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets, with `payload` behind them."""
        length = 0 if self.kind == _FRAGMENT else (len(self.body) + 2) // 8 - 1
        return bytes((self.next_header, length)) + self.body + payload

    def following(self) -> Parser | None:
        """Return what reads the next header; None in a later fragment, which begins anywhere."""
        later = self.kind == _FRAGMENT and int.from_bytes(self.body[:2], "big") >> 3
        return None if later else _by_protocol(self.next_header)

    def __str__(self) -> str:
        return f"IP6 {_protocol_name(self.kind)} header, next-header {_protocol_name(self.next_header)}"


_ICMP_NAMES = {
    (4, 0): "echo reply", (4, 3): "unreachable", (4, 5): "redirect", (4, 8): "echo request",
    (4, 11): "time exceeded", (4, 12): "parameter problem",
    (6, 1): "unreachable", (6, 2): "packet too big", (6, 3): "time exceeded", (6, 4): "parameter problem",
    (6, 128): "echo request", (6, 129): "echo reply", (6, 133): "router solicitation",
    (6, 134): "router advertisement", (6, 135): "neighbor solicitation", (6, 136): "neighbor advertisement",
    (6, 143): "multicast listener report",
}  # fmt: skip
_QUOTES = frozenset({(4, 3), (4, 5), (4, 11), (4, 12), (6, 1), (6, 2), (6, 3), (6, 4)})
_UNREACHABLE = {
    (4, 0): "net", (4, 1): "host", (4, 2): "protocol", (4, 3): "port", (4, 13): "prohibited",
    (6, 0): "no route", (6, 1): "prohibited", (6, 3): "address", (6, 4): "port",
}  # fmt: skip


@attrs.frozen(kw_only=True)
class Icmp:
    """An ICMP header: RFC 792 for IPv4, RFC 4443 for IPv6.

    Args:
        version: 4 or 6; the same type number means different things in the two.
        rest: the second four octets, whose meaning depends on the type.
    """

    version: int
    type: int
    code: int = 0
    rest: int = 0

    @classmethod
    def unpack(cls, data: bytes, *, version: int) -> tuple[Icmp, bytes]:
        """Return the header, and what follows it."""
        _need(data, 8, "ICMP" if version == 4 else "ICMPv6")
        type_, code, _, rest = struct.unpack_from("!BBHI", data)
        return cls(version=version, type=type_, code=code, rest=rest), data[8:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets with the checksum, and `payload` behind them."""
        start = struct.pack("!BBHI", self.type, self.code, 0, self.rest)
        # RFC 4443 s2.3: ICMPv6 sums up a pseudo-header too, ICMP does not.
        pseudo = _pseudo_header(outer, 8 + len(payload), 58) if self.version == 6 else b""
        return start[:2] + checksum(pseudo + start + payload).to_bytes(2, "big") + start[4:] + payload

    def following(self) -> Parser | None:
        """Return what reads the packet that an error quotes; None: payload follows."""
        if (self.version, self.type) not in _QUOTES:
            return None
        return Ipv4.unpack if self.version == 4 else Ipv6.unpack

    @property
    def identifier(self) -> int:
        """Of an echo: whose it is."""
        return self.rest >> 16

    @property
    def sequence(self) -> int:
        """Of an echo: which one it is."""
        return self.rest & 0xFFFF

    @property
    def mtu(self) -> int | None:
        """Of an error that says a packet was too big: what would have fitted (RFC 1191 s4, RFC 4443 s3.2)."""
        match (self.version, self.type, self.code):
            case (4, 3, 4):
                return self.rest & 0xFFFF
            case (6, 2, _):
                return self.rest
            case _:
                return None

    def __str__(self) -> str:
        family = "ICMP" if self.version == 4 else "ICMP6"
        name = _ICMP_NAMES.get((self.version, self.type), f"type {self.type} code {self.code}")
        if self.type in (ECHO_REQUEST[self.version], ECHO_REPLY[self.version]):
            return f"{family} {name}, id {self.identifier}, seq {self.sequence}"
        if self.mtu is not None:
            return f"{family} {'unreachable - need to frag' if self.version == 4 else name}, mtu {self.mtu}"
        if name == "unreachable":
            name += f" - {_UNREACHABLE.get((self.version, self.code), f'code {self.code}')}"
        return f"{family} {name}"


@attrs.frozen(kw_only=True)
class Udp:
    """A UDP header (RFC 768).

    Args:
        length: with the header, as the header has it; computed when encoding.
    """

    source: int
    destination: int
    length: int = attrs.field(default=0, eq=False)

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Udp, bytes]:
        """Return the header, and what its length says is the datagram's own."""
        _need(data, 8, "UDP")
        source, destination, length = struct.unpack_from("!HHH", data)
        # RFC 2675 s4: length 0 means up to the packet's end.
        rest = data[8 : max(length, 8)] if length else data[8:]
        return cls(source=source, destination=destination, length=length), rest

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets with length and checksum, and `payload` behind them."""
        length = 8 + len(payload)
        start = struct.pack("!HHH", self.source, self.destination, length)
        total = checksum(_pseudo_header(outer, length, 17) + start + payload)
        # RFC 768: a sum of 0 is sent as all ones, for 0 means that there is none.
        return start + (total or 0xFFFF).to_bytes(2, "big") + payload

    def following(self) -> Parser | None:
        """Return what reads a VXLAN header, where the port says so."""
        return Vxlan.unpack if self.destination in VXLAN_PORTS else None

    def __str__(self) -> str:
        return f"UDP {self.source} > {self.destination}, length {self.length}"


_TCP_FLAGS = "FSRP.UEW"  # from the lowest bit up: FIN SYN RST PSH ACK URG ECE CWR


@attrs.frozen(kw_only=True)
class Tcp:
    """A TCP header (RFC 9293 s3.1).

    Args:
        flags: the eight control bits.
        options: 0 to 40 octets, a multiple of 4.
    """

    source: int
    destination: int
    sequence: int
    acknowledgement: int = 0
    flags: int = 0
    window: int = 0
    urgent: int = 0
    options: bytes = b""

    _LAYOUT: ClassVar[struct.Struct] = struct.Struct("!HHIIBBHHH")

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Tcp, bytes]:
        """Return the header, and what follows it."""
        _need(data, 20, "TCP")
        source, destination, sequence, acknowledgement, offset, flags, window, _, urgent = (
            cls._LAYOUT.unpack_from(data)
        )
        start = (offset >> 4) * 4
        if start < 20:
            raise _Undecodable
        _need(data, start, "TCP")
        header = cls(
            source=source,
            destination=destination,
            sequence=sequence,
            acknowledgement=acknowledgement,
            flags=flags,
            window=window,
            urgent=urgent,
            options=data[20:start],
        )
        return header, data[start:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets with the checksum, and `payload` behind them."""
        start = 20 + len(self.options)
        fields = [self.source, self.destination, self.sequence, self.acknowledgement]
        fields += [start // 4 << 4, self.flags, self.window]
        unsummed = self._LAYOUT.pack(*fields, 0, self.urgent) + self.options + payload
        total = checksum(_pseudo_header(outer, len(unsummed), 6) + unsummed)
        return self._LAYOUT.pack(*fields, total, self.urgent) + self.options + payload

    def following(self) -> Parser | None:
        """Return None: what follows is the stream's."""
        return None

    def __str__(self) -> str:
        flags = "".join(sign for bit, sign in enumerate(_TCP_FLAGS) if self.flags >> bit & 1) or "none"
        words = [f"TCP {self.source} > {self.destination}: Flags [{flags}]", f"seq {self.sequence}"]
        words += [f"ack {self.acknowledgement}"] * (self.flags >> 4 & 1)
        return ", ".join([*words, f"win {self.window}"])


@attrs.frozen(kw_only=True)
class Vxlan:
    """A VXLAN header (RFC 7348 s5); an Ethernet frame follows."""

    vni: int

    @classmethod
    def unpack(cls, data: bytes) -> tuple[Vxlan, bytes]:
        """Return the header, and the inner frame."""
        _need(data, 8, "VXLAN")
        # RFC 7348 s5: the I flag must be set for a valid VNI; the other flags are ignored on receipt.
        if not data[0] & 0x08:
            raise _Undecodable
        return cls(vni=int.from_bytes(data[4:7], "big")), data[8:]

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the header's octets, with `payload` behind them."""
        return b"\x08\0\0\0" + self.vni.to_bytes(3, "big") + b"\0" + payload

    def following(self) -> Parser | None:
        """Return what reads the inner frame."""
        return Ethernet.unpack

    def __str__(self) -> str:
        return f"VXLAN vni {self.vni}"


@attrs.frozen(kw_only=True)
class Payload:
    """Octets that nobody here reads any further."""

    data: bytes

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the octets, with `payload` behind them."""
        return self.data + payload

    def following(self) -> Parser | None:
        """Return None: there is nothing to read."""
        return None

    def __str__(self) -> str:
        return f"payload, {len(self.data)} octets"


@attrs.frozen(kw_only=True)
class Truncated:
    """What should have been a header, but ended before it was complete.

    Args:
        name: the header that was expected.
        data: what there was of it.
    """

    name: str
    data: bytes

    def pack(self, payload: bytes, outer: Layer | None) -> bytes:
        """Return the octets that there were."""
        return self.data + payload

    def following(self) -> Parser | None:
        """Return None: nothing follows."""
        return None

    def __str__(self) -> str:
        return f"truncated {self.name}, {len(self.data)} octets"


Layer = Ethernet | Arp | Ipv4 | Ipv6 | Extension | Icmp | Udp | Tcp | Vxlan | Payload | Truncated


def decode(frame: bytes) -> tuple[Layer, ...]:
    """Return the headers of an Ethernet frame, outermost first; never raises."""
    return tuple(_walk(frame, Ethernet.unpack))


def decode_ip(packet: bytes) -> tuple[Layer, ...]:
    """Return the headers of a packet that begins with IPv4 or IPv6, outermost first; never raises."""
    parser: Parser = Ipv6.unpack if packet[:1] and packet[0] >> 4 == 6 else Ipv4.unpack
    return tuple(_walk(packet, parser))


def encode(layers: Iterable[Layer]) -> bytes:
    """Return the octets of headers, outermost first; lengths and checksums are computed.

    The fields that say what follows (ethertype, protocol) are the caller's, and sent as they are. The
    checksum of UDP, TCP and ICMPv6 covers the IP header before it; without one it covers itself alone.
    """
    stack = tuple(layers)
    data = b""
    for position in range(len(stack) - 1, -1, -1):
        data = stack[position].pack(data, _network_layer(stack[:position]))
    return data


def echo_request(*, version: int, identifier: int, sequence: int) -> Icmp:
    """Return the header of an echo request, of ICMP (version 4) or ICMPv6 (version 6)."""
    return Icmp(version=version, type=ECHO_REQUEST[version], rest=identifier << 16 | sequence)


def header(*, source: Address, destination: Address, protocol: int) -> Ipv4 | Ipv6:
    """Return an IP header of the addresses' family, everything else by default."""
    if isinstance(source, IPv4Address) and isinstance(destination, IPv4Address):
        return Ipv4(source=source, destination=destination, protocol=protocol)
    if isinstance(source, IPv6Address) and isinstance(destination, IPv6Address):
        return Ipv6(source=source, destination=destination, next_header=protocol)
    raise ValueError(f"{source} and {destination} are of two families")


def _walk(data: bytes, parser: Parser | None) -> Iterator[Layer]:
    while parser is not None:
        try:
            layer, rest = parser(data)
        except _Undecodable as error:
            if error.args:
                yield Truncated(name=error.args[0], data=data)
                return
            break
        yield layer
        data, parser = rest, layer.following()
    if data:
        yield Payload(data=data)


def _by_protocol(number: int) -> Parser | None:
    if number in _EXTENSIONS:
        return functools.partial(Extension.unpack, kind=number)
    for version, own in _ICMP_PROTOCOL.items():
        if number == own:
            return functools.partial(Icmp.unpack, version=version)
    parsers: dict[int, Parser] = {4: Ipv4.unpack, 6: Tcp.unpack, 17: Udp.unpack, 41: Ipv6.unpack}
    return parsers.get(number)


def _protocol_name(number: int) -> str:
    return _PROTOCOLS.get(number, str(number))


def _network_layer(outer: tuple[Layer, ...]) -> Layer | None:
    """Return the innermost IP header, over extension headers only."""
    for layer in reversed(outer):
        if not isinstance(layer, Extension):
            return layer
    return None


def _pseudo_header(outer: Layer | None, octets: int, protocol: int) -> bytes:
    return outer.pseudo_header(octets, protocol) if isinstance(outer, Ipv4 | Ipv6) else b""
