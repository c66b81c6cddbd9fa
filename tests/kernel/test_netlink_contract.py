"""NetlinkKernel keeps the contract of a kernel, with a real one behind it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from functools import cache
from ipaddress import ip_network

import pytest

from containernet.items import (
    ExternalTunnel,
    ForwardAccept,
    Hairpin,
    InterfaceAddress,
    IpTunnel,
    Item,
    KernelRoute,
    Masquerade,
    PortForward,
    SourceGuard,
)
from containernet.planning import Create, Delete
from containernet.testing import (
    EntersNamespacesContract,
    FindsRivalsContract,
    KernelBed,
    KernelContract,
    ReadsSysctlsContract,
    ShowsTablesContract,
    UnderlayContract,
)
from containernet_backends.netlink import NetlinkKernel

from .conftest import Netns

pytestmark = pytest.mark.kernel


# How to make a device whose driver a kernel may lack.
NFTABLES: frozenset[type] = frozenset({Masquerade, Hairpin, PortForward, SourceGuard, ForwardAccept})
DRIVERS: dict[type, str] = {
    IpTunnel: "4 type ipip local 192.0.2.9",
    ExternalTunnel: "6 type ip6tnl external",
}
UNDERLAY = """\
link add eth0 type veth peer name cable
link set cable up
link set eth0 up
address add 192.0.2.1/24 dev eth0
address add 2001:db8::1/64 dev eth0 nodad
"""
OTHERS = "table inet others { chain forward { type filter hook forward priority 5; counter; }; }"


@cache
def lacking() -> frozenset[type]:
    """Return the kinds of links that this kernel has no driver for."""
    with closing(Netns()) as probe:
        return frozenset(kind for kind, line in DRIVERS.items() if not probe.can(f"link add probe{line}"))


def bed_with(options: Mapping[str, object]) -> KernelBed:
    """Return a bed for kernels with such options."""
    host, container = Netns(), Netns()
    host.run("ip", "-batch", "-", stdin=UNDERLAY)
    assert host.nft(OTHERS) or without_nftables()

    def open_kernel() -> NetlinkKernel:
        return NetlinkKernel.from_options({"netns": host.path, **options})

    def lose(item: Item) -> None:
        with closing(host.kernel()) as rival:
            assert rival.execute([Delete(item)]) == []

    def occupy(item: Item) -> None:
        match item:
            case KernelRoute(destination=destination, metric=metric):
                host.ip(f"route add {destination} dev eth0 proto bird" + f" metric {metric}" * bool(metric))
            case InterfaceAddress(address=address):
                host.ip(f"address add {address} dev eth0")
            case _:
                host.ip(f"link add {item.link} type bridge")

    def close() -> None:
        host.close()
        container.close()

    return KernelBed(open=open_kernel, lose=lose, occupy=occupy, netns=container.path, close=close)


@cache
def without_nftables() -> frozenset[type]:
    """Return what this kernel cannot hold for want of nftables' families."""
    with closing(Netns()) as probe:
        return frozenset() if probe.nft("add table inet probe") else NFTABLES


class TestNetlink(
    KernelContract,
    EntersNamespacesContract,
    FindsRivalsContract,
    ReadsSysctlsContract,
    ShowsTablesContract,
    UnderlayContract,
):
    def setup_method(self) -> None:
        """Take away the drivers that this kernel lacks: those devices it has to refuse."""
        self.supports = frozenset(KernelContract.supports - lacking() - without_nftables())
        super().setup_method()

    def bed(self) -> KernelBed:
        """Return a namespace with an underlay link; the others in it use `ip`, or are a second daemon."""
        return bed_with({})


@pytest.mark.untraced
class TestByNexthopObjects(KernelContract, ShowsTablesContract):
    """With an object for every gateway: what others see of routes is the same."""

    def setup_method(self) -> None:
        """As above."""
        self.supports = frozenset(KernelContract.supports - lacking() - without_nftables())
        super().setup_method()

    def bed(self) -> KernelBed:
        """Return the bed of above, but for the option."""
        return bed_with({"plain_gateways": 0})


@pytest.fixture
def suite() -> Iterator[TestNetlink]:
    """The suite on a kernel that lacks nothing, its bed made."""
    assert not lacking()
    suite = TestNetlink()
    suite.setup_method()
    yield suite
    suite.teardown_method()


# User-mode-linux has the drivers that other kernels lack. It is ten times slower, and has time only for that to
# which such a driver makes a difference.
@pytest.mark.uml
class TestEveryDriver:
    @pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: kind.__name__)
    def test_a_kind_that_some_kernels_lack(self, suite: TestNetlink, kind: type) -> None:
        """It comes with the routes over it, changes, makes room for another, and goes."""
        suite.comes_changes_and_goes(kind)
        suite.is_made_anew(kind)

    @pytest.mark.parametrize("kind", NFTABLES, ids=lambda kind: kind.__name__)
    def test_what_this_kernel_cannot_hold_is_refused(self, suite: TestNetlink, kind: type) -> None:
        """It has nf_tables, and not the families that are needed."""
        assert without_nftables()
        suite.comes_changes_and_goes(kind)

    def test_the_refusal_says_what_to_do(self, suite: TestNetlink) -> None:
        """Which modules, or which option."""
        (failure,) = suite.open().execute([Create(Masquerade(pool=ip_network("10.4.0.0/16")))])
        assert "modprobe" in failure.reason
        assert "switch off masquerade" in failure.reason

    def test_all_kinds_together(self, suite: TestNetlink) -> None:
        """In any order, with drift and failures."""
        suite.test_drift_and_failures_in_any_order()
