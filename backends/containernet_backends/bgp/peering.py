"""Who we are to a peer, and who it is to us: configured before a session, negotiated in it."""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs

from containernet.errors import ConfigError
from containernet.model import Address

from .families import FAMILIES, Family


@attrs.frozen(kw_only=True)
class Local:
    """We, as our OPEN messages say it.

    Args:
        asn: 1 to 4294967295 (RFC 6793).
        router_id: the BGP Identifier; not 0.0.0.0 (RFC 6286 s2.2: any 4 octets, unique within the AS).
        cluster_id: of a route reflector (RFC 4456 s7); None: the router id.
        restart_time: seconds in which we expect to be back after a restart, 0 to 4095 (RFC 4724 s3); 0: no
            graceful restart.
        restarting: this is the first session since a restart: the R bit.
        forwarding: the kernel goes on to forward over a restart, and over the loss of a session: the F bit.
        hostname: our name, for people who look at a peer (capability 73); "": not told.
    """

    asn: int = attrs.field()
    router_id: IPv4Address
    cluster_id: IPv4Address | None = None
    restart_time: int = 120
    restarting: bool = False
    forwarding: bool = True
    hostname: str = ""

    @asn.validator
    def _check_asn(self, attribute: object, value: int) -> None:
        if not 1 <= value <= 0xFFFFFFFF:
            raise ConfigError(f"asn = {value}: expected 1 to 4294967295")


@attrs.frozen(kw_only=True)
class Peer:
    """A neighbour as it is configured, or as a configured range of neighbours makes it when one calls.

    Args:
        address: where it is reached.
        asn: its AS; 0: any (RFC 4271 s6.2 is then content with what its OPEN says).
        external: with `asn` 0: any but ours.
        port: TCP port to dial.
        passive: wait for the peer to dial.
        dynamic: it was accepted out of a range: never dialled, forgotten when its session ends.
        hold_time: seconds that we offer: 0 (no keepalives) or at least 3 (RFC 4271 s4.2).
        send_hold_time: seconds in which it has to take something of what we send; 0: as RFC 9687 s6 advises.
        connect_retry: seconds between dials, jittered (RFC 4271 s10).
        families: which we offer.
        add_paths: families in which we offer to receive several paths of a prefix (RFC 7911).
        extended_next_hop: offer IPv4 routes with IPv6 next hops (RFC 8950).
        extended_messages: offer messages of up to 65,535 octets (RFC 8654).
        graceful_restart: offer it, and keep a restarting peer's routes (RFC 4724).
        tunnels: tell and take how packets are to be encapsulated, also of an external peer (RFC 9012 s11).
        idle_hold: seconds to wait after an error, doubled at each until 60 (RFC 4271 s8.1.1).
    """

    address: Address
    asn: int = 0
    external: bool = False
    port: int = 179
    passive: bool = False
    dynamic: bool = False
    hold_time: int = 9
    send_hold_time: float = 0.0
    connect_retry: float = 5.0
    families: tuple[Family, ...] = FAMILIES
    add_paths: tuple[Family, ...] = ()
    extended_next_hop: bool = True
    extended_messages: bool = True
    graceful_restart: bool = True
    tunnels: bool = False
    idle_hold: float = 1.0


@attrs.frozen(kw_only=True)
class Negotiated:
    """What both sides of a session agreed on.

    Args:
        local_asn, peer_asn: 4-octet AS numbers. peer_id: its BGP Identifier.
        hold_time: the lower of both offers, seconds; 0: none.
        families: those that both named; IPv4 unicast where neither named any (RFC 4760 s8).
        as4: AS numbers have 4 octets on the wire (RFC 6793).
        extended_messages: up to 65,535 octets may be sent (RFC 8654): both named it.
        route_refresh: RFC 2918; enhanced_refresh: RFC 7313.
        receives_paths: families whose NLRI that we receive carry a path identifier (RFC 7911).
        extended_next_hop: families whose routes may have a next hop of the other one (RFC 8950).
        restart_time: seconds the peer asks to be waited for; None: it knows no graceful restart (RFC 4724).
        forwarding: families in which it kept its forwarding over a restart (the F bit).
        restarting: it has just restarted (the R bit). restartable: families it can restart gracefully.
        notification_restart: NOTIFICATIONs keep routes as well, but for a hard reset (RFC 8538).
        tunnels: how packets are to be encapsulated is told and taken (RFC 9012 s11).
        hostname: the peer's name, where it says one (capability 73); for people only.
    """

    local_asn: int
    peer_asn: int
    peer_id: IPv4Address
    hold_time: int = 90
    families: tuple[Family, ...] = FAMILIES
    as4: bool = True
    extended_messages: bool = False
    route_refresh: bool = True
    enhanced_refresh: bool = False
    receives_paths: tuple[Family, ...] = ()
    extended_next_hop: tuple[Family, ...] = ()
    restart_time: int | None = None
    restartable: tuple[Family, ...] = ()
    forwarding: tuple[Family, ...] = ()
    restarting: bool = False
    notification_restart: bool = False
    tunnels: bool = True
    hostname: str = ""

    @property
    def external(self) -> bool:
        """Whether the peer is of another AS."""
        return self.local_asn != self.peer_asn
