"""Ports of a host that lead to ports of containers, as values."""

from __future__ import annotations

import json
from ipaddress import ip_address
from itertools import product
from typing import Any

import attrs
import pytest
from hypothesis import given

from containernet import jsonform
from containernet.errors import ConfigError
from containernet.model import Address, Endpoint, PortMapping
from containernet.testing.strategies import port_mappings, port_mappings_apart

ADDRESSES = [None, *map(ip_address, ("0.0.0.0", "192.0.2.1", "192.0.2.2", "::", "2001:db8::1"))]


def packets(port: PortMapping) -> set[tuple[str, int, str]]:
    """Return what comes in by a port, slowly and obviously: for the host's addresses of this world."""
    hosts = [own for own in ADDRESSES if own is not None and not own.is_unspecified]
    return {
        (port.protocol, port.host_port, str(own))
        for own in hosts
        if port.host_ip in (None, own) or (port.serves(own.version) and port.host_ip.is_unspecified)
    }


@given(port_mappings())
def test_a_port_mapping_survives_json(port: PortMapping) -> None:
    """What was written is read, and is equal."""
    assert jsonform.port_from_json(json.loads(json.dumps(jsonform.port_to_json(port)))) == port


@pytest.mark.parametrize(("one", "other"), list(product(ADDRESSES, repeat=2)))
def test_two_port_mappings_conflict_where_one_packet_is_meant_for_both(
    one: Address | None, other: Address | None
) -> None:
    """An unspecified address stands for all of its family, and none for all of both; either way round."""
    first, second = (PortMapping(host_port=80, container_port=8080, host_ip=own) for own in (one, other))
    assert first.conflicts(second) == second.conflicts(first) == bool(packets(first) & packets(second))
    assert not first.conflicts(attrs.evolve(second, protocol="udp"))
    assert not first.conflicts(attrs.evolve(second, host_port=81))


@given(port_mappings_apart())
def test_an_endpoint_has_ports(ports: tuple[PortMapping, ...]) -> None:
    """They stay in the order given, and one that is there twice is refused with its words."""
    made = Endpoint(container="c1", netns="", addresses=(), ports=ports)
    assert made.ports == ports
    for port in ports:
        with pytest.raises(ConfigError, match=f"{port.host_port}/{port.protocol} to {port.container_port}"):
            Endpoint(container="c1", netns="", addresses=(), ports=(*ports, port))


@pytest.mark.parametrize(
    "wrong",
    [
        {"host_port": 0},
        {"host_port": 65536},
        {"container_port": -1},
        {"container_port": True},
        {"host_port": "80"},
        {"protocol": "icmp"},
        {"protocol": "TCP"},
        {"host_ip": ip_address("224.0.0.1")},
        {"host_ip": ip_address("255.255.255.255")},
        {"host_ip": ip_address("ff02::1")},
        {"host_ip": ip_address("::1")},
        {"host_ip": ip_address("fe80::1%eth0")},
    ],
    ids=str,
)
def test_what_no_port_mapping_can_be_is_refused(wrong: dict[str, Any]) -> None:
    """A word of the error is the field's name."""
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PortMapping(**{"host_port": 80, "container_port": 8080, **wrong})


def test_a_port_mapping_says_itself() -> None:
    """Address, port and protocol of the host, then the container's port."""
    at = [None, ip_address("192.0.2.1"), ip_address("2001:db8::1")]
    said = [str(PortMapping(protocol="udp", host_port=53, container_port=5353, host_ip=own)) for own in at]
    assert said == ["53/udp to 5353", "192.0.2.1:53/udp to 5353", "[2001:db8::1]:53/udp to 5353"]
