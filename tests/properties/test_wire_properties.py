"""netlink wire: what is encoded is read back, whatever the values; junk is refused, and nothing worse."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from itertools import chain

import attrs
from hypothesis import given, strategies as st

from containernet.items import (
    FdbEntry,
    InterfaceAddress,
    IpEncap,
    KernelRoute,
    Link,
    Neighbour,
    Veth,
    multipath,
)
from containernet.model import Address, Interface, Prefix
from containernet.planning import Create, Delete, Operation, Replace
from containernet_backends.netlink import constants as c
from containernet_backends.netlink.encoding import Encoder, encode_nexthops, sort
from containernet_backends.netlink.frames import (
    Malformed,
    Message,
    Refusal,
    Run,
    attribute,
    attributes,
    equal_messages,
    message,
    messages,
    refusal,
)
from containernet_backends.netlink.nexthops import Hop, Nexthops, Way
from containernet_backends.netlink.ownership import PROTOCOL
from containernet_backends.netlink.view import View
from containernet_backends.netlink.wire import (
    Owned,
    decode_address,
    decode_link,
    decode_neighbour,
    decode_nexthop,
    decode_route,
    nexthop_owner,
    route_nexthop,
    route_protocol,
)

LINKS = {1: "lo", 2: "eth0", 77: "vx0"}
INDEX = {name: index for index, name in LINKS.items()}


def addresses(version: int) -> st.SearchStrategy[Address]:
    """Return any address of a family."""
    kind: type[Address] = IPv4Address if version == 4 else IPv6Address
    return st.integers(0, (1 << (32 if version == 4 else 128)) - 1).map(kind)


def prefixes(version: int) -> st.SearchStrategy[Prefix]:
    """Return any prefix of a family, the default route included."""
    kind = IPv4Network if version == 4 else IPv6Network
    lengths = st.integers(0, 32 if version == 4 else 128)
    return st.builds(
        lambda address, length: kind((int(address), length), strict=False), addresses(version), lengths
    )


@st.composite
def interfaces(draw: st.DrawFn) -> Interface:
    """Return any address with any prefix length."""
    version = draw(st.sampled_from((4, 6)))
    length = draw(st.integers(0, 32 if version == 4 else 128))
    address = int(draw(addresses(version)))
    return IPv4Interface((address, length)) if version == 4 else IPv6Interface((address, length))


@st.composite
def kernel_routes(draw: st.DrawFn) -> KernelRoute:
    """Return any route, of one next hop or of several."""
    route = draw(single_routes())
    if route.next_hop is None:
        return route
    gateways = addresses(route.destination.version) | addresses(6)
    others: st.SearchStrategy[Address | IpEncap] = outer_headers if route.encap else gateways
    return multipath([route, *map(route.by, draw(st.lists(others, max_size=3)))])


outer_headers = st.builds(IpEncap, source=addresses(6), destination=addresses(6))


@st.composite
def single_routes(draw: st.DrawFn) -> KernelRoute:
    """Return any route of one next hop, which may be of the other family where that exists (RFC 8950)."""
    version = draw(st.sampled_from((4, 6)))
    if draw(st.booleans()):
        blackhole = KernelRoute(destination=draw(prefixes(version)), blackhole=True)
        return attrs.evolve(blackhole, metric=draw(st.sampled_from((0, 7, 0xFFFFFFFF))))
    gateway = draw(st.none() | addresses(version) | (addresses(6) if version == 4 else st.none()))
    return KernelRoute(
        destination=draw(prefixes(version)),
        link=draw(links),
        gateway=gateway,
        onlink=draw(st.booleans()),
        encap=draw(st.none() | outer_headers) if gateway is None and version == 6 else None,
        table=draw(st.sampled_from((1, 254, 255, 256)) | st.integers(1, 0xFFFFFFFF)),
        metric=draw(
            st.just(0) | st.integers(1, 0xFFFFFFFF).filter(lambda metric: metric != c.IP6_RT_PRIO_USER)
        ),
    )


links = st.sampled_from(sorted(INDEX))
macs = st.binary(min_size=6, max_size=6).filter(any).map(lambda mac: mac.hex(":"))
any_address = st.sampled_from((4, 6)).flatmap(addresses)
items = st.one_of(
    kernel_routes(),
    st.builds(Neighbour, link=links, address=any_address, mac=macs),
    st.builds(FdbEntry, link=links, mac=macs, destination=any_address),
    st.builds(InterfaceAddress, link=links, address=interfaces()),
)
verbs: st.SearchStrategy[Callable[[object], Operation]] = st.sampled_from(
    (Create, Delete, lambda item: Replace(item, item))
)


# Mostly of one shape, as they come from a dataplane: those are encoded together.
alike: list[st.SearchStrategy[KernelRoute | Neighbour | FdbEntry]] = [
    st.builds(
        KernelRoute,
        destination=st.integers(0, 0xFFFFFF).map(lambda number: IPv4Network((number << 8, 24))),
        link=st.just("eth0"),
        gateway=addresses(4),
    ),
    st.builds(Neighbour, link=st.just("vx0"), address=addresses(6), mac=macs),
    st.builds(FdbEntry, link=st.just("vx0"), mac=macs, destination=addresses(4)),
]
runs_of_one_shape = st.sampled_from(alike).flatmap(
    lambda items: st.lists(items.map(Create), max_size=20) | st.lists(items.map(Delete), max_size=20)
)
any_operations = st.lists(st.builds(lambda verb, item: verb(item), verbs, items), max_size=20)
batches = st.lists(runs_of_one_shape | any_operations, max_size=3).map(lambda parts: list(chain(*parts)))


def place(operation: Operation) -> int:
    """Return the index of an item's link."""
    return INDEX.get(operation.item.link, 0)


def encoded(
    operations: Sequence[Operation], *, encoder: Encoder | None = None, first: int = 1
) -> Sequence[Run]:
    """Return the messages that carry out operations."""
    groups, refused = sort(operations, place)
    assert not refused
    encoder = encoder or Encoder()
    return [encoder.encode(alike, first + alike.start) for alike in groups]


def split(runs: Iterable[Run]) -> list[Message]:
    """Return single messages."""
    return [message for run in runs for message in messages(run.messages)]


def decode(found: Message) -> Owned | None:
    """Decode a message by its type."""
    match found.type:
        case c.RTM_NEWROUTE | c.RTM_DELROUTE:
            return decode_route(found.body, LINKS, {})
        case c.RTM_NEWNEIGH | c.RTM_DELNEIGH:
            return decode_neighbour(found.body, LINKS)
        case _:
            return decode_address(found.body, LINKS)


@given(batches, st.integers(1, 0xFFFFFF00))
def test_a_batch_is_read_back(operations: list[Operation], first: int) -> None:
    """Many shapes in any order: each message stands alone, has its number, and tells what it was made of."""
    encoder = Encoder()
    for _ in range(2):  # the second time all shapes are known
        runs = encoded(operations, encoder=encoder, first=first)
        found = split(runs)
        assert [message.sequence for message in found] == list(range(first, first + len(operations)))
        assert [len(list(messages(run.messages))) for run in runs] == [run.total for run in runs]
        for message_, operation in zip(found, operations, strict=True):
            if not isinstance(operation, Delete):
                owned = decode(message_)
                assert owned is not None
                assert owned.item == operation.item
                assert owned.protocol == (0 if isinstance(operation.item, FdbEntry) else PROTOCOL)


@given(batches)
def test_together_is_as_one_by_one(operations: list[Operation]) -> None:
    """What stands beside an operation makes no difference to its message; nor does who is refused."""
    alone = [
        split(encoded([operation]))[0]._replace(sequence=number)
        for number, operation in enumerate(operations, 1)
    ]
    assert split(encoded(operations)) == alone

    def refuse(operation: Operation) -> int | Refusal:
        named = not isinstance(operation.item, KernelRoute) or isinstance(operation, Create)
        return Refusal(19) if named and operation.item.link == "eth0" else place(operation)

    groups, refused = sort(operations, refuse)
    told = split([Encoder().encode(alike, 1 + alike.start) for alike in groups])
    assert {each.sequence for each in told} | {at + 1 for at in refused} == set(range(1, len(operations) + 1))
    assert all(each == alone[each.sequence - 1] for each in told)
    assert all(isinstance(refuse(each), Refusal) == (at in refused) for at, each in enumerate(operations))


gateways = st.lists(addresses(4) | addresses(6), max_size=20)
ways = st.builds(Way, st.integers(1, 9), st.booleans())


@given(ways, gateways, st.integers(0, 8))
def test_a_route_by_number_leads_where_its_object_leads(way: Way, hops: list[Address], plain: int) -> None:
    """After the first few, each gateway has one object; each route tells its own way, in its place."""
    nexthops, encoder = Nexthops(plain=plain), Encoder()
    routes = [
        KernelRoute(destination=IPv4Network((n << 8, 24)), link="vx0", gateway=hop, onlink=way.onlink)
        for n, hop in enumerate(hops)
    ]
    groups, _ = sort([Create(route) for route in routes], lambda _: way.oif)
    objects: dict[int, Hop] = {}
    told: list[Message] = []
    for alike in groups:
        wanted = nexthops.place(alike.way, alike.gateways)
        made = [decode_nexthop(each.body) for each in split(encode_nexthops(wanted, 1))]
        assert made == [(number, PROTOCOL, hop) for number, hop in wanted.items()]
        owners = [nexthop_owner(each.body) for each in split(encode_nexthops(wanted, 1))]
        assert owners == [(number, PROTOCOL) for number in wanted]
        objects.update(wanted)
        numbers = nexthops.numbers(alike.way, alike.gateways) or [0] * len(alike.gateways)
        told += split(encoder.encode_by_number(alike, numbers, 1 + alike.start))
    assert len(objects) == max(0, len(set(hops)) - plain)
    assert [each.sequence for each in told] == list(range(1, len(hops) + 1))
    found = [decode_route(each.body, {way.oif: "vx0"}, objects) for each in told]
    assert [owned and owned.item for owned in found] == routes


@given(st.lists(st.binary(min_size=4, max_size=4), min_size=1, max_size=9), st.integers(1, 12))
def test_a_run_is_cut_between_messages(each: list[bytes], most: int) -> None:
    """In parts of at most so many, or singly; nothing is lost and nothing changes its place."""
    run = Run(b"".join(each), len(each))
    parts = [run.part(start, most) for start in range(0, len(each), most)]
    assert [part.messages for part in parts] == [
        b"".join(each[start : start + most]) for start in range(0, len(each), most)
    ]
    assert all(part.total <= most and part.stride == 4 for part in parts)
    assert list(run.singly()) == [Run(one, 1) for one in each]


@given(items)
def test_creating_never_replaces_and_replacing_never_refuses(item: KernelRoute) -> None:
    """The flags are what keeps other people's items safe."""
    flags = [found.flags for found in split(encoded([Create(item), Replace(item, item), Delete(item)]))]
    request = c.NLM_F_REQUEST
    assert flags == [
        request | c.NLM_F_CREATE | c.NLM_F_EXCL,
        request | c.NLM_F_CREATE | c.NLM_F_REPLACE,
        request,
    ]


@given(kernel_routes())
def test_a_deletion_is_about_our_route_alone(route: KernelRoute) -> None:
    """It names our protocol and the key; the kernel passes over everybody else's route."""
    (found,) = split(encoded([Delete(route)]))
    assert route_protocol(found.body) == PROTOCOL
    owned = decode_route(found.body, {}, {})
    assert owned is not None
    assert owned.item.key == route.key
    assert owned.item == attrs.evolve(route, link="", gateway=None, onlink=False, encap=None, equal_cost=())


@given(
    st.lists(st.tuples(st.integers(0, c.NLA_TYPE_MASK), st.binary(max_size=40)), unique_by=lambda one: one[0])
)
def test_attributes_are_read_back(drawn: list[tuple[int, bytes]]) -> None:
    """Any types, any lengths, padded or not."""
    assert attributes(b"".join(attribute(kind, value) for kind, value in drawn)) == dict(drawn)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 0xFFFF),
            st.integers(0, 0xFFFF),
            st.binary(max_size=40).map(lambda b: b[: len(b) & ~3]),
        )
    )
)
def test_messages_are_read_back(drawn: list[tuple[int, int, bytes]]) -> None:
    """However many arrive at once."""
    wire = b"".join(message(kind, flags, 7, body) for kind, flags, body in drawn)
    assert [(found.type, found.flags, found.body) for found in messages(wire)] == drawn


DECODERS: list[Callable[[bytes], object]] = [
    lambda data: list(messages(data)),
    attributes,
    decode_link,
    lambda data: decode_link(data).item(LINKS),
    lambda data: decode_route(data, LINKS, {}),
    decode_nexthop,
    nexthop_owner,
    route_nexthop,
    equal_messages,
    lambda data: decode_neighbour(data, LINKS),
    lambda data: decode_address(data, LINKS),
    lambda data: refusal(Message(c.NLMSG_ERROR, c.NLM_F_ACK_TLVS, 1, 1, data)),
    lambda data: refusal(Message(c.NLMSG_DONE, 0, 1, 1, data)),
    *(
        lambda data, kind=kind, flags=flags: View(address_protocol=True, nexthops=Nexthops()).differs(
            [Message(kind, flags, 1, 1, data)]
        )
        for kind in (*range(16, 31), c.RTM_NEWNEXTHOP, c.RTM_DELNEXTHOP)
        for flags in (0, c.NLM_F_REPLACE)
    ),
]
NUMBERS = st.sampled_from(
    (1, 2, 3, 4, 5, 7, 8, 9, 10, 12, 15, 18, 20, 27, 30, 4 | c.NLA_F_NESTED)
) | st.integers(0, 65535)
SIZES = st.sampled_from((0, 1, 2, 4, 6, 8, 16)).flatmap(lambda size: st.binary(min_size=size, max_size=size))
RUNS = st.lists(st.builds(attribute, NUMBERS, SIZES), max_size=6).map(b"".join)
NESTS = st.lists(st.builds(attribute, NUMBERS, RUNS | SIZES), max_size=6).map(b"".join)
HEADS = st.builds(
    lambda family, rest: bytes((family,)) + rest,
    st.sampled_from((0, 2, 7, 10, 255)),
    st.binary(min_size=7, max_size=15),
)
JUNK = st.binary(max_size=120) | st.builds(
    lambda head, nests, tail: head + nests + tail, HEADS, NESTS, st.binary(max_size=3)
)


@given(JUNK)
def test_junk_is_malformed_and_nothing_else(data: bytes) -> None:
    """Random bytes and well-formed nonsense: a value or Malformed comes out, never another exception."""
    for decoder in DECODERS:
        with suppress(Malformed):
            decoder(data)


@given(items, st.data())
def test_a_cut_message_is_malformed_or_less(item: KernelRoute, data: st.DataObject) -> None:
    """A body that was cut anywhere loses values or is refused; it never invents any."""
    (whole,) = split(encoded([Create(item)]))
    cut = whole._replace(body=whole.body[: data.draw(st.integers(0, len(whole.body) - 1))])
    with suppress(Malformed):
        decode(cut)


@given(st.integers(1, 4095), st.text(max_size=40))
def test_a_refusal_is_read_back(code: int, words: str) -> None:
    """The errno turns positive, the kernel's words are kept."""
    said = words.split("\0")[0]
    body = struct.pack("=i", -code) + bytes(16) + attribute(c.NLMSGERR_ATTR_MSG, said.encode() + b"\0")
    found = refusal(Message(c.NLMSG_ERROR, c.NLM_F_ACK_TLVS, 1, 1, body))
    assert found == (code, said)


def test_a_link_that_we_never_make_is_no_item() -> None:
    """Hardware has no kind; a veth is one of ours."""
    head = struct.pack("=BxHiII", 0, 1, 9, 1, 0)
    kind = attribute(c.IFLA_LINKINFO, attribute(c.IFLA_INFO_KIND, b"veth\0"))
    name = attribute(c.IFLA_IFNAME, b"eth0\0") + attribute(c.IFLA_MTU, struct.pack("=I", 1400))
    assert decode_link(head + name).item({}) is None
    assert decode_link(head + name + kind).item({}) == Link(name="eth0", type=Veth(), mtu=1400)
