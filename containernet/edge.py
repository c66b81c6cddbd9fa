"""The edge between a host's containers and everybody else: masquerade, ports of the host, source guards.

A local dataplane says how a container hangs on its host; `Edge` is that dataplane with the edge around it, and
a local dataplane again. So an edge is the same for every local dataplane, from outside too, and none of them
has to know of it: what it needs (the veth, its far end's MAC, whether that is on a bridge) is in their items.

- masquerade: the outside sees the host's address, since nobody there knows the way to a pool;
- ports: what comes to a port of the host goes to a container, from outside, from its neighbours and itself, and
  from the host, of IPv4 by 127.0.0.1 too. (Linux sends nothing from ::1 to another link, so there is no such
  thing for IPv6, and ::1 is left alone: who tries it is refused at once, and tries 127.0.0.1.);
- guard: nothing passes that does not come from the container's own addresses;
- accept: what is forwarded for the pools passes the chains that the operator named.

Pure, like a dataplane.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Self

import attrs

from . import derive
from .contracts import EndpointItems, LocalDelivery
from .errors import ConfigError
from .items import (
    TABLE_FAMILIES,
    Bridge,
    BridgePort,
    ForwardAccept,
    Hairpin,
    Item,
    Link,
    Masquerade,
    PortForward,
    SourceGuard,
    Sysctl,
    Veth,
)
from .model import Endpoint, Node, PortMapping
from .values import shown

_CHAIN = re.compile(r"(ip|ip6|inet) [A-Za-z_][\w./-]* [A-Za-z_][\w./-]*", re.ASCII)


def _chains(instance: object, attribute: attrs.Attribute[tuple[str, ...]], value: tuple[str, ...]) -> None:
    for chain in value:
        if not isinstance(chain, str) or not _CHAIN.fullmatch(chain):
            raise ConfigError(
                f"{attribute.name}: {chain!r} is not a chain of nftables: expected family, table and name, "
                "such as 'ip filter DOCKER-USER', the family being ip, ip6 or inet"
            )


@attrs.frozen(kw_only=True)
class EdgeOptions:
    """What the edge does; keys of [dataplane].

    Args:
        masquerade, masquerade6: containers reach the outside by the host's own address of IPv4, and of IPv6.
        guard: what a container sends must come from its own addresses.
        accept_in: chains of somebody else's, such as `ip filter DOCKER-USER` (nft's words for family, table and
            name), that are to accept what is forwarded from the pools and to them.
    """

    masquerade: bool = True
    masquerade6: bool = False
    guard: bool = True
    accept_in: tuple[str, ...] = attrs.field(default=(), converter=tuple[str, ...], validator=_chains)
    __repr__ = shown

    def masquerades(self, version: int) -> bool:
        """Return whether packets of that family are masqueraded."""
        return self.masquerade if version == 4 else self.masquerade6


@attrs.frozen
class Edge:
    """A local dataplane with an edge around it."""

    local: LocalDelivery
    options: EdgeOptions = attrs.Factory(EdgeOptions)
    __repr__ = shown

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Refuse: it is made around a local dataplane, and has no table of its own."""
        raise ConfigError(f"an edge is made around a local dataplane, not from options {dict(options)}")

    def host(self, node: Node) -> Iterable[Item]:
        """Return what the local dataplane needs, masquerade, and what others' chains are to accept.

        Raises:
            ConfigError: see `LocalDelivery.host`.
        """
        items = tuple(self.local.host(node))
        yield from items
        for link in items:
            if isinstance(link, Link) and isinstance(link.type, Bridge) and node.subnet(4):
                # So that it ends with the last port: where a container wants it to be 1, its wish comes first.
                yield _localnet(link.name, "0")
        for pool in node.pools:
            if self.options.masquerades(pool.version):
                yield Masquerade(pool=pool)
            for chain in self.options.accept_in:
                if pool.version in TABLE_FAMILIES[chain.split()[0]]:
                    yield ForwardAccept(chain=chain, pool=pool)

    def endpoint(self, node: Node, endpoint: Endpoint) -> EndpointItems:
        """Return what the local dataplane needs for a container, with its ports and its guard."""
        items = self.local.endpoint(node, endpoint)
        return attrs.evolve(items, host=(*items.host, *self._around(node, endpoint, items)))

    def _around(self, node: Node, endpoint: Endpoint, items: EndpointItems) -> Iterator[Item]:
        links = [each for each in items.host if isinstance(each, Link)]
        name, mac = next((each.name, each.type.peer_mac) for each in links if isinstance(each.type, Veth))
        bridge = next((each.bridge for each in items.host if isinstance(each, BridgePort)), "")
        if self.options.guard and mac:
            own = [*(each.ip for each in endpoint.addresses), derive.link_local(mac)]
            yield SourceGuard(interface=name, mac=mac, addresses=own, bridged=bool(bridge))
        forwards = [each for port in endpoint.ports for each in _forwards(port, endpoint)]
        yield from forwards
        if not forwards:
            return
        for subnet in node.subnets:
            yield Hairpin(subnet=subnet)
        if any(each.address.version == 4 for each in forwards):
            yield _localnet(bridge or name, "1")


def _localnet(link: str, value: str) -> Sysctl:
    """Return whether what comes from 127.0.0.0/8 may go out by a link, and its answers come in there."""
    return Sysctl(name=f"net/ipv4/conf/{link}/route_localnet", value=value, link=link)


def _forwards(port: PortMapping, endpoint: Endpoint) -> Iterator[PortForward]:
    own = port.host_ip if port.host_ip is not None and not port.host_ip.is_unspecified else None
    for address in endpoint.addresses:
        if port.serves(address.version):
            yield PortForward(
                protocol=port.protocol,
                host_ip=own,
                host_port=port.host_port,
                address=address.ip,
                port=port.container_port,
            )
