"""What every dataplane must do, as tests that any dataplane can run, without a kernel and without root.

A cluster is made up here: this host, and others on its link or behind a router. What the others announce comes
from the dataplane itself, as it would on the wire: `tunnel` of one host is what `peer` of another must take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from ipaddress import ip_interface, ip_network
from typing import Any, ClassVar

import attrs
from hypothesis import HealthCheck, Phase, given, settings, strategies as st

from ..contracts import Dataplane
from ..errors import ConfigError, RouteRefused
from ..items import Item, KernelRoute, Key, Link, by_key
from ..model import IPV4_MINIMUM_MTU, IPV6_MINIMUM_MTU, NetworkConfig, Node, Pool, Prefix, Route, Tunnel
from ..planning import plan
from ..rendering import own_routes, with_subnets
from .bed import refuses_unknown_options
from .fake_kernel import FakeKernel
from .supports import check_supports

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
MINIMUM_MTU = {4: IPV4_MINIMUM_MTU, 6: IPV6_MINIMUM_MTU}


def host(number: int, *, far: bool = False, mtu: int = 1500) -> Node:
    """Return a host without subnets; those that are `far` are behind a router for the others."""
    four, six = ("198.51.100", "2001:db8:1:") if far else ("192.0.2", "2001:db8:")
    own = (ip_interface(f"{four}.{number}/24"), ip_interface(f"{six}:{number:x}/64"))
    return Node(name=f"host{number}", interface="eth0", addresses=own, mtu=mtu)


def leased(node: Node, dataplane: Dataplane, versions: Iterable[int]) -> Node:
    """Return the host with a subnet of each of those families, of its own number, and with the overhead."""
    number = int(node.name.removeprefix("host"))
    subnets = {4: f"10.4.{number}.0/24", 6: f"fd00:4:0:{number:x}::/64"}
    pools = [pool for pool in NETWORK.pools if pool.version in versions]
    network = NetworkConfig(pools=pools)
    held = tuple(ip_network(subnets[pool.version]) for pool in pools)
    return with_subnets(node, held, network=network, remote=dataplane)


mtus = st.sampled_from((1500, 9000))
others = st.lists(
    st.builds(host, st.integers(2, 200), far=st.booleans()), max_size=5, unique_by=lambda node: node.name
)
scalars: st.SearchStrategy[Any] = st.sampled_from((None, True, 0, -1, 1.5, "", "x", "\0", "192.0.2.9", 2**70))


def any_of(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return `given` for a method that every subclass of a suite inherits, which Hypothesis warns of."""
    healthy = [HealthCheck.differing_executors, HealthCheck.too_slow]
    # To say which argument matters Hypothesis traces line by line: half a minute for half a second's failure.
    phases = [phase for phase in settings().phases if phase is not Phase.explain]

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        sensible = settings(deadline=None, suppress_health_check=healthy, phases=phases)
        return sensible(given(*strategies)(test))

    return decorate


class Families:
    """What a dataplane says that it carries."""

    supports: ClassVar[frozenset[str]]

    def versions(self) -> tuple[int, ...]:
        """Return the families that it carries."""
        return tuple(version for version in (4, 6) if f"IPv{version}" in self.supports)


class DataplaneContract(Families):
    """Pure, one peer at a time, on links that are there, in packets that fit.

    `supports` holds the families that it carries, and "router" where it reaches a host behind one. `provided`
    names the links that its options speak of and an operator must provide, beside the underlay's `eth0`.

    Raises:
        ConfigError: when the class is made: a word that there is not.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"IPv4", "IPv6", "router"})
    provided: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_supports(cls, DataplaneContract.supports)

    def dataplane(self) -> Dataplane:
        """Return the dataplane."""
        raise NotImplementedError

    def node(self, *, mtu: int = 1500) -> Node:
        """Return this host, with a subnet of each family that the dataplane carries."""
        return leased(host(1, mtu=mtu), self.dataplane(), self.versions())

    def heard(self, nodes: Iterable[Node]) -> list[Route]:
        """Return what these hosts announce, each by a dataplane of its own."""
        dataplanes = ((node, self.dataplane()) for node in nodes)
        return [
            route
            for node, dataplane in dataplanes
            for route in own_routes(leased(node, dataplane, self.versions()), dataplane)
        ]

    def items(self, node: Node, route: Route) -> tuple[Item, ...]:
        """Return a peer's items; none where it is refused."""
        try:
            return tuple(self.dataplane().peer(node, route))
        except RouteRefused:
            return ()

    def test_dataplane(self) -> None:
        """It is a dataplane, and an option that it does not know is refused by name."""
        dataplane = self.dataplane()
        assert isinstance(dataplane, Dataplane)
        refuses_unknown_options(type(dataplane))

    @any_of(mtus, others, st.data())
    def test_pure(self, mtu: int, nodes: list[Node], data: st.DataObject) -> None:
        """The same arguments give equal items, whatever was asked before, and by whichever instance."""
        node, routes = self.node(mtu=mtu), self.heard(nodes)
        one, other = self.dataplane(), self.dataplane()
        first = {route: self._said(one, node, route) for route in routes}
        assert tuple(one.host(node)) == tuple(other.host(node))
        for route in data.draw(st.permutations(routes)):
            assert self._said(other, node, route) == self._said(one, node, route) == first[route]
        assert all(one.tunnel(each) == other.tunnel(each) for each in (node, *nodes))

    def _said(self, dataplane: Dataplane, node: Node, route: Route) -> tuple[Item, ...] | str:
        try:
            return tuple(dataplane.peer(node, route))
        except RouteRefused as refusal:
            return str(refusal)

    @any_of(others)
    def test_peers_apart(self, nodes: list[Node]) -> None:
        """No item of one host's routes is another's or this host's own: each can go without the others."""
        node = self.node()
        owners: dict[Key, str] = {item.key: "" for item in self.dataplane().host(node)}
        for route in self.heard(nodes):
            for item in self.items(node, route):
                assert owners.setdefault(item.key, route.node) == route.node, item

    @any_of(others)
    def test_links(self, nodes: list[Node]) -> None:
        """Every item stands on a link that the host has, or that the same peer or the host's items make."""
        node = self.node()
        own = list(self.dataplane().host(node))
        there = {"", node.interface, *self.provided, *_names(own)}
        for items in (own, *(self.items(node, route) for route in self.heard(nodes))):
            for item in items:
                assert {item.link, getattr(item, "bridge", "")} <= there | _names(items), item

    @any_of(others)
    def test_reach(self, nodes: list[Node]) -> None:
        """A host on link is reached by what it announces; one behind a router too, where that is supported."""
        node = self.node()
        far = {each.name for each in nodes if not node.on_link(each.addresses[0].ip)}
        for route in self.heard(nodes):
            reached = route.node not in far or "router" in self.supports
            assert _leads_to(route.prefix, self.items(node, route)) == reached, route

    @any_of(others)
    def test_refusals(self, nodes: list[Node]) -> None:
        """What cannot be reached is refused with a reason that names the prefix; nothing else is raised."""
        node = self.node()
        for route in self.heard(nodes):
            said = self._said(self.dataplane(), node, route)
            assert str(route.prefix) in said if isinstance(said, str) else said

    @any_of(st.text(max_size=8), st.lists(scalars, min_size=3, max_size=3))
    def test_what_others_announce(self, kind: str, values: list[object]) -> None:
        """Whatever a host announces, it is rendered or refused: no word of a stranger is an exception."""
        (route, *_) = self.heard([host(2)])
        names = [name for name, _ in route.tunnel.data] or ["x"]
        for type_ in (route.tunnel.type, kind):
            tunnel = Tunnel(type=type_, data=dict(zip(names, values, strict=False)))  # type: ignore[arg-type]
            self._said(self.dataplane(), self.node(), attrs.evolve(route, tunnel=tunnel))

    def test_stranger(self) -> None:
        """A host of another dataplane is refused, and one that announces none is taken at its word."""
        (route, *_) = self.heard([host(2)])
        assert route.tunnel.type, "a tunnel has a type: the dataplane's name"
        stranger = attrs.evolve(route, tunnel=attrs.evolve(route.tunnel, type="no-such-dataplane"))
        assert isinstance(self._said(self.dataplane(), self.node(), stranger), str)
        untyped = attrs.evolve(route, tunnel=attrs.evolve(route.tunnel, type=""))
        assert self.items(self.node(), untyped) == self.items(self.node(), route)

    @any_of(mtus, others)
    def test_mtu(self, mtu: int, nodes: list[Node]) -> None:
        """A container's largest packet passes every link, and with the overhead the underlay."""
        node, dataplane = self.node(mtu=mtu), self.dataplane()
        links = {item.name: item.mtu for item in dataplane.host(node) if isinstance(item, Link)}
        for version in self.versions():
            assert 0 <= dataplane.overhead(version) <= mtu - node.container_mtu
        for route in self.heard(nodes):
            for item in self.items(node, route):
                if isinstance(item, KernelRoute) and item.link in links:
                    room = mtu - dataplane.overhead(route.prefix.version)
                    assert node.container_mtu <= links[item.link] <= room, item

    def test_small_mtu(self) -> None:
        """A node whose MTU leaves too little for a family is refused, on the octet."""
        for version in self.versions():
            least = MINIMUM_MTU[version] + self.dataplane().overhead(version)
            for mtu, possible in ((least, True), (least - 1, False)):
                node = leased(host(1, mtu=mtu), self.dataplane(), (version,))
                assert self._takes_part(node) == possible, (version, mtu)

    def test_no_underlay(self) -> None:
        """A node without an underlay address of a family that it leases is refused."""
        for version in self.versions():
            node = leased(host(1), self.dataplane(), self.versions())
            lacking = [own for own in node.addresses if own.version != version]
            assert not self._takes_part(attrs.evolve(node, addresses=lacking)), version

    def _takes_part(self, node: Node) -> bool:
        try:
            list(self.dataplane().host(node))
        except ConfigError:
            return False
        return True

    def test_families(self) -> None:
        """A host of one family gets what it needs for that family, and no peer of the other."""
        for version in self.versions():
            node = leased(host(1), self.dataplane(), (version,))
            assert set(self.dataplane().host(node)) <= set(self.dataplane().host(self.node()))
        for version in {4, 6} - set(self.versions()):
            assert not self._takes_part(leased(host(1), self.dataplane(), (version,))), version

    @any_of(others, st.data())
    def test_kernel(self, nodes: list[Node], data: st.DataObject) -> None:
        """A kernel takes everything at once, is done then, and takes peers back in any order."""
        node, routes = self.node(), self.heard(nodes)
        kernel = FakeKernel(foreign=(node.interface, *self.provided))
        own = tuple(self.dataplane().host(node))
        wanted = {route: self.items(node, route) for route in routes}
        self._becomes(kernel, own, wanted.values())
        for route in data.draw(st.permutations(routes)):
            del wanted[route]
            self._becomes(kernel, own, wanted.values())
        self._becomes(kernel, (), ())

    def _becomes(self, kernel: FakeKernel, own: Sequence[Item], peers: Iterable[Sequence[Item]]) -> None:
        desired = by_key([*own, *(item for items in peers for item in items)])
        assert plan(desired, desired) == ()
        assert kernel.execute(plan(desired, kernel.read())) == []
        assert plan(desired, kernel.read()) == ()


def _names(items: Iterable[Item]) -> set[str]:
    return {item.name for item in items if isinstance(item, Link)}


def _leads_to(prefix: Prefix, items: Iterable[Item]) -> bool:
    return any(isinstance(item, KernelRoute) and item.destination == prefix for item in items)
