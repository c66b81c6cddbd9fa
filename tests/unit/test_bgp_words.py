"""Communities and tunnels, as BGP has them and as people and dataplanes do."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from containernet.errors import ConfigError
from containernet.model import Scalar, Tunnel
from containernet_backends.bgp import communities, encapsulation
from containernet_backends.bgp.attributes import Encapsulation

SAID: dict[str, Scalar] = {"VNI": 1, "VtepMAC": "02:00:5e:10:00:01"}

WORDS: dict[str, communities.Community] = {
    "65000:1": 0xFDE80001,
    "no-export": 0xFFFFFF01,
    "no-advertise": 0xFFFFFF02,
    "no-export-subconfed": 0xFFFFFF03,
    "graceful-shutdown": 0xFFFF0000,
    "blackhole": 0xFFFF029A,
    "rt:65000:70000": bytes.fromhex("0002 fde8 00011170"),
    "soo:192.0.2.1:7": bytes.fromhex("0103 c0000201 0007"),
    "rt:70000:7": bytes.fromhex("0202 00011170 0007"),
    "0x0600000000000008": bytes.fromhex("0600000000000008"),
    "65000:1:4294967295": (65000, 1, 4294967295),
}


@pytest.mark.parametrize(("text", "community"), WORDS.items())
def test_communities_in_words(text: str, community: communities.Community) -> None:
    """RFC 1997, RFC 4360, RFC 5668, RFC 8092, and IANA's names."""
    assert communities.parse(text) == community
    assert communities.show(community) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "65536:1",
        "1:65536",
        "1:2:3:4",
        "1:2:4294967296",
        "rt:1",
        "rt:70000:65536",
        "rt:1.2.3.256:1",
        "no",
    ],
)
def test_words_that_stand_for_no_community(text: str) -> None:
    """The message says what would."""
    with pytest.raises(ConfigError, match="expected two numbers"):
        communities.parse(text)


def test_a_vxlan_tunnel_octet_by_octet() -> None:
    """RFC 9012 s3.2.1: V and M, VN-ID, MAC, two reserved octets; s3.1: the endpoint; s3.3.2: the port."""
    tunnel = Tunnel(type="vxlan", data={**SAID, "VNI": 0x010203, "Port": 8472})
    (one,) = encapsulation.encode(tunnel, IPv4Address("192.0.2.9"))
    assert one == Encapsulation(
        8,
        (
            (1, bytes.fromhex("c0 010203 02005e100001 0000")),
            (6, bytes.fromhex("00000000 0001 c0000209")),
            (8, bytes.fromhex("2118")),
        ),
    )


def test_plain_packets_need_no_attribute() -> None:
    """host-gw, and whatever has no number in IANA's registry."""
    assert encapsulation.encode(Tunnel(type="host-gw")) == ()
    assert encapsulation.encode(Tunnel()) == ()
    assert encapsulation.decode(()) == (Tunnel(), None)


ENDPOINT = (6, bytes(6))
VXLAN = (1, bytes.fromhex("c0 000001 02005e100001 0000"))


@pytest.mark.parametrize(
    ("tunnels", "expected"),
    [
        ([Encapsulation(2, (ENDPOINT,)), Encapsulation(7, (ENDPOINT,))], Tunnel(type="ipip")),
        ([Encapsulation(7, ())], Tunnel()),
        ([Encapsulation(7, ((6, bytes(5)),))], Tunnel()),
        ([Encapsulation(7, ((6, bytes.fromhex("00000000 0001 e0000001")),))], Tunnel()),
        ([Encapsulation(7, ((6, bytes.fromhex("00000000 0002 c0000201")),))], Tunnel()),
        ([Encapsulation(8, (ENDPOINT,))], Tunnel(type="vxlan")),
        ([Encapsulation(8, ((1, bytes(11)), ENDPOINT))], Tunnel(type="vxlan")),
        ([Encapsulation(8, ((1, bytes(12)), ENDPOINT))], Tunnel(type="vxlan")),
        (
            [Encapsulation(8, (VXLAN, (8, bytes(2)), ENDPOINT))],
            Tunnel(type="vxlan", data=SAID),
        ),
        (
            [Encapsulation(8, (VXLAN, (1, bytes(12)), ENDPOINT))],
            Tunnel(type="vxlan", data=SAID),
        ),
        ([Encapsulation(8, (VXLAN, ENDPOINT, ENDPOINT))], Tunnel()),
    ],
    ids=[
        "the first that is known",
        "without an endpoint",
        "with an endpoint of no length",
        "with a multicast endpoint",
        "with an endpoint of another family",
        "without an encapsulation sub-TLV",
        "with one of another length",
        "with one that vouches for nothing",
        "with port 0",
        "with two, of which the first counts",
        "with two endpoints, which no tunnel has",
    ],
)
def test_tunnels_that_others_announce(tunnels: list[Encapsulation], expected: Tunnel) -> None:
    """RFC 9012 s3.1, s3.2.1, s13."""
    assert encapsulation.decode(tunnels) == (expected, None)
