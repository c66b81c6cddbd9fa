"""Endpoints without an agent: what a library user does with a reconciler, a dataplane and an address book."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_interface, ip_network
from pathlib import Path

import attrs
import pytest

from containernet.addresses import AddressBook
from containernet.endpoints import Endpoints, belongs
from containernet.errors import ConfigError, KernelError, PermissionRefused
from containernet.items import Link
from containernet.model import Endpoint, Node
from containernet.reconciler import Reconciler
from containernet.testing import FOR_EVER, FakeKernel
from containernet_backends.bridge import Bridge

NODE = Node(
    name="a",
    interface="eth0",
    addresses=(ip_interface("192.0.2.1/24"),),
    subnets=(ip_network("10.4.1.0/24"),),
)
C1, C2 = "/run/netns/c1", "/run/netns/c2"


@pytest.fixture
def kernel() -> FakeKernel:
    """A kernel with two containers' namespaces."""
    kernel = FakeKernel()
    for netns in (C1, C2):
        kernel.add_namespace(netns)
    return kernel


@pytest.fixture
def book(tmp_path: Path) -> Iterator[AddressBook]:
    """An empty address book."""
    book = AddressBook(tmp_path / "addresses.db")
    yield book
    book.close()


@pytest.fixture
def endpoints(kernel: FakeKernel, book: AddressBook) -> Endpoints:
    """The endpoints of a host whose bridge stands."""
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), Bridge().host(NODE))
    reconciler.refresh()
    reconciler.apply()
    return Endpoints(reconciler, local=Bridge(), addresses=book, node=NODE)


def cables(kernel: FakeKernel) -> list[Link]:
    """Return the host's ends of all cables."""
    return [item for item in kernel.items.values() if isinstance(item, Link) and item.name.startswith("veth")]


def test_attach_costs_one_batch_on_each_side(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """A container must not wait for more than has to be done."""
    before = len(kernel.batches), kernel.reads
    endpoints.attach("c1", C1)
    inner = kernel.namespaces[C1]
    assert (len(kernel.batches) - before[0], kernel.reads - before[1]) == (1, 0)
    assert (len(inner.batches), inner.reads) == (1, 1)


def test_the_same_path_may_be_another_namespace(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """The container was made again at once, and its old cable has not died yet."""
    first = endpoints.attach("c1", C1)
    kernel.namespaces["elsewhere"] = kernel.namespaces[C1]
    fresh = kernel.add_namespace(C1)
    fresh.fail(lambda operation: "eth0" in str(operation), times=1)  # the new namespace has no such interface
    assert endpoints.attach("c1", C1) == first
    assert len(cables(kernel)) == 1
    assert list(fresh.foreign) == ["eth0"]
    assert fresh.items


def test_a_stranded_container_whose_attach_fails_is_not_forgotten(
    kernel: FakeKernel, endpoints: Endpoints
) -> None:
    """It has addresses of the new subnet by then: the next full read lays its cable."""
    endpoints.attach("c1", C1)
    moved = attrs.evolve(NODE, subnets=(ip_network("10.4.9.0/24"),))
    endpoints.node_is(moved)
    endpoints._reconciler.apply()
    assert not cables(kernel)
    kernel.faults.fail("read", KernelError("busy"))
    with pytest.raises(KernelError, match="busy"):
        endpoints.attach("c1", C1)
    assert not endpoints.stranded()
    endpoints._reconciler.refresh()
    endpoints.finish(endpoints._reconciler.apply())
    assert len(cables(kernel)) == 1
    assert ("address", "eth0", ip_interface("10.4.9.2/24")) in kernel.namespaces[C1].items


def test_a_second_interface_is_another_endpoint(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """With addresses of its own; detaching one leaves the other."""
    first, second = endpoints.attach("c1", C1), endpoints.attach("c1", C1, "net1")
    assert not set(first.addresses) & set(second.addresses)
    assert endpoints.detach("c1", "net1")
    assert endpoints.all() == (first,)
    assert len(cables(kernel)) == 1


def test_a_detach_that_the_kernel_cannot_do_now_changes_nothing(
    kernel: FakeKernel, endpoints: Endpoints, book: AddressBook
) -> None:
    """Nobody may get the address while the interface stands, and no later pass takes half of it; ask again."""
    endpoints.attach("c1", C1)
    kernel.faults.fail("execute", KernelError("away"))
    with pytest.raises(KernelError):
        endpoints.detach("c1")
    endpoints._reconciler.apply()
    assert len(cables(kernel)) == 1
    assert book.assigned()
    assert endpoints.detach("c1")
    assert not cables(kernel)


def test_a_living_cable_is_not_cut_for_a_path_that_is_gone(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """The runtime unmounted the name; the container lives on, and so does its interface."""
    endpoints.attach("c1", C1)
    del kernel.namespaces[C1]
    endpoints._reconciler.refresh()
    endpoints.collect_gone()
    endpoints._reconciler.apply()
    endpoints.finish(None)
    endpoints._reconciler.apply()
    assert len(cables(kernel)) == 1
    assert not endpoints.gone()


@pytest.mark.parametrize("error", [KernelError("gone"), PermissionRefused("not yours")])
def test_a_dead_cable_whose_namespace_cannot_be_entered_is_let_go_of(
    kernel: FakeKernel, endpoints: Endpoints, error: Exception
) -> None:
    """Whatever the reason; the address is kept until it is detached."""
    endpoint = endpoints.attach("c1", C1)
    kernel.lose(cables(kernel)[0].key)
    kernel.faults.fail("inside", error, times=FOR_EVER)
    endpoints._reconciler.refresh()
    endpoints.collect_gone()
    endpoints._reconciler.apply()
    assert endpoints.gone() == (endpoint,)
    assert endpoints._reconciler.settled


def test_what_failed_inside_is_kept_until_it_is_done(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """And tried again although nothing outside has changed."""
    endpoints.attach("c1", C1)
    inner = kernel.namespaces[C1]
    inner.lose(("address", "eth0", ip_interface("10.4.1.2/24")))
    inner.fail(lambda _operation: True, times=1)
    endpoints.finish(None)
    assert [str(failure.operation) for failure in endpoints.failures()] == ["+ address 10.4.1.2/24 dev eth0"]
    endpoints.finish(())
    assert not endpoints.failures()
    assert len(inner.items) == 2


def test_what_failed_inside_of_a_stranded_container_is_nobodys_failure(
    kernel: FakeKernel, endpoints: Endpoints
) -> None:
    """It is not tried again, so it would keep the node from being settled for ever."""
    endpoint = endpoints.attach("c1", C1)
    inner = kernel.namespaces[C1]
    inner.lose(("address", "eth0", ip_interface("10.4.1.2/24")))
    inner.fail(lambda _operation: True, times=1)
    endpoints.finish(None)
    assert endpoints.failures()
    endpoints.node_is(attrs.evolve(NODE, subnets=(ip_network("10.4.9.0/24"),)))
    assert endpoints.stranded() == (endpoint,)
    assert not endpoints.failures()


def test_a_kernel_that_enters_no_namespaces(book: AddressBook) -> None:
    """Is named, before an address is taken."""

    class Plain:
        """A kernel without that ability."""

        read = FakeKernel.read
        execute = FakeKernel.execute

    endpoints = Endpoints(Reconciler(Plain()), local=Bridge(), addresses=book, node=NODE)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="kernel backend Plain cannot enter a container's namespace"):
        endpoints.attach("c1", C1)
    assert not book.assigned()


def test_who_belongs() -> None:
    """Every address has to; nobody has none."""
    endpoint = Endpoint(container="c", netns=C1, addresses=(ip_interface("10.4.1.2/24"),))
    assert belongs(endpoint, NODE)
    assert not belongs(endpoint, attrs.evolve(NODE, subnets=()))
    assert not belongs(
        attrs.evolve(endpoint, addresses=(*endpoint.addresses, ip_interface("10.5.1.2/24"))), NODE
    )
