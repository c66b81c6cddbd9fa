"""What a session's end means for the routes on either side (RFC 4724, RFC 8538)."""

from __future__ import annotations

from .families import Family
from .message import Notification
from .notification import ADMINISTRATIVE_RESET, ADMINISTRATIVE_SHUTDOWN, CEASE, MAXIMUM_PREFIXES, Violation
from .peering import Local, Negotiated


def kept(negotiated: Negotiated, notification: Notification | None) -> tuple[Family, ...]:
    """Return the families whose routes of the peer's stay, as stale ones, for its restart time.

    Args:
        notification: what ended the session, whoever sent it; None: TCP did, or silence that nobody could tell.
    """
    if not negotiated.restart_time:  # RFC 4724 s3: without the capability, or with no time to wait
        return ()
    # RFC 4724 s4: any NOTIFICATION voids them. RFC 8538 s4: with the N bit, a hard reset alone does.
    if notification is not None and (not negotiated.notification_restart or notification.is_hard):
        return ()
    return negotiated.restartable


def verdict(violation: Violation, negotiated: Negotiated | None) -> Notification:
    """Return the NOTIFICATION that a violation ends a connection with.

    Args:
        negotiated: what was agreed on; None: not that much.
    """
    notification = Notification.of(violation)
    lasting = (violation.code, violation.subcode) == (CEASE, MAXIMUM_PREFIXES)
    if lasting and negotiated and negotiated.notification_restart:
        return notification.hard()  # RFC 8538 s5.1: the same would come again; so nobody keeps routes for it
    return notification


def farewell(local: Local, up: Negotiated | None, reason: str, *, hard: bool) -> Notification | None:
    """Return the NOTIFICATION that a stop ends a connection with; None: it is closed without one.

    Args:
        up: what the established session agreed on; None: the connection is not established.
        reason: words for the operator over there (RFC 9003).
        hard: our routes are to go. Else they are to stay, as far as the peer knows how.
    """
    shutdown = Notification.cease(ADMINISTRATIVE_SHUTDOWN, reason)  # RFC 4486 s4
    if up is None or up.restart_time is None or not local.restart_time:
        return shutdown
    if up.notification_restart:
        return shutdown.hard() if hard else Notification.cease(ADMINISTRATIVE_RESET, reason)
    return shutdown if hard else None  # RFC 4724 s4: it is TCP's own end that keeps them
