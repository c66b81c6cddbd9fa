"""The config file: TOML in, checked values out, or one error that names the key.

Every key has a default except the pool, when no store holds one. An unknown key is an error, with the nearest
known one. The tables of backends are passed on unread: each backend checks its own.
"""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Callable, Mapping
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import attrs

from .contracts import Kernel, Options, Underlay
from .edge import EdgeOptions
from .errors import ConfigError
from .model import Interface, NetworkConfig, Node, Pool, Prefix, overlaps
from .options import build, nearest, unknown_key
from .values import shown

DEFAULT_PATH = Path("/etc/containernet/containernet.toml")
SUBNET_LENGTH = {4: 24, 6: 64}
EDGE = tuple(field.name for field in attrs.fields(EdgeOptions))  # keys of [dataplane]
REMOTE = "vxlan"  # where neither file nor store says how hosts reach each other


@attrs.frozen(kw_only=True)
class NodeTable:
    """[node]: what this host is called and where its peers reach it; by default, what the kernel shows."""

    name: str = ""
    interface: str = ""
    address: str = ""
    address6: str = ""
    __repr__ = shown


@attrs.frozen(kw_only=True)
class NetworkTable:
    """[network]: the pools that all hosts share; without a pool the store must hold the network."""

    pool: str = ""
    subnet_length: int = 0
    first: str = ""
    last: str = ""
    pool6: str = ""
    subnet_length6: int = 0
    first6: str = ""
    last6: str = ""
    reserved: list[str] = attrs.Factory(list)
    __repr__ = shown

    def network(self) -> NetworkConfig | None:
        """Return the network that the table describes; None: it names no pool.

        Raises:
            ConfigError: it contradicts itself.
        """
        reserved = tuple(_prefix("reserved", text) for text in self.reserved)
        tables = (
            (4, self.pool, self.subnet_length, self.first, self.last),
            (6, self.pool6, self.subnet_length6, self.first6, self.last6),
        )
        pools = tuple(
            _pool(version, pool, length, {"first": first, "last": last}, reserved)
            for version, pool, length, first, last in tables
            if pool
        )
        for version, pool, *others in tables:
            if not pool and any(others):
                name = _named("pool", version)
                raise ConfigError(f"[network] has settings for IPv{version}, but no {name}: add it")
        for prefix in reserved:
            if prefix.version not in {pool.version for pool in pools}:
                name = _named("pool", prefix.version)
                raise ConfigError(f"[network] reserved has {prefix}, but there is no {name}: add it")
        return NetworkConfig(pools=pools) if pools else None


@attrs.frozen(kw_only=True)
class DaemonTable:
    """[daemon]: where containernetd keeps what it must not lose, and where it can be asked.

    Args:
        state_dir: kept across reboots. run_dir: socket and lock.
        lease_ttl: seconds that a lease is asked for; the routes of a host that died leave after it.
        socket_group: the group that may use the socket, besides root; empty: the daemon's own.
        log: debug, info, warning or error.
        subnet_file: where to write the node's subnet for those who read flannel's /run/flannel/subnet.env;
            empty: nowhere.
    """

    state_dir: str = "/var/lib/containernet"
    run_dir: str = "/run/containernet"
    lease_ttl: float = 2700.0
    socket_group: str = ""
    log: str = "info"
    subnet_file: str = ""
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if not 10 <= self.lease_ttl <= 10**8:
            raise ConfigError(f"lease_ttl = {self.lease_ttl}: expected 10 to 100000000 seconds")
        if self.subnet_file and (not Path(self.subnet_file).is_absolute() or "\0" in self.subnet_file):
            raise ConfigError(f"subnet_file = {self.subnet_file!r}: expected the absolute path of a file")
        for name, directory in (("state_dir", self.state_dir), ("run_dir", self.run_dir)):
            if not directory or "\0" in directory:
                raise ConfigError(f"{name} = {directory!r}: expected the path of a directory")
        if self.log not in {"debug", "info", "warning", "error"}:
            raise ConfigError(f"log = {self.log!r}: expected debug, info, warning or error")


@attrs.frozen(kw_only=True)
class Choice:
    """A backend by the word that users write, with its own table, unread."""

    name: str
    options: Options
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Config:
    """A whole config file, checked as far as it can be without a backend.

    `remote` is None where the file leaves it to the store, and in the end to `REMOTE`.

    Raises:
        ConfigError: `local` and `remote` do not go together.
    """

    node: NodeTable = NodeTable()
    network: NetworkConfig | None = None
    leases: Choice = Choice(name="sqlite", options={})
    routes: Choice = Choice(name="sqlite", options={})
    local: Choice = Choice(name="bridge", options={})
    remote: Choice | None = None
    edge: EdgeOptions = attrs.Factory(EdgeOptions)
    kernel: Choice = Choice(name="netlink", options={})
    daemon: DaemonTable = DaemonTable()
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if self.remote is not None:
            check_pair(self.local, self.remote)

    @property
    def socket(self) -> Path:
        """Where the daemon is asked."""
        return Path(self.daemon.run_dir) / "containernet.sock"

    @property
    def letters(self) -> Path:
        """Where runtimes leave what they could not ask."""
        return Path(self.daemon.run_dir) / "letters"

    @property
    def addresses(self) -> Path:
        """The address book's file."""
        return Path(self.daemon.state_dir) / "addresses.db"

    @property
    def view(self) -> Path:
        """The remembered view's file."""
        return Path(self.daemon.state_dir) / "view.json"


def go_together(local: str, remote: str) -> bool:
    """Return whether two dataplanes go together: remote `bridge` looks for containers on a bridge."""
    return (local, remote) != ("routed", "bridge")


def check_pair(local: Choice, remote: Choice) -> None:
    """Refuse two dataplanes that do not go together.

    Raises:
        ConfigError: they are such.
    """
    if not go_together(local.name, remote.name):
        raise ConfigError(
            f"[dataplane] local = {local.name!r} and remote = {remote.name!r}: hosts look for containers on "
            "the bridge, and there is none; choose local = 'bridge', or remote = 'host-gw', 'vxlan' or 'ipip'"
        )


def load(path: Path) -> Config:
    """Read and check the config file at `path`.

    Raises:
        ConfigError: it is not there, not TOML, or says something that cannot be.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise ConfigError(f"config file {path}: {error.strerror}; name another one with --config") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"config file {path} is not UTF-8 text: {error}") from error
    try:
        return parse(tomllib.loads(text))
    except ConfigError as error:
        raise type(error)(f"{path}: {error}") from None
    except (ValueError, RecursionError) as error:  # not TOML, or a number or a nesting beyond Python's limits
        raise ConfigError(f"config file {path} is not TOML: {error}") from error


def parse(document: Mapping[str, Any]) -> Config:
    """Check the tables of a config file.

    Raises:
        ConfigError: an unknown table or key, a value of the wrong type or range, or two that contradict.
    """
    tables = _Tables(document)
    node = build(NodeTable, tables.take("node"), table="node")
    network = build(NetworkTable, tables.take("network"), table="network").network()
    store = tables.take("store")
    dataplane = tables.take("dataplane")
    kernel = tables.take("kernel")
    config = Config(
        node=node,
        network=network,
        leases=_choice("store", store, "leases", "sqlite"),
        routes=_choice("store", store, "routes", "sqlite"),
        local=_choice("dataplane", dataplane, "local", "bridge"),
        remote=_choice("dataplane", dataplane, "remote", REMOTE) if {"remote", REMOTE} & {*dataplane} else None,
        edge=build(EdgeOptions, {key: dataplane[key] for key in EDGE if key in dataplane}, table="dataplane"),
        kernel=_choice("kernel", kernel, "backend", "netlink"),
        daemon=build(DaemonTable, tables.take("daemon"), table="daemon"),
    )
    _refuse_leftovers("store", store, ("leases", "routes"))
    _refuse_leftovers("dataplane", dataplane, ("local", "remote", *EDGE))
    _refuse_leftovers("kernel", kernel, ("backend",))
    tables.refuse_leftovers()
    return config


def describe_node(
    kernel: Kernel, *, network: NetworkConfig | None = None, table: NodeTable = NodeTable(), mtu: int = 0
) -> Node:
    """Return this host as its dataplanes see it, without subnets: by the table, and by the kernel for the rest.

    Args:
        kernel: the host's namespace; must be an `Underlay`.
        network: checked against the underlay, where given.
        table: [node] of the config file; by default the host's name and the link of its default route.
        mtu: of the whole underlay, octets, where that is smaller than the link's; 0: the link's.

    Raises:
        ConfigError: there is no such link, it has no usable address, or the pool overlaps the underlay.
    """
    if not isinstance(kernel, Underlay):
        raise ConfigError(f"kernel backend {type(kernel).__name__} cannot describe the host's links")
    link = kernel.underlay(table.interface)
    wanted = [text for text in (table.address, table.address6) if text]
    addresses = tuple(_own_address(text, link.addresses, link.name) for text in wanted)
    versions = {own.version for own in addresses}
    addresses += tuple(own for own in link.addresses if own.version not in versions)
    if not addresses:
        raise ConfigError(f"interface {link.name} has no address: give it one, or set interface under [node]")
    for pool in network.pools if network else ():
        for own in addresses:
            if overlaps(pool.prefix, own.network):
                raise ConfigError(
                    f"pool {pool.prefix} overlaps the underlay {own.network} of {link.name}: containers would "
                    "have addresses of hosts; choose a pool that nothing else uses"
                )
    name = table.name or socket.gethostname()
    return Node(name=name, interface=link.name, addresses=addresses, mtu=min(link.mtu, mtu or link.mtu))


class _Tables:
    """The top-level tables; whatever nobody takes is an error."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._left = dict(document)
        self._known: list[str] = []

    def take(self, name: str) -> dict[str, Any]:
        self._known.append(name)
        table = self._left.pop(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"{name} = {table!r}: expected a table, written [{name}]")
        return table

    def refuse_leftovers(self) -> None:
        for name in self._left:
            near = nearest(name, self._known)
            hint = f"did you mean [{near}]?" if near else f"known are: {', '.join(self._known)}"
            raise ConfigError(f"[{name}] is not a table of this file; {hint}")


def _choice(where: str, table: Mapping[str, Any], key: str, default: str) -> Choice:
    name = table.get(key, default)
    if not isinstance(name, str) or not name:
        raise ConfigError(f"[{where}] {key} = {name!r}: expected the name of a backend, such as {default!r}")
    options = table.get(name, {})
    if not isinstance(options, dict):
        raise ConfigError(f"[{where}] {name} = {options!r}: expected a table, written [{where}.{name}]")
    return Choice(name=name, options=options)


def _refuse_leftovers(where: str, table: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    """Refuse scalars that nobody reads; the tables of backends that are not chosen may stay."""
    for key, value in table.items():
        if key not in keys and not isinstance(value, dict):
            raise unknown_key(key, known=list(keys), table=where)


def _pool(
    version: int, text: str, length: int, bounds: Mapping[str, str], reserved: tuple[Prefix, ...]
) -> Pool:
    prefix = _prefix(_named("pool", version), text)
    if prefix.version != version:
        raise ConfigError(f"[network] {_named('pool', version)} = {text!r} is not an IPv{version} prefix")
    given = {name: _prefix(_named(name, version), bound) for name, bound in bounds.items() if bound}
    smallest_cut = min(prefix.prefixlen + 2, prefix.max_prefixlen - 2)
    return Pool(
        prefix=prefix,
        subnet_length=length or max(SUBNET_LENGTH[version], smallest_cut),
        reserved=tuple(each for each in reserved if each.version == version),
        **given,
    )


def _named(name: str, version: int) -> str:
    return name if version == 4 else f"{name}6"


def _prefix(key: str, text: object) -> Prefix:
    prefix: Prefix = _parsed(ip_network, key, text, "a prefix such as 10.4.0.0/16 or fd00:4::/48")
    return prefix


def _own_address(text: str, present: tuple[Interface, ...], link: str) -> Interface:
    address = _parsed(ip_interface, "address", text, "an address such as 192.0.2.1").ip
    for own in present:
        if own.ip == address:
            return own
    there = ", ".join(map(str, present)) or "no address"
    raise ConfigError(f"[node] address {address} is not on interface {link}, which has {there}")


def _parsed(parse: Callable[[str], Any], key: str, text: object, expected: str) -> Any:
    try:
        return parse(str(text))
    except ValueError as error:
        raise ConfigError(f"{key} = {text!r}: expected {expected} ({error})") from None
