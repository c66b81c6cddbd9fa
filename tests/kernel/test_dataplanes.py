"""Every dataplane on a real kernel: three hosts with real daemons, both families, both underlays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containernet.items import KernelRoute
from containernet.lab import ping, whole
from containernet.lab.cluster import Lab

from . import labs

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

# Octets that are left for a container's packet of an underlay MTU of 1500, with both families in use.
CONTAINER_MTU = {"bridge": 1500, "host-gw": 1500, "vxlan": 1500 - 70, "ipip": 1500 - 40}


@pytest.fixture(
    scope="module",
    params=[
        ("bridge", "l2"),
        ("host-gw", "l2"),
        ("vxlan", "l2"),
        ("vxlan", "routed"),
        pytest.param(("ipip", "l2"), marks=pytest.mark.uml),
        pytest.param(("ipip", "routed"), marks=pytest.mark.uml),
    ],
    ids="-".join,
)
def built(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab of a dataplane on an underlay that suits it."""
    dataplane, underlay = request.param
    with labs.lab(dataplane=dataplane, underlay=underlay, hosts=3, containers=2) as built:
        yield built


def test_every_container_reaches_every_other_in_both_families(built: Lab) -> None:
    """Six containers on three hosts: thirty pairs, sixty ways, none without an answer."""
    results = whole.ping(built, labs.containers(built))
    assert len(results) == 6 * 5 * 2
    assert [result.to_json() for result in results if not result.reached] == []


def test_every_container_reaches_every_host_and_back(built: Lab) -> None:
    """A host's own packets find their way into the network of containers, and the answers back."""
    results = whole.ping(built, ("host1", "host2-c1"))
    ways = {(result.source, str(result.target)): result for result in results if result.source == "host1"}
    assert [way for way, result in ways.items() if not result.reached] == []


def test_the_largest_packet_that_fits_crosses_and_the_next_larger_is_refused(built: Lab) -> None:
    """The MTU that the container has is the largest that fits through the tunnel, and it is exact."""
    mtu = whole.mtu(built, "host1-c1")
    assert mtu == CONTAINER_MTU[built.topology.dataplane]
    names = ("host1-c1", "host2-c1", "host3-c1")
    assert all(result.reached for result in whole.ping(built, names, size=mtu))
    for result in whole.ping(built, names, size=mtu + 1):
        assert result.answer == ping.TooBig(mtu=mtu)


def test_nothing_is_left_to_do(built: Lab) -> None:
    """Every daemon is ready: its lease is held, its store was heard, and its kernel holds what is desired."""
    for host in built.topology.members:
        status = labs.status(built, host.name)
        assert status["ready"], status["reasons"]
        assert status["settled"]
        assert status["failures"] == []
        assert status["refused"] == {}


def test_a_plan_beside_a_running_daemon_is_empty(built: Lab) -> None:
    """`containernet plan` takes its own road to what is desired, and comes to what the daemon has done."""
    planned = labs.run(built, "host1", "plan", "--json")
    assert (planned.code, planned.json) == (0, {"operations": [], "notes": []})


@pytest.mark.parametrize("dataplane", ["host-gw", "bridge"])
def test_what_needs_one_l2_network_refuses_to_cross_a_router(dataplane: str) -> None:
    """A peer behind the router is refused, by name and with the way out; one on the same segment is reached."""
    with labs.lab(dataplane=dataplane, underlay="routed", hosts=3, containers=1) as built:
        refused = labs.status(built, "host1")["refused"]
        assert len(refused) == 2
        for prefix, reason in refused.items():
            assert prefix in reason
            assert "host2" in reason
            assert "use vxlan or ipip" in reason
        reached = {
            (result.source, result.destination): result.reached
            for result in whole.ping(built, labs.containers(built))
        }
        assert reached == {
            ("host1-c1", "host3-c1"): True,
            ("host3-c1", "host1-c1"): True,
            ("host1-c1", "host2-c1"): False,
            ("host2-c1", "host1-c1"): False,
            ("host2-c1", "host3-c1"): False,
            ("host3-c1", "host2-c1"): False,
        }


def test_direct_takes_the_tunnel_only_across_the_router() -> None:
    """A peer on the same segment gets plain packets, one behind the router gets them in the tunnel."""
    with labs.lab(underlay="routed", hosts=3, containers=1, options=("direct=true",)) as built:
        subnets = {host: labs.status(built, host)["subnets"] for host in ("host2", "host3")}
        links = {
            str(item.destination): item.link
            for item in labs.items(built, "host1").values()
            if isinstance(item, KernelRoute)
        }
        assert [links[subnet] for subnet in subnets["host2"]] == ["vxlan.1", "vxlan6.1"]
        assert [links[subnet] for subnet in subnets["host3"]] == ["eth0", "eth0"]
        assert all(result.reached for result in whole.ping(built, labs.containers(built)))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("dataplane", ["vxlan", labs.IPIP])
def test_one_family_alone_has_an_mtu_of_its_own(dataplane: str, version: int) -> None:
    """Without the other family, a container loses only what its own outer header costs."""
    overhead = {("vxlan", 4): 50, ("vxlan", 6): 70, ("ipip", 4): 20, ("ipip", 6): 40}[dataplane, version]
    with labs.lab(dataplane=dataplane, hosts=2, containers=1, versions=(version,)) as built:
        assert whole.mtu(built, "host1-c1") == 1500 - overhead
        results = whole.ping(built, labs.containers(built), size=1500 - overhead)
        assert [result.reached for result in results] == [True, True]
