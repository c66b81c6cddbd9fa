"""Endpoints without an agent: what a library user does with a reconciler, a dataplane and an address book."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from containernet.addresses import AddressBook
from containernet.endpoints import Endpoints, belongs
from containernet.errors import (
    AddressTaken,
    AlreadyAttached,
    ConfigError,
    KernelError,
    PermissionRefused,
    StateUnavailable,
)
from containernet.items import Link, Veth
from containernet.model import Endpoint, Node, PortMapping
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


def pod(name: str = "p1", netns: str = C1, **wishes: Any) -> Endpoint:
    """Return what a runtime asks for."""
    return Endpoint(
        container=name, netns=netns, addresses=wishes.pop("addresses", ()), network="pods", **wishes
    )


def test_attach_costs_one_batch_on_each_side(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """A container must not wait for more than has to be done."""
    before = len(kernel.batches), kernel.reads
    endpoints.attach("c1", C1)
    inner = kernel.namespaces[C1]
    assert (len(kernel.batches) - before[0], kernel.reads - before[1]) == (1, 0)
    assert (len(inner.batches), inner.reads) == (1, 1)


def test_a_runtime_has_what_it_asks_for(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """The address and the MAC; attached again by an operator, it keeps all of it."""
    port = PortMapping(host_port=8080, container_port=80)
    wished = pod(addresses=[ip_interface("10.4.1.9/32")], mac="02:00:5e:10:00:01", ports=[port])
    added = endpoints.add(wished)
    assert added == attrs.evolve(wished, addresses=[ip_interface("10.4.1.9/24")])
    made = [item.type for item in (each.item for each in kernel.batches[-1]) if isinstance(item, Link)]
    assert made == [Veth()]
    assert getattr(made[0], "peer_mac", "") == "02:00:5e:10:00:01"
    assert endpoints.attach("p1", C2) == attrs.evolve(added, netns=C2)


def test_an_interface_that_is_there_is_not_added(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """And the one that is there stays as it is; in another namespace it may be had."""
    first = endpoints.add(pod())
    before = dict(kernel.items), dict(kernel.namespaces[C1].items)
    with pytest.raises(AlreadyAttached, match="p1 has an interface eth0 in /run/netns/c1 already: detach it"):
        endpoints.add(pod(mac="02:00:5e:10:00:01", addresses=[ip_interface("10.4.1.9/24")]))
    assert endpoints.all() == (first,)
    assert before == (dict(kernel.items), dict(kernel.namespaces[C1].items))
    moved = endpoints.add(pod(netns=C2))
    assert moved.addresses == first.addresses
    assert len(cables(kernel)) == 1
    assert not kernel.namespaces[C1].items


def test_a_port_of_the_host_has_one_container(endpoints: Endpoints, book: AddressBook) -> None:
    """Who asks for another's is told whose it is, and nothing is left of him."""
    endpoints.add(pod(ports=[PortMapping(host_port=8080, container_port=80)]))
    with pytest.raises(AddressTaken, match="p2 asks for the host's port 8080/tcp to 81, and p1 has 8080"):
        endpoints.add(pod("p2", C2, ports=[PortMapping(host_port=8080, container_port=81)]))
    assert [each.container for each in book.assigned()] == ["p1"]
    endpoints.add(pod("p2", C2, ports=[PortMapping(host_port=8080, container_port=81, protocol="udp")]))


def test_addresses_alone_put_nothing_into_a_kernel(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """Another plugin makes the interface; ours are twice the same only where nobody asks twice."""
    before = dict(kernel.items)
    added = endpoints.add(pod(addresses_only=True))
    assert added.addresses == (ip_interface("10.4.1.2/24"),)
    endpoints.node_is(NODE)
    endpoints._reconciler.apply()
    assert dict(kernel.items) == before
    assert not kernel.namespaces[C1].items
    assert endpoints.missing(added) == ()
    with pytest.raises(AlreadyAttached):
        endpoints.add(pod(addresses_only=True))
    assert endpoints.detach("p1")


@pytest.mark.parametrize("addresses_only", [False, True])
def test_a_runtimes_container_is_forgotten_with_its_namespace(
    kernel: FakeKernel, endpoints: Endpoints, book: AddressBook, addresses_only: bool
) -> None:
    """Whoever took the namespace away asks for nothing more; one that may not be entered is not gone."""
    endpoints.add(pod(addresses_only=addresses_only))
    kernel.end_namespace(C1)
    kernel.faults.fail("inside", PermissionRefused("not yours"))
    assert collect(endpoints) == ()
    assert len(book.assigned()) == 1
    endpoints.node_is(NODE)
    assert [each.container for each in collect(endpoints)] == ["p1"]
    assert not book.assigned()
    assert not endpoints.all()
    assert not cables(kernel)


def collect(endpoints: Endpoints) -> tuple[Endpoint, ...]:
    """Do what an agent does after a full read."""
    endpoints._reconciler.refresh()
    forgotten = endpoints.collect_gone()
    endpoints._reconciler.apply()
    return forgotten


def test_what_cannot_be_forgotten_now_is_forgotten_later(
    kernel: FakeKernel, endpoints: Endpoints, book: AddressBook, tmp_path: Path
) -> None:
    """While the address book cannot be written, it keeps its address; the next daemon collects it."""
    endpoint = endpoints.add(pod())
    kernel.end_namespace(C1)
    book.close()
    with pytest.raises(StateUnavailable):
        collect(endpoints)
    assert endpoints.all() == (endpoint,)
    with closing(AddressBook(tmp_path / "addresses.db")) as again:
        later = Endpoints(Reconciler(kernel), local=Bridge(), addresses=again, node=NODE)
        later.restore()
        later.node_is(NODE)
        assert collect(later) == (endpoint,)
        assert not again.assigned()


def test_strangers_are_those_of_that_network_alone(endpoints: Endpoints) -> None:
    """An operator's containers belong to no network."""
    endpoints.attach("c1", C1)
    one, other = endpoints.add(pod("p1", C1, interface="net1")), endpoints.add(pod("p2", C2))
    assert endpoints.strangers("pods", {("p1", "net1")}) == (other,)
    assert endpoints.strangers("pods", {("p1", "eth0"), ("p2", "eth0")}) == (one,)
    assert endpoints.strangers("others", ()) == endpoints.strangers("", {("c1", "eth0")}) == ()


def test_what_is_missing_is_named_on_both_sides(kernel: FakeKernel, endpoints: Endpoints) -> None:
    """And put back by the next turn, outside, or by the next look inside."""
    endpoint = endpoints.add(pod())
    assert endpoints.missing(endpoint) == ()
    kernel.lose(("port", cables(kernel)[0].name))
    inner = kernel.namespaces[C1]
    inner.lose(next(key for key in inner.items if key[0] == "address"))
    words = [str(each).split()[:2] for each in endpoints.missing(endpoint)]
    assert words == [["+", "link"], ["+", "address"]]
    endpoints._reconciler.apply()
    endpoints.finish(None)
    assert endpoints.missing(endpoint) == ()
    kernel.lose(cables(kernel)[0].key)
    assert endpoints.missing(endpoint)


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
