"""plan: whatever the kernel holds, the operations lead to what it should hold, and break nothing on the way.

The kernel here is a dict with the rules of a kernel that matter for the order of things. It is strict: what a
real one would refuse is an error at once, so an order that only works by luck fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_interface, ip_network

import attrs
from hypothesis import given, strategies as st

from containernet.items import Bridge, InterfaceAddress, Item, KernelRoute, Key, Link, Rank, Sysctl, by_key
from containernet.planning import Create, Delete, Operation, Replace, plan
from containernet.testing.strategies import FOREIGN, MACS, states

DESIRED = states()
ACTUAL = states(real=True)
FIRST = (Rank.LINK, Rank.ADDRESS)


class ModelKernel:
    """Items under their keys, with the kernel's own refusals and its own cascade."""

    def __init__(self, items: Mapping[Key, Item]) -> None:
        self.items = dict(items)

    def run(self, operation: Operation) -> None:
        """Execute, or fail as the kernel would."""
        match operation:
            case Create(item):
                # A sysctl is there as soon as its link is, so it cannot be in the way of itself.
                assert item.key not in self.items or isinstance(item, Sysctl), f"EEXIST: {operation}"
                self._put(item, "")
            case Replace(item, old):
                assert self.items.get(item.key) == old, f"{operation}: the kernel holds something else"
                assert item.key == old.key
                if isinstance(item, Link) and isinstance(old, Link):
                    assert item.type == old.type, f"EOPNOTSUPP: {operation}: a device cannot change its kind"
                self._put(item, getattr(old, "mac", ""))
            case Delete(item):
                assert self.items.get(item.key) == item, f"ENOENT: {operation}"
                assert not isinstance(item, Sysctl), f"{operation}: a sysctl cannot be unset"
                del self.items[item.key]
                self.after_delete(item)

    def _put(self, item: Item, mac: str) -> None:
        if isinstance(item, Link):
            item = attrs.evolve(item, mac=item.mac or mac or MACS[0])
            in_use = {other.exclusive for other in self.links() if other.name != item.name}
            assert item.exclusive is None or item.exclusive not in in_use, f"EEXIST: {item.exclusive}"
        else:
            present = {"", *FOREIGN, *(link.name for link in self.links())}
            assert stands_on(item) <= present, f"ENODEV: {item}"
        self.items[item.key] = item

    def after_delete(self, gone: Item) -> None:
        """Drop what stood on a link that is gone."""
        if isinstance(gone, Link):
            for key in [key for key, item in self.items.items() if gone.name in stands_on(item)]:
                del self.items[key]

    def links(self) -> list[Link]:
        """Return the links that are there."""
        return [item for item in self.items.values() if isinstance(item, Link)]


class HarshKernel(ModelKernel):
    """Beyond what a plan promises: this kernel also flushes what Linux flushes behind everybody's back."""

    def run(self, operation: Operation) -> None:
        """Execute, then flush."""
        super().run(operation)
        if isinstance(operation, Replace) and isinstance(operation.item, Link) and not operation.item.up:
            self._drop_routes(operation.item.name, versions=(4, 6))

    def after_delete(self, gone: Item) -> None:
        """Drop IPv4 routes as well when the last IPv4 address goes."""
        super().after_delete(gone)
        # net/ipv4/fib_frontend.c, fib_inetaddr_event: without an address the device is disabled for IPv4.
        if isinstance(gone, InterfaceAddress) and not any(
            isinstance(item, InterfaceAddress)
            and item.link == gone.link
            and item.address.version == gone.address.version
            for item in self.items.values()
        ):
            self._drop_routes(gone.link, versions=(4,))

    def _drop_routes(self, link: str, *, versions: Iterable[int]) -> None:
        self.items = {
            key: item
            for key, item in self.items.items()
            if not (
                isinstance(item, KernelRoute) and item.link == link and item.destination.version in versions
            )
        }


def stands_on(item: Item) -> set[str]:
    """Return the names of the links without which the item cannot be; a link stands on itself alone."""
    return set() if isinstance(item, Link) else {item.link, getattr(item, "bridge", "")}


def wanted(item: Item, found: Item | None) -> bool:
    """Return whether what was found is what was asked for; a MAC that was left open fits any."""
    if isinstance(item, Link) and isinstance(found, Link):
        return item.matches(found)
    return item == found


def reborn(desired: Mapping[Key, Item], actual: Mapping[Key, Item]) -> set[str]:
    """Return the names of devices for which there is no gentle way, by looking at each pair."""
    return {
        old.name
        for old in actual.values()
        for new in desired.values()
        if isinstance(old, Link) and isinstance(new, Link)
        if (old.name == new.name and old.type != new.type)
        or (old.name != new.name and old.exclusive is not None and old.exclusive == new.exclusive)
    }


@given(DESIRED, ACTUAL)
def test_executing_a_plan_leaves_exactly_what_is_desired(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """A plan, executed, leads from any state to the desired one, sysctls that nobody unsets aside."""
    kernel = ModelKernel(actual)
    for operation in plan(desired, actual):
        kernel.run(operation)
    for key, item in desired.items():
        assert wanted(item, kernel.items.get(key)), item
    for key in kernel.items.keys() - desired.keys():
        assert isinstance(kernel.items[key], Sysctl), kernel.items[key]
    assert plan(desired, kernel.items) == ()


@given(DESIRED, ACTUAL)
def test_nothing_that_is_wanted_and_there_is_missing_at_any_moment(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """What is in both states is there before and after every operation, unless its device is made anew."""
    anew = reborn(desired, actual)
    both = {
        key: item
        for key, item in desired.items()
        if key in actual and not (stands_on(actual[key]) | {actual[key].link}) & anew
    }
    kernel = ModelKernel(actual)
    for operation in plan(desired, actual):
        kernel.run(operation)
        assert both.keys() <= kernel.items.keys(), operation
        assert all(kernel.items[key] in (actual[key], desired[key]) or key[0] == "link" for key in both)


@given(DESIRED, ACTUAL)
def test_a_plan_touches_only_what_differs_and_each_of_it_once(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """No key is made or deleted twice, and nothing is made that stands already."""
    anew = reborn(desired, actual)
    operations = plan(desired, actual)
    made = [operation.item.key for operation in operations if not isinstance(operation, Delete)]
    gone = [operation.item.key for operation in operations if isinstance(operation, Delete)]
    assert len(set(made)) == len(made)
    assert len(set(gone)) == len(gone)
    assert {key for key in gone if key in desired} <= {("link", name) for name in anew}
    for key in made:
        standing = key in actual and not (stands_on(actual[key]) | {actual[key].link}) & anew
        assert not (standing and wanted(desired[key], actual[key])), desired[key]


@given(DESIRED, ACTUAL)
def test_creations_ascend_by_rank_and_deletions_descend_behind_them(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """Behind what has to go first, and the addresses instead, creations ascend and deletions then descend."""
    operations = list(plan(desired, actual))
    while operations and _comes_first(operations[0]):
        operations.pop(0)
    made = [operation.item.rank for operation in operations if not isinstance(operation, Delete)]
    gone = [operation.item.rank for operation in operations if isinstance(operation, Delete)]
    assert made == sorted(made)
    assert gone == sorted(gone, reverse=True)
    assert all(isinstance(operation, Delete) for operation in operations[len(made) :])


def _comes_first(operation: Operation) -> bool:
    if isinstance(operation, Delete):  # what has to go first, or a plan that only deletes
        return operation.item.rank in FIRST
    return isinstance(operation, Create) and isinstance(operation.item, InterfaceAddress)


@given(DESIRED, ACTUAL)
def test_addresses_of_a_subnet_that_is_a_peers_now_go_before_any_route_is_made(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """A node that moves to another subnet may see its old one with a peer."""
    routes = [item for item in desired.values() if isinstance(item, KernelRoute)]
    addresses = {ip_interface(route.gateway) for route in routes if route.gateway}
    addresses |= {ip_interface((route.destination[1], route.destination.prefixlen)) for route in routes}
    old = [InterfaceAddress(link=FOREIGN[0], address=address) for address in addresses]
    before = {**actual, **{item.key: item for item in old if item.key not in desired}}
    operations = plan(desired, before)
    made = [
        place
        for place, each in enumerate(operations)
        if isinstance(each.item, KernelRoute) and not isinstance(each, Delete)
    ]
    gone = [operations.index(Delete(item)) for item in old if item.key not in desired]
    assert max(gone, default=-1) < min(made, default=len(operations))
    kernel = ModelKernel(before)
    for operation in operations:
        kernel.run(operation)
    assert plan(desired, kernel.items) == ()


@given(st.permutations(range(1, 7)), st.integers(0, 4), st.sampled_from(["br0", FOREIGN[0]]), st.booleans())
def test_a_node_that_moves_to_another_subnet_loses_no_route_that_stays(
    numbers: list[int], stay: int, link: str, onlink: bool
) -> None:
    """Though its old address goes before a route is made, and with the last one Linux flushes them all."""
    old, new, *others = (ip_network(f"10.4.{number}.0/24") for number in numbers)
    routes = [
        KernelRoute(destination=each, link=link, gateway=each[0] if onlink else None, onlink=onlink)
        for each in (*others, old)
    ]
    ground = [Link(name="br0", type=Bridge(), mac=MACS[0], mtu=1450)]
    before = by_key([*ground, InterfaceAddress(link=link, address=ip_interface((old[1], 24))), *routes[:stay]])
    after = by_key([*ground, InterfaceAddress(link=link, address=ip_interface((new[1], 24))), *routes])
    kernel = HarshKernel(before)
    for operation in plan(after, before):
        kernel.run(operation)
        assert before.keys() & after.keys() <= kernel.items.keys(), operation
    assert kernel.items == after


@given(ACTUAL)
def test_what_is_there_already_needs_no_operation(state: dict[Key, Item]) -> None:
    """A state needs no operation to become itself."""
    assert plan(state, state) == ()


@given(DESIRED, ACTUAL, st.data())
def test_the_order_in_which_things_were_listed_does_not_matter(
    desired: dict[Key, Item], actual: dict[Key, Item], data: st.DataObject
) -> None:
    """The same states listed in another order give the same operations, in an order that works."""
    shuffled = dict(data.draw(st.permutations(list(desired.items()))))
    again = plan(shuffled, dict(reversed(actual.items())))
    assert sorted(map(str, again)) == sorted(map(str, plan(desired, actual)))
    kernel = ModelKernel(actual)
    for operation in again:
        kernel.run(operation)


@given(DESIRED, ACTUAL)
def test_planning_again_heals_what_the_kernel_flushed_on_its_own(
    desired: dict[Key, Item], actual: dict[Key, Item]
) -> None:
    """Three rounds are enough even where the kernel takes more away than was asked."""
    down = {item.name for item in desired.values() if isinstance(item, Link) and not item.up}
    # A route over a link that is down cannot stand, so nobody can ask for it.
    desired = {
        key: item for key, item in desired.items() if not (isinstance(item, KernelRoute) and item.link in down)
    }
    kernel = HarshKernel(actual)
    for _ in range(3):
        for operation in plan(desired, kernel.items):
            try:
                kernel.run(operation)
            except AssertionError:
                # To delete what is gone is success, and who changes it hears so and makes it in the next round;
                # everything else would be a failure of the plan.
                if isinstance(operation, Create) or operation.item.key in kernel.items:
                    raise
    assert plan(desired, kernel.items) == ()
