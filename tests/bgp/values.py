"""What a speaker shall be and what it says of itself, in words that no implementation owns.

A test describes a speaker once, as `Speaker`; each daemon's class turns that into its own configuration, and
`Ours` into our options. What daemons answer comes back as `Session` and `Path`, whichever they are. Communities
are text as the RFCs write it: `65000:1`, `rt:65000:1`, `65000:1:2`.
"""

from __future__ import annotations

from ipaddress import IPv4Address

import attrs

from containernet.model import Address, Prefix

# RFC 1997, RFC 8326, RFC 7999, RFC 9494: the names that daemons print in place of the number.
WELL_KNOWN = {
    "graceful-shutdown": "65535:0",
    "llgr-stale": "65535:6",
    "no-llgr": "65535:7",
    "blackhole": "65535:666",
    "no-export": "65535:65281",
    "no-advertise": "65535:65282",
    "local-AS": "65535:65283",
}
GRACEFUL_SHUTDOWN = WELL_KNOWN["graceful-shutdown"]
NO_EXPORT, NO_ADVERTISE = WELL_KNOWN["no-export"], WELL_KNOWN["no-advertise"]


@attrs.frozen(kw_only=True)
class Neighbour:
    """Whom a speaker is to talk to, and how.

    Args:
        address: of the neighbour.
        asn: its AS.
        local_address: of ours, to speak from; None: the host's first of the same family.
        passive: wait to be dialled.
        hold_time: seconds offered; the keepalive interval is a third.
        send_hold_time: seconds in which it has to take something of what is sent (RFC 9687); 0: the usual ones.
        password: RFC 2385; empty: none.
        multihop: for eBGP over this many hops; 0: only on the wire.
        ttl_security: accept only what comes with TTL 255 (RFC 5082).
        client: it is our route-reflector client (RFC 4456).
        next_hop_self: tell it everything with ourselves as next hop.
        families: versions of IP.
        add_paths: which way several paths of a prefix may go, as we say: "receive", "send", "both" or ""
            (RFC 7911).
        graceful_restart: seconds that we ask to be waited for; 0: we do not offer it (RFC 4724).
        extended_next_hop: IPv4 routes may have IPv6 next hops (RFC 8950).
        max_prefixes: end the session above so many; 0: no limit.
        as4: False: AS numbers of four octets are not spoken (RFC 6793).
        policy: False: no policy is configured, which RFC 8212 takes for "nothing" on eBGP; True: accept all.
    """

    address: Address
    asn: int
    local_address: Address | None = None
    passive: bool = False
    hold_time: int = 9
    send_hold_time: int = 0
    password: str = ""
    multihop: int = 0
    ttl_security: bool = False
    client: bool = False
    next_hop_self: bool = False
    families: tuple[int, ...] = (4, 6)
    add_paths: str = ""
    graceful_restart: int = 0
    extended_next_hop: bool = False
    max_prefixes: int = 0
    as4: bool = True
    policy: bool = True


@attrs.frozen(kw_only=True)
class Range:
    """Neighbours that call from a prefix and are not known before; each is like `like`."""

    prefix: Prefix
    like: Neighbour


@attrs.frozen(kw_only=True)
class Speaker:
    """One BGP speaker.

    Args:
        asn: its AS. router_id: its BGP Identifier.
        neighbours: whom it talks to. ranges: whom it lets talk.
        cluster_id: as a route reflector; None: the router id.
        multipath: how many equal paths it may use.
    """

    asn: int
    router_id: IPv4Address
    neighbours: tuple[Neighbour, ...] = ()
    ranges: tuple[Range, ...] = ()
    cluster_id: IPv4Address | None = None
    multipath: int = 1

    def external(self, neighbour: Neighbour) -> bool:
        """Return whether that neighbour is of another AS."""
        return neighbour.asn != self.asn


# What either side of a session can offer. (RFC 5492: a capability that one does not know is no error.)
CAPABILITIES = frozenset(
    {"ipv4", "ipv6", "refresh", "enhanced-refresh", "as4", "restart", "add-path", "extended-next-hop"}
    | {"extended-message", "long-lived-restart", "hostname"}
)


@attrs.frozen(kw_only=True)
class Session:
    """A session as one of its two sides tells it.

    Args:
        address: of the other side.
        state: RFC 4271 s8.2.2, in small letters: "idle", "connect", "active", "opensent", "openconfirm" or
            "established".
        asn: of the other side.
        router_id: which it gave; None: it has not yet.
        hold_time: as negotiated, seconds; None: not yet.
        capabilities: which the other side offered, of `CAPABILITIES`.
        received: prefixes that are held from it.
        told: how often it has told anything so far, in UPDATEs or in routes; to be compared with later.
        error: the last one, in the daemon's own words; empty: none, or it does not tell.
    """

    address: Address
    state: str
    asn: int
    router_id: IPv4Address | None = None
    hold_time: int | None = None
    capabilities: frozenset[str] = frozenset()
    received: int = 0
    told: int = 0
    error: str = ""


@attrs.frozen(kw_only=True)
class Path:
    """One path of one prefix: what a test lets be announced, and what a daemon holds.

    Args:
        prefix: where to.
        next_hop: None, to announce: the speaker itself.
        origin: "igp", "egp" or "incomplete".
        as_path: AS numbers, the nearest first; of those announced, what stands behind the own one.
        med, local_pref: None: not there.
        communities, extended, large: as text.
        originator_id, cluster_list: RFC 4456.
        best: whether it is the one that is used.
        stale: whether it is kept for a neighbour that restarts.
        source: who told it; None: the speaker itself.
        path_id: RFC 7911; None: none.
    """

    prefix: Prefix
    next_hop: Address | None = None
    origin: str = "igp"
    as_path: tuple[int, ...] = ()
    med: int | None = None
    local_pref: int | None = None
    communities: frozenset[str] = frozenset()
    extended: frozenset[str] = frozenset()
    large: frozenset[str] = frozenset()
    originator_id: IPv4Address | None = None
    cluster_list: tuple[IPv4Address, ...] = ()
    best: bool = True
    stale: bool = False
    source: Address | None = None
    path_id: int | None = None


def community(number: int) -> str:
    """Return a standard community as text (RFC 1997)."""
    return f"{number >> 16}:{number & 0xFFFF}"
