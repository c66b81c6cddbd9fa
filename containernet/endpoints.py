"""The containers of one node: from an id and a namespace to an interface that works, and back.

The addresses and the namespace's path are in the address book before anything is in the kernel, so that a
restart finds every container again. A container whose namespace is gone keeps its addresses until it is
detached; its host side is let go of. A container whose addresses lie outside the node's subnets (the lease was
lost, and others were had) is stranded: it is shown, and keeps its addresses, until it is attached again.

Runs on the agent's thread.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from contextlib import closing

from .addresses import AddressBook
from .contracts import EntersNamespaces, Failure, Kernel, LocalDelivery
from .errors import ConfigError, KernelError, PermissionRefused
from .items import Item, Key, Link, by_key
from .model import Endpoint, Node, contains
from .planning import Create, Operation, plan
from .reconciler import Reconciler

Name = tuple[str, str]  # container id, interface


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
        self._held = {_name(endpoint): endpoint for endpoint in self._addresses.assigned()}

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
        return tuple(endpoint for endpoint in self._held.values() if _name(endpoint) in self._gone)

    def stranded(self) -> tuple[Endpoint, ...]:
        """Return the endpoints whose addresses are not this node's to give any more."""
        return tuple(endpoint for endpoint in self._held.values() if not self._belongs(endpoint))

    def failures(self) -> tuple[Failure, ...]:
        """Return what was refused inside of containers, and has not been done since."""
        return tuple(failure for failures in self._failed.values() for failure in failures)

    def attach(self, container: str, netns: str, interface: str = "eth0") -> Endpoint:
        """Make the interface, or make sure of it.

        Raises:
            KernelError: the namespace is not there, or the kernel refused; a new endpoint leaves nothing.
            AddressesExhausted, StateUnavailable: no address could be had.
        """
        assert self._node is not None
        with closing(self._inside(netns)):
            pass  # a namespace that cannot be entered fails here, before anything is done
        before = self._held.get((container, interface))
        addresses = self._addresses.assign(container, interface, self._node.subnets, netns=netns)
        endpoint = Endpoint(container=container, netns=netns, interface=interface, addresses=addresses)
        self._held[_name(endpoint)] = endpoint
        self._gone.discard(_name(endpoint))
        try:
            if before is not None:
                self._reconciler.refresh()
                if before.netns != netns:
                    self._let_go(before)  # the cable to the namespace that it had
            failures = self._set_up(endpoint)
            if failures and before is not None:
                self._let_go(endpoint)  # its cable ends in a namespace that had this path earlier
                failures = self._set_up(endpoint)
            if failures:
                raise KernelError(f"cannot attach {container}: {'; '.join(map(str, failures))}")
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
        self._held.pop(name, None)
        self._failed.pop(name, None)
        self._gone.discard(name)
        return self._addresses.release(container, interface)

    def forget_all(self) -> None:
        """Free the addresses of all endpoints and want none of them any more, executing nothing."""
        for container, interface in list(self._held):
            self.forget(container, interface)

    def collect_gone(self) -> None:
        """After a full read: let go of the endpoints whose interface died with its namespace."""
        for endpoint in self._held.values():
            if _name(endpoint) in self._gone or not self._belongs(endpoint):
                continue
            if all(key in self._reconciler.programmed for key in self._wanted(endpoint)):
                continue
            try:
                self._inside(endpoint.netns).close()
            except (KernelError, PermissionRefused):
                self._gone.add(_name(endpoint))
                self._want(endpoint)

    def finish(self, operations: Iterable[Operation] | None) -> None:
        """Set up the inside of every endpoint whose cable was just made, or whose inside failed before.

        Args:
            operations: what was just executed; None: look into every container.
        """
        made = {each.item.key for each in operations or () if isinstance(each, Create)}
        for endpoint in self._held.values():
            name, wanted = _name(endpoint), self._wanted(endpoint)
            if wanted and (operations is None or name in self._failed or made & wanted.keys()):
                # A cable whose end cannot be looked at stays: it may be a living container's, entered by
                # another path. With its namespace it goes by itself, and that is heard.
                with contextlib.suppress(KernelError, PermissionRefused):
                    self._set_up_inside(endpoint)

    def _set_up(self, endpoint: Endpoint) -> list[Failure]:
        assert self._node is not None
        owner = _owner(_name(endpoint))
        self._reconciler.want(owner, self._local.endpoint(self._node, endpoint).host)
        self._reconciler.apply()
        wanted = self._reconciler.desired.of(owner)
        failures = [failure for key, failure in self._reconciler.failures.items() if key in wanted]
        return failures or self._set_up_inside(endpoint)

    def _set_up_inside(self, endpoint: Endpoint) -> list[Failure]:
        assert self._node is not None
        desired = by_key(self._local.endpoint(self._node, endpoint).container)
        with closing(self._inside(endpoint.netns)) as inside:
            actual = {
                key: item
                for key, item in inside.read().items()
                if item.link == endpoint.interface and not isinstance(item, Link)
            }
            failures = list(inside.execute(plan(desired, actual)))
        self._failed.pop(_name(endpoint), None)
        if failures:
            self._failed[_name(endpoint)] = failures
        return failures

    def _take_back(self, endpoint: Endpoint) -> None:
        # What cannot be deleted now is wanted by nobody, and goes with the next full read.
        with contextlib.suppress(KernelError, PermissionRefused):
            self._let_go(endpoint)
        self.forget(*_name(endpoint))

    def _let_go(self, endpoint: Endpoint) -> None:
        self._reconciler.want(_owner(_name(endpoint)), ())
        self._reconciler.apply()

    def _want(self, endpoint: Endpoint) -> None:
        items: tuple[Item, ...] = ()
        if self._node is not None and self._belongs(endpoint) and _name(endpoint) not in self._gone:
            items = self._local.endpoint(self._node, endpoint).host
        else:
            self._failed.pop(_name(endpoint), None)  # nobody will try again what nobody wants
        self._reconciler.want(_owner(_name(endpoint)), items)

    def _wanted(self, endpoint: Endpoint) -> Mapping[Key, Item]:
        return self._reconciler.desired.of(_owner(_name(endpoint)))

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


def _name(endpoint: Endpoint) -> Name:
    return endpoint.container, endpoint.interface


def _owner(name: Name) -> tuple[str, ...]:
    return ("endpoint", *name)
