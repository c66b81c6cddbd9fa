"""Fifty real daemons join one etcd in the same moment, and die in the same moment.

What flannel loses here: of a dozen hosts that join at once some exit, for a race that they have lost.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Mapping
from ipaddress import ip_network
from itertools import combinations

import pytest

from containernet.items import KernelRoute
from containernet.lab import daemons
from containernet.lab.cluster import Lab
from containernet.model import Prefix, overlaps

from . import labs
from .labs import all_items, ctl, hosts, log, owners

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

HOSTS = 50
PATIENCE = 90.0  # seconds; fifty interpreters start on what may be two busy processors


def test_fifty_daemons_join_at_once_and_are_killed_at_once() -> None:
    """Each has a subnet of its own at its first start, the same after kill -9, and a route to every other.

    No race that was lost leaves an etcd lease.
    """
    with labs.bare(store="etcd", hosts=HOSTS, containers=0, versions=(4,)) as built:
        built.call(functools.partial(daemons.start_ready, built.topology, built.topology.servers))
        first = _join(built)
        assert len({*first.values()}) == HOSTS
        assert not [pair for pair in combinations(first.values(), 2) if overlaps(*pair)]
        items = all_items(built)
        for host, subnet in first.items():
            routes = {each.destination for each in items[host].values() if isinstance(each, KernelRoute)}
            assert routes >= {*first.values()} - {subnet}

        built.call(functools.partial(_kill, hosts(built)))
        assert _join(built) == first
        assert all_items(built) == items
        for host in hosts(built):
            said = log(built, host)
            assert said.count("started: ") == said.count("ready: ") == 2
            assert "level=error" not in said
            assert "repaired" not in said
        assert f"found {HOSTS} leases" in ctl(built, "lease", "list")


def _join(built: Lab) -> Mapping[str, Prefix]:
    """Start all daemons at once; return whose subnet is which, once everybody has heard of everybody."""
    built.call(
        functools.partial(daemons.start_ready, built.topology, built.topology.members, deadline=PATIENCE)
    )
    built.call(functools.partial(daemons.wait_for_routes, built.topology, deadline=PATIENCE))
    found = {node: ip_network(key.replace("-", "/")) for node, key in owners(built).items()}
    assert sorted(found) == sorted(hosts(built))
    return found


def _kill(names: list[str]) -> None:
    for name in names:
        daemons.stop(name, signal.SIGKILL)
