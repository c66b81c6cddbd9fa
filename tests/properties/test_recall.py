"""netlink: reading again finds what reading anew would, whatever has changed in between."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial

from hypothesis import given, strategies as st

from containernet.items import Item, by_key
from containernet_backends.netlink import constants as c
from containernet_backends.netlink.frames import Malformed, attribute, equal_messages, message, messages
from containernet_backends.netlink.likeness import NEIGHBOUR, ROUTE, by_example
from containernet_backends.netlink.nexthops import Hop, Way
from containernet_backends.netlink.recall import Recall
from containernet_backends.netlink.wire import Hops, decode_neighbour, decode_route, route_nexthop

ROUTES, NEIGHBOURS = (c.RTM_GETROUTE, 2), (c.RTM_GETNEIGH, 2)
NAMES = st.dictionaries(st.sampled_from((7, 8, 9)), st.sampled_from(("a", "b")))


HOPS = st.dictionaries(
    st.integers(0, 3), st.builds(Hop, st.builds(Way, st.sampled_from((7, 8)), st.booleans()), st.just(b"abcd"))
)


def route_by_number(last: int, number: int) -> bytes:
    """Return a route of which the kernel tells no more than its nexthop object."""
    head = struct.pack("=8BI", 2, 24, 0, 0, 254, 77, 0, 1, 0)
    return (
        head + attribute(c.RTA_DST, bytes((10, 4, last, 0))) + attribute(c.RTA_NH_ID, struct.pack("=I", number))
    )


def route(last: int, gateway: int, index: int) -> bytes:
    """Return a route as the kernel tells it."""
    head = struct.pack("=8BI", 2, 24, 0, 0, 254, 77, 0, 1, 0)
    return head + b"".join((
        attribute(c.RTA_DST, bytes((10, 4, last, 0))),
        attribute(c.RTA_GATEWAY, bytes((192, 0, 2, gateway))),
        attribute(c.RTA_OIF, struct.pack("=I", index)),
    ))  # fmt: skip


def neighbour(last: int, mac: int, index: int, clock: int, probes: bool) -> bytes:
    """Return a neighbour as the kernel tells it, at one time or another."""
    head = struct.pack("=BxxxiHBB", 2, index, c.NUD_PERMANENT, 0, 0)
    return head + b"".join((
        attribute(c.NDA_DST, bytes((10, 4, last, 0))),
        attribute(c.NDA_LLADDR, bytes((2, 0, 0, 0, 0, mac))),
        attribute(4, bytes(4)) if probes else b"",
        attribute(c.NDA_CACHEINFO, struct.pack("=4I", clock, clock, clock, 1)),
        attribute(c.NDA_PROTOCOL, b"\x4d"),
    ))  # fmt: skip


small = st.integers(0, 3)
indexes = st.sampled_from((7, 8, 9))
routes = st.builds(route, small, small, indexes) | st.builds(route_by_number, small, small)
neighbours = st.builds(neighbour, small, small, indexes, small, st.booleans())
junk = st.binary(max_size=60) | st.builds(lambda body, cut: body[:cut], routes | neighbours, st.integers(0, 60))


def meaning(table: tuple[int, ...], body: bytes, names: Mapping[int, str], hops: Hops) -> Item | None:
    """Return what a body means, without any memory; nothing where it is junk."""
    found = None
    with suppress(Malformed):
        found = decode_route(body, names, hops) if table == ROUTES else decode_neighbour(body, names)
    return found.item if found else None


dumps = st.tuples(st.lists(routes | junk, max_size=8), st.lists(neighbours | junk, max_size=8))


@given(st.lists(st.tuples(NAMES, HOPS, dumps), max_size=6))
def test_reading_again_is_reading_anew(
    readings: list[tuple[dict[int, str], dict[int, Hop], tuple[list[bytes], list[bytes]]]],
) -> None:
    """The memory is never seen: not after changes, not after losses, not when numbers change their meaning."""
    recall = Recall()
    for names, hops, told in readings:
        recall.begin(names, hops)
        expected: list[Item] = []
        for table, bodies in zip((ROUTES, NEIGHBOURS), told, strict=True):
            found = [(body, item) for body in bodies if (item := meaning(table, body, names, hops))]
            items = [item for _, item in found]
            decode = partial(meaning, table, names=recall.names, hops=recall.hops)
            quickly = by_example(decode, ROUTE if table == ROUTES else NEIGHBOUR)
            assert recall.decode(table, bodies, quickly) == by_key(items)
            expected += items
            if table == ROUTES:
                numbers = ((item.key, route_nexthop(body)) for body, item in found)
                told_by = {key: number for key, number in numbers if number}
                assert recall.used(table) == told_by
        assert recall.links == {item.link for item in expected}


def test_of_one_key_the_last_word_counts() -> None:
    """Regression: what a dump told first, and again after something else, was taken for the older."""
    one, other = route(1, 1, 7), route(1, 2, 7)
    recall = Recall()
    recall.begin({7: "a"}, {})
    decode = partial(meaning, ROUTES, names=recall.names, hops={})
    (item,) = recall.decode(ROUTES, [one, other, one], by_example(decode, ROUTE)).values()
    assert item == meaning(ROUTES, one, {7: "a"}, {})


def fdb_entry(mac: int, last: int, clock: int) -> bytes:
    """Return an fdb entry as the kernel tells it; one MAC, of zeros, is none."""
    head = struct.pack("=BxxxiHBB", c.AF_BRIDGE, 7, c.NUD_PERMANENT, c.NTF_SELF, 0)
    return head + b"".join((
        attribute(c.NDA_LLADDR, bytes(5) + bytes((mac,))),
        attribute(c.NDA_DST, bytes((192, 0, 2, last))),
        attribute(c.NDA_CACHEINFO, struct.pack("=4I", clock, clock, clock, 1)),
    ))  # fmt: skip


def twice(body: bytes, other: bytes) -> bytes:
    """Return a body that says everything again, differently."""
    return body + other[12:]


fdb_entries = st.builds(fdb_entry, small, small, small)
told = st.lists(routes | junk | st.builds(twice, routes, routes), max_size=12) | st.lists(
    neighbours | fdb_entries | junk | st.builds(twice, neighbours, neighbours), max_size=12
)


@given(told)
def test_by_example_is_by_care(bodies: list[bytes]) -> None:
    """Whatever was decoded before, and whatever is said twice: each body means what it means by itself."""
    for table, kind in ((ROUTES, ROUTE), (NEIGHBOURS, NEIGHBOUR)):
        decode = partial(meaning, table, names={7: "a", 8: "b"}, hops={1: Hop(Way(7, True), b"abcd")})
        assert by_example(decode, kind)(bodies) == [decode(body) for body in bodies]


def test_a_dump_of_like_messages_is_decoded_with_care_once() -> None:
    """The rest costs a third."""
    decoded = 0

    def decode(body: bytes) -> Item | None:
        nonlocal decoded
        decoded += 1
        return meaning(ROUTES, body, {7: "a"}, {})

    bodies = [route(last, last, 7) for last in range(100)]
    assert len({*by_example(decode, ROUTE)(bodies)}) == 100
    assert decoded == 1


def test_what_has_too_many_shapes_is_decoded_all_the_same() -> None:
    """More kinds of one length than examples are looked for, by turns, and more bodies than are cut at once."""
    bodies = [
        route(nth % 250, nth % 7, 7)[:12]
        + attribute(c.RTA_PRIORITY, struct.pack("=I", nth % 40))
        + route(nth, 1, 7)[12:]
        for nth in range(250)
    ] * 20
    decode = partial(meaning, ROUTES, names={7: "a"}, hops={})
    assert by_example(decode, ROUTE)(bodies) == [decode(body) for body in bodies]


def test_what_is_told_again_is_not_decoded_again() -> None:
    """A table of which one entry has changed costs one decoding, whatever the clocks say."""
    decoded = 0

    def decode(body: bytes) -> Item | None:
        nonlocal decoded
        decoded += 1
        return meaning(NEIGHBOURS, body, recall.names, {})

    recall = Recall()
    for mac, clock in ((1, 1), (1, 2), (2, 3)):
        recall.begin({7: "a"}, {})
        told = [neighbour(last, mac if last == 9 else 0, 7, clock, True) for last in range(100)]
        recall.decode(NEIGHBOURS, told, lambda bodies: [decode(body) for body in bodies])
    assert decoded == 101


def each_message(data: bytes) -> Iterator[bytes]:
    """Return the bodies as the careful way finds them."""
    return (found.body for found in messages(data))


@given(st.binary(max_size=100) | st.lists(st.binary(max_size=12), max_size=6).map(
    lambda bodies: b"".join(message(24, 2, 7, body + bytes(-len(body) % 4)) for body in bodies)
) | st.integers(1, 50).map(lambda times: message(24, 2, 7, b"abcd") * times))  # fmt: skip
def test_the_quick_way_to_split_is_the_careful_one(data: bytes) -> None:
    """Where it splits at all, it finds the same; and it splits what a dump is full of."""
    found = equal_messages(data)
    if found is not None:
        first, bodies = found
        assert list(bodies) == list(each_message(data))
        assert first == next(messages(data))
    elif data:
        with suppress(Malformed):
            assert len({(each[:4], len(each.body)) for each in messages(data)}) > 1
