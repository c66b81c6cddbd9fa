"""`explain` on real kernels: across a laboratory, and as far as one host sees."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pytest

from containernet.items import FdbEntry, Item, KernelRoute
from containernet.lab import explain, whole
from containernet.lab.cluster import Lab

from . import labs
from .labs import run, start, stop

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
    assert told["hops"][1]["decided"][0]["announced"]["node"] == "host2"
    assert told["answer"]["arrived"] == "host1-c1"


def test_one_host_sees_the_way_until_it_leaves(built: Lab) -> None:
    """`containernet explain` beside a daemon: its own containers by name, and out by the network card."""
    peer = labs.status(built, "host2")["endpoints"][0]["addresses"][0].partition("/")[0]
    said = run(built, "host1", "explain", "--json", "host1-c1", peer)
    assert said.code == 0
    told = said.json
    assert [hop["where"] for hop in told["hops"]] == ["host1-c1", "this host"]
    assert (told["outcome"], told["wrong"]) == ("leaves", None)
    assert any(header.startswith("VXLAN") for header in told["hops"][1]["headers"])


def test_an_address_that_nobody_leases_goes_nowhere(built: Lab) -> None:
    """It would leave by the default route, as if all were well: the lease store knows better."""
    said = run(built, "host1", "explain", "host1-c1", "10.4.0.9")
    assert said.code == 1
    assert "this host: nobody leases 10.4.0.0/24 of the pool" in said.out.splitlines()[0]


def test_what_is_deleted_on_either_side_is_named(built: Lab) -> None:
    """Nobody repairs it while the daemons are stopped, and a ping fails; what is said is why."""
    for host in ("host1", "host2"):
        stop(built, host)
    try:
        for host, first in (
            ("host2", "no answer comes back: host2: no fdb"),
            ("host1", "arrive: host1: no fdb"),
        ):
            entries: list[Item] = [
                item for item in labs.items(built, host).values() if isinstance(item, FdbEntry)
            ]
            built.call(functools.partial(labs.delete, host, entries))
            assert first in explain.explain(built, "host1-c1", "host2-c1").verdict
        assert not any(result.reached for result in whole.ping(built, labs.containers(built)))
    finally:
        for host in ("host1", "host2"):
            start(built, host)
    assert explain.explain(built, "host1-c1", "host2-c1").first_fault is None


def test_what_a_dataplane_refuses_is_what_is_wrong() -> None:
    """host-gw across a router: the daemon's own reason, with the way out."""
    with labs.lab(dataplane="host-gw", underlay="routed", hosts=2, containers=1) as built:
        way = explain.explain(built, "host1-c1", "host2-c1")
        assert way.wrong is not None
        assert "use vxlan or ipip" in way.wrong.reason
        items = labs.items(built, "host1").values()
        assert not any(isinstance(item, KernelRoute) and not item.blackhole for item in items)
