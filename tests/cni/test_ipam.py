"""Addresses from containernetd for interfaces that other plugins make."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from functools import partial
from itertools import permutations
from pathlib import Path

import attrs
import pytest

from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import hosts
from .hosts import Host
from .runtime import Runtime

pytestmark = pytest.mark.kernel

PTP = Path("/usr/lib/cni/ptp")  # a cable to the host, and a route to each of its addresses


@pytest.fixture
def runtime(clean: Host) -> Runtime:
    """A runtime whose interfaces come from the reference plugin ptp, and whose addresses from ours."""
    return ptp(clean)


def ptp(host: Host) -> Runtime:
    """Return such a runtime on a host."""
    if not PTP.exists():
        pytest.skip("no reference plugins: install Debian's containernetworking-plugins")
    path = f"{host.places.executables}:{PTP.parent}"
    return Reference(
        host=host.netns, plugin=PTP, config={"type": "ptp", "ipam": {"type": "containernet-cni"}}, path=path
    )


@attrs.frozen(kw_only=True)
class Reference(Runtime):
    """One that looks for plugins in several places."""

    path: str

    def environment(self, command: str, container: str, netns: str, interface: str) -> dict[str, str]:
        """Return the variables of a request."""
        return {**super().environment(command, container, netns, interface), "CNI_PATH": self.path}


def test_another_plugin_has_its_addresses_from_us(
    runtime: Runtime, clean: Host, netns: Callable[[], Netns]
) -> None:
    """The container reaches its host; nobody has an address twice; and it may be deleted twice."""
    theirs, ours = netns(), netns()
    result = runtime.ask("ADD", "theirs", theirs.path).result
    own = clean.runtime.ask("ADD", "ours", ours.path).result
    assert {each["address"] for each in result["ips"]}.isdisjoint(each["address"] for each in own["ips"])
    theirs.run("ping", "-c1", "-W2", clean.address)
    assert clean.endpoints()["theirs"]["addresses_only"]
    assert runtime.ask("CHECK", "theirs", theirs.path, prevResult=result).result is None
    for _ in range(2):
        assert runtime.ask("DEL", "theirs", theirs.path, prevResult=result).result is None
    assert list(clean.endpoints()) == ["ours"]
    assert clean.runtime.ask("DEL", "ours", ours.path).result is None


def test_its_addresses_are_free_when_its_namespace_is_gone(
    runtime: Runtime, clean: Host, netns: Callable[[], Netns]
) -> None:
    """Nothing of ours dies with it, so it is noticed at the next look, which can be asked for."""
    container = netns()
    assert runtime.ask("ADD", "theirs", container.path).result
    container.close()
    wait_until(lambda: clean.run("gc") or not clean.endpoints(), what="collected")
    assert clean.endpoints() == {}


def reaches(space: Netns, address: str) -> bool:
    """Return whether somebody answers."""
    command = ["nsenter", f"--net={space.path}", "ping", "-c1", "-W1", address]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_where_ours_are_routed_they_reach_those_of_another_plugin(
    tmp_path: Path, netns: Callable[[], Netns]
) -> None:
    """And on another host as well: each has a route of its own on its host."""
    with hosts.cluster(tmp_path, 2, more='[dataplane]\nlocal = "routed"\n') as [host, other]:
        places = {
            "theirs": (host, ptp(host)),
            "ours": (host, host.runtime),
            "afar": (other, ptp(other)),
        }
        spaces = {name: netns() for name in places}
        for name, (_, runtime) in places.items():
            assert runtime.ask("ADD", name, spaces[name].path).result
        for each in (host, other):
            wait_until(lambda: len(each.asked("status")["routes"]) == 2, what="all routes")  # noqa: B023
        for one, two in permutations(places, 2):
            for address in places[two][0].endpoints()[two]["addresses"]:
                # Not at once: that plugin's host side first looks whether its IPv6 address is somebody else's.
                wait_until(partial(reaches, spaces[one], address.partition("/")[0]), what=f"{one} to {address}")
