"""An explanation says where a packet goes, what decided, and what is wrong first."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import cast

import pytest

from containernet import loading
from containernet.contracts import Kernel
from containernet.errors import ConfigError
from containernet.explaining import cable, explain, tables_of, target
from containernet.items import FdbEntry
from containernet.lab.topology import Topology
from containernet.model import Endpoint, NetworkConfig, Pool
from containernet.planning import Delete
from containernet.testing.simulation import SimulatedKernel, World
from containernet.tracing import Network

POOL = Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)
STATUS = {
    "routes": [{"prefix": "10.4.2.0/24", "node": "host2", "next_hop": "", "store": "sqlite", "since": 0.0}],
    "refused": {"10.4.9.0/24": "host-gw cannot reach it"},
}


def world() -> World:
    """Return two hosts with a container each."""
    network = NetworkConfig(pools=(POOL,))
    remote, local = loading.remote_dataplane("vxlan", {}), loading.local_dataplane("bridge", {})
    return World.of(Topology(hosts=2, containers=1, versions=(4,)), network, remote=remote, local=local)


def test_a_way_that_arrives_is_told_from_end_to_end() -> None:
    """Each wire with its headers, who announced the route, and how large a packet may be."""
    way = explain(world().view, "host1-c1", ip_address("10.4.2.2"), status=STATUS)
    lines = list(way.lines())
    assert lines[0] == "host1-c1 > 10.4.2.2"
    assert lines[-1] == "it arrives at host2-c1; at most 1450 octets fit"
    assert any("(announced by host2, heard from sqlite at 19" in line for line in lines)
    assert "        VXLAN vni 1" in lines
    told = way.to_json()
    assert (told["arrived"], told["fits"], told["wrong"]) == ("host2-c1", 1450, None)
    assert [hop["where"] for hop in told["hops"]] == ["host1-c1", "host1", "host2"]


def test_the_first_thing_that_is_wrong_is_named() -> None:
    """With what had been decided until then, and what to do."""
    made = world()
    view = made.view
    view.enter("host1")
    kernel = made.members["host1"].kernel
    kernel.disturb(*(Delete(item) for item in kernel.read().values() if isinstance(item, FdbEntry)))
    way = explain(view, "host1-c1", ip_address("10.4.2.2"), status=STATUS)
    lines = list(way.lines())
    assert way.wrong.startswith("host1: no fdb entry says behind which host")
    assert lines[-1].startswith("what to do: ")
    assert way.to_json()["death"]["where"] == "host1"


def test_what_the_daemon_refuses_is_the_reason() -> None:
    """It comes before whatever the packet would die of further on."""
    way = explain(world().view, "host1-c1", ip_address("10.4.9.2"), status=STATUS)
    assert way.wrong == "host-gw cannot reach it"
    assert list(way.lines())[-1] == "the daemon makes no route there: host-gw cannot reach it"


def test_where_the_view_ends_the_way_leaves() -> None:
    """As on a live host, which sees its own containers and no other host."""
    made = world()
    made.view.enter("host1")
    names = ("host1", "host1-c1")
    tables = {name: made.fabric.kernels[name].tables for name in names}
    view = Network(tables=tables, cables=cable("host1", "host1-c1", "host1-c1"))
    way = explain(view, "host1-c1", ip_address("10.4.2.2"))
    assert way.way.left
    assert list(way.lines())[-1] == "it leaves host1, out of sight; at most 1450 octets fit"
    assert explain(view, "host1", ip_address("10.4.1.2")).way.arrived == "host1-c1"


def test_a_word_is_an_address_or_a_container() -> None:
    """Or else the containers that there are are named; and a kernel that cannot tell says so."""
    endpoint = Endpoint(container="c1", netns="/run/netns/c1", addresses=())
    assert target("10.4.2.2", {}) == ip_address("10.4.2.2")
    with pytest.raises(ConfigError, match=r"'c7' is neither an address nor a container of this host \(c1\)"):
        target("c7", {"c1": endpoint})
    assert tables_of(SimulatedKernel()).devices == {}
    with pytest.raises(ConfigError, match="object cannot tell what it forwards by"):
        tables_of(cast(Kernel, object()))
