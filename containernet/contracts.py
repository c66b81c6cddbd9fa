"""What a backend promises, and what its caller must not assume.

Each contract has a handful of methods and never grows one: a new ability is a new Protocol beside it, which a
backend may or may not have. All are synchronous. A backend class is named by an entry point and made by its
`from_options`; that is the only road, in-tree or outside.

A store's word is input, not truth. Addresses in it are parsed at the backend's edge; whether they make sense
is judged by the core (`rib`), once, for all backends.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, Self, runtime_checkable

import attrs

from .events import Event
from .items import Item, Key, Sysctl
from .model import Address, Endpoint, Interface, Lease, NetworkConfig, Node, Prefix, Route, Tunnel
from .planning import Operation
from .values import shown

if TYPE_CHECKING:
    from .tables import Tables

Options = Mapping[str, object]


class Backend(Protocol):
    """How every backend comes to life."""

    @classmethod
    def from_options(cls, options: Options) -> Self:
        """Build the backend from its own table of the config file.

        Opens no socket and no file that could fail for a reason other than the options; that is for the first
        call that needs it.

        Raises:
            ConfigError: an unknown key, or a value of the wrong type or range.
            MissingPackage: a Python package that this backend needs is not installed.
        """
        ...


@runtime_checkable
class LeaseStore(Backend, Protocol):
    """Who owns which subnet: the one thing that needs consensus.

    Every write is a compare-and-swap. The store, not the caller, measures time: a lease ends when the store
    says so, and no two live leases ever overlap. All methods may block on I/O and may be called from any
    thread.

    Raises (all methods):
        StoreUnavailable: not reachable now; nothing is known about whether a write took effect.
        StoreCorrupt: what is stored cannot be read at all.
    """

    def network(self) -> NetworkConfig | None:
        """Return the network's configuration as the store holds it; None: it holds none."""
        ...

    def leases(self) -> Sequence[Lease]:
        """Return all live leases and reservations. Expired ones are not in it; `expires` may be None."""
        ...

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Take `subnets` for `node` for `ttl` seconds, if no live lease or reservation overlaps any of them.

        A lease that `node` itself holds does not stand in the way: where the subnets are the same it is taken
        over with a new revision, where they differ it ends in the same step, so a node has one lease at most.

        Raises:
            LeaseTaken: somebody else's lease or a reservation overlaps; nothing was changed.
        """
        ...

    def renew(self, lease: Lease, ttl: float) -> Lease:
        """Extend `lease` to `ttl` seconds from now, if the store still holds exactly that revision.

        A lease whose time has run out but which nobody took is renewed as well: it was nobody else's meanwhile;
        unless the store deletes what has ended. A store may leave the revision as it is: then every Lease of
        that claim stands for it.

        Raises:
            LeaseLost: the store holds another revision, or none.
        """
        ...

    def release(self, lease: Lease) -> None:
        """Give `lease` back, with every route that was announced under it.

        Raises:
            LeaseLost: the store holds another revision, or none.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files; may be called twice. Leases live on."""
        ...


@runtime_checkable
class ConfiguresNetwork(Protocol):
    """A lease store that can hold the network's configuration for all hosts."""

    def configure(self, network: NetworkConfig) -> NetworkConfig:
        """Store `network` if the store holds none (one compare-and-swap); return the one that stands."""
        ...


@attrs.frozen(kw_only=True)
class Settings:
    """What a store says to all hosts of a network.

    Args:
        network: the pools.
        dataplane: how hosts reach each other, by the name of a dataplane; empty: each is told by its own file.
        options: those of the dataplane, by name.
        mtu: the underlay's MTU to reckon with, octets, where it is smaller than the link's own; 0: the link's.
    """

    network: NetworkConfig
    dataplane: str = ""
    options: Options = attrs.Factory(dict)
    mtu: int = 0
    __repr__ = shown


@runtime_checkable
class KeepsSettings(Protocol):
    """A lease store that holds more than the pools, and lets an operator change it."""

    def settings(self) -> Settings | None:
        """Return what the store says to all hosts; None: it says nothing yet.

        Raises:
            ConfigError: what is stored there cannot be followed, with the reason.
        """
        ...

    def keep(self, settings: Settings, *, over: Settings | None) -> Settings:
        """Store `settings` if `over` is what is stored (one compare-and-swap); return what stands then.

        Raises:
            ConfigError: the store has no words for them.
        """
        ...


@runtime_checkable
class TellsAtOnce(Protocol):
    """A lease store that can tell a host that starts everything in one answer."""

    def starting(self) -> None:
        """A host starts: what it asks first may be answered with one moment's truth, a few seconds old.

        That is what the store says of the network, the first `leases`, and where it is a route store too, the
        first Snapshot, whose events go on from there. Every write compares with what is there now, as ever, and
        what follows it shows it. Asks nothing by itself; called again during a start it changes nothing.
        """
        ...


@runtime_checkable
class Recognises(Protocol):
    """A lease store shared with software that knows a host by its address, and not by a name."""

    def recognise(self, node: str, addresses: Iterable[Address]) -> None:
        """From now on take a record without a name that bears one of `addresses` for one of `node`."""
        ...


@runtime_checkable
class Reserves(Protocol):
    """A lease store that can set subnets aside, without a node and without an end."""

    def reserve(self, subnets: tuple[Prefix, ...]) -> Lease:
        """Reserve `subnets`. Raises LeaseTaken where a live lease or a reservation overlaps them."""
        ...


@runtime_checkable
class Confines(Protocol):
    """A store, of leases or of routes, that can be told the pools of the network."""

    def confine(self, network: NetworkConfig) -> None:
        """From now on keep to the pools: neither hold for this node nor tell it prefixes outside of them.

        Called before the first claim, announcement or subscription, and perhaps again. Does not block. A route
        that is told nevertheless is refused by the core.

        Raises:
            ConfigError: the store's own options contradict the pools.
        """
        ...


@runtime_checkable
class Drains(Protocol):
    """A route store that can ask its peers to go round a node before its routes leave."""

    def drain(self, timeout: float) -> None:
        """Tell the peers that this node is about to leave, as RFC 8326 does, and wait until they go round it.

        Blocks for `timeout` seconds at most; nobody waits longer. What is announced stays announced. May be
        called twice.
        """
        ...


@runtime_checkable
class OnePerHost(Protocol):
    """A route store that one process of a host may have open: a second one would be in its way.

    So whoever else wants to know what it holds asks the daemon, as long as that runs.
    """

    one_per_host: Literal[True]


@runtime_checkable
class Answers(Protocol):
    """A store that answers questions which only it understands, such as about its sessions with peers."""

    def questions(self) -> Mapping[str, str]:
        """Return the words that can be asked, each with its help: {"show": "PREFIX: every path to it"}."""
        ...

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Return the answer as JSON values, from any thread and soon.

        People are shown a value that is a list of objects as a table, whose columns are those of the first
        one, but for empty ones, and any other as a line.

        Args:
            question: one of `questions`.
            arguments: the words that follow it, as the operator typed them.

        Raises:
            ConfigError: the arguments are not what the question needs, with what was expected.
        """
        ...


class Subscription(Protocol):
    """One reader's view of a route store."""

    def next_event(self, timeout: float) -> Event | None:
        """Wait up to `timeout` seconds for the next event; None: nothing happened.

        The first event is a Snapshot, and so is the first after any gap: the reader has no special case.

        Raises:
            StoreUnavailable: the connection is gone; close this subscription and subscribe again.
        """
        ...

    def close(self) -> None:
        """End the subscription; wakes a waiting `next_event`, which returns None. May be called twice."""
        ...


@runtime_checkable
class RouteStore(Backend, Protocol):
    """Who can reach what: no consensus needed. All methods may be called from any thread.

    What a call did every subscriber hears, at once or soon. A store without a memory of its own, such as a BGP
    speaker, holds each handle's routes as long as the handle is open; where several announce one prefix, each
    subscriber is told one of them, and another when that goes; or those that are as good as one route, see
    `Route.equal_cost`.

    Raises (all methods):
        StoreUnavailable: not reachable now. Announce again; that is harmless.
    """

    def announce(self, route: Route) -> None:
        """Tell everybody: again changes nothing, another route for the same prefix replaces it.

        A node announces one next hop; a store may refuse a route with `equal_cost`, by a ConfigError.
        """
        ...

    def withdraw(self, route: Route) -> None:
        """Take the announcement back, if it is still the node's own; what is not there is withdrawn already."""
        ...

    def subscribe(self) -> Subscription:
        """Begin to listen. The subscriber owns the subscription and closes it."""
        ...

    def close(self) -> None:
        """Let go of connections and files, and end every subscription; may be called twice."""
        ...


@runtime_checkable
class Dataplane(Backend, Protocol):
    """How hosts reach each other, as a pure function: values in, kernel items out.

    No clock, no socket, no state. The same arguments give equal items, in any order of calls, so that a plan
    can be shown, tested and proven before anything is touched.
    """

    def overhead(self, version: int) -> int:
        """Return how many octets the dataplane adds to a packet on an underlay of that family (4 or 6)."""
        ...

    def tunnel(self, node: Node) -> Tunnel:
        """Return how `node` wants its packets, to be announced with its routes."""
        ...

    def host(self, node: Node) -> Iterable[Item]:
        """Return what the host itself needs, whatever peers there are.

        Raises:
            ConfigError: the node cannot take part (no underlay address of a pool's family, an MTU too small).
        """
        ...

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """Return what it takes to reach the prefix of one route; looks at that route alone.

        Of several routes of equal cost each is asked for by itself. Kernel routes that differ in their next
        hop alone become one; of other items of one key that differ, those of the first route are used.

        Raises:
            RouteRefused: this peer cannot be reached this way, with the reason and the way out.
        """
        ...


@attrs.frozen(kw_only=True)
class EndpointItems:
    """What a container's interface needs, on the host's side and inside the container's namespace."""

    host: tuple[Item, ...]
    container: tuple[Item, ...]
    __repr__ = shown


@runtime_checkable
class LocalDelivery(Backend, Protocol):
    """How a container hangs on its host; pure, like a Dataplane.

    No item of an endpoint has the key of another endpoint's or of the host's own, so that each can come and go
    alone.
    """

    def host(self, node: Node) -> Iterable[Item]:
        """Return what the host needs before the first container.

        Raises:
            ConfigError: the node cannot take part, such as by a family that is not carried.
        """
        ...

    def endpoint(self, node: Node, endpoint: Endpoint) -> EndpointItems:
        """Return what one container's interface needs.

        The host's part holds the veth whose far end, of the node's `container_mtu`, is the interface. The
        container's part stands on that interface, all of it, and goes with it: its addresses, and a way to
        everybody in each of their families.
        """
        ...


@attrs.frozen(kw_only=True)
class Failure:
    """An operation that the kernel refused.

    Args:
        errno: the kernel's error number, positive.
        reason: one line: what it means here and what to do.
    """

    operation: Operation
    errno: int
    reason: str
    __repr__ = shown

    def __str__(self) -> str:
        return f"{self.operation}: {self.reason}"


@runtime_checkable
class Kernel(Backend, Protocol):
    """One network namespace that holds items. Sees and touches only what is marked as ours.

    `changed` may be called from a second thread while `read` or `execute` runs; those two from one thread at
    a time.
    """

    def read(self) -> Mapping[Key, Item]:
        """Return every item of ours in this namespace. The caller owns the mapping.

        Raises:
            KernelError: the namespace is gone or cannot be read.
            PermissionRefused: this process may not.
        """
        ...

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry the operations out in order; one failure never stops the rest.

        Create never steals: an item with that key that is not ours is a failure (EEXIST) that names the owner.
        Deleting what is gone already is success.

        Returns:
            The failures, in the order of the operations; empty when all succeeded.
        """
        ...

    def changed(self, timeout: float) -> bool:
        """Wait up to `timeout` seconds; return whether somebody else touched something that may be ours.

        True also when notifications were lost: it always means "read everything again". What `execute` itself
        did is not reported. The first call begins to listen.
        """
        ...

    def close(self) -> None:
        """Let go of sockets; wakes `changed`; may be called twice. The kernel keeps its items."""
        ...


@runtime_checkable
class EntersNamespaces(Protocol):
    """A kernel that can open the namespace of a container."""

    def inside(self, netns: str) -> Kernel:
        """Return the kernel of the namespace at that path, open; the caller closes it.

        The far end of a veth of ours may be among the items that it reads.

        Raises:
            NamespaceGone: nothing is there, or it is not a network namespace.
            KernelError: it cannot be opened for another reason.
            PermissionRefused: this process may not enter it.
        """
        ...


@runtime_checkable
class ReadsSysctls(Protocol):
    """A kernel that can tell settings which it was never told to keep, so that a plan need not assume them."""

    def sysctls(self, wanted: Iterable[Sysctl]) -> Sequence[Sysctl]:
        """Return those of `wanted` that exist, each with the value that it has now."""
        ...


@runtime_checkable
class FindsRivals(Protocol):
    """A kernel that can tell what of ours stands in vain, because somebody else's item is used instead."""

    def rivals(self, items: Iterable[Item]) -> Sequence[str]:
        """Return a line for each of `items` that has a rival: what, whose, and what to do about it.

        A route has one where the kernel prefers another route for its prefix or a part of it; an address, where
        another link has its subnet on link as well.
        """
        ...


@runtime_checkable
class ShowsTables(Protocol):
    """A kernel that can tell all that a namespace forwards by, whoever made it."""

    def show_tables(self) -> Tables:
        """Return what there is now; the caller owns it."""
        ...


@attrs.frozen(kw_only=True)
class UnderlayLink:
    """A link of the host as the kernel shows it: not ours, only looked at."""

    name: str
    mtu: int
    addresses: tuple[Interface, ...] = attrs.field(converter=tuple[Interface, ...])
    __repr__ = shown


@runtime_checkable
class Underlay(Protocol):
    """A kernel that can tell what the host already has, so that a node needs no configuration."""

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Return the link of that name, or the one of the default route (IPv4 first) where it is empty.

        Raises:
            ConfigError: there is no such link or no default route, with the links that there are.
        """
        ...
