"""`explain` on real kernels: across a laboratory, and as far as one host sees."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator

import pytest

from containernet.items import KernelRoute
from containernet.lab import explain
from containernet.lab.cluster import Lab
from tests.kernel.test_dataplanes import _run_inside_host

from . import labs

pytestmark = pytest.mark.kernel


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """Two hosts with a router between."""
    with labs.lab(underlay="routed", hosts=2, containers=1) as built:
        yield built


@pytest.mark.parametrize("version", [4, 6])
def test_a_way_through_the_lab_crosses_hosts(built: Lab, version: int) -> None:
    """From container to container: every namespace on the way, and the MTU that the containers have."""
    told = explain.explain(built, "host1-c1", "host2-c1", version=version).to_json()
    assert [hop["where"] for hop in told["hops"]] == ["host1-c1", "host1", "router", "host2"]
    assert (told["arrived"], told["fits"], told["wrong"]) == ("host2-c1", 1430, None)
    assert any("announced by host2" in entry for entry in told["hops"][1]["decided"])


def test_one_host_sees_the_way_until_it_leaves(built: Lab) -> None:
    """`containernet explain` beside a daemon: its own containers by name, and out by the network card."""
    peer = labs.status(built, "host2")["endpoints"][0]["addresses"][0].partition("/")[0]
    words = ("explain", "--json", "host1-c1", peer)
    told = json.loads(built.call(functools.partial(_run_inside_host, "host1", *words)))
    assert [hop["where"] for hop in told["hops"]] == ["host1-c1", "this host"]
    assert told["left"]
    assert any(header.startswith("VXLAN") for header in told["hops"][1]["headers"])


def test_what_a_dataplane_refuses_is_what_is_wrong() -> None:
    """host-gw across a router: the daemon's own reason, with the way out."""
    with labs.lab(dataplane="host-gw", underlay="routed", hosts=2, containers=1) as built:
        way = explain.explain(built, "host1-c1", "host2-c1")
        assert "use vxlan or ipip" in way.wrong
        assert not any(isinstance(item, KernelRoute) for item in labs.items(built, "host1").values())
