"""Leases that an operator wrote down: each host's file says which subnets are its own. For leases only.

For bare metal where subnets are planned with the racks, and beside a route store that needs no consensus, such
as BGP: nothing has to run anywhere, and no server can be away. The operator's word is the lease. It has no end,
it is known without I/O, and nobody compares it with anybody else's: that two hosts are not given one subnet is
the operator's business. (Who hears it announced by another host does not believe that one, and says so.)

    [store]
    leases = "static"

    [store.static]
    subnets = ["10.4.1.0/24", "fd00:4:0:1::/64"]

The pools stand under [network], the same on all hosts.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from ipaddress import ip_network
from typing import Self

import attrs

from containernet.contracts import Options
from containernet.errors import ConfigError, StoreUnavailable
from containernet.keeper import describe
from containernet.model import Address, Lease, NetworkConfig, Prefix
from containernet.options import build
from containernet.values import shown

from .leasing import check_claim, check_subnets, check_ttl, lost, taken

_REVISION = "static"


def _prefixes(texts: Iterable[str]) -> tuple[Prefix, ...]:
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"subnets: {error}; expected prefixes such as 10.4.1.0/24") from None


@attrs.frozen(kw_only=True)
class StaticOptions:
    """The table [store.static].

    Args:
        subnets: this host's own, one for each pool of [network]; none is an error.
    """

    subnets: list[str] = attrs.Factory(list)
    __repr__ = shown


class StaticStore:
    """LeaseStore, Recognises and Confines without I/O; threads may share it.

    Args:
        subnets: what there is to lease, at most one of each family; none is refused.
    """

    def __init__(self, *, subnets: Iterable[Prefix]) -> None:
        self._subnets = tuple(sorted(subnets, key=lambda subnet: subnet.version))
        check_subnets(self._subnets)
        self._node = ""
        self._lock = threading.Lock()
        self._closed = False

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the store from [store.static]: `subnets`."""
        try:
            return cls(subnets=_prefixes(build(StaticOptions, options, table="store.static").subnets))
        except ConfigError as error:
            known = str(error).startswith("[store.static]")
            raise error if known else ConfigError(f"[store.static] {error}") from None

    def network(self) -> NetworkConfig | None:
        """None: the pools stand under [network]."""
        self._check_open()
        return None

    def confine(self, network: NetworkConfig) -> None:
        """Check that the subnets are a claim of the network.

        Raises:
            ConfigError: one is missing, lies outside of its pool or the pool's bounds, is reserved, or is of
                another length.
        """
        if not network.admits(self._subnets):
            raise ConfigError(
                f"[store.static] subnets {_words(self._subnets)}: expected one subnet of each pool of "
                f"[network], {describe(network)}"
            )

    def recognise(self, node: str, addresses: Iterable[Address]) -> None:
        """Take the subnets for that node's: the file is on its host."""
        with self._lock:
            self._node = self._node or node

    def leases(self) -> Sequence[Lease]:
        """Return the one lease; as a reservation as long as nobody said whose it is."""
        self._check_open()
        with self._lock:
            return [self._lease(self._node, None)]

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take exactly the subnets of the file.

        Raises:
            ConfigError: others were asked for.
        """
        self._check_open()
        check_claim(subnets, node, ttl)
        if set(subnets) != set(self._subnets):
            raise ConfigError(
                f"{_words(subnets)} cannot be leased: [store.static] subnets gives {_words(self._subnets)} to "
                "this host"
            )
        with self._lock:
            if self._node not in ("", node):
                raise taken(subnets, self._lease(self._node, None))
            self._node = node
            return self._lease(node, ttl)

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend what never ends, or raise LeaseLost where it is not ours."""
        self._check_open()
        check_ttl(ttl)
        with self._lock:
            self._check_held(lease)
            return self._lease(lease.node, ttl)

    def release(self, lease: Lease) -> None:
        """Let the node go; the subnets stay in the file."""
        self._check_open()
        with self._lock:
            self._check_held(lease)
            self._node = ""

    def close(self) -> None:
        """Nothing is open; may be called twice."""
        self._closed = True

    def _lease(self, node: str, expires: float | None) -> Lease:
        return Lease(subnets=self._subnets, node=node, expires=expires, revision=_REVISION)

    def _check_held(self, lease: Lease) -> None:
        if not self._node or (lease.subnets, lease.node) != (self._subnets, self._node):
            raise lost(lease)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable("this store was closed; open another")


def _words(subnets: Iterable[Prefix]) -> str:
    return " and ".join(map(str, subnets))
