"""The kernel that the other tests of this mark rely on is there, with its drivers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyroute2 import NetNS

pytestmark = pytest.mark.uml

TUNNEL: dict[str, dict[str, str | int]] = {
    "ipip": {"ipip_local": "192.0.2.1"},
    "ip6tnl": {"ip6tnl_collect_metadata": True},
    "vxlan": {"vxlan_id": 1},
}


@pytest.fixture
def kernel(tmp_path: Path) -> Iterator[NetNS]:
    """An empty network namespace."""
    with NetNS(str(tmp_path / "netns")) as kernel:
        yield kernel
        kernel.remove()


@pytest.mark.parametrize("kind", ["bridge", "dummy", "ip6tnl", "ipip", "veth", "vxlan"])
def test_a_link_of_every_kind_can_be_made(kind: str, kernel: NetNS) -> None:
    """A missing driver fails here, by its name, and not as a riddle in a test of ours."""
    kernel.link("add", ifname="probe", kind=kind, **TUNNEL.get(kind, {}))
    (link,) = kernel.get_links(ifname="probe")
    assert link.get_nested("IFLA_LINKINFO", "IFLA_INFO_KIND") == kind


def test_random_numbers_do_not_block() -> None:
    """A kernel without a source of entropy lets every TLS and every UUID wait for ever."""
    assert int(Path("/proc/sys/kernel/random/entropy_avail").read_text()) >= 256
