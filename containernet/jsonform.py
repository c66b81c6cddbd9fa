"""The model's values as JSON: for stores, for the disk, and for programs that look on.

The names are those of the model's fields; addresses are text as RFC 5952 and RFC 4632 write them.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from .contracts import Settings
from .model import Endpoint, Lease, NetworkConfig, Pool, PortMapping, Prefix, Route, Tunnel


def route_to_json(route: Route) -> dict[str, Any]:
    """Return a route as JSON values; `route_from_json` is the inverse.

    Where a route has others of equal cost they are under `equal_cost`, each in the same form.
    """
    document: dict[str, Any] = {
        "prefix": str(route.prefix),
        "node": route.node,
        "next_hop": str(route.next_hop),
        "tunnel": {"type": route.tunnel.type, "data": dict(route.tunnel.data)},
    }
    if route.equal_cost:
        document["equal_cost"] = [route_to_json(other) for other in route.equal_cost]
    return document


def route_from_json(document: dict[str, Any]) -> Route:
    """Return the route that `route_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, ConfigError: it is something else.
    """
    tunnel = document["tunnel"]
    return Route(
        prefix=prefix_from_json(document["prefix"]),
        node=_text(document["node"]),
        next_hop=ip_address(_text(document["next_hop"])),
        tunnel=Tunnel(type=_text(tunnel["type"]), data=tunnel["data"]),
        equal_cost=tuple(map(route_from_json, document.get("equal_cost", ()))),
    )


def prefix_from_json(text: object) -> Prefix:
    """Return the prefix that a text names.

    Raises:
        ValueError, TypeError: it is something else.
    """
    return ip_network(_text(text))


def _text(value: object) -> str:
    # ipaddress would take a number, and even true, for an address.
    if not isinstance(value, str):
        raise TypeError(f"{value!r}: expected text")
    return value


def network_to_json(network: NetworkConfig) -> list[dict[str, Any]]:
    """Return a network's pools as JSON values; `network_from_json` is the inverse."""
    return [
        {
            "prefix": str(pool.prefix),
            "subnet_length": pool.subnet_length,
            "first": str(pool.first),
            "last": str(pool.last),
            "reserved": [str(prefix) for prefix in pool.reserved],
        }
        for pool in network.pools
    ]


def network_from_json(pools: Iterable[dict[str, Any]]) -> NetworkConfig:
    """Return the network that `network_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, ConfigError: it is something else, or contradicts itself.
    """
    return NetworkConfig(
        pools=tuple(
            Pool(
                prefix=prefix_from_json(pool["prefix"]),
                subnet_length=int(pool["subnet_length"]),
                first=prefix_from_json(pool["first"]),
                last=prefix_from_json(pool["last"]),
                reserved=tuple(map(prefix_from_json, pool["reserved"])),
            )
            for pool in pools
        )
    )


def settings_to_json(settings: Settings) -> dict[str, Any]:
    """Return what a store says to all hosts as JSON values; `settings_from_json` is the inverse."""
    return {
        "network": network_to_json(settings.network),
        "dataplane": settings.dataplane,
        "options": dict(settings.options),
        "mtu": settings.mtu,
    }


def settings_from_json(document: dict[str, Any]) -> Settings:
    """Return the settings that `settings_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, ConfigError: it is something else, or contradicts itself.
    """
    return Settings(
        network=network_from_json(document["network"]),
        dataplane=str(document["dataplane"]),
        options=dict(document["options"]),
        mtu=int(document["mtu"]),
    )


def lease_to_json(lease: Lease) -> dict[str, Any]:
    """Return a lease as JSON values, for people and programs that look on."""
    return {
        "subnets": [str(subnet) for subnet in lease.subnets],
        "node": lease.node,
        "expires": lease.expires,
        "reserved": not lease.node,
    }


def port_to_json(port: PortMapping) -> dict[str, Any]:
    """Return a port mapping as JSON values; `port_from_json` is the inverse."""
    return {
        "protocol": port.protocol,
        "host_port": port.host_port,
        "container_port": port.container_port,
        "host_ip": str(port.host_ip) if port.host_ip is not None else None,
    }


def port_from_json(document: dict[str, Any]) -> PortMapping:
    """Return the port mapping that `port_to_json` wrote.

    Raises:
        ValueError, KeyError, TypeError, ConfigError: it is something else.
    """
    own = document["host_ip"]
    return PortMapping(
        protocol=_text(document["protocol"]),
        host_port=document["host_port"],
        container_port=document["container_port"],
        host_ip=None if own is None else ip_address(_text(own)),
    )


def endpoint_to_json(endpoint: Endpoint) -> dict[str, Any]:
    """Return an endpoint as JSON values; `endpoint_from_json` is the inverse."""
    return {
        "container": endpoint.container,
        "interface": endpoint.interface,
        "netns": endpoint.netns,
        "addresses": [str(address) for address in endpoint.addresses],
        "ports": [port_to_json(port) for port in endpoint.ports],
        "mac": endpoint.mac,
        "network": endpoint.network,
        "aliases": list(endpoint.aliases),
        "addresses_only": endpoint.addresses_only,
    }


def endpoint_from_json(document: dict[str, Any]) -> Endpoint:
    """Return the endpoint that `endpoint_to_json` wrote; what came later may be missing.

    Raises:
        ValueError, KeyError, TypeError, ConfigError: it is something else.
    """
    return Endpoint(
        container=_text(document["container"]),
        interface=_text(document["interface"]),
        netns=_text(document["netns"]),
        addresses=tuple(ip_interface(_text(address)) for address in document["addresses"]),
        ports=tuple(map(port_from_json, document.get("ports", ()))),
        mac=_text(document.get("mac", "")),
        network=_text(document.get("network", "")),
        aliases=tuple(map(_text, document.get("aliases", ()))),
        addresses_only=bool(document.get("addresses_only", False)),
    )
