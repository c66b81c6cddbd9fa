"""The plan of a lab: every address once, every host on a segment, and nothing that leaks."""

from __future__ import annotations

import itertools
import json
import tomllib
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from containernet.errors import ConfigError
from containernet.lab import daemons, server
from containernet.lab.topology import MESHES, MOST_HOSTS, MOST_MEMBERS, UNDERLAYS, Topology
from containernet_backends.bgp.options import BgpOptions

DOCUMENTATION = [
    ip_network(prefix) for prefix in ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32")
]  # RFC 5737, RFC 3849

STORES: list[dict[str, Any]] = [
    {"store": "sqlite"},
    *({"store": "etcd", "store_members": n + 1} for n in range(MOST_MEMBERS)),
    *({"store": "bgp", "mesh": mesh} for mesh in MESHES),
]

topologies = st.builds(
    lambda store, **others: Topology(**store, **others),
    hosts=st.integers(1, MOST_HOSTS),
    containers=st.integers(0, 5),
    underlay=st.sampled_from(UNDERLAYS),
    dataplane=st.sampled_from(("vxlan", "bridge")),
    versions=st.sampled_from(((4,), (6,), (4, 6))),
    store=st.sampled_from(STORES),
)


@given(topologies)
def test_every_address_and_every_name_is_given_once(topology: Topology) -> None:
    """Hosts, store and router never collide, and all addresses are for documentation."""
    addresses = [own.ip for host in topology.stations for own in host.addresses]
    addresses += [own.ip for interfaces in topology.router.values() for own in interfaces]
    assert len(addresses) == len(set(addresses))
    assert all(
        any(own.version == prefix.version and own in prefix for prefix in DOCUMENTATION) for own in addresses
    )
    names = topology.hosts * (1 + topology.containers) + len(topology.servers)
    assert len(topology.names) == len(set(topology.names)) == names


@given(topologies)
def test_a_gateway_is_the_routers_and_on_the_hosts_own_link(topology: Topology) -> None:
    """A default route that is not on link could not be added; on one switch there is none."""
    for host in topology.stations:
        assert len(host.gateways) == (len(topology.versions) if topology.underlay == "routed" else 0)
        for own, gateway in zip(host.addresses, host.gateways, strict=False):
            assert own.version == gateway.version
            assert gateway in own.network
            assert gateway in [router.ip for router in topology.router[host.segment]]


@given(topologies)
def test_a_topology_survives_json(topology: Topology) -> None:
    """What the lab stores is what every later command reads."""
    assert Topology(**json.loads(json.dumps(topology.to_json()))) == topology


def test_routed_has_a_pair_on_one_segment_and_a_pair_across_the_router() -> None:
    """Three hosts are the fewest that show both."""
    topology = Topology(hosts=3, underlay="routed")
    pairs = itertools.combinations(("host1", "host2", "host3"), 2)
    assert [topology.same_segment(*pair) for pair in pairs] == [False, True, False]
    assert topology.host_of("host2-c1").name == "host2"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"hosts": 0}, "--hosts 0: expected 1 to 100"),
        ({"hosts": 101}, "--hosts 101: expected 1 to 100"),
        ({"containers": -1}, "--containers -1: expected 0 to 100"),
        ({"underlay": "wifi"}, "--underlay wifi: expected l2 or routed"),
        (
            {"dataplane": "bridge", "local": "routed"},
            "--dataplane bridge --local routed: expected --local bridge",
        ),
        ({"store": "etcd", "store_members": 0}, "--store etcd --members 0: expected 1 to 7"),
        ({"store_members": 3}, "--store sqlite --members 3: expected 1, for it has no servers"),
        ({"store": "bgp", "mesh": "ring"}, "--mesh ring: expected full or reflector"),
        ({"certificates": "/pki"}, "--store sqlite --certificates /pki: it has no servers"),
        ({"store": "etcd", "certificates": "pki"}, "--certificates pki: expected an absolute path"),
        ({"mesh": "reflector"}, "--store sqlite --mesh reflector: expected --store bgp"),
    ],
)
def test_what_cannot_be_built_is_refused(wrong: dict[str, int | str], message: str) -> None:
    """The message is in the words of the command line."""
    with pytest.raises(ConfigError, match=message):
        Topology(**wrong)  # type: ignore[arg-type]


def test_a_hosts_config_names_its_link_its_pools_and_its_dataplane() -> None:
    """The file is what an operator would write; the bridge gets the second NIC as its uplink."""
    topology = Topology(dataplane="bridge", versions=(4,))
    table = tomllib.loads(daemons.config(topology, topology.host(2)))
    assert table["node"] == {"name": "host2", "interface": "eth0"}
    assert table["network"] == {"pool": "10.4.0.0/16"}
    assert table["dataplane"] == {"local": "bridge", "remote": "bridge", "bridge": {"uplink": "eth1"}}
    assert table["daemon"]["run_dir"] == "/run/lab/host2"


def test_a_hosts_config_names_the_server_by_its_underlay_addresses() -> None:
    """One URL for each family, in RFC 3986's brackets for IPv6; and only there is a server at all."""
    topology = Topology(store="etcd", underlay="routed")
    table = tomllib.loads(daemons.config(topology, topology.host(2)))
    assert table["store"]["etcd"] == {
        "endpoints": ["http://192.0.2.253:2379", "http://[2001:db8:0:a::fd]:2379"]
    }
    assert Topology().servers == ()
    assert server.endpoints(Topology()) == ()


def test_a_hosts_config_names_every_member_before_any_a_second_time() -> None:
    """Who finds the first one silent asks another member next, not the same one by its other address."""
    table = tomllib.loads(daemons.config(topology := Topology(store="etcd", store_members=3), topology.host(1)))
    assert table["store"]["etcd"]["endpoints"] == [
        *(f"http://192.0.2.{number}:2379" for number in (253, 252, 251)),
        *(f"http://[2001:db8:0:a::{number}]:2379" for number in ("fd", "fc", "fb")),
    ]
    command = server.command(topology, topology.servers[1], path="etcd", data=Path("data"))
    assert "--name=store2" in command
    assert "--advertise-client-urls=http://192.0.2.252:2379,http://[2001:db8:0:a::fc]:2379" in command


def test_with_certificates_everybody_shows_his_own() -> None:
    """Hosts to members, members to hosts and to each other; nothing is left that speaks in the clear."""
    topology = Topology(store="etcd", store_members=3, certificates="/pki", versions=(4,))
    table = tomllib.loads(daemons.config(topology, topology.host(1)))["store"]["etcd"]
    assert table.pop("endpoints") == [f"https://192.0.2.{number}:2379" for number in (253, 252, 251)]
    assert table == {"ca": "/pki/ca.pem", "cert": "/pki/host1.pem", "key": "/pki/host1.key"}
    command = server.command(topology, topology.servers[1], path="etcd", data=Path("data"))
    assert not [word for word in command if "http://" in word]
    for side in ("", "peer-"):
        assert f"--{side}client-cert-auth" in command
        assert f"--{side}cert-file=/pki/store2.pem" in command


def peers(topology: Topology, number: int) -> tuple[dict[str, Any], list[str]]:
    """Return a host's [store.bgp], checked by whose it is, and whom it names."""
    store = tomllib.loads(daemons.config(topology, topology.host(number)))["store"]
    assert (store["leases"], store["routes"]) == ("sqlite", "bgp")
    options = BgpOptions(**store["bgp"])
    return store["bgp"], [peer.address or peer.range for peer in options.peers]


def test_in_a_full_mesh_every_host_names_every_other() -> None:
    """By its IPv4 address where it has one: the session carries both families."""
    topology = Topology(store="bgp", hosts=3, underlay="routed", store_options=("hold_time = 3",))
    table, named = peers(topology, 1)
    assert named == ["198.51.100.2", "192.0.2.3"]
    assert (table["asn"], table["hold_time"]) == (64512, 3)
    assert peers(attrs.evolve(topology, versions=(6,)), 3)[1] == ["2001:db8:0:a::1", "2001:db8:0:b::2"]
    assert peers(Topology(store="bgp", hosts=1), 1)[1] == []


def test_a_reflector_names_the_underlay_and_the_other_reflector_alone() -> None:
    """Below four hosts there is one; who reflects whom is said on the reflector's side."""
    topology = Topology(store="bgp", mesh="reflector", hosts=4, underlay="routed")
    table, named = peers(topology, 1)
    assert named == ["198.51.100.2", "192.0.2.0/24", "198.51.100.0/24"]
    assert [peer.get("client", False) for peer in table["peer"]] == [False, True, True]
    assert [peers(topology, number)[1] for number in (3, 4)] == [["192.0.2.1", "198.51.100.2"]] * 2
    three = attrs.evolve(topology, hosts=3, store_options=("start_wait=2",))
    assert peers(three, 1)[1] == ["192.0.2.0/24", "198.51.100.0/24"]
    assert peers(three, 2)[1] == ["192.0.2.1"]
    assert peers(three, 1)[0]["start_wait"] == 2
