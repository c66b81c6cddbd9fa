"""What a runtime is told of an attachment: the result of ADD, in the words of each version. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..addresses import bridge_address
from ..contracts import EndpointItems
from ..items import InterfaceAddress, KernelRoute, Link, Veth
from ..model import Address, Endpoint, Interface
from .request import Code, Refused, Request

_EVERYTHING = {4: "0.0.0.0/0", 6: "::/0"}


def result(
    request: Request, endpoint: Endpoint, items: EndpointItems, dns: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the result of an ADD: what the plugins before us have told, and then ours.

    Args:
        items: what was programmed for the endpoint.
        dns: what resolvers are to be told; what a plugin before us has said stands.
    """
    before = previous(request)
    own = _ours(request, endpoint, items)
    first = len(before.get("interfaces") or [])
    for address in own["ips"]:
        if "interface" in address:
            address["interface"] += first
    merged = {key: [*(before.get(key) or []), *own[key]] for key in own}
    return {**before, "cniVersion": request.version, **merged, "dns": before.get("dns") or dict(dns)}


def previous(request: Request) -> Mapping[str, Any]:
    """Return what the plugins before us have told, or all of them at the last ADD; perhaps nothing.

    Raises:
        Refused: it is no result.
    """
    found = request.config.get("prevResult") or {}
    lists = [found.get(key) or [] for key in ("interfaces", "ips", "routes")] if _is_object(found) else [None]
    if not all(isinstance(each, list) and all(map(_is_object, each)) for each in lists):
        raise Refused(Code.INVALID_CONFIG, "prevResult: expected the result of an ADD")
    return dict(found)


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


def _ours(request: Request, endpoint: Endpoint, items: EndpointItems) -> dict[str, list[dict[str, Any]]]:
    if endpoint.addresses_only:
        return _addresses(request, endpoint)
    routes = [item for item in items.container if isinstance(item, KernelRoute)]
    gateways = {route.destination.version: route.gateway for route in routes if route.gateway}
    interfaces = list(_interfaces(request, endpoint, items))
    return {
        "interfaces": interfaces,
        "ips": [
            {**_ip(request, item.address, gateways.get(item.address.version)), "interface": len(interfaces) - 1}
            for item in items.container
            if isinstance(item, InterfaceAddress)
        ],
        "routes": [{"dst": str(route.destination), **_gateway("gw", route.gateway)} for route in routes],
    }


def _addresses(request: Request, endpoint: Endpoint) -> dict[str, list[dict[str, Any]]]:
    """Return what another plugin needs to make an interface in its own way, whatever ours would be like.

    SPEC, section 5, Delegated plugins: no interfaces.
    """
    gateways = {own: bridge_address(own.network).ip for own in endpoint.addresses}
    return {
        "ips": [_ip(request, own, gateway) for own, gateway in gateways.items()],
        "routes": [{"dst": _EVERYTHING[own.version], "gw": str(gateway)} for own, gateway in gateways.items()],
    }


def _ip(request: Request, own: Interface, gateway: Address | None) -> dict[str, Any]:
    version = {"version": str(own.version)} if request.version < "1" else {}
    return {**version, "address": str(own), **_gateway("gateway", gateway)}


def _interfaces(request: Request, endpoint: Endpoint, items: EndpointItems) -> Iterable[dict[str, Any]]:
    """Yield what the attachment has made: the host's ends of its cables, and last the interface inside."""
    for item in items.host:
        if isinstance(item, Link):
            mtu = {"mtu": item.mtu} if request.version >= "1.1" else {}
            yield {"name": item.name, "mac": item.mac, **mtu}
            if isinstance(item.type, Veth) and item.type.peer == endpoint.interface:
                inside = {"name": item.type.peer, "mac": item.type.peer_mac, **mtu, "sandbox": request.netns}
    yield inside


def _gateway(key: str, gateway: Address | None) -> dict[str, str]:
    return {key: str(gateway)} if gateway else {}
