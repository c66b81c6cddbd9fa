"""Every local dataplane of ours keeps the contract that an outsider's has to keep."""

from __future__ import annotations

from containernet.contracts import LocalDelivery
from containernet.testing import LocalDeliveryContract
from containernet_backends.bridge import Bridge


class TestBridge(LocalDeliveryContract):
    def local(self) -> LocalDelivery:
        """Return it as it comes."""
        return Bridge()


class TestBridgeWithUplink(LocalDeliveryContract):
    provided = frozenset({"eth1"})

    def local(self) -> LocalDelivery:
        """Return it with an uplink, and under another name."""
        return Bridge(device="br-containers", uplink="eth1")
