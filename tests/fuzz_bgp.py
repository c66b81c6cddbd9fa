"""A hostile BGP peer: `python -m tests.fuzz_bgp SECONDS [SEED]`; `make fuzz` runs it, the tests for a moment.

Any octets at all, and valid messages in which a few were changed, go through everything that reads what a peer
sends. Nothing may come out but values and `Violation`, and what is kept stays small.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address

from containernet_backends.bgp import encapsulation, nlri
from containernet_backends.bgp.attributes import AS_SEQUENCE, Attributes, Encapsulation, Segment, Unknown
from containernet_backends.bgp.capabilities import Capabilities, negotiate, offer
from containernet_backends.bgp.families import FAMILIES, IPV4, IPV6
from containernet_backends.bgp.message import (
    EXTENDED_MAXIMUM,
    MAXIMUM,
    NOTIFICATION,
    OPEN,
    ROUTE_REFRESH,
    UPDATE,
    Framer,
    Notification,
    Open,
    RouteRefresh,
    frame,
    keepalive,
    update_fields,
)
from containernet_backends.bgp.notification import Violation
from containernet_backends.bgp.peering import Local, Negotiated, Peer
from containernet_backends.bgp.update import Reader, end_of_rib, pack, pack_withdrawals

LOCAL = Local(asn=65000, router_id=IPv4Address("192.0.2.1"), hostname="fuzzed")
PEER = Peer(address=IPv4Address("192.0.2.2"), add_paths=(IPV4,))
TERMS = [
    Negotiated(
        local_asn=65000,
        peer_asn=asn,
        peer_id=IPv4Address("192.0.2.2"),
        as4=as4,
        receives_paths=paths,
        extended_next_hop=hop,
    )
    for asn, as4, paths, hop in (
        (65000, True, (), ()),
        (65001, True, (), (IPV4,)),
        (65000, False, (), ()),
        (65000, True, FAMILIES, (IPV4,)),
    )
]


class Hostile:
    """One peer that sends what it likes; `seed` says what that is."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._readers = [Reader(each) for each in TERMS]
        self._valid = list(_valid())
        self._heads = [body[: -len(prefixes)] for body, prefixes in _announcements(self._valid)]
        self.violations = 0
        self.readings = 0
        self.together = 0

    def attack(self) -> None:
        """Send one stream."""
        stream = self._crowd() if self._random.random() < 0.03 else self._stream()
        framer = Framer(self._random.choice([MAXIMUM, EXTENDED_MAXIMUM]))
        reader = self._random.choice(self._readers)
        caught, heard = None, list[bytes]()
        try:
            for piece in self._pieces(stream):
                framer.feed(piece)
                for kind, body in framer:
                    heard.append(frame(kind, body))
                    self._deliver(kind, body, reader)
        except Violation as violation:
            caught = violation
        if caught is not None:
            self.violations += 1
            assert len(Notification.of(caught).encode()) <= MAXIMUM
            assert caught.reason.isprintable()

        self._deliver_together(stream, heard, reader)

    def _deliver_together(self, stream: bytes, heard: list[bytes], reader: Reader) -> None:
        """Cut the stream as a session does that is up, and read as many at once as can be."""
        framer = Framer()
        framer.feed(stream)
        volley = framer.short_updates()
        assert [frame(UPDATE, body) for body in volley][: len(heard)] == heard[: len(volley)]
        if volley:
            volley.skip(next((at for at, body in enumerate(volley) if reader.gathers(body)), 0))
            count, crowd = reader.together(volley.first(len(volley)))
            assert len(reader._known) + len(reader._elsewhere) <= 1 << 14
            self.together += count
            assert len(crowd.raws) == len(crowd.nlris) >= count
            for raw in crowd.nlris:
                assert nlri.encode(nlri.decode(IPV4, raw)) == raw

    def _deliver(self, type: int, body: bytes, reader: Reader) -> None:
        if type == UPDATE:
            reading = reader.read(body)
            self.readings += 1
            assert len(reading.faults) <= 17
            assert len(reader._known) + len(reader._elsewhere) <= 1 << 14
            for one in reading.announced:
                encapsulation.decode(one.attributes.encapsulations)
                for raw in one.nlri[:3]:
                    assert nlri.encode(nlri.decode(one.family, raw)) == raw
                assert one.attributes.next_hop is not None
        elif type == OPEN:
            said = Open.decode(body)
            Capabilities.decode(said.capabilities)
            negotiate(LOCAL, PEER, said)
        elif type == NOTIFICATION:
            assert str(Notification.decode(body)).isprintable()
        elif type == ROUTE_REFRESH:
            RouteRefresh.decode(body, enhanced=self._random.random() < 0.5)

    def _pieces(self, stream: bytes) -> list[bytes]:
        cuts = sorted(self._random.randrange(len(stream) + 1) for _ in range(self._random.randrange(4)))
        return [stream[at:to] for at, to in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    def _stream(self) -> bytes:
        draw = self._random
        if draw.random() < 0.1:
            return draw.randbytes(draw.randrange(200))
        message = draw.choice(self._valid)
        if draw.random() < 0.1:  # header and all
            return self._mutated(message) + message
        if draw.random() < 0.2:  # a good header, and anything behind it
            return frame(
                draw.choice([UPDATE, UPDATE, OPEN]), self._mutated(draw.randbytes(draw.randrange(4, 60)))
            )
        return frame(message[18], self._mutated(message[19:]))

    def _crowd(self) -> bytes:
        """Return many UPDATEs that say the same of one prefix each, or of what was one."""
        draw, head = self._random, self._random.choice(self._heads)
        prefixes = (b"\x18\x0a\x04" + draw.randbytes(1) for _ in range(20))
        return b"".join(
            frame(UPDATE, head + (self._mutated(each) if draw.random() < 0.1 else each)) for each in prefixes
        )

    def _mutated(self, body: bytes) -> bytes:
        draw, octets = self._random, bytearray(body)
        for _ in range(draw.choice([0, 1, 1, 2, 5])):
            at = draw.randrange(len(octets) + 1)
            match draw.randrange(4):
                case 0:
                    octets[at : at + 1] = [draw.choice([0, 1, 2, 4, 24, 32, 33, 128, 255, draw.randrange(256)])]
                case 1:
                    del octets[at : at + draw.randrange(1, 5)]
                case 2:
                    octets[at:at] = draw.randbytes(draw.randrange(1, 5))
                case _:
                    start = draw.randrange(len(octets) + 1)
                    octets[at:at] = octets[start : start + draw.randrange(1, 40)]
        return bytes(octets)


def _announcements(messages: Iterable[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Yield the bodies of short UPDATEs that only announce IPv4 prefixes, each with these."""
    for message in messages:
        if message[18] == UPDATE and len(message) < 240:
            withdrawn, _, prefixes = update_fields(message[19:])
            if prefixes and not withdrawn:
                yield message[19:], prefixes


def _valid() -> list[bytes]:
    """Return one valid message of each kind, with everything in it that we can say."""
    said = Attributes(
        origin=0,
        as_path=(Segment(AS_SEQUENCE, (65001, 70000)),),
        next_hop=IPv4Address("192.0.2.9"),
        med=1,
        local_pref=100,
        atomic_aggregate=True,
        aggregator=(70000, IPv4Address("192.0.2.8")),
        communities=(1, 65535),
        extended=(bytes(8),),
        large=((1, 2, 3),),
        originator_id=IPv4Address("192.0.2.7"),
        cluster_list=(IPv4Address("192.0.2.6"),),
        encapsulations=(Encapsulation(8, ((1, bytes(12)), (6, bytes(6)), (130, bytes(3)))),),
        unknown=(Unknown(0xE0, 99, b"kept"),),
    )
    prefixes4 = [b"\x18\x0a\x04\x01", b"\x08\x0a", b"\x00", b"\x19\x0a\x04\x02\x80"]
    prefixes6 = [b"\x40\x20\x01\x0d\xb8\x00\x00\x00\x01", b"\x20\x20\x01\x0d\xb8"]
    messages = [keepalive(), offer(LOCAL, PEER).encode(), Notification.cease(2, "bye").encode()]
    messages += [RouteRefresh(IPV4).encode(), RouteRefresh(IPV6, 1).encode()]
    for terms in TERMS:
        messages += pack(IPV4, said, prefixes4, terms)
        elsewhere = Attributes(
            origin=0,
            as_path=said.as_path,
            next_hop=IPv6Address("2001:db8::9"),
            link_local=IPv6Address("fe80::9"),
        )
        messages += pack(IPV6, elsewhere, prefixes6, terms)
        for family, raw in ((IPV4, prefixes4), (IPV6, prefixes6)):
            messages += [*pack_withdrawals(family, raw, terms), end_of_rib(family)]
    return messages


def main(seconds: float, seed: int) -> None:
    """Attack for that long, and say how often."""
    hostile, count = Hostile(seed), 0
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for _ in range(100):
            hostile.attack()
        count += 100
    sys.stdout.write(
        f"seed {seed}: {count} streams, {hostile.readings} UPDATEs read alone, {hostile.together} together, "
        f"{hostile.violations} sessions ended\n"
    )


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 60.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().randrange(2**32),
    )
