"""netlink wire: what is encoded is read back, whatever the values; junk is refused, and nothing worse."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network

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
from containernet_backends.netlink.frames import (
    Malformed,
    Message,
    attribute,
    attributes,
    message,
    messages,
    refusal,
)
from containernet_backends.netlink.ownership import PROTOCOL
from containernet_backends.netlink.view import View
from containernet_backends.netlink.wire import (
    Encoder,
    Owned,
    decode_address,
    decode_link,
    decode_neighbour,
    decode_route,
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


def decode(found: Message) -> Owned | None:
    """Decode a message by its type."""
    match found.type:
        case c.RTM_NEWROUTE | c.RTM_DELROUTE:
            return decode_route(found.body, LINKS)
        case c.RTM_NEWNEIGH | c.RTM_DELNEIGH:
            return decode_neighbour(found.body, LINKS)
        case _:
            return decode_address(found.body, LINKS)


@given(st.lists(st.tuples(items, verbs, st.integers(0, 0xFFFFFFFF)), max_size=20))
def test_a_batch_is_read_back(drawn: list[tuple[KernelRoute, Callable[[object], Operation], int]]) -> None:
    """One encoder, many shapes in any order: each message stands alone and tells what it was made of."""
    encoder = Encoder()
    wire = b"".join(encoder.encode(verb(item), INDEX.get(item.link, 0), number) for item, verb, number in drawn)
    found = list(messages(wire))
    assert [message.sequence for message in found] == [number for _, _, number in drawn]
    for message_, (item, verb, _) in zip(found, drawn, strict=True):
        if not isinstance(verb(item), Delete):
            owned = decode(message_)
            assert owned is not None
            assert owned.item == item
            assert owned.protocol == (0 if isinstance(item, FdbEntry) else PROTOCOL)


@given(items)
def test_creating_never_replaces_and_replacing_never_refuses(item: KernelRoute) -> None:
    """The flags are what keeps other people's items safe."""
    encoder = Encoder()
    flags = [
        next(messages(encoder.encode(operation, 1, 1))).flags
        for operation in (Create(item), Replace(item, item), Delete(item))
    ]
    request = c.NLM_F_REQUEST
    assert flags == [
        request | c.NLM_F_CREATE | c.NLM_F_EXCL,
        request | c.NLM_F_CREATE | c.NLM_F_REPLACE,
        request,
    ]


@given(kernel_routes())
def test_a_deletion_is_about_our_route_alone(route: KernelRoute) -> None:
    """It names our protocol and the key; the kernel passes over everybody else's route."""
    (found,) = messages(Encoder().encode(Delete(route), 0, 1))
    assert route_protocol(found.body) == PROTOCOL
    owned = decode_route(found.body, {})
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
    lambda data: decode_route(data, LINKS),
    lambda data: decode_neighbour(data, LINKS),
    lambda data: decode_address(data, LINKS),
    lambda data: refusal(Message(c.NLMSG_ERROR, c.NLM_F_ACK_TLVS, 1, 1, data)),
    lambda data: refusal(Message(c.NLMSG_DONE, 0, 1, 1, data)),
    *(
        lambda data, kind=kind, flags=flags: View(address_protocol=True).differs(
            [Message(kind, flags, 1, 1, data)]
        )
        for kind in range(16, 31)
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
    whole = next(messages(Encoder().encode(Create(item), INDEX.get(item.link, 0), 1)))
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
