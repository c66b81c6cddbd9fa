"""Hosts with etcd between them: real daemons, a real kernel, a real etcd that is reached over the underlay."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_network

import pytest

from containernet.lab import daemons, whole
from containernet.lab.cluster import Lab

from . import labs
from .labs import PREFIX, ctl, owners, run, subnets, told

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """Four hosts, two on each side of a router, with a container each."""
    with labs.lab(store="etcd", underlay="routed", hosts=4, containers=1) as built:
        yield built


def test_every_container_reaches_every_other_across_the_router(built: Lab) -> None:
    """Four hosts, two families, all pairs; and each record is flannel's, with the host's name in it."""
    results = whole.ping(built, labs.containers(built))
    assert len(results) == 4 * 3 * 2
    assert all(each.reached for each in results), results
    assert sorted(owners(built)) == ["host1", "host2", "host3", "host4"]


def test_every_container_reaches_every_other_on_one_switch() -> None:
    """The same where no router stands between the hosts and the store."""
    with labs.lab(store="etcd", hosts=2, containers=1) as built:
        assert all(each.reached for each in whole.ping(built, labs.containers(built)))


def test_the_network_is_what_flannel_reads_and_what_the_command_shows(built: Lab) -> None:
    """The first daemon stored it; it can be changed, unless leases stand against that."""
    config = json.loads(ctl(built, "get", "--print-value-only", f"{PREFIX}/config"))
    assert (config["Network"], config["Backend"]) == ("10.4.0.0/16", {"Type": "vxlan"})
    shown = run(built, "host1", "network", "show", "--json").json
    assert (shown["dataplane"], shown["network"][0]["prefix"]) == ("vxlan", "10.4.0.0/16")
    assert run(built, "host1", "network", "set", "--json").json == shown


def test_a_reserved_subnet_is_left_alone_until_it_is_released(built: Lab) -> None:
    """It is a key without a lease, as flannel means it."""
    assert run(built, "host1", "reserve", "10.4.99.0/24").out == "10.4.99.0/24 reserved\n"
    try:
        assert "10.4.99.0-24" in told(built)
        taken = run(built, "host2", "reserve", "10.4.99.0/25")
        assert taken.code == 4
        assert "10.4.99.0/24" in taken.err
        refused = run(built, "host2", "release", subnets(built, "host1")[0])
        assert refused.code == 2
        assert "leased to host1" in refused.err
    finally:
        assert run(built, "host2", "release", "10.4.99.0/24").code == 0
    assert "10.4.99.0-24" not in told(built)


def test_the_subnet_file_has_flannels_lines(built: Lab) -> None:
    """Whoever read flannel's file finds the same variables."""
    text = built.file(daemons.directory("host1") / "subnet.env").read_text()
    lines = dict(line.split("=") for line in text.splitlines())
    four, six = map(ip_network, subnets(built, "host1"))
    assert lines == {
        "FLANNEL_NETWORK": "10.4.0.0/16",
        "FLANNEL_SUBNET": f"{four[1]}/24",
        "FLANNEL_IPV6_NETWORK": "fd00:4::/48",
        "FLANNEL_IPV6_SUBNET": f"{six[1]}/64",
        "FLANNEL_MTU": "1430",
        "FLANNEL_IPMASQ": "false",
    }
