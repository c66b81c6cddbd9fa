"""Every dataplane of ours keeps the contract that an outsider's has to keep."""

from __future__ import annotations

from containernet.contracts import Dataplane
from containernet.testing import DataplaneContract
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.ipip import Ipip
from containernet_backends.vxlan import Vxlan

ON_LINK = frozenset({"IPv4", "IPv6"})


class TestVxlan(DataplaneContract):
    def dataplane(self) -> Dataplane:
        """Return it as it comes."""
        return Vxlan()


class TestVxlanDirect(DataplaneContract):
    def dataplane(self) -> Dataplane:
        """Return it with options."""
        return Vxlan(vni=7, port=4789, direct=True)


class TestIpip(DataplaneContract):
    def dataplane(self) -> Dataplane:
        """Return it as it comes."""
        return Ipip()


class TestIpipDirect(DataplaneContract):
    def dataplane(self) -> Dataplane:
        """Return it with options."""
        return Ipip(direct=True)


class TestHostGateway(DataplaneContract):
    supports = ON_LINK

    def dataplane(self) -> Dataplane:
        """Return it; there are no options."""
        return HostGateway()


class TestBridge(DataplaneContract):
    supports = ON_LINK
    provided = frozenset({"eth1"})

    def dataplane(self) -> Dataplane:
        """Return it as a way between hosts."""
        return Bridge(uplink="eth1")
