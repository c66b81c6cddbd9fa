"""Reconciler: whatever fails, whoever interferes, the kernel comes to hold what is desired."""

from __future__ import annotations

import errno
import operator
from collections.abc import Mapping
from functools import partial
from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest
from hypothesis import given, settings, strategies as st

from containernet.contracts import Failure
from containernet.errors import KernelError
from containernet.items import (
    Bridge,
    BridgePort,
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Key,
    Link,
    Neighbour,
    Sysctl,
    Veth,
    Vxlan,
    by_key,
)
from containernet.planning import Create, Delete, Operation, Replace
from containernet.reconciler import Reconciler
from containernet.testing import FOR_EVER, FakeKernel
from containernet.testing.strategies import FOREIGN, states

BRIDGE = Link(name="cn0", type=Bridge(), mac="02:00:00:00:00:01", mtu=1450)
CABLE = Link(name="veth1", type=Veth(), mtu=1450)
PORT = BridgePort(link="veth1", bridge="cn0", hairpin=True)
ADDRESS = InterfaceAddress(link="cn0", address=ip_interface("10.4.1.1/24"))
FORWARDING = Sysctl(name="net/ipv4/ip_forward", value="1")


def device(local: str = "192.0.2.1") -> Link:
    """Return a VXLAN device; another local address means another device."""
    kind = Vxlan(vni=1, local=ip_address(local), port=8472, dev="eth0")
    return Link(name="vxlan.1", type=kind, mac="02:00:00:00:00:02", mtu=1450)


def peer(number: int) -> tuple[Item, ...]:
    """Return the three items of a VXLAN peer."""
    mac, gateway = f"02:00:00:00:01:{number:02x}", ip_address(f"10.4.{number}.0")
    return (
        FdbEntry(link="vxlan.1", mac=mac, destination=ip_address("192.0.2.9")),
        Neighbour(link="vxlan.1", address=gateway, mac=mac),
        KernelRoute(
            destination=ip_network(f"10.4.{number}.0/24"), gateway=gateway, link="vxlan.1", onlink=True
        ),
    )


def apart(state: dict[Key, Item]) -> dict[Key, Item]:
    """Give every cable of a state a far end of its own, where all could share one."""
    return {
        key: attrs.evolve(item, type=attrs.evolve(item.type, peer=item.name))
        if isinstance(item, Link) and isinstance(item.type, Veth)
        else item
        for key, item in state.items()
    }


DESIRED = states().map(apart)
ACTUAL = states(real=True).map(apart)
HOST = (BRIDGE, ADDRESS, FORWARDING, device())


def holds(kernel: FakeKernel, desired: Mapping[Key, Item]) -> bool:
    """Return whether the kernel holds the desired items and, sysctls aside, no other."""
    return all(
        key in kernel.items
        and (
            item.matches(there)
            if isinstance(item, Link) and isinstance(there := kernel.items[key], Link)
            else item == kernel.items[key]
        )
        for key, item in desired.items()
    ) and all(key in desired or isinstance(item, Sysctl) for key, item in kernel.items.items())


def kernel_with(*items: Item) -> FakeKernel:
    """Return a kernel that holds items of ours, with a namespace for every cable."""
    kernel = FakeKernel(foreign=FOREIGN)
    for netns in ("", "/run/netns/c1"):
        kernel.add_namespace(netns)
    kernel.execute([Create(item) for item in items])
    kernel.batches.clear()
    return kernel


def test_every_operation_that_fails_once_is_made_good_by_the_next_pass() -> None:
    """Whichever it is, and whatever fails behind it for its sake."""
    routes = {number: peer(number) for number in (2, 3)}
    stale = peer(9)
    for broken in range(20):
        kernel = kernel_with(BRIDGE, device("192.0.2.7"), *stale)
        reconciler = Reconciler(kernel)
        reconciler.want(("host",), HOST)
        reconciler.want(("endpoint", "c1"), (CABLE, PORT))
        for number, items in routes.items():
            reconciler.want(("route", str(number)), items)
        reconciler.refresh()
        pending = reconciler.pending()
        if broken >= len(pending):
            break
        kernel.fail(partial(operator.eq, pending[broken]), code=errno.ENOBUFS)
        reconciler.apply()
        assert not reconciler.settled
        assert pending[broken].item.key in reconciler.failures
        reconciler.refresh()
        reconciler.apply()
        assert reconciler.settled
        assert holds(kernel, reconciler.desired), kernel.words()
    assert broken >= 12, "every operation had its turn"


@given(DESIRED, DESIRED, ACTUAL, st.lists(st.integers(0, 30), max_size=3))
def test_after_any_interference_refresh_and_apply_give_exactly_what_is_desired(
    first: dict[Key, Item], then: dict[Key, Item], disturbed: dict[Key, Item], broken: list[int]
) -> None:
    """Want, apply with failures, want otherwise, let somebody else rebuild the kernel: one pass is enough."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("a",), first.values())
    reconciler.apply()
    for place in broken:
        count = iter(range(100))
        kernel.fail(lambda _operation, place=place, count=count: next(count) == place)  # type: ignore[misc]
    reconciler.want(("a",), then.values())
    reconciler.apply()
    kernel.heal()
    kernel.become(disturbed)
    reconciler.refresh()
    reconciler.apply()
    assert reconciler.settled
    assert holds(kernel, reconciler.desired), (kernel.words(), [*map(str, reconciler.desired.values())])
    assert reconciler.pending() == ()


@given(DESIRED, DESIRED, st.integers(0, 8))
@settings(max_examples=60)
def test_small_diffs_lead_where_one_big_diff_leads(
    one: dict[Key, Item], other: dict[Key, Item], parts: int
) -> None:
    """What is wanted bit by bit, without reading in between, ends like what is wanted at once."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    for wanted in (one, other):
        links = [item for item in wanted.values() if isinstance(item, Link)]
        rest = [item for item in wanted.values() if not isinstance(item, Link)]
        reconciler.want(("host",), links)
        for number in range(8):
            reconciler.want(("part", str(number)), rest[number::8] if number >= parts else ())
            reconciler.apply()
        for number in range(8):
            reconciler.want(("part", str(number)), rest[number::8])
            reconciler.apply()
    reconciler.refresh()
    reconciler.apply()
    assert reconciler.settled
    assert holds(kernel, reconciler.desired)


def test_a_partial_view_deletes_nothing_that_nobody_touched() -> None:
    """Stale peers stay until the view is whole; what somebody wanted here and wants no more goes at once."""
    kernel = kernel_with(device(), *peer(9))
    reconciler = Reconciler(kernel)
    reconciler.prune = False
    reconciler.want(("host",), (device(),))
    reconciler.want(("route", "2"), peer(2))
    reconciler.refresh()
    reconciler.apply()
    assert {item.key for item in (*peer(9), *peer(2))} < kernel.items.keys()
    reconciler.want(("route", "2"), ())
    reconciler.apply()
    assert not {item.key for item in peer(2)} & kernel.items.keys()
    assert {item.key for item in peer(9)} < kernel.items.keys()
    reconciler.prune = True
    reconciler.refresh()
    reconciler.apply()
    assert kernel.items.keys() == {device().key}


def test_an_event_is_one_small_batch() -> None:
    """However much is desired; and nothing pending executes nothing."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), (device(),))
    for number in range(2, 200):
        reconciler.want(("route", str(number)), peer(number))
    reconciler.apply()
    reconciler.want(("route", "250"), peer(250))
    reconciler.apply()
    assert list(map(len, kernel.batches)) == [1 + 198 * 3, 3]
    assert reconciler.apply() == ()
    assert len(kernel.batches) == 2


def test_what_is_as_desired_is_in_memory_once() -> None:
    """A kernel makes new items whenever it is read; of thousands that are right, none is kept twice."""
    kernel = FakeKernel()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), [BRIDGE, ADDRESS])
    reconciler.apply()
    kernel.items[ADDRESS.key] = attrs.evolve(ADDRESS)
    reconciler.refresh()
    assert reconciler.programmed[ADDRESS.key] is ADDRESS
    assert reconciler.apply() == ()


def test_an_event_is_planned_in_the_order_in_which_it_was_told() -> None:
    """Of items of one rank: the order of a set of keys would be another one in every process."""
    reconciler = Reconciler(kernel_with(device()))
    reconciler.want(("host",), (device(),))
    reconciler.apply()
    numbers = [*range(100, 140), *range(2, 42)]
    reconciler.want(("routes",), [item for number in numbers for item in peer(number)])
    by_rank = [peer(number)[place] for place in range(3) for number in numbers]
    assert [operation.item for operation in reconciler.apply()] == by_rank
    reconciler.want(("routes",), ())
    descending = [peer(number)[place] for place in (2, 1, 0) for number in numbers]
    assert [operation.item for operation in reconciler.apply()] == descending


def test_a_device_made_anew_gets_back_all_that_stood_on_it() -> None:
    """The kernel dropped it with the device, and the memory knows."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), (device(),))
    reconciler.want(("route", "2"), peer(2))
    reconciler.apply()
    reconciler.want(("host",), (device("192.0.2.5"),))
    operations = reconciler.apply()
    assert isinstance(operations[0], Delete)
    assert reconciler.settled
    assert holds(kernel, reconciler.desired)


def test_the_memory_forgets_the_ports_of_a_bridge_that_is_gone() -> None:
    """A port's link may live on; its membership does not."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    uplink = BridgePort(link="eth1", bridge="cn0")
    reconciler.want(("host",), (BRIDGE, uplink))
    reconciler.apply()
    kernel.fail(lambda operation: operation == Delete(uplink))
    reconciler.want(("host",), ())
    reconciler.apply()
    assert uplink.key not in reconciler.programmed
    assert not kernel.items


def test_a_failure_stays_until_it_is_made_good() -> None:
    """Another event does not hide it."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), (device(),))
    reconciler.apply()
    _, neighbour, _ = peer(2)
    kernel.fail(lambda operation: operation.item == neighbour, code=errno.ENOBUFS)
    reconciler.want(("route", "2"), peer(2))
    reconciler.apply()
    reconciler.want(("route", "3"), peer(3))
    reconciler.apply()
    failure = Failure(operation=Create(neighbour), errno=errno.ENOBUFS, reason="ENOBUFS")
    assert reconciler.failures == {neighbour.key: failure}
    assert reconciler.due == {neighbour.key}
    reconciler.refresh()
    assert reconciler.apply() == (Create(neighbour),)
    assert reconciler.settled


def test_a_failure_that_nobody_needs_any_more_is_forgotten() -> None:
    """Its owner let go of it."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("route", "2"), peer(2))
    reconciler.apply()
    assert len(reconciler.failures) == 3, "there is no device"
    reconciler.want(("route", "2"), ())
    reconciler.apply()
    assert reconciler.settled


def test_a_failure_that_a_bigger_pass_makes_good_is_forgotten() -> None:
    """The device is made again, and what stood failed on it is tried with it."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("route", "2"), peer(2))
    reconciler.apply()
    assert reconciler.failures
    reconciler.want(("host",), (device(),))
    reconciler.apply()
    assert reconciler.settled
    assert holds(kernel, reconciler.desired)


def test_what_could_not_be_executed_at_all_stays_pending() -> None:
    """The kernel was away for a moment."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), HOST)
    kernel.faults.fail("execute", KernelError("away"))
    with pytest.raises(KernelError):
        reconciler.apply()
    assert len(reconciler.apply()) == len(HOST)
    assert reconciler.settled


def test_a_kernel_that_cannot_be_read_leaves_the_memory_as_it_was() -> None:
    """Nothing is guessed."""
    kernel = kernel_with()
    reconciler = Reconciler(kernel)
    reconciler.want(("host",), HOST)
    reconciler.apply()
    kernel.faults.fail("read", KernelError("away"))
    with pytest.raises(KernelError):
        reconciler.refresh()
    assert reconciler.settled
    assert reconciler.programmed.keys() == {item.key for item in HOST}


def test_what_is_somebody_elses_is_never_taken() -> None:
    """The conflict is a failure that names the owner, for as long as it lasts."""
    kernel = kernel_with()
    route = KernelRoute(destination=ip_network("10.4.2.0/24"), gateway=ip_address("192.0.2.2"), link="eth0")
    kernel.others[route.key] = "route 10.4.2.0/24 belongs to bird"
    reconciler = Reconciler(kernel)
    reconciler.want(("route", "2"), (route,))
    for _ in range(2):
        reconciler.refresh()
        reconciler.apply()
        (failure,) = reconciler.failures.values()
        assert str(failure) == f"+ {route}: route 10.4.2.0/24 belongs to bird"
    assert by_key([route]).keys() <= kernel.others.keys()


def test_a_setting_that_a_container_wants_otherwise_than_the_host_is_no_dispute() -> None:
    """The container's wish comes first, and that is how it is meant to be."""
    reconciler = Reconciler(kernel_with())
    reconciler.want(("host",), (FORWARDING,))
    reconciler.want(("endpoint", "c1", "eth0"), (attrs.evolve(FORWARDING, value="2"),))
    assert reconciler.desired[FORWARDING.key] == attrs.evolve(FORWARDING, value="2")
    assert reconciler.rivals() == ()


def test_the_fake_kernel_fails_for_ever_where_it_is_told_to() -> None:
    """A fake that healed by itself would prove nothing."""
    kernel = kernel_with()
    kernel.fail(lambda _operation: True, times=FOR_EVER)
    operations: list[Operation] = [Create(BRIDGE), Replace(BRIDGE, BRIDGE)]
    assert [failure.errno for failure in kernel.execute(operations * 2)] == [errno.EINVAL] * 4
