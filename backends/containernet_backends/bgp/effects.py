"""What a session wants done, in that order. Whoever carries it out needs to know no rule of BGP."""

from __future__ import annotations

import attrs

from .families import Family
from .message import Notification, Volley
from .peering import Negotiated


@attrs.frozen
class Dial:
    """Begin a TCP connection to the peer, and tell `connected` or `failed`. One at a time."""


@attrs.frozen
class Abandon:
    """Give up the dial that is under way; nothing is told about it any more."""


@attrs.frozen
class Write:
    """Send octets, after those written before; `wrote` is to be told when TCP has taken some."""

    connection: int
    data: bytes


@attrs.frozen
class Close:
    """Close the connection; nothing is told about it any more.

    Args:
        graceful: what was written is sent first, as far as that takes no more than a moment; else it is
            dropped.
    """

    connection: int
    graceful: bool = True


@attrs.frozen
class Up:
    """The session is established over that connection: send the table (RFC 4271 s9.2)."""

    connection: int
    negotiated: Negotiated


@attrs.frozen
class Received:
    """UPDATEs of the established session, as they came: bodies, in their order, not yet looked at.

    Args:
        bodies: a Volley: they are short, and many.
    """

    bodies: tuple[bytes, ...] | Volley


@attrs.frozen
class Refresh:
    """The peer asks for a family's routes again (RFC 2918), or marks where its own begin and end (RFC 7313).

    Args:
        subtype: `RouteRefresh.REQUEST`, `BEGIN` or `END`.
    """

    family: Family
    subtype: int


@attrs.frozen
class Down:
    """The established session is over.

    Args:
        reason: one line for people, with the peer's own words where it sent some (RFC 9003).
        notification: what ended it. sent: whether we sent it; else the peer did.
        keep: families whose routes stay, as stale ones, for at most `seconds` (RFC 4724 s4.2, RFC 8538 s4);
            those of all others are gone.
    """

    reason: str
    notification: Notification | None = None
    sent: bool = False
    keep: tuple[Family, ...] = ()
    seconds: float = 0.0


Effect = Dial | Abandon | Write | Close | Up | Received | Refresh | Down
