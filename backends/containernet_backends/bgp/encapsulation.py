"""How a node wants its packets, in a BGP attribute: RFC 9012 <-> `containernet.model.Tunnel`.

    vxlan      tunnel type 8: VNI and MAC in the encapsulation sub-TLV, the UDP port in one of its own
    ipip       tunnel type 7: nothing but the type
    host-gw    no attribute: plain packets to the next hop

Other tunnel types and sub-TLVs are stepped over (RFC 9012 s13), and of several tunnels the first that we have
words for counts: which to prefer is left to the receiver (s5).
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from containernet.model import Address, Scalar, Tunnel

from .attributes import Encapsulation, is_host
from .families import IPV4, IPV6

IP_IN_IP, VXLAN = 7, 8  # IANA's BGP tunnel types
ENCAPSULATION, EGRESS_ENDPOINT, UDP_PORT = 1, 6, 8  # RFC 9012 s3.2, s3.1, s3.3.2

_HAS_VNI, _HAS_MAC = 0x80, 0x40  # RFC 9012 s3.2.1: V and M


def encode(tunnel: Tunnel, endpoint: Address | None = None) -> tuple[Encapsulation, ...]:
    """Return the encapsulations that say `tunnel`; none for plain packets and for types unknown to BGP.

    Args:
        endpoint: where packets are to be sent; None: wherever the next hop is, even if somebody changes that.
    """
    if tunnel.type == "ipip":
        return (Encapsulation(IP_IN_IP, (_endpoint(endpoint),)),)
    if tunnel.type != "vxlan":
        return ()
    subtlvs = [(ENCAPSULATION, _vxlan(tunnel)), _endpoint(endpoint)]
    port = tunnel.get("Port")
    if isinstance(port, int):
        subtlvs.append((UDP_PORT, port.to_bytes(2, "big")))
    return (Encapsulation(VXLAN, tuple(subtlvs)),)


def decode(encapsulations: Iterable[Encapsulation]) -> tuple[Tunnel, Address | None]:
    """Return the tunnel that is asked for, and its endpoint if that is not the next hop.

    Where nothing is asked for that we know, the tunnel has no type.
    """
    for each in encapsulations:
        values = dict(reversed(each.subtlvs))  # RFC 9012 s13: of one that may stand only once the first counts
        endpoints = [value for kind, value in each.subtlvs if kind == EGRESS_ENDPOINT]
        endpoint = _endpoint_of(endpoints[0]) if len(endpoints) == 1 else None  # but for this one
        if endpoint is None or each.type not in (IP_IN_IP, VXLAN):  # RFC 9012 s3.1: such a tunnel is ignored
            continue
        address = endpoint or None
        if each.type == IP_IN_IP:
            return Tunnel(type="ipip"), address
        return Tunnel(type="vxlan", data=_vxlan_of(values)), address
    return Tunnel(), None


def _endpoint(address: Address | None) -> tuple[int, bytes]:
    # RFC 9012 s3.1: four reserved octets, the address family, the address; family 0 is the next hop
    if address is None:
        return EGRESS_ENDPOINT, bytes(6)
    family = IPV4 if address.version == 4 else IPV6
    return EGRESS_ENDPOINT, bytes(4) + family.afi.to_bytes(2, "big") + address.packed


def _endpoint_of(value: bytes) -> Address | tuple[()] | None:
    """Return the endpoint; (): the next hop; None: there is none, and the tunnel is of no use."""
    shape = int.from_bytes(value[4:6], "big"), len(value)
    if shape == (0, 6):
        return ()
    if shape not in ((IPV4.afi, 10), (IPV6.afi, 22)):
        return None
    address = IPv4Address(value[6:]) if len(value) == 10 else IPv6Address(value[6:])
    return address if is_host(address) else None


def _vxlan(tunnel: Tunnel) -> bytes:
    # RFC 9012 s3.2.1: flags, VN-ID, MAC, two reserved octets; what a flag does not vouch for is zero
    vni, mac = tunnel.get("VNI"), tunnel.get("VtepMAC")
    flags = _HAS_VNI * isinstance(vni, int) | _HAS_MAC * isinstance(mac, str)
    number = vni if isinstance(vni, int) else 0
    octets = bytes.fromhex(mac.replace(":", "")) if isinstance(mac, str) else bytes(6)
    return bytes([flags]) + number.to_bytes(3, "big") + octets + bytes(2)


def _vxlan_of(values: dict[int, bytes]) -> dict[str, Scalar]:
    data: dict[str, Scalar] = {}
    value, port = values.get(ENCAPSULATION, b""), values.get(UDP_PORT, b"")
    if len(value) == 12:  # RFC 9012 s13: a sub-TLV of another length is taken for one that is not known
        if value[0] & _HAS_VNI:
            data["VNI"] = int.from_bytes(value[1:4], "big")
        if value[0] & _HAS_MAC:
            data["VtepMAC"] = value[4:10].hex(":")
    if len(port) == 2 and any(port):  # RFC 9012 s3.3.2
        data["Port"] = int.from_bytes(port, "big")
    return data
