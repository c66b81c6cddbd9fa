"""NOTIFICATION codes (RFC 4271 s4.5, IANA's registry), and the error that stands for one."""

from __future__ import annotations

import attrs

MESSAGE_HEADER = 1
OPEN_MESSAGE = 2
UPDATE_MESSAGE = 3
HOLD_TIMER_EXPIRED = 4
STATE_MACHINE = 5  # RFC 6608 names the subcodes
CEASE = 6  # RFC 4486
ROUTE_REFRESH = 7  # RFC 7313
SEND_HOLD_TIMER_EXPIRED = 8  # RFC 9687


@attrs.define
class Violation(Exception):
    """The peer broke a rule, and the session ends with this NOTIFICATION.

    Args:
        code, subcode, data: what is sent.
        reason: one line for people: the value, what was expected, RFC and section.
    """

    code: int
    subcode: int
    data: bytes = b""
    reason: str = ""

    def __str__(self) -> str:
        return self.reason or f"{self.code}/{self.subcode}"
