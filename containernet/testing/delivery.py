"""What every local dataplane must do, as tests that any can run, without a kernel and without root.

Hypothesis makes up hosts and containers. What the dataplane wants is carried out by two kernels in memory: one
that refuses what it is told to, and one in which packets are traced from container to container.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from ipaddress import ip_interface
from itertools import permutations
from typing import ClassVar, Self

import attrs
from hypothesis import assume, strategies as st

from ..contracts import EndpointItems, Failure, LocalDelivery
from ..errors import ConfigError, RouteRefused
from ..items import InterfaceAddress, Item, KernelRoute, Key, Link, Sysctl, Veth, by_key
from ..model import Endpoint, NetworkConfig, Node, Route, Tunnel
from ..planning import plan
from ..tables import Device
from . import strategies
from .bed import refuses_unknown_options
from .dataplanes import NETWORK, Families, any_of
from .fake_kernel import FakeKernel
from .kernels import Unreliable
from .simulated_kernel import SimulatedKernel
from .simulation import Reply, World
from .supports import check_supports

_MAC = "02:00:5e:10:00:01"  # RFC 7042 s2.1.2: for examples, and locally administered
HOST = ""  # the host's own namespace, among those of the containers
Wishes = Mapping[str, Mapping[Key, Item]]  # by namespace, the host's first


@attrs.frozen(kw_only=True)
class Alone:
    """A remote dataplane without peers, which takes as much room in a packet as a real one."""

    octets: int = 0

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Build it; there are no options."""
        raise ConfigError(f"made by the suite, got options {dict(options)}")

    def overhead(self, version: int) -> int:
        """As much as it was told."""
        return self.octets

    def tunnel(self, node: Node) -> Tunnel:
        """None."""
        return Tunnel()

    def host(self, node: Node) -> Iterable[Item]:
        """Nothing."""
        return ()

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """Refuse."""
        raise RouteRefused(f"{route.prefix}: nobody is reached")


@attrs.frozen(kw_only=True)
class Populated:
    """A host and the interfaces of its containers."""

    node: Node
    endpoints: tuple[Endpoint, ...] = attrs.field(converter=tuple[Endpoint, ...])


@st.composite
def populated(draw: st.DrawFn, *, most: int = 4) -> Populated:
    """Return hosts of one family or of both, with up to `most` interfaces."""
    node = draw(strategies.nodes())
    return Populated(node=node, endpoints=draw(strategies.endpoints(node, max_size=most)))


def example(versions: Iterable[int], *, name: str = "host1", containers: Iterable[str] = "ab") -> Populated:
    """Return a host with those families and containers, the first of which has two interfaces."""
    subnets = [prefix for prefix in strategies.PREFIXES[::2] if prefix.version in versions]
    places = [(each, "eth0") for each in containers]
    places.insert(1, (places[0][0], "net1"))
    node = Node(
        name=name,
        interface="eth0",
        addresses=(ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")),
        overhead=70,
        subnets=tuple(subnets),
    )
    return Populated(node=node, endpoints=strategies.attached(node, places, range(2, 2 + len(places))))


class LocalDeliveryContract(Families):
    """Pure, one endpoint at a time; a container has its addresses, a way to everybody, and packets that fit.

    `supports` holds the families that it carries; a host of another is refused. `provided` names the links that
    its options speak of and an operator must provide, beside the underlay's `eth0`.

    One test asks in another process, and sends the dataplane there by `pickle`.

    Raises:
        ConfigError: when the class is made: a word that there is not.
    """

    supports: ClassVar[frozenset[str]] = frozenset({"IPv4", "IPv6"})
    provided: ClassVar[frozenset[str]] = frozenset()

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_supports(cls, LocalDeliveryContract.supports)

    def local(self) -> LocalDelivery:
        """Return the local dataplane."""
        raise NotImplementedError

    def carried(self, drawn: Populated) -> Populated:
        """Return what was drawn without the families that the dataplane does not carry."""
        subnets = [subnet for subnet in drawn.node.subnets if subnet.version in self.versions()]
        assume(subnets)
        fitting = [
            attrs.evolve(each, addresses=[own for own in each.addresses if own.version in self.versions()])
            for each in drawn.endpoints
        ]
        return Populated(node=attrs.evolve(drawn.node, subnets=subnets), endpoints=fitting)

    def wishes(self, asked: Populated) -> Wishes:
        """Return what the dataplane wants of every namespace."""
        local, node = self.local(), asked.node
        wanted: dict[str, list[Item]] = {HOST: list(local.host(node))}
        for endpoint in asked.endpoints:
            parts = local.endpoint(node, endpoint)
            wanted[HOST] += parts.host
            wanted.setdefault(endpoint.netns, []).extend(parts.container)
        return {netns: by_key(items) for netns, items in wanted.items()}

    def kernels(self, asked: Populated) -> Iterator[FakeKernel | SimulatedKernel]:
        """Yield kernels that hold nothing of ours, with the links that are provided and the namespaces."""
        paths = dict.fromkeys(endpoint.netns for endpoint in asked.endpoints)
        fake = FakeKernel(foreign=(asked.node.interface, *self.provided))
        simulated = SimulatedKernel()
        simulated.put_foreign(Device(name=asked.node.interface, mtu=asked.node.mtu), asked.node.addresses)
        for name in self.provided:
            simulated.put_foreign(Device(name=name, mtu=asked.node.mtu))
        for path in paths:
            fake.add_namespace(path)
            simulated.network.add(SimulatedKernel(path), path=path)
        yield fake
        yield simulated

    def test_local(self) -> None:
        """It is a local dataplane, and an option that it does not know is refused by name."""
        local = self.local()
        assert isinstance(local, LocalDelivery)
        refuses_unknown_options(type(local))

    @any_of(populated(), st.data())
    def test_endpoints_pure(self, drawn: Populated, data: st.DataObject) -> None:
        """The same node and endpoint give equal items, whatever was asked before, and by whichever instance."""
        asked = self.carried(drawn)
        one, other = self.local(), self.local()
        first = {each: _told(one.endpoint(asked.node, each)) for each in asked.endpoints}
        assert _told(one.host(asked.node)) == _told(other.host(asked.node)) == _told(one.host(asked.node))
        for endpoint in data.draw(st.permutations(asked.endpoints)):
            told = {_told(each.endpoint(asked.node, endpoint)) for each in (one, other)}
            assert told == {first[endpoint]}, endpoint

    def test_another_process(self) -> None:
        """Another process, with other hashes, other memory and another clock, gives equal items."""
        cases = [example(self.versions(), name=f"host{number}", containers="abc") for number in range(4)]
        done = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE],
            input=pickle.dumps((self.local(), [(each.node, each.endpoints) for each in cases])),
            env={"PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        here = [_said(self.local(), each.node, each.endpoints) for each in cases]
        assert pickle.loads(done.stdout) == here

    @any_of(populated())
    def test_endpoints_apart(self, drawn: Populated) -> None:
        """No item of one endpoint is another's or the host's own, here or in a container they share."""
        asked, local = self.carried(drawn), self.local()
        owners: dict[tuple[str, Key], object] = {(HOST, item.key): None for item in local.host(asked.node)}
        for endpoint in asked.endpoints:
            parts = local.endpoint(asked.node, endpoint)
            for netns, items in ((HOST, parts.host), (endpoint.netns, parts.container)):
                for item in items:
                    assert owners.setdefault((netns, item.key), endpoint) == endpoint, item

    @any_of(populated())
    def test_interface_names(self, drawn: Populated) -> None:
        """Every link has a name that Linux takes: 1 to 15 bytes, without slash, colon and white space."""
        for item in self.wishes(self.carried(drawn))[HOST].values():
            if isinstance(item, Link):
                assert 0 < len(item.name.encode()) < 16, item  # IFNAMSIZ, with its NUL
                assert not [each for each in item.name if each in "/:" or each.isspace()], item

    @any_of(populated())
    def test_cable(self, drawn: Populated) -> None:
        """A container's interface is the far end of one veth, with the MTU of its node and a MAC by request."""
        asked = self.carried(drawn)
        for endpoint in (*asked.endpoints, *(attrs.evolve(each, mac=_MAC) for each in asked.endpoints)):
            cables = [
                item
                for item in self.local().endpoint(asked.node, endpoint).host
                if isinstance(item, Link) and isinstance(item.type, Veth)
            ]
            (cable,) = cables
            assert isinstance(cable.type, Veth)
            assert (cable.type.peer, cable.type.peer_netns) == (endpoint.interface, endpoint.netns)
            assert endpoint.mac in ("", cable.type.peer_mac)
            assert cable.mtu == asked.node.container_mtu
            assert cable.up

    @any_of(populated())
    def test_inside(self, drawn: Populated) -> None:
        """A container has its addresses and a route to everything in each family, all on its interface."""
        asked = self.carried(drawn)
        for endpoint in asked.endpoints:
            items = self.local().endpoint(asked.node, endpoint).container
            assert not [item for item in items if isinstance(item, Link) or item.link != endpoint.interface]
            own = {item.address.ip for item in items if isinstance(item, InterfaceAddress)}
            assert own == {address.ip for address in endpoint.addresses}
            for address in endpoint.addresses:
                assert _leads_everywhere(items, address.version)

    @any_of(populated())
    def test_ground(self, drawn: Populated) -> None:
        """Every item stands on a link that is provided, or that the host's items or its own endpoint's make."""
        asked, local = self.carried(drawn), self.local()
        own = tuple(local.host(asked.node))
        there = {"", asked.node.interface, *self.provided, *_names(own)}
        for items in (own, *(local.endpoint(asked.node, each).host for each in asked.endpoints)):
            for item in items:
                assert {item.link, getattr(item, "bridge", "")} <= there | _names(items), item

    def test_one_family(self) -> None:
        """A host of one family is asked for nothing of the other, or refused where it is not carried."""
        for version in self.versions():
            for items in self.wishes(example((version,))).values():
                assert {family for item in items.values() for family in _families(item)} <= {version}
        for version in {4, 6} - set(self.versions()):
            try:
                list(self.local().host(example((version,)).node))
            except ConfigError:
                continue
            raise AssertionError(f"a host of IPv{version} alone was taken")

    @any_of(populated(), st.data())
    def test_come_and_go(self, drawn: Populated, data: st.DataObject) -> None:
        """Kernels take everything at once, are done then, and when an endpoint goes, exactly its items go."""
        asked = self.carried(drawn)
        order = data.draw(st.permutations(asked.endpoints))
        for kernel in self.kernels(asked):
            _become(kernel, self.wishes(asked))
            left = asked
            for gone in order:
                before = kernel.read()
                left = attrs.evolve(left, endpoints=[each for each in left.endpoints if each != gone])
                wanted = {HOST: self.wishes(left)[HOST]}  # and nothing inside: that goes with the interface
                _become(kernel, wanted)
                own = {item.key for item in self.local().endpoint(asked.node, gone).host}
                assert before.keys() - kernel.read().keys() == own
                there = kernel.inside(gone.netns).read()
                assert not [item for item in there.values() if item.link == gone.interface]
                _become(kernel, self.wishes(left))
            _become(kernel, self.wishes(asked))

    def test_every_call_fails_once(self) -> None:
        """Whichever operation a kernel refuses once, with what fails for its sake: the next pass converges."""
        asked = example(self.versions())
        full = self.wishes(asked)
        nothing: Wishes = {netns: {} for netns in full}
        for old, new in ((nothing, full), (full, nothing)):
            counted = next(self.kernels(asked))
            _become(counted, old)
            for broken in range(_pass(counted, new)[0]):
                for kernel in self.kernels(asked):
                    _become(kernel, old)
                    assert _pass(kernel, new, broken=broken)[1], broken
                    _become(kernel, new)

    def test_namespace_ends(self) -> None:
        """When a container's namespace ends, items of its endpoints go, and no other's; so it is noticed."""
        asked = example(self.versions())
        kernel = next(self.kernels(asked))
        assert isinstance(kernel, FakeKernel)
        _become(kernel, self.wishes(asked))
        ended = asked.endpoints[0].netns
        kernel.end_namespace(ended)
        for endpoint in asked.endpoints:
            own = by_key(self.local().endpoint(asked.node, endpoint).host).keys()
            assert (own <= kernel.read().keys()) == (endpoint.netns != ended), endpoint
        assert kernel.read().keys() >= by_key(self.local().host(asked.node)).keys()

    @any_of(populated(most=0), st.permutations(strategies.CONTAINERS))
    def test_reach(self, drawn: Populated, some: list[str]) -> None:
        """Containers and their host reach each other with the largest packet that fits, and no larger one."""
        node, containers = self.carried(drawn).node, some[:3]
        versions = {subnet.version for subnet in node.subnets}
        assume(node.name not in {*containers, "switch"})
        network = NetworkConfig(pools=[pool for pool in NETWORK.pools if pool.version in versions])
        world = World(network, remote=Alone(octets=node.overhead), local=self.local())
        world.add_switch("switch")
        plugs = dict.fromkeys(self.provided, "switch")
        world.add_host(node.name, "switch", node.addresses, mtu=node.mtu, plugs=plugs)
        for container in containers:
            world.attach(container, node.name)
        for one, other in permutations((node.name, *containers), 2):
            for target in world.addresses(other):
                if target.version in versions:
                    ping = partial(world.ping, one, target)
                    assert ping(node.container_mtu) == Reply(), (one, other)
                    assert ping(node.container_mtu + 1) != Reply(), (one, other)


_ELSEWHERE = """\
import pickle, sys
from containernet.testing.delivery import _said
local, cases = pickle.load(sys.stdin.buffer)
pickle.dump([_said(local, *case) for case in cases], sys.stdout.buffer)
"""


def _said(local: LocalDelivery, node: Node, endpoints: Iterable[Endpoint]) -> list[str]:
    return [_told(local.host(node)), *(_told(local.endpoint(node, each)) for each in endpoints)]


def _told(items: EndpointItems | Iterable[Item]) -> str:
    # Equality leaves out what matters only when a thing is made, such as the far end's MAC.
    return repr(items if isinstance(items, EndpointItems) else tuple(items))


def _names(items: Iterable[Item]) -> set[str]:
    return {item.name for item in items if isinstance(item, Link)}


def _leads_everywhere(items: Iterable[Item], version: int) -> bool:
    # By one default route, or by two halves, as some like it.
    routes = {item.destination for item in items if isinstance(item, KernelRoute)}
    lengths = [each.prefixlen for each in routes if each.version == version]
    return 0 in lengths or lengths.count(1) == 2


def _families(item: Item) -> Iterator[int]:
    match item:
        case InterfaceAddress(address=address):
            yield address.version
        case KernelRoute(destination=destination):
            yield destination.version
        case Sysctl(name=name):
            yield from (version for version in (4, 6) if name.startswith(f"net/ipv{version}/"))


def _pass(
    kernel: FakeKernel | SimulatedKernel, wishes: Wishes, *, broken: int = -1
) -> tuple[int, list[Failure]]:
    """Plan and execute once, namespace by namespace; return how many operations, and what failed.

    Args:
        broken: the position, among all operations, of the one that fails.
    """
    count = 0
    failures: list[Failure] = []
    for netns, wanted in wishes.items():
        space = kernel.inside(netns) if netns != HOST else kernel
        operations = plan(wanted, space.read())
        at = broken - count if broken >= count else None
        failures += Unreliable(space, broken=at).execute(operations)
        count += len(operations)
    return count, failures


def _become(kernel: FakeKernel | SimulatedKernel, wishes: Wishes) -> None:
    """Make it so, without a failure, and find nothing left to do."""
    assert _pass(kernel, wishes)[1] == []
    assert _pass(kernel, wishes) == (0, [])
