"""[store.bgp]: what an operator may write, and what he is told when it cannot be."""

from __future__ import annotations

import tomllib
from ipaddress import ip_address, ip_network

import pytest

from containernet.errors import ConfigError
from containernet.options import build
from containernet_backends.bgp.families import FAMILIES, IPV4
from containernet_backends.bgp.options import CALICO_LOCAL_PREF, BgpOptions, Listening

ADDRESS = ip_address("192.0.2.2")


def options(text: str = "") -> BgpOptions:
    """Return what such a table comes to."""
    return build(BgpOptions, tomllib.loads(f"asn = 64512\n{text}"), table="store.bgp")


def test_one_number_is_enough() -> None:
    """All but the AS has a default."""
    alone = options()
    assert alone.peers == ()
    assert [str(each) for each in alone.listening] == ["0.0.0.0:179", "[::]:179"]
    assert alone.preference == 100


def test_a_peer_without_an_as_is_of_ours() -> None:
    """A peer without an AS is of ours: the session is internal, and may pass routers."""
    own = options('[[peer]]\naddress = "192.0.2.2"')
    peer = own.peering(own.peers[0], ADDRESS)
    assert (peer.asn, peer.hold_time, peer.passive, peer.dynamic) == (64512, 9, False, False)
    assert peer.families == FAMILIES
    assert not own.external(own.peers[0])
    assert own.travel(own.peers[0]).ttl == 255


def test_an_external_peer_is_one_link_away_unless_told_otherwise() -> None:
    """What goes to an external peer has a TTL of 1, or of `multihop`."""
    own = options('[[peer]]\naddress = "192.0.2.2"\nasn = 65001')
    assert own.external(own.peers[0])
    assert own.travel(own.peers[0]).ttl == 1
    own = options('[[peer]]\naddress = "192.0.2.2"\nasn = 65001\nmultihop = 3')
    assert own.travel(own.peers[0]).ttl == 3


def test_a_range_stands_for_peers_that_call() -> None:
    """Peers out of a range are never dialled, and forgotten at the end."""
    own = options('[[peer]]\nrange = "192.0.2.0/24"\nclient = true\nfamilies = ["ipv4"]\nadd_paths = true')
    peer = own.peering(own.peers[0], ADDRESS)
    assert own.peers[0].reached == ip_network("192.0.2.0/24")
    assert peer.dynamic
    assert peer.passive
    assert peer.families == peer.add_paths == (IPV4,)


def test_an_external_range_takes_any_as() -> None:
    """What AS a caller is of, its OPEN says."""
    own = options('[[peer]]\nrange = "192.0.2.0/24"\nexternal = true')
    peer = own.peering(own.peers[0], ADDRESS)
    assert (peer.asn, peer.external) == (0, True)
    assert own.external(own.peers[0])


def test_the_profile_calico_is_as_its_nodes_are() -> None:
    """The profile changes defaults, and what is written stands."""
    own = options('profile = "calico"\n[[peer]]\naddress = "192.0.2.2"')
    assert own.preference == CALICO_LOCAL_PREF == 2147482623
    assert own.peering(own.peers[0], ADDRESS).hold_time == 240
    assert options('profile = "calico"\nlocal_pref = 7').preference == 7


def test_callers_from_afar_are_stopped_where_no_peer_may_be_there() -> None:
    """RFC 5082: by family, the one that may be farthest away; one that may be anywhere opens it for all."""
    near = '[[peer]]\naddress = "192.0.2.2"\nttl_security = 1\n'
    far = '[[peer]]\naddress = "192.0.2.3"\nttl_security = 3\n'
    anywhere = '[[peer]]\naddress = "2001:db8::2"\n'
    assert options(near + far + anywhere).hops(4) == 3
    assert options(near + far + anywhere).hops(6) == 0
    assert options(near + '[[peer]]\naddress = "192.0.2.4"').hops(4) == 0
    assert options("").hops(4) == 0


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [
        ("192.0.2.1", "192.0.2.1", 179),
        ("192.0.2.1:1790", "192.0.2.1", 1790),
        ("[2001:db8::1]:1790", "2001:db8::1", 1790),
        ("[2001:db8::1]", "2001:db8::1", 179),
        ("2001:db8::1", "2001:db8::1", 179),
    ],
)
def test_where_to_listen(text: str, address: str, port: int) -> None:
    """An address, with a port or without, is read, and read again as it is printed."""
    assert Listening.parse(text) == Listening(ip_address(address), port)
    assert Listening.parse(str(Listening.parse(text))) == Listening.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('router_id = "0.0.0.0"', "router_id = '0.0.0.0'"),
        ('cluster_id = "ten"', "cluster_id = 'ten'"),
        ("hold_time = 2", "hold_time = 2: expected 0"),
        ('profile = "cisco"', "profile = 'cisco'"),
        ("start_wait = -1", "start_wait = -1"),
        ("asm = 3", "did you mean 'asn'"),
        ('listen = ["192.0.2.1:0"]', "listen: '192.0.2.1:0'"),
        ('listen = ["host:179"]', "listen: 'host:179'"),
        ('listen = ["[::1]179"]', "listen: '[::1]179'"),
        ("listen = [179]", "listen: 179"),
        ("[[peer]]", "either address or range"),
        ('[[peer]]\naddress = "192.0.2.2"\nrange = "192.0.2.0/24"', "either address or range"),
        ('[[peer]]\naddress = "192.0.2"', "address = '192.0.2'"),
        ('[[peer]]\nrange = "192.0.2.1/24"', "has host bits set"),
        ('[[peer]]\naddress = "192.0.2.2"\nfamilies = ["ipx"]', "families: 'ipx'"),
        ('[[peer]]\naddress = "192.0.2.2"\nhold_time = 1', "[store.bgp.peer] hold_time = 1"),
        ('[[peer]]\naddress = "192.0.2.2"\nasn = 65001\nexternal = true', "external = true"),
        ('[[peer]]\naddress = "192.0.2.2"\nttl_security = 255', "ttl_security = 255"),
        (f'[[peer]]\naddress = "192.0.2.2"\npassword = "{"x" * 81}"', "at most 80 octets"),
        ('[[peer]]\naddress = "192.0.2.2"\n[[peer]]\naddress = "192.0.2.2"', "192.0.2.2/32 is there 2 times"),
        ('listen = []\n[[peer]]\nrange = "192.0.2.0/24"', "would have to call us"),
    ],
)
def test_what_cannot_be_is_said_with_its_value(text: str, words: str) -> None:
    """What cannot be is refused before any socket is opened, with the key and its value."""
    with pytest.raises(ConfigError) as caught:
        options(text)
    assert words in str(caught.value)


def test_a_password_is_not_shown() -> None:
    """A password is in no repr, so in no log."""
    own = options('[[peer]]\naddress = "192.0.2.2"\npassword = "geheim"')
    assert own.travel(own.peers[0]).password == "geheim"
    assert "geheim" not in repr(own.peers[0]) + repr(own.travel(own.peers[0]))
