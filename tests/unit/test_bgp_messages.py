"""BGP messages, octet by octet as the standards draw them."""

from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from containernet_backends.bgp import notification as n
from containernet_backends.bgp.families import IPV4, IPV6
from containernet_backends.bgp.message import (
    EXTENDED_MAXIMUM,
    KEEPALIVE,
    UPDATE,
    Capability,
    Framer,
    Notification,
    Open,
    RouteRefresh,
    frame,
    keepalive,
    update,
    update_fields,
)
from containernet_backends.bgp.notification import Violation

MARKER = "ff" * 16


def violation(data: bytes, maximum: int = 4096) -> Violation:
    """Return what a stream is refused with."""
    framer = Framer(maximum)
    framer.feed(data)
    with pytest.raises(Violation) as caught:
        list(framer)
    return caught.value


def test_a_keepalive_is_a_header() -> None:
    """RFC 4271 s4.4."""
    assert keepalive() == bytes.fromhex(MARKER + "0013 04")


def test_an_update_has_three_fields() -> None:
    """RFC 4271 s4.3."""
    message = update(b"\x08\x0a", bytes.fromhex("40010100"), b"\x18\x0a\x04\x01")
    assert message == bytes.fromhex(MARKER + "0021 02 0002 080a 0004 40010100 180a0401")
    assert update_fields(message[19:]) == (b"\x08\x0a", bytes.fromhex("40010100"), b"\x18\x0a\x04\x01")


def test_an_open_octet_by_octet() -> None:
    """RFC 4271 s4.2, RFC 5492 s4."""
    said = Open(
        asn=65001,
        hold_time=9,
        router_id=IPv4Address("192.0.2.1"),
        capabilities=(Capability(2), Capability(65, bytes.fromhex("0000fde9"))),
    )
    assert said.encode() == bytes.fromhex(MARKER + "0027 01 04 fde9 0009 c0000201 0a 02 08 0200 4104 0000fde9")


def test_an_open_with_many_capabilities_takes_extended_parameters() -> None:
    """RFC 9072 s2: 255 twice, then lengths of two octets; also where there was no need for them."""
    capabilities = tuple(Capability(code, bytes(40)) for code in range(100, 110))
    said = Open(asn=1, hold_time=0, router_id=IPv4Address(1), capabilities=capabilities)
    raw = said.encode()
    assert raw[28:35] == bytes.fromhex("ff ff 01a7 02 01a4")
    assert Open.decode(raw[19:]) == said
    short = bytes.fromhex("04 0001 0000 00000001 05 ff 0005 02 0002 0200")
    assert Open.decode(short).capabilities == (Capability(2),)


@pytest.mark.parametrize("size", range(248, 254))
def test_an_open_of_every_size_around_the_limit(size: int) -> None:
    """One octet of length counts to 255, and the parameter's own two are among them."""
    said = Open(asn=1, hold_time=0, router_id=IPv4Address(1), capabilities=(Capability(99, bytes(size)),))
    assert Open.decode(said.encode()[19:]) == said
    assert (said.encode()[28:30] == b"\xff\xff") == (size + 4 > 255)


def test_capabilities_of_several_parameters_are_one_list() -> None:
    """RFC 5492 s4: one parameter for all, or one for each."""
    body = bytes.fromhex("04 0001 0000 00000001 08 02 02 0200 02 02 4600")
    assert Open.decode(body).capabilities == (Capability(2), Capability(70))


BAD_OPENS = {
    "another version": ("03 0001 0000 00000001 00", n.UNSUPPORTED_VERSION, "0004"),
    "an unknown parameter": ("04 0001 0000 00000001 02 01 00", n.UNSUPPORTED_PARAMETER, ""),
    "parameters shorter than they say": ("04 0001 0000 00000001 04 02 00", 0, ""),
    "parameters longer than they say": ("04 0001 0000 00000001 01 02 00", 0, ""),
    "a parameter cut off": ("04 0001 0000 00000001 02 02 05", 0, ""),
    "a capability cut off": ("04 0001 0000 00000001 04 02 02 41 04", 0, ""),
    "an extended length cut off": ("04 0001 0000 00000001 02 ff 00", 0, ""),
    "an extended parameter cut off": ("04 0001 0000 00000001 ff ff 0003 02 00ff", 0, ""),
}


@pytest.mark.parametrize(("body", "subcode", "data"), BAD_OPENS.values(), ids=BAD_OPENS)
def test_opens_that_are_refused(body: str, subcode: int, data: str) -> None:
    """RFC 4271 s6.2."""
    with pytest.raises(Violation) as caught:
        Open.decode(bytes.fromhex(body))
    assert (caught.value.code, caught.value.subcode, caught.value.data.hex()) == (2, subcode, data)


BAD_HEADERS = {
    "a marker with a zero": ("ff" * 15 + "00 0013 04", n.NOT_SYNCHRONIZED, ""),
    "18 octets": (MARKER + "0012 04", n.BAD_MESSAGE_LENGTH, "0012"),
    "4097 octets": (MARKER + "1001 02", n.BAD_MESSAGE_LENGTH, "1001"),
    "a short OPEN": (MARKER + "001c 01", n.BAD_MESSAGE_LENGTH, "001c"),
    "a short UPDATE": (MARKER + "0016 02", n.BAD_MESSAGE_LENGTH, "0016"),
    "a short NOTIFICATION": (MARKER + "0014 03", n.BAD_MESSAGE_LENGTH, "0014"),
    "a KEEPALIVE with a body": (MARKER + "0014 04", n.BAD_MESSAGE_LENGTH, "0014"),
    "a short ROUTE-REFRESH": (MARKER + "0016 05", n.BAD_MESSAGE_LENGTH, "0016"),
    "type 0": (MARKER + "0013 00", n.BAD_MESSAGE_TYPE, "00"),
    "type 6": (MARKER + "0013 06", n.BAD_MESSAGE_TYPE, "06"),
}


@pytest.mark.parametrize(("header", "subcode", "data"), BAD_HEADERS.values(), ids=BAD_HEADERS)
def test_headers_that_are_refused(header: str, subcode: int, data: str) -> None:
    """RFC 4271 s6.1: before the body is there, so nobody has to hold it."""
    found = violation(bytes.fromhex(header))
    assert (found.code, found.subcode, found.data.hex()) == (1, subcode, data)


def test_extended_messages_are_no_opens_and_no_keepalives() -> None:
    """RFC 8654 s4."""
    framer = Framer(EXTENDED_MAXIMUM)
    framer.feed(frame(UPDATE, bytes(EXTENDED_MAXIMUM - 19)))
    assert [(kind, len(body)) for kind, body in framer] == [(UPDATE, EXTENDED_MAXIMUM - 19)]
    assert violation(frame(1, bytes(4078)), EXTENDED_MAXIMUM).data == b"\x10\x01"


def test_the_maximum_holds_from_the_next_message_on() -> None:
    """It is known only when the OPEN has been read, and what follows may be there already."""
    framer = Framer()
    framer.feed(keepalive() + frame(UPDATE, bytes(5000)))
    kinds = []
    for kind, _ in framer:
        kinds.append(kind)
        framer.maximum = EXTENDED_MAXIMUM
    assert kinds == [KEEPALIVE, UPDATE]


def test_messages_before_a_bad_header_are_yielded() -> None:
    """The peer said them in good order."""
    framer = Framer()
    framer.feed(keepalive() + bytes(19))
    messages = iter(framer)
    assert next(messages) == (KEEPALIVE, b"")
    with pytest.raises(Violation):
        next(messages)


def test_an_iteration_that_was_left_goes_on_where_it_was() -> None:
    """So a session can stop at the message that ends it."""
    framer = Framer()
    framer.feed(keepalive() + frame(UPDATE, bytes(4)))
    assert next(iter(framer)) == (KEEPALIVE, b"")
    assert list(framer) == [(UPDATE, bytes(4))]


def test_a_shutdown_says_why() -> None:
    """RFC 9003 s2."""
    shutdown = Notification.cease(n.ADMINISTRATIVE_SHUTDOWN, "Wartung")
    assert shutdown.encode() == bytes.fromhex(MARKER + "001d 03 06 02 07") + b"Wartung"
    assert str(shutdown) == 'cease, administrative shutdown (6/2): "Wartung"'
    assert Notification.cease(n.PEER_DECONFIGURED, "no place for it").data == b""


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ("", ""),
        ("00", ""),
        ("05 4141", "AA"),
        ("02 41ff", "A\N{REPLACEMENT CHARACTER}"),
        ("02 410a", "A\N{REPLACEMENT CHARACTER}"),
    ],
)
def test_a_bad_shutdown_text_is_shown_as_far_as_it_goes(data: str, text: str) -> None:
    """RFC 9003 s4: it is no reason for an error."""
    assert Notification(6, 2, bytes.fromhex(data)).text == text


def test_a_hard_reset_holds_another_notification() -> None:
    """RFC 8538 s3.1."""
    hard = Notification.cease(2, "bye").hard()
    assert (hard.code, hard.subcode, hard.data) == (6, 9, b"\x06\x02\x03bye")
    assert hard.is_hard
    assert hard.text == "bye"
    assert Notification(6, 9, b"\x06").cause == Notification(6, 9, b"\x06")


def test_a_notification_is_cut_to_what_every_peer_may_receive() -> None:
    """RFC 8654 s6."""
    assert len(Notification(3, 9, bytes(60_000)).encode()) == 4096


def test_what_a_code_is_called() -> None:
    """With its numbers, for those who look them up, and by them where they have no name."""
    assert n.describe(4, 0) == "hold timer expired (4/0)"
    assert n.describe(2, 2) == "OPEN message error, bad peer AS (2/2)"
    assert n.describe(99, 1) == "unknown error (99/1)"
    assert str(Violation(6, 7)) == "cease, connection collision resolution (6/7)"


def test_a_route_refresh_octet_by_octet() -> None:
    """RFC 2918 s3, RFC 7313 s3.2."""
    assert RouteRefresh(IPV6, RouteRefresh.BEGIN).encode() == bytes.fromhex(MARKER + "0017 05 0002 01 01")
    assert RouteRefresh.decode(bytes.fromhex("0001 00 01 ffff"), enhanced=True) == RouteRefresh(IPV4)


def test_a_marked_refresh_has_one_length() -> None:
    """RFC 7313 s5: the answer holds all of it."""
    body = bytes.fromhex("0001 01 01 00")
    with pytest.raises(Violation) as caught:
        RouteRefresh.decode(body, enhanced=True)
    assert (caught.value.code, caught.value.subcode, caught.value.data) == (7, 1, frame(5, body))


def test_there_are_no_marks_from_who_does_not_announce_them() -> None:
    """RFC 7313 s5: neither they nor their errors; RFC 2918 s3 has a reserved octet in that place."""
    assert RouteRefresh.decode(bytes.fromhex("0001 01 01 00"), enhanced=False) == RouteRefresh(IPV4)
