"""Somebody changes the kernel behind the daemon's back; it is put right in under a second."""

from __future__ import annotations

import functools
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containernet.items import (
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Masquerade,
    Neighbour,
    SourceGuard,
)
from containernet.lab import build, daemons, namespaces, whole
from containernet.lab.cluster import Lab

from . import labs

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

# Seconds. In user-mode-linux Python is ten times slower, and a machine may be busy with something else for a
# moment; neither says anything about the daemon. So the best of a few tries counts, and each must end well.
HEALED_WITHIN = 10.0 if "User Mode Linux" in Path("/proc/cpuinfo").read_text() else 1.0
TRIES = 4
PATIENCE = 20.0
IFA_F_NODAD = 0x02
HOST = "host1"


@pytest.fixture(scope="module", params=["vxlan", "host-gw", "bridge", labs.IPIP])
def built(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts with a container each."""
    with labs.lab(dataplane=request.param, hosts=2, containers=1) as built:
        yield built


# What each dataplane has on a host with one peer and one container, in both families.
KINDS = {
    "vxlan": (KernelRoute, Neighbour, FdbEntry, InterfaceAddress, Link, Masquerade, SourceGuard),
    "ipip": (KernelRoute, InterfaceAddress, Link),
    "host-gw": (KernelRoute, InterfaceAddress, Link),
    "bridge": (KernelRoute, InterfaceAddress, Link),
}


def test_what_is_deleted_comes_back(built: Lab) -> None:
    """All items of a kind are deleted at once; the kernel is soon what it was, and every packet arrives."""
    for kind in KINDS[built.topology.dataplane]:
        _heals(built, functools.partial(_delete_all, kind))


def test_a_flush_of_nftables_heals(built: Lab) -> None:
    """As an operator's firewall script does it at each start; where the daemon has anything there."""
    if built.call(functools.partial(daemons.has_nftables, HOST)):
        _heals(built, _flush_nftables)


@pytest.mark.parametrize("change", ["down", "mtu", "mac", "down and up"])
def test_a_link_that_is_changed_is_changed_back(change: str, built: Lab) -> None:
    """A link that goes down takes routes along; all of it is restored, whatever was done to the link."""
    _heals(built, functools.partial(_change_links, change))


def test_the_underlay_going_down_and_up_heals_too(built: Lab) -> None:
    """The underlay's link is not ours to lift; once its owner has, what stood on it stands again."""
    before = labs.items(built, HOST)
    (host, *_) = built.topology.members
    built.call(functools.partial(_bounce_underlay, str(host.addresses[1])))
    labs.seconds_until(lambda: labs.items(built, HOST) == before, at_most=PATIENCE)
    labs.seconds_until(lambda: _all_reached(built), at_most=PATIENCE)


def test_a_foreign_route_is_reported_and_left_alone(built: Lab) -> None:
    """A route of somebody else, where ours ought to be, is theirs: the daemon says so and does not steal it."""
    ours = next(
        item
        for item in labs.items(built, HOST).values()
        if isinstance(item, KernelRoute) and item.destination.version == 4
    )
    built.call(functools.partial(_usurp, str(ours.destination)))
    labs.seconds_until(lambda: not labs.status(built, HOST)["settled"], at_most=PATIENCE)
    assert any(str(ours.destination) in failure for failure in labs.status(built, HOST)["failures"])
    assert ours.key not in labs.items(built, HOST)
    built.call(functools.partial(_restore, str(ours.destination)))
    labs.seconds_until(lambda: bool(labs.status(built, HOST)["settled"]), at_most=PATIENCE)
    assert ours.key in labs.items(built, HOST)


def _heals(built: Lab, damage: Callable[[], int]) -> None:
    before = labs.items(built, HOST)
    seconds: list[float] = []
    while len(seconds) < TRIES and min(seconds, default=HEALED_WITHIN) >= HEALED_WITHIN:
        assert built.call(damage) > 0
        seconds.append(labs.seconds_until(lambda: labs.items(built, HOST) == before, at_most=PATIENCE))
    assert min(seconds) < HEALED_WITHIN, seconds
    labs.seconds_until(lambda: _all_reached(built), at_most=PATIENCE)


def _all_reached(built: Lab) -> bool:
    return all(result.reached for result in whole.ping(built, labs.containers(built)))


def _delete_all(kind: type[Item]) -> int:
    wanted = [item for item in labs.items_inside(HOST).values() if isinstance(item, kind)]
    labs.delete(HOST, wanted)
    return len(wanted)


def _flush_nftables() -> int:
    with namespaces.network(build.path(HOST)):
        subprocess.run(["nft", "flush", "ruleset"], check=True)
    return 1


def _change_links(change: str) -> int:
    from pyroute2 import NetNS

    names = [item.name for item in labs.items_inside(HOST).values() if isinstance(item, Link)]
    with NetNS(str(build.path(HOST))) as links:
        for name in names:
            (index,) = links.link_lookup(ifname=name)
            match change:
                case "down":
                    links.link("set", index=index, state="down")
                case "down and up":
                    links.link("set", index=index, state="down")
                    links.link("set", index=index, state="up")
                case "mtu":
                    links.link("set", index=index, mtu=1300)
                case "mac":
                    if not name.startswith("ipip"):
                        links.link("set", index=index, address="02:00:00:00:00:99")
    return len(names)


def _bounce_underlay(address: str) -> None:
    """Take eth0 down and up, and as its owner would, give it back the IPv6 address that this costs it."""
    from pyroute2 import NetNS

    with NetNS(str(build.path(HOST))) as links:
        (index,) = links.link_lookup(ifname="eth0")
        links.link("set", index=index, state="down")
        links.link("set", index=index, state="up")
        own, _, length = address.partition("/")
        links.addr("add", index=index, address=own, prefixlen=int(length), flags=IFA_F_NODAD)


def _usurp(destination: str) -> None:
    from pyroute2 import NetNS

    with NetNS(str(build.path(HOST))) as links:
        (index,) = links.link_lookup(ifname="eth0")
        links.route("replace", dst=destination, oif=index, proto="static", scope=253)


def _restore(destination: str) -> None:
    from pyroute2 import NetNS

    with NetNS(str(build.path(HOST))) as links:
        links.route("del", dst=destination, scope=253)
