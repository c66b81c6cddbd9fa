"""Addresses and prefixes made of numbers are those that the public constructors make, in every respect."""

from __future__ import annotations

import copy
import inspect
import pickle
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Any

from hypothesis import given, strategies as st

from containernet import numbers

versions = st.sampled_from((4, 6))
BITS = {4: 32, 6: 128}


@st.composite
def addresses(draw: st.DrawFn) -> tuple[int, int]:
    """Return a version and a number."""
    version = draw(versions)
    return version, draw(st.integers(0, (1 << BITS[version]) - 1))


@st.composite
def prefixes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Return a version, a first address and a length."""
    version, number = draw(addresses())
    length = draw(st.integers(0, BITS[version]))
    behind = BITS[version] - length
    return version, number >> behind << behind, length


def properties(made: Any) -> dict[str, object]:
    """Return everything that can be read of an object without an argument, in a form that compares."""
    names = [name for name in dir(made) if not name.startswith("__") and name != "hosts"]
    values = {name: getattr(made, name) for name in names}
    return {name: value for name, value in values.items() if not inspect.isroutine(value)}


def same(made: Any, usual: Any) -> None:
    """Hold that nobody could tell one from the other; both must be new, for what they compute they keep."""
    assert getattr(made, "__dict__", {}).keys() == getattr(usual, "__dict__", {}).keys()
    assert type(made) is type(usual)
    assert made == usual
    assert usual == made
    assert not made < usual
    assert hash(made) == hash(usual)
    assert (str(made), repr(made), format(made)) == (str(usual), repr(usual), format(usual))
    for copied in (pickle.loads(pickle.dumps(made)), copy.copy(made), copy.deepcopy(made)):
        assert copied == usual
        assert type(copied) is type(usual)
    assert properties(made) == properties(usual)


@given(addresses())
def test_an_address_of_a_number_is_the_usual_one(told: tuple[int, int]) -> None:
    """By the quick way and by the plain one."""
    version, number = told
    kind = IPv4Address if version == 4 else IPv6Address
    for make in (numbers.quick_address, numbers.plain_address):
        same(make(version, number), kind(number))


@given(prefixes())
def test_a_prefix_of_numbers_is_the_usual_one(told: tuple[int, int, int]) -> None:
    """By the quick way and by the plain one; what it contains, too, where it is another function each time."""
    version, first, length = told
    kind = IPv4Network if version == 4 else IPv6Network
    for make in (numbers.quick_prefix, numbers.plain_prefix):
        made, usual = make(version, first, length), kind((first, length))
        same(made, usual)
        assert made.supernet() == usual.supernet()
        assert made.with_netmask == usual.with_netmask
        if BITS[version] - length <= 4:
            assert [*made.hosts()] == [*usual.hosts()]
            assert [*made] == [*usual]


@given(prefixes(), st.integers(0, (1 << 128) - 1))
def test_an_interface_of_a_number_in_a_network_is_the_usual_one(told: tuple[int, int, int], bits: int) -> None:
    """With any number that lies in it."""
    version, first, length = told
    number = first | bits & ((1 << (BITS[version] - length)) - 1)
    kind = IPv4Interface if version == 4 else IPv6Interface
    for make in (numbers.quick_interface, numbers.plain_interface):
        made, usual = make(number, numbers.plain_prefix(version, first, length)), kind((number, length))
        same(made, usual)
        assert (made.ip, made.network) == (usual.ip, usual.network)


def test_this_interpreter_has_what_the_quick_way_knows() -> None:
    """Else it would be the plain one, and nobody would notice but by the time."""
    assert numbers.address is numbers.quick_address
    assert numbers.prefix is numbers.quick_prefix
    assert numbers.interface is numbers.quick_interface
