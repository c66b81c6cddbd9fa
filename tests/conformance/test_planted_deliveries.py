"""The suite for local dataplanes finds what is planted: every fault by the tests whose facts it breaks."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from ipaddress import ip_interface

import attrs
import pytest

from containernet.contracts import EndpointItems, LocalDelivery
from containernet.items import BridgePort, InterfaceAddress, Item, KernelRoute, Link, Sysctl
from containernet.model import Endpoint, Node
from containernet.testing import LocalDeliveryContract
from containernet_backends.bridge import Bridge

COUNT = itertools.count()


class Planted(Bridge):
    """A bridge, of which `changed` changes the items of every endpoint."""

    def endpoint(self, node: Node, endpoint: Endpoint) -> EndpointItems:
        """Return the items, with the fault in them."""
        parts = super().endpoint(node, endpoint)
        return EndpointItems(
            host=tuple(self.changed(parts.host, node, endpoint)),
            container=tuple(self.changed(parts.container, node, endpoint)),
        )

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Return the items of one side as they should not be."""
        raise NotImplementedError


def renamed(items: Iterable[Item], name: str) -> Iterable[Item]:
    """Give the cable another name, wherever it occurs."""
    for item in items:
        match item:
            case Link():
                yield attrs.evolve(item, name=name)
            case BridgePort():
                yield attrs.evolve(item, link=name)
            case _:
                yield item


class Counting(Planted):
    """The name of a cable depends on how many there were before."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Number it."""
        return renamed(items, f"veth{next(COUNT)}")


class Hashing(Planted):
    """The name of a cable is the same only as long as the process lives."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Use the hash of a text, of which Python makes another in every process."""
        return renamed(items, f"veth{hash((endpoint.container, endpoint.interface)) % 2**32:x}")


class Truncating(Planted):
    """Long ids that begin alike are one."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Cut the id."""
        return renamed(items, f"veth{endpoint.container}"[:15])


class Verbose(Planted):
    """The kernel takes no such name."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Use the whole id."""
        return renamed(items, f"veth-{endpoint.container}-{endpoint.interface}")


class Roomy(Planted):
    """Its containers send what no tunnel takes."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Forget the overhead."""
        return [attrs.evolve(item, mtu=node.mtu) if isinstance(item, Link) else item for item in items]


class Unplugged(Planted):
    """The cable ends beside the bridge."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Leave the port out."""
        return [item for item in items if not isinstance(item, BridgePort)]


class Elsewhere(Planted):
    """It counts on a bridge that nobody makes."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Plug in somewhere else."""
        return [attrs.evolve(item, bridge="br0") if isinstance(item, BridgePort) else item for item in items]


class Provincial(Planted):
    """A container gets only as far as its neighbours."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Leave the way out of IPv6 out."""
        return [item for item in items if not isinstance(item, KernelRoute) or item.destination.version == 4]


class Crowded(Planted):
    """The second interface of a container takes the route of the first."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Leave the metric out."""
        return [attrs.evolve(item, metric=0) if isinstance(item, KernelRoute) else item for item in items]


class Detached(Planted):
    """The gateway is not on link: an address for itself, and no route to the gateway."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Shorten the addresses to themselves."""
        return [
            attrs.evolve(item, address=ip_interface(item.address.ip))
            if isinstance(item, InterfaceAddress)
            else item
            for item in items
        ]


class Lingering(Planted):
    """It leaves a setting of the whole host behind."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Set what no link takes along."""
        setting = Sysctl(name=f"net/ipv4/of-{endpoint.container}-{endpoint.interface}", value="1")
        return [*items, *([setting] if any(isinstance(item, Link) for item in items) else [])]


class Mixed(Planted):
    """It assumes that everybody has IPv6."""

    def changed(self, items: Iterable[Item], node: Node, endpoint: Endpoint) -> Iterable[Item]:
        """Set something of IPv6."""
        extra = [
            Sysctl(name=f"net/ipv6/conf/{item.name}/accept_dad", value="0", link=item.name)
            for item in items
            if isinstance(item, Link)
        ]
        return [*items, *extra]


@pytest.mark.parametrize(
    ("planted", "tests"),
    [
        (Counting, ["endpoints_pure"]),
        (Hashing, ["another_process"]),
        (Truncating, ["endpoints_apart", "every_call_fails_once", "come_and_go"]),
        (Verbose, ["interface_names"]),
        (Roomy, ["cable", "reach"]),
        (Unplugged, ["reach"]),
        (Elsewhere, ["ground", "come_and_go"]),
        (Provincial, ["inside"]),
        (Crowded, ["endpoints_apart"]),
        (Detached, ["come_and_go", "every_call_fails_once"]),
        (Lingering, ["come_and_go"]),
        (Mixed, ["one_family"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_of_a_delivery(planted: Callable[[], LocalDelivery], tests: list[str]) -> None:
    """Each fault is found by the tests whose facts it breaks."""

    class Suite(LocalDeliveryContract):
        def local(self) -> LocalDelivery:
            """Return the faulty one."""
            return planted()

    for test in tests:
        with pytest.raises(AssertionError):
            getattr(Suite(), f"test_{test}")()
