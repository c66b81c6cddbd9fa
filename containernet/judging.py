"""Whether a route that somebody announced can be believed on a node: a store's word is input, not truth.

- Its prefix must be a subnet that the network's pool could give to a node, and must not overlap our own.
- Its next hop must be a unicast address, outside the pool, and not one of ours; of the prefix's family, or of
  IPv6 for a prefix of IPv4 (RFC 8950). IPv4 written as IPv6 is neither.

Every route of a cluster is asked about whenever a host starts, so what there is to compare with is worked out
once, as plain numbers: `ipaddress` takes five times as long.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from .model import NetworkConfig, Node, Prefix, Route

Span = tuple[int, int]  # the first and the last address, as numbers


def span(prefix: Prefix) -> Span:
    """Return where a prefix begins and ends."""
    first = int(prefix.network_address)
    return first, first + (1 << (prefix.max_prefixlen - prefix.prefixlen)) - 1


# Unspecified, loopback, multicast and broadcast: RFC 1122 s3.2.1.3, RFC 4291 s2.4. And IPv4-mapped, which a
# program may see and a wire never: RFC 4291 s2.5.5.2, RFC 6890 table 20. Nobody's address.
_NO_HOST = {
    4: [span(ip_network(each)) for each in ("0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32")],
    6: [span(ip_network(each)) for each in ("::/128", "::1/128", "::ffff:0:0/96", "ff00::/8")],
}


class Judge:
    """What `node` believes of what is announced in `network`."""

    def __init__(self, network: NetworkConfig, node: Node) -> None:
        self._pools = {pool.version: (pool, *span(pool.prefix)) for pool in network.pools}
        self._own = {
            pool.version: [span(each) for each in node.subnets if each.version == pool.version]
            for pool in network.pools
        }
        self._addresses = {(own.version, int(own)) for own in node.addresses}
        self._name = node.name

    def differs_in_subnets_alone(self, other: Judge) -> bool:
        """Return whether two judges of one network disagree about nothing but what is in their own subnets."""
        return (self._addresses, self._name) == (other._addresses, other._name)

    def is_ours(self, path: Route) -> bool:
        """Return whether we announced it ourselves, now or under a lease that we no longer hold.

        It comes back from every store; from one that carries no names, without ours.
        """
        if path.node and path.node != self._name:
            return False
        return (path.next_hop.version, int(path.next_hop)) in self._addresses

    def refusal(self, path: Route) -> str | None:
        """Return why a route of one next hop cannot be believed, in one line; None: it can."""
        prefix, hop = path.prefix, path.next_hop
        version = prefix.version
        if version not in self._pools:
            return f"the network has no IPv{version} pool"
        pool, lowest, highest = self._pools[version]
        first, last = span(prefix)
        if first < lowest or highest < last:
            return f"{prefix} lies outside the pool {pool.prefix}"
        if prefix.prefixlen != pool.subnet_length:
            return f"{prefix} is not a /{pool.subnet_length}, as every subnet of {pool.prefix} is"
        if _meets(first, last, self._own[version]):
            return f"{prefix} is this node's own subnet, and {path.node or hop} announces it too"
        number, family = int(hop), hop.version
        if family < version:  # RFC 8950 s3 has the reverse, and Linux knows only that
            return f"next hop {hop} is of IPv4, and {prefix} of IPv6"
        if _meets(number, number, _NO_HOST[family]):
            return f"next hop {hop} is not a unicast address of a host"
        if (family, number) in self._addresses:
            return f"next hop {hop} is this node itself"
        pool, lowest, highest = self._pools.get(family, (pool, 1, 0))
        if lowest <= number <= highest:
            # The way to it could only be another route of ours: a tunnel through itself, until the TTL ends it.
            return f"next hop {hop} lies in the pool {pool.prefix}, so it is a container's and not a host's"
        return None


def _meets(first: int, last: int, spans: Iterable[Span]) -> bool:
    for begin, end in spans:  # noqa: SIM110 - a generator would take longer than the comparisons
        if first <= end and begin <= last:
            return True
    return False
