"""What runtimes ask for, in all the ways in which they do."""

from __future__ import annotations

from ipaddress import ip_address, ip_interface
from typing import Any

import pytest

from containernet.cni.request import Code, Refused, Request
from containernet.cni.wishes import dns, wished
from containernet.model import Endpoint, PortMapping


def wish(*, cni_args: str = "", **config: Any) -> Endpoint:
    """Return the endpoint that is asked for."""
    return wished(request(cni_args=cni_args, **config))


def request(*, cni_args: str = "", **config: Any) -> Request:
    """Return an ADD."""
    return Request(
        command="ADD",
        version="1.0.0",
        network="net",
        container="c1",
        interface="eth0",
        netns="/run/netns/c1",
        arguments=cni_args,
        config=config,
    )


PLAIN = Endpoint(container="c1", netns="/run/netns/c1", addresses=(), network="net")


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"runtimeConfig": None, "args": None, "dns": None, "ipam": None},
        {"runtimeConfig": {"ips": None, "mac": None, "portMappings": None, "aliases": None, "dns": None}},
        {"runtimeConfig": {"ips": [], "mac": "", "portMappings": [], "aliases": [], "dns": {}}},
        {"runtimeConfig": {"cgroupPath": "/x", "io.kubernetes.cri.pod-annotations": {"a": "b"}}},
        {"capabilities": {"ips": True}, "args": {"cni": None, "labels": [{"key": "a", "value": "b"}]}},
    ],
)
def test_nothing_is_asked_for(config: dict[str, Any]) -> None:
    """By null, by emptiness, or by what does not concern us."""
    assert wish(**config) == PLAIN
    assert dns(request(**config)) == {}


@pytest.mark.parametrize(
    ("args", "config"),
    [
        ("", {"runtimeConfig": {"ips": ["10.4.1.9", "fd00::9/64"], "mac": "02:00:5e:10:00:01"}}),
        ("", {"runtimeConfig": {"IPs": ["10.4.1.9/24", "fd00::9"], "MAC": "02-00-5E-10-00-01"}}),
        ("IP=10.9.9.9;MAC=x", {"RuntimeConfig": {"Ips": ["10.4.1.9", "fd00::9"], "Mac": "02:00:5E:10:00:01"}}),
        ("IP=10.9.9.9;MAC=02:00:5e:10:00:01", {"args": {"cni": {"ips": ["10.4.1.9/24", "fd00::9"]}}}),
        ("IgnoreUnknown=1;IP=10.4.1.9,fd00::9;K8S_POD_NAME=a=b;MAC=02:00:5e:10:00:01", {}),
        ("MAC=02:00:5e:10:00:01; IP=10.4.1.9,fd00::9 ;IgnoreUnknown=1;", {}),
    ],
)
def test_an_address_and_a_mac_can_be_asked_for(args: str, config: dict[str, Any]) -> None:
    """A capability before `args`, and `args` before CNI_ARGS."""
    found = wish(cni_args=args, **config)
    assert [each.ip for each in found.addresses] == [ip_address("10.4.1.9"), ip_address("fd00::9")]
    assert found.mac == "02:00:5e:10:00:01"


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ({"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"protocol": "tcp"}),
        ({"HostPort": 8080, "ContainerPort": 80, "Protocol": "UDP", "HostIP": ""}, {"protocol": "udp"}),
        ({"hostPort": 8080, "containerPort": 80, "protocol": None, "hostIP": None}, {}),
        ({"hostPort": 8080, "containerPort": 80, "hostIP": "192.0.2.1"}, {"host_ip": ip_address("192.0.2.1")}),
        (
            {"hostPort": 8080, "containerPort": 80, "hostIP": "2001:db8::1"},
            {"host_ip": ip_address("2001:db8::1")},
        ),
        ({"hostPort": 8080, "containerPort": 80, "protocol": "SCTP"}, {"protocol": "sctp"}),
    ],
)
def test_ports_are_read_as_runtimes_write_them(mapping: dict[str, Any], expected: dict[str, Any]) -> None:
    """Capitals, null and empty text; a port without one of the host's is the kubelet's way to name it."""
    without = {"hostPort": 0, "containerPort": 443, "protocol": "tcp"}
    found = wish(runtimeConfig={"portMappings": [mapping, without, mapping]})
    assert found.ports == (PortMapping(host_port=8080, container_port=80, **expected),)


def test_aliases_are_a_list_or_one_for_each_network() -> None:
    """As the conventions have it, and as podman does."""
    assert wish(runtimeConfig={"aliases": ["web", "db"]}).aliases == ("web", "db")
    assert wish(runtimeConfig={"aliases": {"net": ["web"], "other": ["db"]}}).aliases == ("web",)


def test_dns_is_the_configurations_and_over_it_the_runtimes() -> None:
    """What is not said is not told."""
    configured = {"nameservers": ["10.1.0.1"], "domain": "example", "search": ["a", "b"], "options": []}
    assert dns(request(dns=configured)) == {
        "nameservers": ["10.1.0.1"],
        "domain": "example",
        "search": ["a", "b"],
    }
    runtime = {"servers": ["8.8.8.8"], "searches": None, "options": ["ndots:2"]}
    assert dns(request(dns=configured, runtimeConfig={"dns": runtime})) == {
        "nameservers": ["8.8.8.8"],
        "domain": "example",
        "search": ["a", "b"],
        "options": ["ndots:2"],
    }


@pytest.mark.parametrize(
    ("code", "words", "args", "config"),
    [
        (Code.INVALID_CONFIG, 'ips "10.4.1.300"', "", {"runtimeConfig": {"ips": ["10.4.1.300"]}}),
        (Code.INVALID_CONFIG, "ips 7", "", {"runtimeConfig": {"ips": 7}}),
        (Code.INVALID_CONFIG, 'ips "x"', "IP=x", {}),
        (Code.INVALID_CONFIG, "mac 'x'", "MAC=x", {}),
        (Code.INVALID_CONFIG, "runtimeConfig [7]", "", {"runtimeConfig": [7]}),
        (Code.INVALID_CONFIG, "portMappings", "", {"runtimeConfig": {"portMappings": [7]}}),
        (
            Code.INVALID_CONFIG,
            "host_port 65536",
            "",
            {"runtimeConfig": {"portMappings": [{"hostPort": 65536}]}},
        ),
        (Code.INVALID_CONFIG, "host_port '8'", "", {"runtimeConfig": {"portMappings": [{"hostPort": "8"}]}}),
        (
            Code.INVALID_CONFIG,
            "protocol 'dccp'",
            "",
            {"runtimeConfig": {"portMappings": [{"hostPort": 1, "protocol": "dccp"}]}},
        ),
        (Code.INVALID_ENVIRONMENT, "CNI_ARGS 'IP=1;nonsense'", "IP=1;nonsense", {}),
        (Code.UNSUPPORTED_FIELD, "runtimeConfig.ipRanges [[", "", {"runtimeConfig": {"ipRanges": [[{}]]}}),
        (Code.UNSUPPORTED_FIELD, "runtimeConfig.bandwidth {", "", {"runtimeConfig": {"bandwidth": {"a": 1}}}),
    ],
)
def test_what_cannot_be_fulfilled_is_refused(code: Code, words: str, args: str, config: dict[str, Any]) -> None:
    """With the key and the value, and never with half of it done."""
    with pytest.raises(Refused) as raised:
        wish(cni_args=args, **config)
    assert raised.value.code is code
    assert words in raised.value.message


def test_one_port_for_two_ends_is_refused() -> None:
    """No packet could say which of them it is for."""
    ports = [{"hostPort": 80, "containerPort": port} for port in (80, 81)]
    with pytest.raises(Refused, match="one packet would be meant for both"):
        wish(runtimeConfig={"portMappings": ports})


def test_the_length_of_an_address_is_the_subnets() -> None:
    """What the runtime thinks of it is heard and not followed."""
    assert wish(cni_args="IP=10.4.1.9/32").addresses == (ip_interface("10.4.1.9/32"),)
