"""NetlinkKernel keeps the contract of a kernel, with a real one behind it."""

from __future__ import annotations

from contextlib import closing

import pytest

from containernet.items import ExternalTunnel, IpTunnel, Item, KernelRoute
from containernet.planning import Delete
from containernet.testing import KernelBed, KernelContract

from .conftest import Netns

pytestmark = pytest.mark.kernel


class TestNetlink(KernelContract):
    def setup_method(self) -> None:
        """Find out which drivers this kernel lacks: those devices it has to refuse."""
        with closing(Netns()) as probe:
            lacking = {kind for kind, line in DRIVERS.items() if not probe.can(f"link add probe{line}")}
        self.supports = frozenset(KernelContract.supports - lacking)
        super().setup_method()

    def bed(self) -> KernelBed:
        """Return a namespace with an underlay link; the others in it use `ip`, or are a second daemon."""
        host, container = Netns(), Netns()
        host.run("ip", "-batch", "-", stdin=UNDERLAY)

        def lose(item: Item) -> None:
            with closing(host.kernel()) as rival:
                assert rival.execute([Delete(item)]) == []

        def occupy(item: Item) -> None:
            route = isinstance(item, KernelRoute) and f"route add {item.destination} dev eth0 proto bird"
            host.ip(route or f"link add {item.link} type bridge")

        def close() -> None:
            host.close()
            container.close()

        return KernelBed(open=host.kernel, lose=lose, occupy=occupy, netns=container.path, close=close)


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
