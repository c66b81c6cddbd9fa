"""Every local dataplane of ours keeps the contract that an outsider's has to keep."""

from __future__ import annotations

import attrs

from containernet.contracts import LocalDelivery
from containernet.edge import Edge
from containernet.testing import LocalDeliveryContract
from containernet.testing.delivery import Populated
from containernet_backends.bridge import Bridge
from containernet_backends.routed import Routed


class TestBridge(LocalDeliveryContract):
    def local(self) -> LocalDelivery:
        """Return it as it comes."""
        return Bridge()


class TestBridgeWithUplink(LocalDeliveryContract):
    provided = frozenset({"eth1"})

    def local(self) -> LocalDelivery:
        """Return it with an uplink, and under another name."""
        return Bridge(device="br-containers", uplink="eth1")


class TestRouted(LocalDeliveryContract):
    def local(self) -> LocalDelivery:
        """Return it as it comes."""
        return Routed()


class TestEdge(LocalDeliveryContract):
    def local(self) -> LocalDelivery:
        """Return it around a bridge."""
        return Edge(Bridge())

    def carried(self, drawn: Populated) -> Populated:
        """Leave out ports: what leads back to its own subnet is wanted by all who have one, and is one item."""
        kept = super().carried(drawn)
        return attrs.evolve(kept, endpoints=[attrs.evolve(each, ports=()) for each in kept.endpoints])
