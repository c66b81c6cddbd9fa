"""The result of an ADD, word for word."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from typing import Any

import attrs
import pytest

from containernet.cni.request import Refused, Request
from containernet.cni.result import result
from containernet.contracts import LocalDelivery
from containernet.model import Endpoint, Node
from containernet_backends.bridge import Bridge
from containernet_backends.routed import Routed

NODE = Node(
    name="a",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"),),
    overhead=50,
    subnets=(ip_network("10.4.1.0/24"), ip_network("fd00::/64")),
)
ENDPOINT = Endpoint(
    container="c1",
    netns="/run/netns/c1",
    addresses=(ip_interface("10.4.1.2/24"), ip_interface("fd00::2/64")),
    mac="02:00:5e:10:00:01",
)
BRIDGE = Bridge()
ROUTES = [{"dst": "0.0.0.0/0", "gw": "10.4.1.1"}, {"dst": "::/0", "gw": "fd00::1"}]


def told(
    version: str,
    endpoint: Endpoint = ENDPOINT,
    dns: Any = (),
    local: LocalDelivery = BRIDGE,
    **config: Any,
) -> dict[str, Any]:
    """Return what a runtime is told."""
    request = Request(command="ADD", version=version, network="net", netns="/run/netns/c1", config=config)
    return result(request, endpoint, local.endpoint(NODE, endpoint), dict(dns))


def test_version_1_1_0() -> None:
    """With the MTU, which later versions have."""
    answer = told("1.1.0", dns={"nameservers": ["10.1.0.1"]})
    [outside, inside] = answer.pop("interfaces")
    assert inside == {"name": "eth0", "mac": "02:00:5e:10:00:01", "mtu": 1450, "sandbox": "/run/netns/c1"}
    assert outside.keys() == {"name", "mac", "mtu"}
    assert answer == {
        "cniVersion": "1.1.0",
        "ips": [
            {"address": "10.4.1.2/24", "gateway": "10.4.1.1", "interface": 1},
            {"address": "fd00::2/64", "gateway": "fd00::1", "interface": 1},
        ],
        "routes": ROUTES,
        "dns": {"nameservers": ["10.1.0.1"]},
    }


@pytest.mark.parametrize("version", ["0.3.0", "0.3.1", "0.4.0"])
def test_before_1_0_0_an_address_says_of_which_family_it_is(version: str) -> None:
    """And nobody knew of an MTU."""
    answer = told(version)
    assert [each["version"] for each in answer["ips"]] == ["4", "6"]
    assert all("mtu" not in each for each in answer["interfaces"])


@pytest.mark.parametrize("local", [BRIDGE, Routed()])
def test_an_ipam_plugin_tells_of_no_interface(local: LocalDelivery) -> None:
    """Section 5, Delegated plugins: neither the list, nor an index into it; nor is a gateway one of ours."""
    answer = told("1.0.0", attrs.evolve(ENDPOINT, mac="", addresses_only=True), local=local)
    assert answer == {
        "cniVersion": "1.0.0",
        "ips": [
            {"address": "10.4.1.2/24", "gateway": "10.4.1.1"},
            {"address": "fd00::2/64", "gateway": "fd00::1"},
        ],
        "routes": ROUTES,
        "dns": {},
    }


def test_what_plugins_before_us_told_is_passed_on() -> None:
    """Section 2, ADD: "by either passing it through, or modifying it appropriately"."""
    before = {
        "cniVersion": "1.0.0",
        "interfaces": [{"name": "lo", "sandbox": "/run/netns/c1"}],
        "ips": [{"address": "127.0.0.1/8", "interface": 0}],
        "dns": {"domain": "theirs"},
        "theirs": 7,
    }
    answer = told("1.0.0", dns={"domain": "ours"}, prevResult=before)
    assert [each["name"] for each in answer["interfaces"]][::2] == ["lo", "eth0"]
    assert [each["interface"] for each in answer["ips"]] == [0, 2, 2]
    assert (answer["dns"], answer["theirs"], answer["routes"]) == ({"domain": "theirs"}, 7, ROUTES)
    assert told("1.0.0", prevResult=None) == told("1.0.0")


@pytest.mark.parametrize("before", [7, [7], "x", {"ips": 7}, {"ips": [7]}, {"routes": {"a": 1}}])
def test_a_result_that_is_none_is_refused(before: object) -> None:
    """Code 7."""
    with pytest.raises(Refused, match="prevResult"):
        told("1.0.0", prevResult=before)
