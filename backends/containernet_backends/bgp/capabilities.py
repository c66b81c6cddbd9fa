"""Capabilities (RFC 5492): what an OPEN offers, and what two OPENs agree on.

A capability that we have no words for is kept and means nothing. So is one whose value does not parse, which
RFC 7911 s4 asks for its own and we do for all but two: what families an NLRI may be of, and how many octets an
AS number has, must not be guessed. A capability that may stand only once counts as its last instance says
(RFC 4724 s3); those that list families add up.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from typing import Self

import attrs

from .as_paths import AS_TRANS
from .families import IPV4, IPV6, Family
from .message import Capability, Open
from .notification import (
    BAD_IDENTIFIER,
    BAD_PEER_AS,
    OPEN_MESSAGE,
    UNACCEPTABLE_HOLD_TIME,
    UNSUPPORTED_CAPABILITY,
    Violation,
)
from .peering import Local, Negotiated, Peer

MULTIPROTOCOL = 1  # RFC 4760 s8
ROUTE_REFRESH = 2  # RFC 2918 s2
EXTENDED_NEXT_HOP = 5  # RFC 8950 s4
EXTENDED_MESSAGE = 6  # RFC 8654 s3
GRACEFUL_RESTART = 64  # RFC 4724 s3
AS4 = 65  # RFC 6793 s3
ADD_PATH = 69  # RFC 7911 s4
ENHANCED_REFRESH = 70  # RFC 7313 s3.1
FQDN = 73  # draft-walton-bgp-hostname-capability

RECEIVE, SEND, BOTH = 1, 2, 3  # RFC 7911 s4
_RESTARTED, _NOTIFICATION = 0x8, 0x4  # RFC 4724 s3, RFC 8538 s2
_FORWARDING = 0x80  # RFC 4724 s3


@attrs.frozen(kw_only=True)
class Restart:
    """The graceful restart capability (RFC 4724 s3).

    Args:
        seconds: to wait for the restarted speaker, 0 to 4095.
        restarted: the R bit. notification: the N bit (RFC 8538 s2).
        families: what can be restarted, and whether forwarding went on (the F bit).
    """

    seconds: int
    restarted: bool = False
    notification: bool = False
    families: tuple[tuple[Family, bool], ...] = ()

    def encode(self) -> bytes:
        """Return the capability's value."""
        flags = self.restarted * _RESTARTED | self.notification * _NOTIFICATION
        return struct.pack(">H", flags << 12 | self.seconds) + b"".join(
            struct.pack(">HBB", *family, _FORWARDING * forwarding) for family, forwarding in self.families
        )

    @classmethod
    def decode(cls, value: bytes) -> Self | None:
        """Return the capability of that value; None: it has a length that it cannot have."""
        if len(value) % 4 != 2:
            return None
        (head,) = struct.unpack_from(">H", value)
        return cls(
            seconds=head & 0xFFF,
            restarted=bool(head >> 12 & _RESTARTED),
            notification=bool(head >> 12 & _NOTIFICATION),
            families=tuple(
                (Family(afi, safi), bool(flags & _FORWARDING))
                for afi, safi, flags in struct.iter_unpack(">HBB", value[2:])
            ),
        )


@attrs.frozen(kw_only=True)
class Capabilities:
    """What one OPEN offers, understood.

    Args:
        families: of the multiprotocol capabilities; empty: none was there.
        as4: the AS number in 4 octets; None: the speaker has none of them.
        paths: for each family whether it would RECEIVE, SEND or do BOTH with several paths (RFC 7911).
        extended_next_hop: families, each with the AFI of a next hop that it may have.
        unknown: what we have no words for, such as 9, roles, and 71, long-lived graceful restart.
    """

    families: tuple[Family, ...] = ()
    route_refresh: bool = False
    enhanced_refresh: bool = False
    extended_message: bool = False
    extended_next_hop: tuple[tuple[Family, int], ...] = ()
    as4: int | None = None
    paths: tuple[tuple[Family, int], ...] = ()
    restart: Restart | None = None
    hostname: str = ""
    domain: str = ""
    unknown: tuple[Capability, ...] = ()

    def encode(self) -> tuple[Capability, ...]:
        """Return the capabilities for an OPEN, by rising code but for the unknown ones at the end."""
        return tuple(self._encoded())

    def _encoded(self) -> Iterator[Capability]:
        for afi, safi in self.families:
            yield Capability(MULTIPROTOCOL, struct.pack(">HBB", afi, 0, safi))
        if self.route_refresh:
            yield Capability(ROUTE_REFRESH)
        if self.extended_next_hop:
            triples = (struct.pack(">HHH", *family, hop) for family, hop in self.extended_next_hop)
            yield Capability(EXTENDED_NEXT_HOP, b"".join(triples))
        if self.extended_message:
            yield Capability(EXTENDED_MESSAGE)
        if self.restart:
            yield Capability(GRACEFUL_RESTART, self.restart.encode())
        if self.as4 is not None:
            yield Capability(AS4, struct.pack(">I", self.as4))
        if self.paths:
            modes = (struct.pack(">HBB", *family, mode) for family, mode in self.paths)
            yield Capability(ADD_PATH, b"".join(modes))
        if self.enhanced_refresh:
            yield Capability(ENHANCED_REFRESH)
        if self.hostname or self.domain:
            yield Capability(FQDN, _counted(self.hostname) + _counted(self.domain))
        yield from self.unknown

    @classmethod
    def decode(cls, capabilities: Iterable[Capability]) -> Self:
        """Return what an OPEN's capabilities say.

        Raises:
            Violation: the value of a multiprotocol or a 4-octet AS capability is malformed.
        """
        families: dict[Family, None] = {}
        paths: dict[Family, int] = {}
        next_hops: dict[tuple[Family, int], None] = {}
        once: dict[str, object] = {}
        unknown: dict[Capability, None] = {}
        for each in capabilities:
            code, value = each.code, each.value
            if code == MULTIPROTOCOL:
                afi, _, safi = _exactly(each, ">HBB")
                families[Family(afi, safi)] = None
            elif code == AS4:
                (once["as4"],) = _exactly(each, ">I")
            elif code in _FLAGS and not value:
                once[_FLAGS[code]] = True
            elif code == EXTENDED_NEXT_HOP and not len(value) % 6:
                for afi, safi, hop in struct.iter_unpack(">HHH", value):
                    next_hops[Family(afi, safi), hop] = None
            elif code == ADD_PATH and not len(value) % 4:
                for afi, safi, mode in struct.iter_unpack(">HBB", value):
                    if mode in (RECEIVE, SEND, BOTH):  # RFC 7911 s4: others are ignored
                        paths[Family(afi, safi)] = mode
            elif code == GRACEFUL_RESTART and (restart := Restart.decode(value)):
                once["restart"] = restart
            elif code == FQDN and (names := _names(value)):
                once["hostname"], once["domain"] = names
            else:
                unknown[each] = None  # RFC 5492 s4: a second one that is equal changes nothing
        return cls(
            families=tuple(families),
            paths=tuple(paths.items()),
            extended_next_hop=tuple(next_hops),
            unknown=tuple(unknown),
            **once,  # type: ignore[arg-type]
        )


_FLAGS = {
    ROUTE_REFRESH: "route_refresh",
    EXTENDED_MESSAGE: "extended_message",
    ENHANCED_REFRESH: "enhanced_refresh",
}


def offer(local: Local, peer: Peer, *, theirs: Open | None = None) -> Open:
    """Return the OPEN that we send to `peer`.

    Args:
        theirs: the last OPEN that the peer sent us, if any. Graceful restart is then offered only for families
            that it named too: some wait for the End-of-RIB of every family that was offered, common or not.
    """
    common = peer.families if theirs is None else _common(peer, Capabilities.decode(theirs.capabilities))
    restart = Restart(
        seconds=local.restart_time,
        restarted=local.restarting,
        notification=True,
        # With no time of its own to offer, it says no more than that End-of-RIB is understood (RFC 4724 s3).
        families=tuple((family, local.forwarding) for family in common) if local.restart_time else (),
    )
    return Open(
        asn=local.asn if local.asn <= 0xFFFF else AS_TRANS,  # RFC 6793 s4.1
        hold_time=peer.hold_time,
        router_id=local.router_id,
        capabilities=Capabilities(
            families=peer.families,
            route_refresh=True,
            enhanced_refresh=True,
            extended_message=peer.extended_messages,
            extended_next_hop=_OTHER_NEXT_HOP if peer.extended_next_hop and IPV4 in peer.families else (),
            as4=local.asn,
            paths=tuple((family, RECEIVE) for family in peer.families if family in peer.add_paths),
            restart=restart if peer.graceful_restart else None,
            hostname=local.hostname,
        ).encode(),
    )


_OTHER_NEXT_HOP = ((IPV4, IPV6.afi),)  # RFC 8950 s4: the one that is not already in RFC 4760 and RFC 2545


def negotiate(local: Local, peer: Peer, theirs: Open) -> Negotiated:
    """Return what our offer and the peer's OPEN agree on.

    Raises:
        Violation: the OPEN cannot be accepted (RFC 4271 s6.2, RFC 5492 s5, RFC 6286 s2.2, RFC 7607).
    """
    said = Capabilities.decode(theirs.capabilities)
    asn = _checked_asn(local, peer, theirs, said)
    if theirs.hold_time in (1, 2):  # RFC 4271 s6.2
        raise _refused(UNACCEPTABLE_HOLD_TIME, f"hold time {theirs.hold_time} s, expected 0 or at least 3 s")
    # RFC 6286 s2.2: not zero, and within one AS not ours
    if not int(theirs.router_id):
        raise _refused(BAD_IDENTIFIER, "BGP identifier 0.0.0.0 (RFC 6286 s2.2)")
    if theirs.router_id == local.router_id and asn == local.asn:
        raise _refused(
            BAD_IDENTIFIER,
            f"BGP identifier {theirs.router_id} is ours too; give each speaker of AS {asn} its own router_id",
        )
    families = _common(peer, said)
    if not families:  # RFC 5492 s5: the data is what we would have needed
        needed = b"".join(
            bytes([each.code, len(each.value)]) + each.value
            for each in Capabilities(families=peer.families).encode()
        )
        raise _refused(
            UNSUPPORTED_CAPABILITY,
            f"no common address family: it has {_listed(said.families or (IPV4,))}, "
            f"expected one of {_listed(peer.families)} (RFC 5492 s5)",
            needed,
        )
    restart = said.restart if peer.graceful_restart else None
    restartable = [] if restart is None else [each for each in restart.families if each[0] in families]
    modes = dict(said.paths)
    return Negotiated(
        local_asn=local.asn,
        peer_asn=asn,
        peer_id=theirs.router_id,
        hold_time=min(peer.hold_time, theirs.hold_time),  # RFC 4271 s4.2
        families=families,
        as4=said.as4 is not None,
        extended_messages=peer.extended_messages and said.extended_message,
        route_refresh=said.route_refresh,
        enhanced_refresh=said.enhanced_refresh,
        receives_paths=tuple(
            family for family in families if family in peer.add_paths and modes.get(family) in (SEND, BOTH)
        ),
        extended_next_hop=tuple(
            family
            for family, hop in _OTHER_NEXT_HOP
            if peer.extended_next_hop and family in families and (family, hop) in said.extended_next_hop
        ),
        restart_time=None if restart is None else restart.seconds,
        restartable=tuple(family for family, _ in restartable),
        forwarding=tuple(family for family, forwarding in restartable if forwarding),
        restarting=restart is not None and restart.restarted,
        notification_restart=restart is not None and restart.notification,
        tunnels=peer.tunnels or asn == local.asn,
        hostname=".".join(filter(None, (said.hostname, said.domain))),
    )


def _checked_asn(local: Local, peer: Peer, theirs: Open, said: Capabilities) -> int:
    asn = theirs.asn if said.as4 is None else said.as4
    if not asn or not theirs.asn:  # RFC 7607 s2
        raise _refused(BAD_PEER_AS, "AS 0 (RFC 7607 s2)")
    if asn == AS_TRANS:  # RFC 6793 s9: it is reserved, and nobody's
        raise _refused(BAD_PEER_AS, f"AS {AS_TRANS} is reserved (RFC 6793 s9)")
    # RFC 6793 s4.1: two fields, one number
    if theirs.asn not in (AS_TRANS, asn):
        raise _refused(BAD_PEER_AS, f"it calls itself both AS {theirs.asn} and AS {asn} (RFC 6793 s4.1)")
    if peer.asn and asn != peer.asn:  # RFC 4271 s6.2
        raise _refused(BAD_PEER_AS, f"it is of AS {asn}, expected AS {peer.asn} as configured (RFC 4271 s6.2)")
    if peer.external and asn == local.asn:
        raise _refused(BAD_PEER_AS, f"it is of AS {asn} as we are, expected another (RFC 4271 s6.2)")
    return asn


def _common(peer: Peer, said: Capabilities) -> tuple[Family, ...]:
    # RFC 4760 s8: without the capability a speaker has IPv4 unicast, and nothing else
    theirs = said.families or (IPV4,)
    return tuple(family for family in peer.families if family in theirs)


def _exactly(capability: Capability, form: str) -> tuple[int, ...]:
    if len(capability.value) != struct.calcsize(form):
        raise _refused(
            0,  # RFC 4271 s6.2: unspecific
            f"capability {capability.code} with {len(capability.value)} octets, "
            f"expected {struct.calcsize(form)} (RFC 5492 s4)",
        )
    return struct.unpack(form, capability.value)


def _counted(name: str) -> bytes:
    octets = name.encode(errors="replace")[:64].decode(errors="ignore").encode()
    return bytes([len(octets)]) + octets


def _names(value: bytes) -> tuple[str, str] | None:
    host_end = 1 + value[0] if value else 0
    if not value or host_end >= len(value) or host_end + 1 + value[host_end] != len(value):
        return None
    names = value[1:host_end], value[host_end + 1 :]
    host, domain = (name.decode(errors="replace") for name in names)
    return (host, domain) if host.isprintable() and domain.isprintable() else None


def _refused(subcode: int, reason: str, data: bytes = b"") -> Violation:
    return Violation(OPEN_MESSAGE, subcode, data, reason)


def _listed(families: Iterable[Family]) -> str:
    return ", ".join(map(str, families))
