"""What a runtime wants for one container: capabilities, `args` and CNI_ARGS, as an endpoint. Pure.

The same wish can come in three ways: by a capability (`runtimeConfig`), by `args`, and by CNI_ARGS; the first
that is there counts (CONVENTIONS.md). Keys are compared without regard to capitals, and null is nothing:
runtimes write both. What nobody here knows is ignored where it is meta data, and refused where it asks for
something to be done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from ipaddress import ip_address, ip_interface
from typing import Any

from ..errors import ConfigError
from ..model import Endpoint, Interface, PortMapping
from .request import Code, Refused, Request

# Well-known capabilities that ask for something which nobody here does.
_UNSUPPORTED = ("bandwidth", "deviceID", "infinibandGUID", "ipRanges")


def wished(request: Request) -> Endpoint:
    """Return the endpoint that an ADD asks for; its addresses are those that it asks for, perhaps none.

    Raises:
        Refused: a wish that nobody understands, or can fulfil.
    """
    runtime = _table(request.config, "runtimeConfig")
    for name in _UNSUPPORTED:
        if _get(runtime, name):
            raise Refused(Code.UNSUPPORTED_FIELD, f"runtimeConfig.{name} {json.dumps(_get(runtime, name))}")
    conventional = _table(_table(request.config, "args"), "cni")
    arguments = _arguments(request.arguments)
    addresses = _get(runtime, "ips") or _get(conventional, "ips") or arguments.get("IP", "").split(",")
    mac = _get(runtime, "mac") or _get(conventional, "mac") or arguments.get("MAC", "")
    try:
        return Endpoint(
            container=request.container,
            interface=request.interface,
            netns=request.netns,
            addresses=tuple(_address(each) for each in _list("ips", addresses) if each),
            mac=str(mac).lower().replace("-", ":"),
            ports=() if request.addresses_only else _ports(runtime),
            network=request.network,
            aliases=_aliases(_get(runtime, "aliases"), request.network),
            addresses_only=request.addresses_only,
        )
    except ConfigError as error:
        raise Refused(Code.INVALID_CONFIG, str(error)) from None


def dns(request: Request) -> dict[str, Any]:
    """Return the result's `dns`: the configuration's, with what the runtime says over it.

    Raises:
        Refused: it is no such table.
    """
    configured, runtime = _table(request.config, "dns"), _table(_table(request.config, "runtimeConfig"), "dns")
    found = {
        "nameservers": _get(runtime, "servers") or _get(configured, "nameservers"),
        "domain": _get(configured, "domain"),
        "search": _get(runtime, "searches") or _get(configured, "search"),
        "options": _get(runtime, "options") or _get(configured, "options"),
    }
    return {key: value for key, value in found.items() if value}


def _ports(runtime: Mapping[str, Any]) -> tuple[PortMapping, ...]:
    ports = []
    for each in _list("portMappings", _get(runtime, "portMappings")):
        if not isinstance(each, Mapping):
            raise _invalid("portMappings", each, "an object")
        host_port, host_ip = _get(each, "hostPort"), _get(each, "hostIP")
        if host_port:  # the kubelet names all ports of a container, those that the host has and has not
            ports.append(
                PortMapping(
                    protocol=str(_get(each, "protocol") or "tcp").lower(),
                    host_port=host_port,
                    container_port=_get(each, "containerPort") or host_port,
                    host_ip=_address(host_ip).ip if host_ip else None,
                )
            )
    return tuple(dict.fromkeys(ports))


def _aliases(found: Any, network: str) -> tuple[str, ...]:
    # CONVENTIONS.md has a list; podman has one for each network.
    aliases = _get(found, network) if isinstance(found, Mapping) else found
    return tuple(map(str, _list("aliases", aliases)))


def _arguments(text: str) -> Mapping[str, str]:
    """Return CNI_ARGS by name; in any order, and with names that are not ours."""
    pairs = [pair.strip() for pair in text.split(";") if pair.strip()]
    for pair in pairs:
        if "=" not in pair:
            raise Refused(Code.INVALID_ENVIRONMENT, f"CNI_ARGS {text!r}: expected KEY=VALUE, got {pair!r}")
    return dict(pair.split("=", 1) for pair in pairs)


def _address(text: Any) -> Interface:
    try:
        return ip_interface(str(text)) if isinstance(text, str) else ip_interface(ip_address(text))
    except ValueError as error:
        raise _invalid("ips", text, f"an address, with a length or without ({error})") from None


def _get(table: Mapping[str, Any], key: str) -> Any:
    if key in table:
        return table[key]
    return next((value for name, value in table.items() if name.lower() == key.lower()), None)


def _table(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = _get(config, key) or {}
    if not isinstance(found, Mapping):
        raise _invalid(key, found, "an object")
    return found


def _list(key: str, found: Any) -> list[Any]:
    if not isinstance(found or [], list):
        raise _invalid(key, found, "a list")
    return found or []


def _invalid(key: str, value: object, expected: str) -> Refused:
    return Refused(Code.INVALID_CONFIG, f"{key} {json.dumps(value)}: expected {expected}")
