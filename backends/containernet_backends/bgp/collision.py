"""Which of two connections with one peer stays (RFC 4271 s6.8, RFC 6286, RFC 4724 s4.2).

Asked when an OPEN comes on one, `new`, while on the other, `old`, it came before. Both sides must come to the
same answer, or each closes another one. So it rests on what both know, who dialled and who has the higher
identifier, also where one of them finds itself established already (CollisionDetectEstablishedState).
"""

from __future__ import annotations

from .connection import Connection, State
from .ending import kept
from .peering import Local, Negotiated

CROSSING = 10.0  # seconds in which a dial of the peer's may still cross a connection that is just established


def restarted(old: Connection, new: Connection, negotiated: Negotiated) -> bool:
    """Return whether `new` tells that the peer has lost `old`, an established one, by a graceful restart.

    Args:
        negotiated: what comes of the OPEN on `new`.
    """
    # RFC 4724 s4.2: a new connection of a peer that announced graceful restart means that. We wait for its OPEN
    # first: anybody can connect, and two dials that cross are no restart.
    if old.state is not State.ESTABLISHED or not old.negotiated or not kept(old.negotiated, None):
        return False
    again = negotiated.restarting and not old.negotiated.restarting
    return again or old.dialed == new.dialed or new.born > old.since + CROSSING


def wins(local: Local, old: Connection, new: Connection, negotiated: Negotiated) -> bool:
    """Return whether `new` stays, and not `old`."""
    if old.dialed == new.dialed:
        # The peer gave its earlier dial up. RFC 4271 s6.8: it cannot take an established one's place so.
        return old.state is not State.ESTABLISHED
    # RFC 4271 s6.8: what the speaker with the higher identifier dialled stays, identifiers compared as numbers;
    # RFC 6286 s2.3: where they are equal, what the one with the higher AS number dialled.
    return new.dialed == ((local.router_id, local.asn) > (negotiated.peer_id, negotiated.peer_asn))
