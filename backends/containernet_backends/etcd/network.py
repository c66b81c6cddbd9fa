"""The network's configuration in etcd: flannel's, to and from ours.

    {"EnableIPv4":true,"EnableIPv6":false,"Network":"10.5.0.0/16","SubnetLen":24,
     "SubnetMin":"10.5.1.0","SubnetMax":"10.5.255.0","Backend":{"Type":"vxlan","VNI":1}}

The rules and the defaults are those of flannel's subnet.CheckNetworkConfig and its backends: what is read here
is what every flannel host reads, and what flannel would refuse is not written. `Reserved`, a list of prefixes
that no node may lease, is ours; flannel ignores it.

A backend that is none of flannel's three is taken by its name, with its options as they are: it may be the
dataplane of a plugin. No backend at all is `udp` to flannel; to us it says that each host's own file tells.

Pure: no etcd, no clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Any, TypeVar

from containernet.contracts import Settings
from containernet.errors import ConfigError
from containernet.model import Address, NetworkConfig, Pool, Prefix

from . import gojson
from .gojson import short

# Octets; etcd refuses 1.5 MiB.
LIMIT = 1 << 20

_USUAL_LENGTH = {4: 24, 6: 64}
_FIELDS = ("Network", "SubnetLen", "SubnetMin", "SubnetMax")

# flannel's options by backend, with ours and their type. Port 0 is as good as absent.
_OPTIONS: dict[str, dict[str, tuple[str, type]]] = {
    "vxlan": {
        "VNI": ("vni", int),
        "Port": ("port", int),
        "DirectRouting": ("direct", bool),
    },
    "ipip": {"DirectRouting": ("direct", bool)},
    "host-gw": {},
}
_ZERO_IS_NONE = {"Port"}
_HAS_MTU = {"vxlan"}
_CANNOT = {
    "GBP": "this host's vxlan has no group policy",
    "Learning": "this host's vxlan is told every peer and learns none",
}

_WORDS = {bool: "true or false", int: "a whole number", str: "text", list: "a list", dict: "an object"}

_Value = TypeVar("_Value")


def decode(text: bytes) -> Settings:
    """Return what flannel's config says.

    Raises:
        ConfigError: flannel could not read it either, no address family is on, `Reserved` is not ours, or the
            backend is asked for what ours cannot do.
    """
    try:
        document = gojson.read(text, limit=LIMIT)
    except ValueError as error:
        raise ConfigError(f"the stored network {short(text)} is not flannel's config: {error}") from None
    names = [f"EnableIPv{version}" for version in (4, 6)] + [_key(name, v) for name in _FIELDS for v in (4, 6)]
    fields = gojson.members(document, [*names, "Reserved", "Backend"])
    versions = [v for v in (4, 6) if _value(fields, f"EnableIPv{v}", bool, default=v == 4)]
    if not versions:
        raise ConfigError("EnableIPv4 and EnableIPv6 are both false, so the network has no pool")
    reserved = [_reserved(each, versions) for each in _value(fields, "Reserved", list, default=[])]
    network = NetworkConfig(pools=tuple(_pool(fields, version, reserved) for version in versions))
    name, options, mtu = _dataplane(fields.get("Backend"))
    return Settings(network=network, dataplane=name, options=options, mtu=mtu)


def encode(settings: Settings) -> bytes:
    """Return flannel's config for `settings`; `decode` is the inverse.

    Raises:
        ConfigError: flannel could not read it, or would read something else.
    """
    network = settings.network
    document: dict[str, Any] = {f"EnableIPv{version}": bool(network.pool(version)) for version in (4, 6)}
    for pool in network.pools:
        bounds = [str(bound.network_address) for bound in (pool.first, pool.last)]
        values = (str(pool.prefix), pool.subnet_length, *bounds)
        document |= {_key(name, pool.version): value for name, value in zip(_FIELDS, values, strict=True)}
    if reserved := [str(prefix) for pool in network.pools for prefix in pool.reserved]:
        document["Reserved"] = reserved
    if settings.dataplane:
        document["Backend"] = _backend(settings)
    try:
        text = gojson.write(document)
    except ValueError as error:
        raise ConfigError(f"{short(document)}: {error}") from None
    read = decode(text)
    for pool in network.pools:
        if pool not in read.network.pools:
            raise ConfigError(
                f"the pool {pool.prefix} with subnets from {pool.first} to {pool.last}: flannel takes "
                f"{pool.prefix.network_address} for no address at all; set `first` to a later subnet"
            )
    return text


def _key(name: str, version: int) -> str:
    return name if version == 4 else f"IPv6{name}"


def _value(fields: Mapping[str, Any], key: str, kind: type[_Value], *, default: _Value) -> _Value:
    return _typed(key, fields.get(key, default), kind)


def _typed(key: str, value: object, kind: type[_Value]) -> _Value:
    if isinstance(value, kind) and isinstance(value, bool) == (kind is bool):  # true is no number
        return value
    raise ConfigError(f"{key} = {short(value)}: expected {_WORDS[kind]}")


def _pool(fields: Mapping[str, Any], version: int, reserved: list[Prefix]) -> Pool:
    network, length, low, high = (_key(name, version) for name in _FIELDS)
    if network not in fields:
        raise ConfigError(f"{network} is missing, and EnableIPv{version} is true")
    prefix = _network(network, _value(fields, network, str, default=""), version)
    cut = _subnet_length(prefix, _value(fields, length, int, default=0), length=length, network=network)
    size = 1 << (prefix.max_prefixlen - cut)
    first = _bound(fields, low, prefix, cut) or int(prefix.network_address) + size
    last = _bound(fields, high, prefix, cut) or int(prefix.broadcast_address) + 1 - size
    if first > last:
        raise ConfigError(f"{low} {_address(first, version)} lies behind {high} {_address(last, version)}")
    subnet = type(prefix)
    return Pool(
        prefix=prefix,
        subnet_length=cut,
        first=subnet((first, cut)),
        last=subnet((last, cut)),
        reserved=tuple(each for each in reserved if each.version == version),
    )


def _network(key: str, text: str, version: int) -> Prefix:
    kind = IPv4Network if version == 4 else IPv6Network
    try:
        prefix: Prefix = kind(_cidr(text), strict=False)  # Go drops the host bits as well
    except ValueError as error:
        raise ConfigError(f"{key} = {short(text)}: expected an IPv{version} prefix ({error})") from None
    if prefix.prefixlen == 0:
        raise ConfigError(f"{key} = {short(text)}: flannel takes length 0 for no network")
    if isinstance(prefix, IPv6Network) and prefix.network_address.ipv4_mapped:
        raise ConfigError(f"{key} = {short(text)}: IPv4 inside IPv6, which flannel takes for IPv4")
    return prefix


def _subnet_length(prefix: Prefix, given: int, *, length: str, network: str) -> int:
    # Four subnets at least, since the first is not used by default; each of four addresses at least.
    shortest, longest = prefix.prefixlen + 2, prefix.max_prefixlen - 2
    if shortest > longest:
        raise ConfigError(f"{network} = {prefix}: flannel demands a length of {longest - 2} at most")
    if given == 0:
        return max(_USUAL_LENGTH[prefix.version], shortest)
    if shortest <= given <= longest:
        return given
    raise ConfigError(
        f"{length} = {short(given)}: flannel demands {shortest} to {longest} for {network} {prefix}"
    )


def _bound(fields: Mapping[str, Any], key: str, prefix: Prefix, cut: int) -> int:
    """Return the address of the lowest or the highest subnet; 0: not given."""
    if key not in fields:
        return 0
    text = _value(fields, key, str, default="")
    try:
        address = _address(_without_zone(text), prefix.version)
    except ValueError:
        raise ConfigError(f"{key} = {short(text)}: expected an IPv{prefix.version} address") from None
    if int(address) and (address not in prefix or int(address) % (1 << (prefix.max_prefixlen - cut))):
        raise ConfigError(f"{key} = {text!r}: expected the first address of a /{cut} in {prefix}")
    return int(address)


def _address(text: str | int, version: int) -> Address:
    return IPv4Address(text) if version == 4 else IPv6Address(text)


def _reserved(value: object, versions: list[int]) -> Prefix:
    try:
        prefix: Prefix = ip_network(_cidr(value if isinstance(value, str) else ""))
    except ValueError as error:
        raise ConfigError(f"Reserved has {short(value)}: expected a prefix ({error})") from None
    if prefix.version not in versions:
        raise ConfigError(f"Reserved has {prefix}, but IPv{prefix.version} is not enabled")
    return prefix


def _cidr(text: str) -> str:
    """Return `text` if it is an address and a length; ip_network would take a netmask or an address alone."""
    length = text.partition("/")[2]
    if not (length.isascii() and length.isdecimal()):
        raise ValueError("it has no length, such as the 16 of 10.5.0.0/16")
    return _without_zone(text)


def _without_zone(text: str) -> str:
    if "%" in text:
        raise ValueError("it has a zone")
    return text


def _dataplane(backend: object) -> tuple[str, dict[str, object], int]:
    """Return name and options of the dataplane that does what `Backend` asks for, and the underlay's MTU."""
    if backend is None:
        return "", {}, 0
    fields = _typed("Backend", backend, dict)
    name = _value(gojson.members(fields, ["Type"]), "Type", str, default="").lower()
    if not name:
        raise ConfigError("Backend has no Type: expected vxlan, ipip or host-gw")
    if name not in _OPTIONS:
        return name, {key: value for key, value in fields.items() if key.casefold() != "type"}, 0
    found = gojson.members(fields, [*_OPTIONS[name], *_CANNOT, "MTU"])
    options: dict[str, object] = {}
    for key, (option, expected) in _OPTIONS[name].items():
        if key in found and (_typed(f"Backend {key}", found[key], expected) or key not in _ZERO_IS_NONE):
            options[option] = found[key]
    for key, reason in _CANNOT.items():
        if name == "vxlan" and found.get(key, False) is not False:
            raise ConfigError(f"Backend {key} = {short(found[key])}: {reason}; leave it out")
    return name, options, _typed("Backend MTU", found.get("MTU", 0), int) if name in _HAS_MTU else 0


def _backend(settings: Settings) -> dict[str, object]:
    name = settings.dataplane
    backend: dict[str, object] = {"Type": name}
    if name not in _OPTIONS:
        return backend | dict(settings.options)
    keys = {option: (key, kind) for key, (option, kind) in _OPTIONS[name].items()}
    for option, value in settings.options.items():
        if option not in keys:
            raise ConfigError(f"[dataplane.{name}] {option} = {short(value)}: flannel has no word for it")
        key, kind = keys[option]
        backend[key] = _typed(f"[dataplane.{name}] {option}", value, kind)
    if settings.mtu and name not in _HAS_MTU:
        raise ConfigError(f"MTU {settings.mtu}: flannel's {name} has no word for it")
    return backend | ({"MTU": settings.mtu} if settings.mtu else {})
