"""Status: ready, or every reason why not, in words that tell the reader where to look."""

from __future__ import annotations

import json
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import attrs
import pytest

from containernet.model import Endpoint, PortMapping, Route
from tests.fakes import READY

ROUTE = Route(prefix=ip_network("10.4.2.0/24"), node="b", next_hop=ip_address("192.0.2.2"))
CONTAINER = Endpoint(container="c1", netns="/run/netns/c1", addresses=(ip_interface("10.4.9.2/24"),))


def test_ready() -> None:
    """No reason, no warning."""
    assert READY.ready
    assert READY.reasons == READY.warnings == []


@pytest.mark.parametrize(
    ("changes", "reasons"),
    [
        ({"lease_seconds": None}, ["no lease: the claim is under way"]),
        ({"lease_seconds": None, "lease_trouble": "away"}, ["no lease: away"]),
        ({"lease_seconds": -5.4, "lease_trouble": "away"}, ["the lease ran out 5 s ago: away"]),
        ({"lease_seconds": 0.0}, ["the lease ran out 0 s ago: the lease store does not answer"]),
        ({"synced": False}, ["the route store has not told its routes: waiting"]),
        ({"synced": False, "route_trouble": "away"}, ["the route store has not told its routes: away"]),
        ({"underlay_trouble": "eth0 is gone"}, ["eth0 is gone"]),
        ({"kernel_trouble": "ENOBUFS"}, ["the kernel cannot be read or programmed: ENOBUFS"]),
        ({"programming": False}, ["nothing is programmed yet"]),
        ({"settled": False}, ["the kernel does not hold everything that it should"]),
        (
            {"settled": False, "failures": ("+ link cn0: EBUSY", "+ x: y")},
            ["the kernel does not hold everything that it should, first: + link cn0: EBUSY"],
        ),
        ({"announced": False}, ["the node's own routes are not announced yet"]),
        ({"announced": False, "programming": False}, ["nothing is programmed yet"]),
        (
            {
                "lease_seconds": None,
                "synced": False,
                "programming": False,
                "announced": False,
                "settled": False,
            },
            [
                "no lease: the claim is under way",
                "the route store has not told its routes: waiting",
                "nothing is programmed yet",
            ],
        ),
    ],
)
def test_every_reason_why_not(changes: dict[str, Any], reasons: list[str]) -> None:
    """All of them, most fundamental first."""
    status = attrs.evolve(READY, **changes)
    assert status.reasons == reasons
    assert not status.ready


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"route_trouble": "store away"}, "store away; forwarding goes on"),
        ({"lease_trouble": "store away"}, "store away; the lease holds for 60 s more"),
        ({"mtu_trouble": "eth0 has MTU 1400"}, "eth0 has MTU 1400"),
        ({"refused": {"10.4.2.0/24": "not on link"}}, "not on link"),
        (
            {"lingering": (ROUTE,)},
            "10.4.2.0/24 of b: the route store came back and tells nothing of it; "
            "kept for now, in case the store has forgotten",
        ),
        ({"quarantined": {"/k": "not JSON"}}, "record /k set aside: not JSON"),
        ({"rivals": ("10.4.2.0/24 goes by another",)}, "10.4.2.0/24 goes by another"),
        ({"gone": (CONTAINER,)}, "container c1: its namespace /run/netns/c1 is gone; detach it"),
        (
            {"stranded": (CONTAINER,)},
            "container c1: 10.4.9.2/24 is not in this node's subnets any more; attach it again",
        ),
    ],
)
def test_what_somebody_should_know(changes: dict[str, Any], warning: str) -> None:
    """And the node is ready nevertheless."""
    status = attrs.evolve(READY, **changes)
    assert status.ready
    assert status.warnings == [warning]


def test_json_holds_all_of_it() -> None:
    """And survives the way over the socket."""
    published = attrs.evolve(CONTAINER, ports=[PortMapping(host_port=80, container_port=8080)])
    document = attrs.evolve(READY, endpoints=(published,), refused={"10.4.2.0/24": "x"}).to_json()
    assert json.loads(json.dumps(document)) == document
    assert document["container_mtu"] == 1450
    assert document["endpoints"] == [
        {
            "container": "c1",
            "interface": "eth0",
            "netns": "/run/netns/c1",
            "addresses": ["10.4.9.2/24"],
            "ports": [{"protocol": "tcp", "host_port": 80, "container_port": 8080, "host_ip": None}],
            "mac": "",
            "network": "",
            "aliases": [],
            "addresses_only": False,
        }
    ]
