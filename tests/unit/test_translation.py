"""Masquerade and ports in the tracer, without a kernel: what decides, and what becomes of a packet."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest

from containernet.edge import Edge, EdgeOptions
from containernet.errors import ConfigError
from containernet.explaining import explain
from containernet.items import PortForward
from containernet.lab.topology import Topology
from containernet.model import Address, NetworkConfig, Pool
from containernet.planning import Create, Delete
from containernet.sight import port
from containernet.testing.simulation import World
from containernet.translation import Flow
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway

NETWORK = NetworkConfig(
    pools=[
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    ]
)
HOST1, HOST2 = ip_address("192.0.2.1"), ip_address("192.0.2.2")


def world(options: EdgeOptions | None = None) -> World:
    """Return two hosts with two containers each; 8080 of host1 leads to 80 of host1-c1."""
    made = World.of(
        Topology(hosts=2, containers=2),
        NETWORK,
        remote=HostGateway(),
        local=Edge(Bridge(), options or EdgeOptions()),
    )
    (own, _) = made.addresses("host1-c1")
    forward = PortForward(protocol="tcp", host_port=8080, address=own, port=80)
    made.fabric.kernels["host1"].disturb(Create(forward))
    return made


def translations(made: World, start: str, to: Address, asked: tuple[str, int] | None = None) -> list[str]:
    """Return what is translated on the way there and back, each with who does it."""
    told = explain(made.view, start, to, port=asked)
    assert told.answer is not None
    assert told.answer.way.arrived == start
    return [f"{each.where}: {each}" for way in (told.way, told.answer.way) for each in way.translated]


def test_what_leaves_the_pool_is_masqueraded_and_its_answer_finds_back() -> None:
    """To another host, which is outside of the pool; not to a container of it."""
    rule = "masquerade saddr 10.4.0.0/16 daddr != 10.4.0.0/16"
    assert translations(world(), "host1-c1", HOST2) == [
        f"host1: {rule}: 10.4.1.2 > 192.0.2.2 becomes 192.0.2.1 > 192.0.2.2",
        "host1: conntrack: 192.0.2.2 > 192.0.2.1 becomes 192.0.2.2 > 10.4.1.2",
    ]
    assert translations(world(), "host1-c1", ip_address("10.4.2.2")) == []
    assert translations(world(EdgeOptions(masquerade=False)), "host1-c1", HOST2) == []


def test_what_comes_to_a_port_is_led_to_the_container() -> None:
    """By TCP to that port, and not by UDP, nor by an echo request."""
    rule = "port tcp dport 8080 dnat to 10.4.1.2:80"
    assert translations(world(), "host2", HOST1, ("tcp", 8080)) == [
        f"host1: {rule}: 192.0.2.2:49152 > 192.0.2.1:8080 becomes 192.0.2.2:49152 > 10.4.1.2:80",
        "host1: conntrack: 10.4.1.2:80 > 192.0.2.2:49152 becomes 192.0.2.1:8080 > 192.0.2.2:49152",
    ]
    assert translations(world(), "host2", HOST1, ("udp", 8080)) == []
    assert translations(world(), "host2", HOST1) == []


def test_a_port_is_where_it_is_as_long_as_the_rule_stands() -> None:
    """Then the packet is the host's own."""
    made = world()
    assert explain(made.view, "host2", HOST1, port=("tcp", 8080)).way.arrived == "host1-c1"
    kernel = made.fabric.kernels["host1"]
    kernel.disturb(*(Delete(each) for each in list(kernel.items.values()) if isinstance(each, PortForward)))
    assert explain(made.view, "host2", HOST1, port=("tcp", 8080)).way.arrived == "host1"


def test_the_verdict_names_the_port() -> None:
    """In words and as JSON."""
    told = explain(world().view, "host2", HOST1, port=("tcp", 8080))
    assert told.verdict == "host2 > 192.0.2.1 tcp/8080 arrives at host1-c1, and its answer comes back"
    assert told.to_json()["port"] == "tcp/8080"
    assert told.fits == 1500


def test_the_answer_to_an_answer_is_the_question() -> None:
    """Addresses and ports change places."""
    flow = Flow(source=HOST1, destination=HOST2, protocol=6, ports=(1, 2))
    assert flow.answer.answer == flow
    assert str(flow.answer) == "192.0.2.2:2 > 192.0.2.1:1"


@pytest.mark.parametrize(("words", "meant"), [("", None), ("80", ("tcp", 80)), ("udp/53", ("udp", 53))])
def test_a_port_is_written_with_its_protocol_or_without(words: str, meant: object) -> None:
    """TCP is meant where none is named."""
    assert port(words) == meant


@pytest.mark.parametrize("words", ["0", "65536", "sctp/80", "http", "tcp/", "/80/", "-1", "٣"])
def test_what_is_no_port_is_refused(words: str) -> None:
    """With what was expected."""
    with pytest.raises(ConfigError, match=r"port .*: expected"):
        port(words)
