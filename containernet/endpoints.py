"""The containers of one node: from an id and a namespace to an interface that works, and back.

The addresses and the namespace's path are in the address book before anything is in the kernel, so that a
restart finds every container again. A container whose namespace is gone is let go of; one that a runtime added
to a CNI network is forgotten with it, and an operator's keeps its addresses until it is detached. A container
whose addresses lie outside the node's subnets (the lease was lost, and others were had) is stranded: it is
shown, and keeps its addresses, until it is attached again.

Runs on the agent's thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing

import attrs

from .addresses import AddressBook, Name
from .contracts import EndpointItems, EntersNamespaces, Failure, Kernel, LocalDelivery
from .errors import AddressTaken, AlreadyAttached, ConfigError, KernelError, NamespaceGone, PermissionRefused
from .items import Item, Key, Link, by_key
from .model import Endpoint, Node, contains
from .planning import Delete, Operation, plan
from .reconciler import Reconciler


class Endpoints:
    """Every container interface of one node.

    Args:
        reconciler: of the host's namespace; what the containers need there is wanted of it.
        local: the local dataplane.
        addresses: who has which address.
        node: the host with its subnets; may come later, by `node_is`.
    """

    def __init__(
        self,
        reconciler: Reconciler,
        *,
        local: LocalDelivery,
        addresses: AddressBook,
        node: Node | None = None,
    ) -> None:
        self._reconciler = reconciler
        self._local = local
        self._addresses = addresses
        self._node = node
        self._held: dict[Name, Endpoint] = {}
        self._gone: set[Name] = set()
        self._failed: dict[Name, list[Failure]] = {}

    def restore(self) -> None:
        """Take up what the address book remembers."""
        self._held = {endpoint.name: endpoint for endpoint in self._addresses.assigned()}

    def node_is(self, node: Node) -> None:
        """Want every endpoint of this node, as it is now; those outside its subnets are let go of."""
        self._node = node
        for endpoint in self._held.values():
            self._want(endpoint)

    def all(self) -> tuple[Endpoint, ...]:
        """Return every endpoint that holds addresses."""
        return tuple(self._held.values())

    def gone(self) -> tuple[Endpoint, ...]:
        """Return the endpoints whose namespace is not there any more."""
        return tuple(self._held[name] for name in self._held if name in self._gone)

    def stranded(self) -> tuple[Endpoint, ...]:
        """Return the endpoints whose addresses are not this node's to give any more."""
        return tuple(endpoint for endpoint in self._held.values() if not self._belongs(endpoint))

    def failures(self) -> tuple[Failure, ...]:
        """Return what was refused inside of containers, and has not been done since."""
        return tuple(failure for failures in self._failed.values() for failure in failures)

    def get(self, container: str, interface: str = "eth0") -> Endpoint | None:
        """Return the endpoint of that name, or None."""
        return self._held.get((container, interface))

    def attach(self, container: str, netns: str, interface: str = "eth0") -> Endpoint:
        """Make the interface, or make sure of it: what is attached keeps all that it was attached with.

        Raises:
            KernelError: the namespace is not there, or the kernel refused; a new endpoint leaves nothing.
            AddressesExhausted, StateUnavailable: no address could be had.
        """
        before = self.get(container, interface)
        new = Endpoint(container=container, netns=netns, interface=interface, addresses=())
        return self._attach(attrs.evolve(before, netns=netns, addresses=()) if before else new)

    def add(self, wished: Endpoint) -> Endpoint:
        """Make an interface that is not there yet, as a runtime wishes it; return it with its addresses.

        Args:
            wished: its addresses are those that it asks for, at most one in each subnet.

        Raises:
            AlreadyAttached: the interface is there.
            AddressTaken: an address or a port of the host that it asks for is another's.
            KernelError, AddressesExhausted, StateUnavailable: as `attach`.
        """
        if self.get(*wished.name) is not None and self._is_there(wished):
            raise AlreadyAttached(
                f"container {wished.container} has an interface {wished.interface} in {wished.netns} already: "
                "detach it first"
            )
        for other in self._held.values():
            if wished.ports and other.ports and other.name != wished.name:
                _check_ports(wished, other)
        return self._attach(wished)

    def _is_there(self, wished: Endpoint) -> bool:
        if wished.addresses_only:
            return True
        with closing(self._inside(wished.netns)) as inside:
            return any(item.link == wished.interface for item in inside.read().values())

    def _attach(self, wished: Endpoint) -> Endpoint:
        assert self._node is not None
        with closing(self._inside(wished.netns)):
            pass  # a namespace that cannot be entered fails here, before anything is done
        before = self.get(*wished.name)
        endpoint = self._addresses.assign(wished, self._node.subnets)
        self._held[endpoint.name] = endpoint
        self._gone.discard(endpoint.name)
        try:
            if before is not None:
                self._reconciler.refresh()
                if before.netns != endpoint.netns:
                    self._let_go(before)  # the cable to the namespace that it had
            failures = self._set_up(endpoint)
            if failures and before is not None:
                self._let_go(endpoint)  # its cable ends in a namespace that had this path earlier
                failures = self._set_up(endpoint)
            if failures:
                raise KernelError(f"cannot attach {endpoint.container}: {'; '.join(map(str, failures))}")
        except Exception:
            if before is None:
                self._take_back(endpoint)
            else:
                self._want(endpoint)  # it is attached, whatever this call could not make sure of
            raise
        return endpoint

    def detach(self, container: str, interface: str = "eth0") -> bool:
        """Take the interface away and free its addresses; False: there was none. May be called twice.

        Raises:
            KernelError: the kernel cannot be programmed now, and it stays attached; call it again.
        """
        self._reconciler.want(_owner((container, interface)), ())
        try:
            self._reconciler.apply()
        except (KernelError, PermissionRefused):
            if endpoint := self._held.get((container, interface)):
                self._want(endpoint)
            raise
        return self.forget(container, interface)

    def forget(self, container: str, interface: str = "eth0") -> bool:
        """Free the addresses of an interface and want it no more, executing nothing; False: there was none."""
        name = (container, interface)
        self._reconciler.want(_owner(name), ())
        released = self._addresses.release(container, interface)
        self._held.pop(name, None)
        self._failed.pop(name, None)
        self._gone.discard(name)
        return released

    def forget_all(self) -> None:
        """Free the addresses of all endpoints and want none of them any more, executing nothing."""
        for container, interface in list(self._held):
            self.forget(container, interface)

    def has_room(self) -> bool:
        """Return whether another container could have an address in each of the node's subnets."""
        return self._node is not None and self._addresses.has_room(self._node.subnets)

    def collect_gone(self, *, everybody: bool = False) -> tuple[Endpoint, ...]:
        """After a full read: let go of the endpoints whose interface died with its namespace.

        Args:
            everybody: forget those that an operator attached as well.

        Returns:
            Those that are forgotten: whoever gave them their namespaces has taken those away, and so asks for
            nothing more.
        """
        forgotten = []
        for endpoint in self.all():
            wanted = self._wanted(endpoint)
            forgettable = everybody or bool(endpoint.network)
            if not forgettable and not wanted:
                continue  # gone or stranded: that is known
            if wanted and all(key in self._reconciler.programmed for key in wanted):
                continue
            try:
                self._inside(endpoint.netns).close()
            except (KernelError, PermissionRefused) as error:
                if forgettable and isinstance(error, NamespaceGone):
                    self.forget(*endpoint.name)
                    forgotten.append(endpoint)
                elif wanted:
                    self._gone.add(endpoint.name)
                    self._want(endpoint)
        return tuple(forgotten)

    def strangers(self, network: str, known: Collection[Name]) -> tuple[Endpoint, ...]:
        """Return the endpoints that a runtime added to that CNI network, but for those in `known`."""
        return tuple(
            endpoint
            for endpoint in self._held.values()
            if endpoint.network == network and endpoint.name not in known
        )

    def missing(self, endpoint: Endpoint) -> tuple[Operation, ...]:
        """Return what it would take to make everything of an endpoint as it should be; executes nothing.

        Reads both namespaces; the next `Reconciler.apply` compares everything.

        Raises:
            KernelError, PermissionRefused: one of them cannot be read.
        """
        if endpoint.addresses_only:
            return ()
        self._reconciler.refresh()
        wanted = self._wanted(endpoint)
        there = self._reconciler.programmed
        outside = plan(wanted, {key: there[key] for key in wanted if key in there})
        with closing(self._inside(endpoint.netns)) as inside:
            return (*outside, *self._missing_inside(endpoint, inside))

    def finish(self, operations: Iterable[Operation] | None) -> None:
        """Set up the inside of every endpoint whose cable was just made, or whose inside failed before.

        Args:
            operations: what was just executed; None: look into every container.
        """
        made = {each.item.key for each in operations or () if not isinstance(each, Delete)}
        for endpoint in self._held.values():
            name, wanted = endpoint.name, self._wanted(endpoint)
            if wanted and (operations is None or name in self._failed or made & wanted.keys()):
                # A cable whose end cannot be looked at stays: it may be a living container's, entered by
                # another path. With its namespace it goes by itself, and that is heard.
                with contextlib.suppress(KernelError, PermissionRefused):
                    self._set_up_inside(endpoint)

    def _set_up(self, endpoint: Endpoint) -> list[Failure]:
        if endpoint.addresses_only:
            return []
        owner = _owner(endpoint.name)
        self._reconciler.want(owner, self._items(endpoint).host)
        self._reconciler.apply()
        wanted = self._reconciler.desired.of(owner)
        failures = [failure for key, failure in self._reconciler.failures.items() if key in wanted]
        return failures or self._set_up_inside(endpoint)

    def _set_up_inside(self, endpoint: Endpoint) -> list[Failure]:
        with closing(self._inside(endpoint.netns)) as inside:
            failures = list(inside.execute(self._missing_inside(endpoint, inside)))
        self._failed.pop(endpoint.name, None)
        if failures:
            where = f"in container {endpoint.container}"
            self._failed[endpoint.name] = [
                attrs.evolve(each, reason=f"{where}: {each.reason}") for each in failures
            ]
        return failures

    def _missing_inside(self, endpoint: Endpoint, inside: Kernel) -> tuple[Operation, ...]:
        actual = {
            key: item
            for key, item in inside.read().items()
            if item.link == endpoint.interface and not isinstance(item, Link)
        }
        return plan(by_key(self._items(endpoint).container), actual)

    def _take_back(self, endpoint: Endpoint) -> None:
        # What cannot be deleted now is wanted by nobody, and goes with the next full read.
        with contextlib.suppress(KernelError, PermissionRefused):
            self._let_go(endpoint)
        self.forget(*endpoint.name)

    def _let_go(self, endpoint: Endpoint) -> None:
        self._reconciler.want(_owner(endpoint.name), ())
        self._reconciler.apply()

    def _want(self, endpoint: Endpoint) -> None:
        items: tuple[Item, ...] = ()
        if self._belongs(endpoint) and endpoint.name not in self._gone and not endpoint.addresses_only:
            items = self._items(endpoint).host
        else:
            self._failed.pop(endpoint.name, None)  # nobody will try again what nobody wants
        self._reconciler.want(_owner(endpoint.name), items)

    def _items(self, endpoint: Endpoint) -> EndpointItems:
        assert self._node is not None
        return self._local.endpoint(self._node, endpoint)

    def _wanted(self, endpoint: Endpoint) -> Mapping[Key, Item]:
        return self._reconciler.desired.of(_owner(endpoint.name))

    def _belongs(self, endpoint: Endpoint) -> bool:
        return self._node is not None and belongs(endpoint, self._node)

    def _inside(self, netns: str) -> Kernel:
        kernel = self._reconciler.kernel
        if not isinstance(kernel, EntersNamespaces):
            raise ConfigError(
                f"kernel backend {type(kernel).__name__} cannot enter a container's namespace, so it "
                "cannot attach containers"
            )
        return kernel.inside(netns)


def belongs(endpoint: Endpoint, node: Node) -> bool:
    """Return whether every address of `endpoint` lies in what `node` holds."""
    return all(
        any(contains(subnet, address.network) for subnet in node.subnets) for address in endpoint.addresses
    )


def _check_ports(wished: Endpoint, other: Endpoint) -> None:
    for one in wished.ports:
        for held in other.ports:
            if one.conflicts(held):
                raise AddressTaken(
                    f"container {wished.container} asks for the host's port {one}, and {other.container} has "
                    f"{held}: choose another port, or detach that one first"
                )


def _owner(name: Name) -> tuple[str, ...]:
    return ("endpoint", *name)
