"""What an error in an UPDATE costs, one rule of RFC 7606 after the other."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address

import attrs
import pytest

from containernet_backends.bgp.attributes import AS_SEQUENCE, Segment, Unknown
from containernet_backends.bgp.families import FAMILIES, IPV4, IPV6
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.peering import Negotiated
from containernet_backends.bgp.update import Reader, Reading
from containernet_backends.bgp.wire_attributes import encode

INTERNAL = Negotiated(local_asn=65000, peer_asn=65000, peer_id=IPv4Address("192.0.2.2"))
EXTERNAL = Negotiated(local_asn=65000, peer_asn=65001, peer_id=IPv4Address("192.0.2.2"))
OLD = attrs.evolve(EXTERNAL, as4=False)

ORIGIN = bytes.fromhex("40 01 01 00")
AS_PATH = bytes.fromhex("40 02 06 02 01 00 00 fd e9")
OLD_AS_PATH = bytes.fromhex("40 02 04 02 01 fd e9")
NEXT_HOP = bytes.fromhex("40 03 04 c0 00 02 09")
GOOD = ORIGIN + AS_PATH + NEXT_HOP
PREFIX = b"\x18\x0a\x04\x01"
NLRI = 0x180A0401
REACH = bytes.fromhex("80 0e 1a 0002 01 10 20010db8000000000000000000000009 00 20 20010db8")


def body(attributes: bytes = b"", prefixes: bytes = PREFIX, withdrawn: bytes = b"") -> bytes:
    """Return the body of an UPDATE."""
    return (
        struct.pack(">H", len(withdrawn))
        + withdrawn
        + struct.pack(">H", len(attributes))
        + attributes
        + prefixes
    )


def read(attributes: bytes, on: Negotiated = EXTERNAL, prefixes: bytes = PREFIX) -> Reading:
    """Read it twice, because the second time it is remembered."""
    reader = Reader(on)
    first = reader.read(body(attributes, prefixes))
    assert reader.read(body(attributes, prefixes)) == first
    return first


def test_a_good_one_is_announced_and_has_no_fault() -> None:
    """From here on one thing is wrong at a time."""
    reading = read(GOOD)
    (one,) = reading.announced
    assert (one.family, one.nlri) == (IPV4, [NLRI])
    assert one.attributes.as_path == (Segment(AS_SEQUENCE, (65001,)),)
    assert one.attributes.next_hop == IPv4Address("192.0.2.9")
    assert not reading.faults


WITHDRAWN = {
    "ORIGIN of two octets, s7.1": "40 01 02 00 00" + (AS_PATH + NEXT_HOP).hex(),
    "ORIGIN that is undefined, s7.1": "40 01 01 03" + (AS_PATH + NEXT_HOP).hex(),
    "ORIGIN with the flags of an optional one, s3 c": "c0 01 01 00" + (AS_PATH + NEXT_HOP).hex(),
    "ORIGIN missing, s3 d": (AS_PATH + NEXT_HOP).hex(),
    "AS_PATH missing, s3 d": (ORIGIN + NEXT_HOP).hex(),
    "NEXT_HOP missing, s3 d": (ORIGIN + AS_PATH).hex(),
    "AS_PATH with an unknown segment, s7.2": (ORIGIN + NEXT_HOP).hex() + "40 02 06 05 01 0000fde9",
    "AS_PATH whose segment is cut off, s7.2": (ORIGIN + NEXT_HOP).hex() + "40 02 06 02 02 0000fde9",
    "AS_PATH with an octet too many, s7.2": (ORIGIN + NEXT_HOP).hex() + "40 02 07 02 01 0000fde9 02",
    "AS_PATH with an empty segment, s7.2": (ORIGIN + NEXT_HOP).hex() + "40 02 08 02 01 0000fde9 02 00",
    "AS_PATH with AS 0, RFC 7607": (ORIGIN + NEXT_HOP).hex() + "40 02 0a 02 02 0000fde9 00000000",
    "NEXT_HOP of three octets, s7.3": (ORIGIN + AS_PATH).hex() + "40 03 03 c00002",
    "MULTI_EXIT_DISC of three octets, s7.4": GOOD.hex() + "80 04 03 000000",
    "COMMUNITIES of none, s7.8": GOOD.hex() + "c0 08 00",
    "COMMUNITIES of one and a half, s7.8": GOOD.hex() + "c0 08 06 000000000000",
    "EXTENDED COMMUNITIES of a half, s7.14": GOOD.hex() + "c0 10 04 00000000",
    "LARGE COMMUNITIES of two thirds, RFC 8092 s6": GOOD.hex() + "c0 20 08 0000000000000000",
    "TUNNEL ENCAPSULATION cut off, RFC 9012 s13": GOOD.hex() + "c0 17 05 0008 0002 01",
    "TUNNEL ENCAPSULATION with a sub-TLV cut off, RFC 9012 s13": GOOD.hex() + "c0 17 06 0008 0002 0105",
    "an attribute longer than all of them, s4": GOOD.hex() + "c0 63 09 00",
    "less than an attribute left, s4": GOOD.hex() + "c0 63",
    "an extended length cut off, s4": GOOD.hex() + "d0 63 00",
}


@pytest.mark.parametrize("attributes", WITHDRAWN.values(), ids=WITHDRAWN)
def test_these_take_the_routes_for_withdrawn(attributes: str) -> None:
    """And they end the session where no prefix is announced (RFC 7606 s5.2)."""
    raw = bytes.fromhex(attributes)
    reading = read(raw)
    assert not reading.announced
    assert [(each.family, each.nlri) for each in reading.withdrawn] == [(IPV4, [NLRI])]
    (fault,) = reading.faults
    assert fault.startswith("treated as withdrawn: ")
    assert "RFC" in fault
    # RFC 7606 s5.2: with no prefix announced, nobody knows what to withdraw; but then nothing is missing either
    if "missing" not in fault:
        with pytest.raises(Violation) as caught:
            Reader(EXTERNAL).read(body(raw, b"", PREFIX))
        assert caught.value.code == 3


INTERNAL_WITHDRAWN = {
    "LOCAL_PREF of three octets, s7.5": "40 05 03 000000",
    "LOCAL_PREF that is optional, s3 c": "c0 05 04 00000000",
    "ORIGINATOR_ID of three octets, s7.9": "80 09 03 000000",
    "CLUSTER_LIST of none, s7.10": "80 0a 00",
    "CLUSTER_LIST of one and a half, s7.10": "80 0a 06 000000000000",
}


@pytest.mark.parametrize("attribute", INTERNAL_WITHDRAWN.values(), ids=INTERNAL_WITHDRAWN)
def test_these_do_within_an_as_and_are_discarded_from_outside(attribute: str) -> None:
    """RFC 7606 s7.5, s7.9, s7.10."""
    raw = GOOD + bytes.fromhex(attribute)
    assert not read(raw, INTERNAL).announced
    assert read(raw, EXTERNAL).announced


DISCARDED = {
    "ATOMIC_AGGREGATE with a value, s7.6": "40 06 01 00",
    "ATOMIC_AGGREGATE that is optional, s3 f": "c0 06 00",
    "AGGREGATOR of six octets, s7.7": "c0 07 06 fde9 c0000201",
    "AGGREGATOR that is not transitive, s3 f": "80 07 08 0000fde9 c0000201",
    "AGGREGATOR with AS 0, RFC 7607": "c0 07 08 00000000 c0000201",
    "LOCAL_PREF from outside, s7.5": "40 05 04 00000064",
    "ORIGINATOR_ID from outside, s7.9": "80 09 04 c0000201",
    "CLUSTER_LIST from outside, s7.10": "80 0a 04 c0000201",
    "AS4_PATH from a speaker that needs none, RFC 6793 s4.1": "c0 11 06 02 01 0000fde9",
    "AS4_AGGREGATOR from a speaker that needs none, RFC 6793 s4.1": "c0 12 08 0000fde9 c0000201",
    "ORIGIN again, s3 g": "40 01 01 02",
    "an unknown one again, s3 g": "",
}


@pytest.mark.parametrize("attribute", DISCARDED.values(), ids=DISCARDED)
def test_these_are_discarded_and_cost_nothing_else(attribute: str) -> None:
    """What is announced is what the others say."""
    more = bytes.fromhex(attribute) or bytes.fromhex("c0 63 01 aa c0 63 01 bb")
    reading = read(GOOD + more)
    (one,) = reading.announced
    plain = read(GOOD).announced[0].attributes
    assert attrs.evolve(one.attributes, unknown=()) == plain
    assert all(each.value == b"\xaa" for each in one.attributes.unknown)
    (fault,) = reading.faults
    assert fault.startswith("attribute discarded: ")


OLD_DISCARDED = {
    "AS4_PATH too short": "c0 11 04 02 00 0000",
    "AS4_PATH cut off": "c0 11 06 02 02 0000fde9",
    "AS4_PATH of an unknown segment": "c0 11 06 07 01 0000fde9",
    "AS4_AGGREGATOR of six octets": "c0 12 06 fde9 c0000201",
}


@pytest.mark.parametrize("attribute", OLD_DISCARDED.values(), ids=OLD_DISCARDED)
def test_a_malformed_four_octet_attribute_is_discarded(attribute: str) -> None:
    """RFC 6793 s6."""
    reading = read(ORIGIN + OLD_AS_PATH + NEXT_HOP + bytes.fromhex(attribute), OLD)
    assert reading.announced[0].attributes.as_path == (Segment(AS_SEQUENCE, (65001,)),)
    assert len(reading.faults) == 1


RESET = {
    "withdrawn routes longer than the message": (1, "ffff 0000"),
    "attributes longer than the message": (1, "0000 ffff"),
    "a message without room for the second length": (1, "0002 0000"),
    "a prefix of 33 bits, s5.3": (10, body(GOOD, b"\x21\x0a\x00\x00\x00\x00").hex()),
    "a prefix cut off, s5.3": (10, body(GOOD, b"\x18\x0a\x00").hex()),
    "a withdrawn prefix of 33 bits, s5.3": (10, body(b"", b"", b"\x21\x0a\x00\x00\x00\x00").hex()),
    "an IPv6 prefix of 129 bits, s5.3": (9, body(bytes.fromhex("800f04 0002 01 81"), b"").hex()),
    "an IPv6 prefix cut off, s5.3": (9, body(bytes.fromhex("800f05 0002 01 20 20"), b"").hex()),
    "an unknown well-known attribute, RFC 4271 s6.3": (2, body(GOOD + bytes.fromhex("40 63 01 00")).hex()),
    "MP_REACH_NLRI twice, s3 g": (1, body(REACH + ORIGIN + AS_PATH + REACH, b"").hex()),
    "MP_UNREACH_NLRI twice, s3 g": (1, body(bytes.fromhex("800f03000201") * 2, b"").hex()),
    "MP_REACH_NLRI that is transitive, s5.3": (9, body(b"\xc0" + REACH[1:] + ORIGIN + AS_PATH, b"").hex()),
    "MP_REACH_NLRI of four octets, s5.3": (9, body(bytes.fromhex("800e04 00020100"), b"").hex()),
    "MP_UNREACH_NLRI of two octets, s5.3": (9, body(bytes.fromhex("800f02 0002"), b"").hex()),
    "a next hop longer than its attribute, s7.11": (9, body(bytes.fromhex("800e05 0002 01 10 00"), b"").hex()),
    "an IPv6 next hop of 4 octets, s7.11": (
        9,
        body(bytes.fromhex("800e0e 0002 01 04 c0000209 00 20 20010db8") + ORIGIN + AS_PATH, b"").hex(),
    ),
    "an IPv6 next hop for IPv4 that nobody agreed on, s7.11": (
        9,
        body(bytes.fromhex("800e17 0001 01 10 20010db8000000000000000000000009 00 08 0a") + GOOD, b"").hex(),
    ),
}


@pytest.mark.parametrize(("subcode", "raw"), RESET.values(), ids=RESET)
def test_these_end_the_session(subcode: int, raw: str) -> None:
    """With a code that tells the peer why; at the second time as at the first."""
    reader = Reader(EXTERNAL)
    for _ in range(2):
        with pytest.raises(Violation) as caught:
            reader.read(bytes.fromhex(raw))
        assert (caught.value.code, caught.value.subcode) == (3, subcode)
        assert "RFC" in str(caught.value)


def test_a_bad_attribute_withdraws_the_routes_of_both_families() -> None:
    """RFC 7606 s3 j: everything that the UPDATE would have announced."""
    reading = read(REACH + bytes.fromhex("40 01 01 09") + AS_PATH + NEXT_HOP)
    assert [each.family for each in reading.withdrawn] == [IPV4, IPV6]


def test_an_ipv6_route_that_is_remembered_is_judged_by_its_own_octets() -> None:
    """The way for what is remembered must not overlook what the long way finds."""
    reader = Reader(EXTERNAL)
    good = body(REACH + ORIGIN + AS_PATH, b"")
    assert reader.read(good) == reader.read(good)
    for bad in (
        b"\xc0" + REACH[1:],  # transitive
        REACH[:-5] + b"\x81" + REACH[-4:],  # 129 bits
        REACH[:2] + b"\x19" + REACH[3:-1],  # a prefix cut off
        REACH[:2] + b"\x14" + REACH[3:23],  # no reserved octet
    ):
        with pytest.raises(Violation):
            reader.read(body(bad + ORIGIN + AS_PATH, b""))


def test_a_family_that_was_not_negotiated_is_stepped_over() -> None:
    """RFC 4760 s8: the other one is read all the same."""
    only4 = attrs.evolve(EXTERNAL, families=(IPV4,))
    reading = read(REACH + GOOD, only4)
    assert [each.family for each in reading.announced] == [IPV4]
    assert reading.faults == ("attribute discarded: ipv6 was not negotiated (RFC 4760 s8)",)
    assert Reader(only4).read(body(bytes.fromhex("800f03000201"), b"")) == Reading()


def test_an_unknown_attribute_is_passed_on_only_if_it_is_transitive() -> None:
    """RFC 4271 s5: with the Partial bit from then on."""
    reading = read(GOOD + bytes.fromhex("c0 63 02 aabb 80 62 01 cc"))
    assert reading.announced[0].attributes.unknown == (Unknown(0xE0, 0x63, b"\xaa\xbb"),)
    assert not reading.faults


def test_tunnels_of_another_as_are_for_whoever_asked_for_them() -> None:
    """RFC 9012 s11: discarded by default, or an external peer could send our packets anywhere."""
    raw = GOOD + bytes.fromhex("c0 17 0c 0007 0008 06 06 000000000000")
    strict = attrs.evolve(EXTERNAL, tunnels=False)
    assert read(raw).announced[0].attributes.encapsulations
    reading = read(raw, strict)
    assert not reading.announced[0].attributes.encapsulations
    assert "RFC 9012 s11" in reading.faults[0]


def test_the_partial_bit_is_passed_on() -> None:
    """RFC 4271 s5: where somebody did not know an attribute that we know, the bit MUST NOT be set back to 0."""
    raw = GOOD + bytes.fromhex("e0 08 04 fde90001 c0 20 0c 0000fde90000000100000002")
    said = read(raw).announced[0].attributes
    assert said.partial == (8,)
    assert encode(said, EXTERNAL, family=IPV4) == raw


def test_the_next_hop_of_mp_reach_counts_and_not_next_hop() -> None:
    """RFC 4760 s3."""
    (one,) = read(REACH + GOOD, prefixes=b"").announced
    assert (one.family, one.attributes.next_hop) == (IPV6, IPv6Address("2001:db8::9"))


@pytest.mark.parametrize(
    ("hop", "expected"),
    [
        ("20010db8000000000000000000000009" + "fe800000000000000000000000000001", ("2001:db8::9", "fe80::1")),
        ("20010db8000000000000000000000009" + "20010db8000000000000000000000001", ("2001:db8::9", None)),
        ("00000000000000000000000000000000" + "fe800000000000000000000000000001", ("fe80::1", None)),
        ("fe800000000000000000000000000001", ("fe80::1", None)),
    ],
)
def test_next_hops_of_rfc_2545(hop: str, expected: tuple[str, str | None]) -> None:
    """One address or two, and what is sent in their place."""
    octets = bytes.fromhex(hop)
    value = bytes.fromhex("0002 01") + bytes([len(octets)]) + octets + bytes.fromhex("00 20 20010db8")
    (one,) = read(b"\x80\x0e" + bytes([len(value)]) + value + ORIGIN + AS_PATH, prefixes=b"").announced
    said = one.attributes
    assert (str(said.next_hop), said.link_local and str(said.link_local)) == expected


def test_end_of_rib() -> None:
    """RFC 4724 s2."""
    reader = Reader(EXTERNAL)
    assert reader.read(bytes(4)) == Reading(end_of_rib=IPV4)
    assert reader.read(body(bytes.fromhex("800f03000201"), b"")) == Reading(end_of_rib=IPV6)
    assert reader.read(body(GOOD, b"")) == Reading()
    assert reader.read(body(bytes.fromhex("800f03000201") + ORIGIN, b"")) == Reading()
    assert reader.read(body(REACH[:2] + b"\x15" + REACH[3:24] + ORIGIN + AS_PATH, b"")) == Reading()


def test_old_speakers_are_merged() -> None:
    """RFC 6793 s4.2.3: AS_TRANS is replaced from the right, and AS4_PATH ignored where it is longer."""

    def path(as2: str, as4: str, more: str = "") -> tuple[Segment, ...]:
        two, four = bytes.fromhex(as2), bytes.fromhex(as4)
        raw = (
            ORIGIN + NEXT_HOP + b"\x40\x02" + bytes([len(two)]) + two + b"\xc0\x11" + bytes([len(four)]) + four
        )
        return read(raw + bytes.fromhex(more), OLD).announced[0].attributes.as_path

    assert path("02 03 fde9 5ba0 5ba0", "02 02 00011170 00011171") == (
        Segment(AS_SEQUENCE, (65001, 70000, 70001)),
    )
    assert path("02 01 fde9", "02 02 00011170 00011171") == (Segment(AS_SEQUENCE, (65001,)),)
    # An old speaker that aggregated knew nothing of AS4_PATH.
    old_aggregator = "c0 07 06 fde9 c0000201 c0 12 08 00011170 c0000201"
    assert path("02 02 fde9 5ba0", "02 01 00011170", old_aggregator) == (Segment(AS_SEQUENCE, (65001, 23456)),)


def test_what_is_not_for_external_peers_is_not_told_to_them() -> None:
    """RFC 4271 s5.1.5, RFC 4456 s8: whatever the export policy forgot."""
    inside = read(GOOD + bytes.fromhex("40050400000064 800904c0000201 800a04c0000201"), INTERNAL)
    (said,) = (each.attributes for each in inside.announced)
    assert said.local_pref == 100
    assert encode(said, INTERNAL, family=IPV4) != encode(said, EXTERNAL, family=IPV4) == GOOD


def test_path_identifiers_stand_before_every_prefix() -> None:
    """RFC 7911 s3."""
    on = attrs.evolve(EXTERNAL, receives_paths=FAMILIES)
    (one,) = read(GOOD, on, b"\0\0\0\7" + PREFIX + b"\0\0\0\x08" + PREFIX).announced
    assert (one.path_ids, one.nlri) == ([7, 8], [NLRI, NLRI])
    with pytest.raises(Violation):
        Reader(on).read(body(GOOD, PREFIX))


@pytest.mark.parametrize(
    "attributes",
    [
        ORIGIN + NEXT_HOP + bytes.fromhex("40 02 06 03 01 0000fde9"),
        ORIGIN + NEXT_HOP + bytes.fromhex("40 02 06 02 01 0000fde8"),
        ORIGIN + NEXT_HOP + bytes.fromhex("40 02 00"),
        ORIGIN + AS_PATH + bytes.fromhex("40 03 04 00000000"),
    ],
)
def test_what_octets_cannot_tell_is_left_to_the_table(attributes: bytes) -> None:
    """There the path is refused, and can be seen with its reason; and no session ends for it."""
    assert read(attributes).announced
    assert Reader(EXTERNAL).read(body(attributes, b"", PREFIX)).withdrawn


def test_the_memory_of_a_reader_is_bounded() -> None:
    """However many sets of attributes a peer invents, and however long."""
    reader = Reader(INTERNAL)
    for number in range(20_000):
        reader.read(body(GOOD + b"\x80\x04\x04" + number.to_bytes(4, "big")))
    assert len(reader._known) <= 1 << 14
    for number in range(40):
        value = number.to_bytes(4, "big") * 15_000
        reader.read(body(GOOD + b"\xd0\x63" + struct.pack(">H", len(value)) + value, b""))
        assert sum(map(len, reader._known)) <= 1 << 20


def test_many_faults_make_few_lines() -> None:
    """A peer does not fill the log."""
    raw = (
        GOOD + b"".join(bytes([0xC0, code, 0, 0xC0, code, 0]) for code in range(50, 100)) + b"\xc0\x32\0" * 9000
    )
    assert len(read(raw).faults) == 17


@pytest.mark.parametrize("on", [EXTERNAL, attrs.evolve(EXTERNAL, receives_paths=(IPV4,))])
def test_an_update_that_ends_too_soon_is_refused_or_says_less(on: Negotiated) -> None:
    """Cut after any of its octets: no prefix is taken for another one, in either field."""
    paths = [
        b"\0\0\0\1" * bool(on.receives_paths) + raw for raw in (PREFIX, b"\x08\x0b", b"\x19\x0a\x04\x02\x80")
    ]
    field = b"".join(paths)
    octets = body(GOOD + REACH, field, field)
    whole = Reader(on).read(octets)
    assert (len(whole.announced), len(whole.withdrawn)) == (2, 1)
    cut = (read_or_refused(octets[:end], on) for end in range(4, len(octets)))
    readings = [each for each in cut if each is not None]
    assert len(readings) == len(paths)
    for reading in readings:
        assert reading.withdrawn == whole.withdrawn
        for said, all_of_it in zip(reading.announced, whole.announced[-len(reading.announced) :], strict=True):
            assert said.nlri == all_of_it.nlri[: len(said.nlri)]
            assert said.attributes == all_of_it.attributes


def read_or_refused(octets: bytes, on: Negotiated) -> Reading | None:
    """Return what an UPDATE says; None: it ends the session."""
    try:
        return Reader(on).read(octets)
    except Violation:
        return None
