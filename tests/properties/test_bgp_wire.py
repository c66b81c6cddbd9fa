"""BGP on the wire: what is encoded is read back, however it is cut; what is fast agrees with what is slow."""

from __future__ import annotations

import struct
from collections import deque
from ipaddress import IPv4Address, ip_network
from itertools import cycle, islice
from random import Random

import attrs
import pytest
from hypothesis import given, strategies as st

from containernet.model import Scalar, Tunnel
from containernet_backends.bgp import (
    as_paths,
    communities,
    encapsulation,
    nlri,
    update,
    wire_attributes as wire,
)
from containernet_backends.bgp.arrival import Judge
from containernet_backends.bgp.attributes import AS_SEQUENCE, Attributes, Segment
from containernet_backends.bgp.capabilities import Capabilities, Restart
from containernet_backends.bgp.families import FAMILIES, IPV4, IPV6, Family
from containernet_backends.bgp.hearing import hear
from containernet_backends.bgp.message import (
    EXTENDED_MAXIMUM,
    HEADER,
    Capability,
    Framer,
    Notification,
    Open,
    RouteRefresh,
    Volley,
    frame,
    update as update_of,
    update_fields,
)
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.paths import Source
from containernet_backends.bgp.peering import Local, Negotiated, Peer
from containernet_backends.bgp.refusal import Ourselves, suspicious, wrong_prefix
from containernet_backends.bgp.remote import Remote
from containernet_backends.bgp.rib import Table
from tests import bgp_values as values

ANY_FAMILY = st.builds(Family, st.integers(0, 65535), st.integers(0, 255))
CAPABILITIES = st.lists(st.builds(Capability, st.integers(0, 255), st.binary(max_size=60)), max_size=12)
OPENS = st.builds(
    Open,
    asn=st.integers(0, 65535),
    hold_time=st.integers(0, 65535),
    router_id=st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
    capabilities=CAPABILITIES.map(tuple),
)
NOTIFICATIONS = st.builds(Notification, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=80))
REFRESHES = st.builds(RouteRefresh, ANY_FAMILY, st.integers(0, 255))
MESSAGES = st.one_of(
    OPENS.map(Open.encode),
    NOTIFICATIONS.map(Notification.encode),
    REFRESHES.map(RouteRefresh.encode),
    st.binary(min_size=4, max_size=9000).map(lambda body: frame(2, body)),
    st.just(frame(4, b"")),
)


def body(message: bytes) -> bytes:
    """Return the body of the one message."""
    framer = Framer(EXTENDED_MAXIMUM)
    framer.feed(message)
    ((_, found),) = framer
    return found


@given(OPENS)
def test_an_open_is_read_back(message: Open) -> None:
    """Whatever an OPEN says, and if it takes RFC 9072."""
    assert Open.decode(body(message.encode())) == message


@given(NOTIFICATIONS)
def test_a_notification_is_read_back(message: Notification) -> None:
    """Inside a hard reset as well; and whatever it holds can be printed."""
    assert Notification.decode(body(message.encode())) == message
    assert message.hard().cause == message
    assert str(message).isprintable()


@given(st.text("ab é\N{SNOWMAN}\N{PILE OF POO}\n\0\ud800", max_size=300))
def test_a_shutdown_text_arrives_as_far_as_it_fits(text: str) -> None:
    """RFC 9003 s3: 128 octets of UTF-8, cut between characters."""
    arrived = Notification.decode(body(Notification.cease(2, text).encode())).text
    assert len(arrived.encode()) <= 3 * 128
    if text.isprintable() and len(text.encode(errors="replace")) <= 128:
        assert arrived == text


@given(REFRESHES)
def test_a_refresh_is_read_back(message: RouteRefresh) -> None:
    """Of any family, known or not."""
    assert RouteRefresh.decode(body(message.encode()), enhanced=True) == message


@given(st.lists(MESSAGES, max_size=6), st.data())
def test_every_split_of_a_stream_gives_the_same_messages(messages: list[bytes], data: st.DataObject) -> None:
    """TCP keeps octets in order, and nothing else."""
    stream = b"".join(messages)
    framer, found = Framer(EXTENDED_MAXIMUM), []
    at = 0
    while at < len(stream):
        size = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 5000)))
        framer.feed(stream[at : at + size])
        found += list(framer) if data.draw(st.booleans()) else []
        at += size
    found += list(framer)
    assert [frame(kind, rest) for kind, rest in found] == messages


@given(
    st.builds(
        Capabilities,
        families=st.lists(ANY_FAMILY, unique=True, max_size=4).map(tuple),
        route_refresh=st.booleans(),
        enhanced_refresh=st.booleans(),
        extended_message=st.booleans(),
        extended_next_hop=st.lists(
            st.tuples(st.builds(Family, st.integers(0, 65535), st.integers(0, 65535)), st.integers(0, 65535)),
            unique=True,
            max_size=3,
        ).map(tuple),
        as4=st.none() | values.WORDS,
        paths=st.dictionaries(ANY_FAMILY, st.integers(1, 3), max_size=3).map(
            lambda modes: tuple(modes.items())
        ),
        restart=st.none()
        | st.builds(
            Restart,
            seconds=st.integers(0, 4095),
            restarted=st.booleans(),
            notification=st.booleans(),
            families=st.lists(st.tuples(ANY_FAMILY, st.booleans()), max_size=3).map(tuple),
        ),
        hostname=st.text("abcäö-1", max_size=20),
        domain=st.text("abc.1", max_size=20),
        unknown=st.lists(
            st.builds(Capability, st.sampled_from([3, 9, 71, 128, 255]), st.binary(max_size=9)),
            unique=True,
            max_size=3,
        ).map(tuple),
    )
)
def test_capabilities_are_read_back(offered: Capabilities) -> None:
    """All that we have words for, and some that we have not."""
    assert Capabilities.decode(offered.encode()) == offered
    assert Capabilities.decode([*offered.encode(), *offered.encode()]) == offered, "RFC 5492 s4: no harm in two"


@given(st.data(), values.FAMILY)
def test_a_prefix_is_read_back(data: st.DataObject, family: Family) -> None:
    """Of every length."""
    prefix = data.draw(values.prefixes(family))
    known = nlri.encode(prefix)
    assert nlri.decode(family, known) == prefix
    [raw] = nlri.octets([known])
    assert raw == nlri.join([known]) == slow_split(raw, BITS[family])[0]
    assert nlri.inside([raw], family) == [known]


@given(st.data(), values.FAMILY)
def test_no_peer_can_choose_prefixes_of_one_hash(data: st.DataObject, family: Family) -> None:
    """What is a number hashes to itself; octets have a hash that is keyed. A dictionary relies on it."""
    known = nlri.encode(data.draw(values.prefixes(family)))
    assert isinstance(known, bytes) or hash(known) == known


BITS = {IPV4: 32, IPV6: 128}
ODD = [
    ip_network(each) for each in ("0.0.0.0/0", "127.0.0.0/8", "224.1.0.0/16", "::/0", "fe80::/64", "::1/128")
]


def slow_split(field: bytes, bits: int) -> list[bytes]:
    """Return the prefixes of a field, read octet by octet as RFC 4271 s4.3 words it."""
    found, rest = [], deque(field)
    while rest:
        length = rest.popleft()
        octets = [rest.popleft() for _ in range(-(-length // 8))]
        if length > bits:
            raise IndexError
        number = int.from_bytes(octets, "big") >> (-length % 8) << (-length % 8)
        found.append(bytes([length]) + number.to_bytes(len(octets), "big"))
    return found


def run(lengths: list[int], count: int, seed: int) -> bytes:
    """Return a field of prefixes with these lengths in turn; what is in them, spare bits too, is chance."""
    chance = Random(seed)
    return b"".join(
        bytes([length]) + chance.randbytes((length + 7) // 8) for length in islice(cycle(lengths), count)
    )


def clean(field: bytes) -> bytes:
    """Return a field without spare bits."""
    return b"".join(slow_split(field, 255))


RUNS = st.builds(
    run,
    st.one_of(
        st.lists(st.integers(0, 34), min_size=1, max_size=3),
        st.lists(st.integers(17, 24), min_size=1, max_size=3),
        st.lists(st.integers(0, 130), min_size=1, max_size=3),
    ),
    st.one_of(st.integers(1, 20), st.sampled_from([1023, 1024, 1025, 2100])),
    st.integers(0, 99),
)
FIELDS = st.one_of(
    st.binary(max_size=60),
    st.lists(RUNS, max_size=4).map(b"".join),
    st.tuples(st.lists(RUNS, max_size=3).map(lambda runs: clean(b"".join(runs))), st.binary(max_size=3)).map(
        b"".join
    ),
)


@given(FIELDS, values.FAMILY)
def test_a_field_is_split_as_one_would_by_hand(field: bytes, family: Family) -> None:
    """The one expression agrees with a loop, about errors too."""
    try:
        expected = slow_split(field, BITS[family])
    except IndexError:
        with pytest.raises(Violation):
            nlri.split(field, family)
    else:
        found, firsts = nlri.split(field, family)
        assert nlri.octets(found) == expected
        assert nlri.join(found) == b"".join(expected)
        assert sorted(firsts) == sorted(raw[1] if raw[0] else 0 for raw in expected)
        paths = [path * 77 % 2**32 for path in range(len(expected))]
        *again, others = nlri.split_paths(nlri.join_paths(paths, found), family)
        assert again == [paths, found]
        assert sorted(others) == sorted(firsts)


@pytest.mark.parametrize("lengths", [[20], [20] * 6, [20, 9, 20, 20, 27, 12], [4, 20, 4, 12, 12, 31]], ids=str)
def test_spare_bits_are_none_of_a_prefix(lengths: list[int]) -> None:
    """RFC 4271 s4.3: their value is irrelevant, in whichever prefix of a field they are set."""
    good = [bytes([length]) + bytes([8] * ((length + 7) // 8 - 1) + [0]) for length in lengths]
    for family in FAMILIES:
        for at, raw in enumerate(good):
            field = b"".join([*good[:at], raw[:-1] + b"\1", *good[at + 1 :]])
            assert nlri.octets(nlri.split(field, family)[0]) == good


@given(values.FAMILY, st.integers(0, 99), st.dictionaries(st.integers(0, 99), st.integers(0, 32), max_size=12))
def test_few_prefixes_among_many_that_are_alike(family: Family, many: int, odd: dict[int, int]) -> None:
    """Each has its own octets in a field, wherever it stands, and is found there again."""
    lengths = [odd.get(at, 24) for at in range(many)]
    raws = slow_split(run(lengths, many, seed=many), BITS[family])
    assert nlri.join(nlri.inside(raws, family)) == b"".join(raws)
    assert nlri.octets(nlri.split(b"".join(raws), family)[0]) == raws


@given(st.data(), values.FAMILY)
def test_a_prefix_of_which_nothing_may_be_said_is_suspicious(data: st.DataObject, family: Family) -> None:
    """Among whatever others: so nobody has to look at those closely of which none is."""
    prefixes = st.one_of(
        values.prefixes(family), st.sampled_from(ODD).filter(lambda each: each.version == family.version)
    )
    field = nlri.join([nlri.encode(each) for each in data.draw(st.lists(prefixes, max_size=9))])
    found, firsts = nlri.split(field, family)
    wrong = [each for each in found if wrong_prefix(family, each, named=False)]
    assert suspicious(family, firsts) or not wrong


@given(st.data(), values.FAMILY, values.terms(external=False, as4=True))
def test_a_table_is_read_back_from_full_messages(data: st.DataObject, family: Family, on: Negotiated) -> None:
    """What is packed is read, in order, and nothing is longer than the peer can take."""
    said = data.draw(values.attributes(family))
    prefixes = [nlri.encode(each) for each in data.draw(st.lists(values.prefixes(family), max_size=5))] * 300
    on = attrs.evolve(on, receives_paths=())
    reader = update.Reader(on)
    heard = []
    for message in update.pack(family, said, prefixes, on):
        assert len(message) <= (EXTENDED_MAXIMUM if on.extended_messages else 4096)
        reading = reader.read(message[HEADER:])
        (one,) = reading.announced
        assert not reading.withdrawn
        assert not reading.faults
        assert (one.family, one.attributes, one.path_ids) == (family, said, None)
        assert reader.read(message[HEADER:]).announced[0].attributes is one.attributes
        heard += one.nlri
    assert heard == prefixes

    gone = [update.Reader(on).read(each[HEADER:]) for each in update.pack_withdrawals(family, prefixes, on)]
    assert [raw for reading in gone for each in reading.withdrawn for raw in each.nlri] == prefixes
    assert reader.read(update.end_of_rib(family)[HEADER:]) == update.Reading(end_of_rib=family)


@given(values.attributes(IPV6), st.lists(values.prefixes(IPV4), min_size=1, max_size=9))
def test_ipv4_goes_over_ipv6_next_hops_where_both_said_so(said: Attributes, prefixes: list[object]) -> None:
    """RFC 8950; and where they did not, the routes are withdrawn."""
    raw = [nlri.encode(each) for each in prefixes]  # type: ignore[arg-type]
    on = Negotiated(
        local_asn=1, peer_asn=1, peer_id=IPv4Address(1), extended_next_hop=(IPV4,), extended_messages=True
    )
    (message,) = update.pack(IPV4, said, raw, on)
    (one,) = update.Reader(on).read(message[HEADER:]).announced
    assert (one.family, one.attributes, one.nlri) == (IPV4, said, raw)

    without = attrs.evolve(on, extended_next_hop=())
    (message,) = update.pack(IPV4, said, raw, without)
    (gone,) = update.Reader(on).read(message[HEADER:]).withdrawn
    assert gone.nlri == raw, "what it cannot be told must not be left standing"


@given(values.PATHS, st.none() | st.tuples(values.ASNS, values.IDENTIFIERS))
def test_an_old_speaker_between_two_new_ones_loses_nothing(
    path: tuple[object, ...], aggregator: tuple[int, IPv4Address] | None
) -> None:
    """RFC 6793 s4.2: what a speaker with 2-octet AS numbers passes on is put together again."""
    said = Attributes(as_path=path, aggregator=aggregator, next_hop=IPv4Address("192.0.2.1"))  # type: ignore[arg-type]
    on = Negotiated(local_asn=65000, peer_asn=65000, peer_id=IPv4Address(1), as4=False)
    pieces, _ = wire.cut(wire.encode(said, on, family=IPV4))
    heard = wire.understand(pieces, on).attributes
    assert [asn for each in heard.as_path for asn in each.asns] == [
        asn for each in said.as_path for asn in each.asns
    ]
    assert heard.aggregator == said.aggregator
    assert as_paths.path_length(heard.as_path) == as_paths.path_length(said.as_path)


@given(st.data(), values.FAMILY, st.booleans())
def test_what_is_remembered_changes_nothing(data: st.DataObject, family: Family, external: bool) -> None:
    """A reader that has read much says what a new one says."""
    on = Negotiated(local_asn=1, peer_asn=1 + external, peer_id=IPv4Address(1), families=FAMILIES)
    said = data.draw(st.lists(values.attributes(family), min_size=1, max_size=3))
    bodies = []
    for each in said:
        raw = [nlri.encode(prefix) for prefix in data.draw(st.lists(values.prefixes(family), max_size=3))]
        bodies += [message[HEADER:] for message in update.pack(family, each, raw, on)]
    reader = update.Reader(on)
    for one in data.draw(st.lists(st.sampled_from(bodies), max_size=12)) if bodies else []:
        assert reader.read(one) == update.Reader(on).read(one)


@given(st.one_of(values.WORDS, st.binary(min_size=8, max_size=8), st.tuples(*[values.WORDS] * 3)))
def test_a_community_in_words_is_read_back(community: communities.Community) -> None:
    """Of all three kinds."""
    assert communities.parse(communities.show(community)) == community


@given(
    st.integers(0, 2**24 - 1), st.binary(min_size=6, max_size=6), st.none() | st.integers(1, 65535), st.data()
)
def test_a_tunnel_is_read_back(vni: int, mac: bytes, port: int | None, data: st.DataObject) -> None:
    """RFC 9012: VNI, MAC and port of vxlan; the type of ipip; the endpoint of both."""
    words: dict[str, Scalar] = {"VNI": vni, "VtepMAC": mac.hex(":")}
    tunnel = Tunnel(type="vxlan", data=words | ({"Port": port} if port else {}))
    endpoint = data.draw(st.none() | values.HOSTS4 | values.HOSTS6)
    for each in (tunnel, Tunnel(type="ipip")):
        assert encapsulation.decode(encapsulation.encode(each, endpoint)) == (each, endpoint)


@given(st.binary(max_size=40))
def test_an_update_is_cut_where_its_lengths_say(rest: bytes) -> None:
    """Nothing is lost and nothing is read twice."""
    try:
        withdrawn, attributes, prefixes = update_fields(rest.ljust(4, b"\0"))
    except Violation:
        return
    lengths = struct.pack(">H", len(withdrawn)), struct.pack(">H", len(attributes))
    assert lengths[0] + withdrawn + lengths[1] + attributes + prefixes == rest.ljust(4, b"\0")


ON = Negotiated(local_asn=1, peer_asn=1, peer_id=IPv4Address(1), families=FAMILIES)
FEW = (b"\x18\x0a\0\0", b"\x18\x0a\0\1", b"\x08\x0b", b"\x11\x0a\0\0", b"\0")
MANY = st.integers(0, 300).map(lambda number: b"\x18\x0b" + number.to_bytes(2, "big"))
SETS = [
    Attributes(origin=0, next_hop=IPv4Address("192.0.2.1"), local_pref=preference) for preference in (1, 2, 3)
]
GOOD = wire.encode(SETS[0], ON, family=IPV4)
MORE = wire.encode(Attributes(origin=0), ON, family=IPV6) + bytes.fromhex("40 05 04 00000001")
REACH = bytes.fromhex("80 0e 1e 0002 01 10 20010db8000000000000000000000001 00 40 fd00000000000000")
SEVEN = bytes.fromhex("18 0b0007")
ODD_UPDATES = {
    "ORIGIN is wrong, RFC 7606 s7.1": update_of(b"", bytes.fromhex("40010109") + GOOD[4:], SEVEN),
    "an attribute is cut off, RFC 7606 s4": update_of(b"", GOOD + bytes.fromhex("800404"), SEVEN),
    "IPv6 alone": update_of(b"", REACH + MORE, b""),
    "IPv6 as well": update_of(b"", REACH + GOOD, SEVEN),
    "End-of-RIB": update.end_of_rib(IPV4),
    "a withdrawal": update_of(SEVEN, b"", b""),
    "both": update_of(SEVEN, GOOD, SEVEN),
}
LOOP = attrs.evolve(SETS[0], as_path=(Segment(AS_SEQUENCE, (1,)),))
REFUSED = [
    update_of(b"", wire.encode(LOOP, ON, family=IPV4), SEVEN),
    update_of(b"", GOOD, bytes.fromhex("18 7f0007")),
    update_of(b"", GOOD, b"\0"),
]
PLAIN = st.builds(
    lambda attributes, prefix: next(update.pack(IPV4, attributes, [prefix], ON)),
    st.sampled_from([*SETS, LOOP]),
    st.integers(0, 80).map(lambda number: 0x180C0000 + number),
)
SHORT_UPDATES = st.one_of(
    st.builds(
        lambda attributes, raw: next(update.pack(IPV4, attributes, nlri.inside([raw], IPV4), ON)),
        st.sampled_from(SETS),
        MANY,
    ),
    st.builds(
        lambda attributes, raws: next(update.pack(IPV4, attributes, nlri.inside(raws, IPV4), ON)),
        st.sampled_from(SETS),
        st.lists(st.sampled_from(FEW) | MANY, min_size=1, max_size=3),
    ),
    st.lists(st.sampled_from(FEW) | MANY, min_size=1, max_size=3).map(
        lambda raws: next(update.pack_withdrawals(IPV4, nlri.inside(raws, IPV4), ON))
    ),
    st.sampled_from(FAMILIES).map(update.end_of_rib),
    st.sampled_from([*ODD_UPDATES.values(), *REFUSED]),
)


def volley(messages: list[bytes]) -> Volley:
    """Return short UPDATEs as they are cut off a stream that goes on."""
    framer = Framer()
    framer.feed(b"".join(messages) + frame(4, b""))
    return framer.short_updates()


def heard(messages: list[bytes], *, at_once: bool) -> tuple[object, ...]:
    """Return what there is after these UPDATEs of one peer, which come as a volley or one by one."""
    local = Local(asn=1, router_id=IPv4Address(9))
    table = Table(Judge(ourselves=Ourselves(local)))
    source = Source(address=IPv4Address(1), asn=1, identifier=IPv4Address(1), external=False)
    remote = Remote(
        neighbour=None,  # type: ignore[arg-type]
        peer=Peer(address=IPv4Address(1)),
        transport=None,  # type: ignore[arg-type]
        session=None,  # type: ignore[arg-type]
        source=source,
    )
    remote.begin(1, ON, now=0.0)
    for some in [volley(messages)] if at_once and messages else [(body(each),) for each in messages]:
        remote.hear_updates(some)
        while remote.inbox:
            hear(table, remote)
    assert (remote.inbox_octets, remote.updates) == (0, len(messages))
    assert all(source.held[family] == len(table.routes[family]) for family in FAMILIES)
    said = [
        (each, [(path.attributes, path.refused) for path in entry])
        for family in FAMILIES
        for each, entry in table.routes[family].items()
    ]
    return dict(said), remote.faults, remote.complete, source.refused


@given(st.lists(SHORT_UPDATES, min_size=16, max_size=40) | st.lists(PLAIN, min_size=20, max_size=50))
def test_updates_that_wait_together_say_what_each_of_them_says(messages: list[bytes]) -> None:
    """Whatever stands between them, and whatever they name again."""
    assert heard(messages, at_once=True) == heard(messages, at_once=False)


def test_a_volley_in_which_each_update_says_something_new() -> None:
    """More sets of attributes than are looked at together, and some of them again."""
    sets = [attrs.evolve(SETS[0], med=number % 700) for number in range(1500)]
    messages = [
        next(update.pack(IPV4, each, nlri.inside([b"\x18\x0b" + number.to_bytes(2, "big")], IPV4), ON))
        for number, each in enumerate(sets)
    ]
    assert heard(messages, at_once=True) == heard(messages, at_once=False)


@given(st.lists(SHORT_UPDATES | st.sampled_from([frame(4, b""), frame(2, bytes(300))]), max_size=30), st.data())
def test_short_updates_are_cut_off_as_they_come(messages: list[bytes], data: st.DataObject) -> None:
    """Up to the first message of another kind, never the last; what is left is cut as ever."""
    stream = b"".join(messages)
    framer, found = Framer(), list[bytes]()
    for piece in (stream[: (cut := data.draw(st.integers(0, len(stream))))], stream[cut:]):
        framer.feed(piece)
        some = framer.short_updates()
        assert len(some) == len(list(some))
        found += [frame(2, each) for each in some] + [frame(kind, rest) for kind, rest in framer]
        assert found == messages[: len(found)]
    assert found == messages


@pytest.mark.parametrize("odd", [b"\xff" * 20, b"\xff" * 16 + b"\0\x17\2", b"\xff" * 16 + b"\0\x18\2"])
def test_markers_inside_of_an_update_are_no_markers(odd: bytes) -> None:
    """What a message holds may look like another one; its length says that it is none."""
    messages = [frame(2, bytes(4) + odd + bytes(at)) for at in (0, 4, 1, 0)] + [
        frame(2, b"\xff" * at) for at in (4, 9)
    ]
    framer = Framer()
    framer.feed(b"".join(messages))
    assert [frame(2, each) for each in framer.short_updates()] + [frame(*each) for each in framer] == messages


@pytest.mark.parametrize("odd", ODD_UPDATES.values(), ids=ODD_UPDATES)
def test_short_updates_are_read_together(odd: bytes) -> None:
    """Up to the first that says more than IPv4 prefixes, or has something wrong with it."""
    reader = update.Reader(ON)
    some = nlri.inside(FEW[:3], IPV4)
    one, two, three = (next(update.pack(IPV4, SETS[0], [each], ON)) for each in some)
    count, crowd = reader.together(volley([one, two, three, odd, one]))
    assert count == 3
    assert list(crowd.groups.values()) == [some]
    assert reader.together(volley([odd, one]))[0] == 0


def test_short_updates_of_which_one_is_malformed_are_read_alone() -> None:
    """Nobody knows where a prefix begins then; and what stands in a field of prefixes is no attribute."""
    reader = update.Reader(ON)
    one = update_of(b"", GOOD, SEVEN)
    assert reader.together(volley([one, update_of(b"", GOOD, SEVEN + b"\x18\x0a")]))[0] == 0
    assert reader.together(volley([update_of(bytes([0, len(GOOD)]) + GOOD + SEVEN, b"", b""), one]))[0] == 0


def test_what_a_volley_says_again_after_a_refresh_began_stays() -> None:
    """RFC 7313 s4: with the same octets as before, which the table remembers, and yet of the new epoch."""
    local = Local(asn=1, router_id=IPv4Address(9))
    table = Table(Judge(ourselves=Ourselves(local)))
    source = Source(address=IPv4Address(1), asn=1, identifier=IPv4Address(1), external=False)
    reader = update.Reader(ON)
    for _ in range(2):
        table.begin_refresh(source, IPV4)
        _, crowd = reader.together(volley([update_of(b"", GOOD, SEVEN), update_of(b"", GOOD, FEW[0])]))
        assert table.learn_together(source, crowd)
        table.routes[IPV4].clear()
        assert table.learn_together(source, crowd)
        assert {path.epoch for entry in table.routes[IPV4].values() for path in entry} == {source.epoch[IPV4]}
