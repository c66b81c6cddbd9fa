"""The speaker keeps the contract of a route store: handles that are clients of one reflector."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

from containernet.testing import AnswersContract, Bed, ConfinesContract, DrainsContract, RouteStoreContract
from containernet_backends.bgp import BgpStore

PORTS = itertools.count(17900)
HUB = "127.0.0.1"


def bed() -> Bed[BgpStore]:
    """Return a reflector that is up, and handles that call it."""
    port = next(PORTS)
    hub = BgpStore.from_options(
        {
            "asn": 64512,
            "router_id": HUB,
            "listen": [f"{HUB}:{port}"],
            "restart_time": 0,
            "start_wait": 0,
            "peer": [{"range": "127.0.0.0/8", "client": True}],
        }
    )
    hub.speaker.start()
    numbers = itertools.count(2)

    def opened() -> BgpStore:
        own = f"127.0.0.{next(numbers)}"
        peer = {"address": HUB, "port": port, "local_address": own}
        return BgpStore.from_options(
            {"asn": 64512, "router_id": own, "listen": [], "restart_time": 0, "peer": [peer]}
        )

    return Bed(open=opened, advance=lambda _: None, close=hub.close)


class TestBgp(RouteStoreContract, AnswersContract, ConfinesContract, DrainsContract):
    """Speakers around a reflector."""

    supports = RouteStoreContract.supports - {"shared", "immediate", "exact events", "nodes", "tunnels"}
    examples = 5

    def asked(self) -> Iterable[Sequence[str]]:
        """Everything that changes nothing."""
        return [["peers"], ["peers", HUB], ["routes"], ["routes", "10.4.0.0/16"]]

    def bed(self) -> Bed[BgpStore]:
        """Return a new reflector."""
        return bed()
