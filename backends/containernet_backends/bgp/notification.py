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

# RFC 4271 s6.1
NOT_SYNCHRONIZED, BAD_MESSAGE_LENGTH, BAD_MESSAGE_TYPE = 1, 2, 3
# RFC 4271 s6.2, RFC 5492 s5
UNSUPPORTED_VERSION, BAD_PEER_AS, BAD_IDENTIFIER, UNSUPPORTED_PARAMETER = 1, 2, 3, 4
UNACCEPTABLE_HOLD_TIME, UNSUPPORTED_CAPABILITY = 6, 7
# RFC 4271 s6.3
MALFORMED_ATTRIBUTES, UNRECOGNIZED_WELL_KNOWN, MISSING_WELL_KNOWN, FLAGS_ERROR, LENGTH_ERROR = 1, 2, 3, 4, 5
INVALID_ORIGIN, INVALID_NEXT_HOP, OPTIONAL_ATTRIBUTE, INVALID_NETWORK_FIELD, MALFORMED_AS_PATH = 6, 8, 9, 10, 11
# RFC 4486 s3, RFC 8538 s3.1, RFC 9384 s3
MAXIMUM_PREFIXES, ADMINISTRATIVE_SHUTDOWN, PEER_DECONFIGURED, ADMINISTRATIVE_RESET = 1, 2, 3, 4
CONNECTION_REJECTED, OTHER_CONFIGURATION, COLLISION, OUT_OF_RESOURCES, HARD_RESET, BFD_DOWN = 5, 6, 7, 8, 9, 10
# RFC 7313 s5
INVALID_REFRESH_LENGTH = 1

_NAMES = {
    MESSAGE_HEADER: "message header error",
    OPEN_MESSAGE: "OPEN message error",
    UPDATE_MESSAGE: "UPDATE message error",
    HOLD_TIMER_EXPIRED: "hold timer expired",
    STATE_MACHINE: "finite state machine error",
    CEASE: "cease",
    ROUTE_REFRESH: "ROUTE-REFRESH message error",
    SEND_HOLD_TIMER_EXPIRED: "send hold timer expired",
}
_SUBNAMES = {
    MESSAGE_HEADER: {1: "connection not synchronized", 2: "bad message length", 3: "bad message type"},
    OPEN_MESSAGE: {
        1: "unsupported version",
        2: "bad peer AS",
        3: "bad BGP identifier",
        4: "unsupported optional parameter",
        6: "unacceptable hold time",
        7: "unsupported capability",
        11: "role mismatch",
    },
    UPDATE_MESSAGE: {
        1: "malformed attribute list",
        2: "unrecognized well-known attribute",
        3: "missing well-known attribute",
        4: "attribute flags error",
        5: "attribute length error",
        6: "invalid ORIGIN attribute",
        8: "invalid NEXT_HOP attribute",
        9: "optional attribute error",
        10: "invalid network field",
        11: "malformed AS_PATH",
    },
    STATE_MACHINE: {1: "in OpenSent", 2: "in OpenConfirm", 3: "in Established"},  # RFC 6608 s3
    CEASE: {
        1: "maximum number of prefixes reached",
        2: "administrative shutdown",
        3: "peer de-configured",
        4: "administrative reset",
        5: "connection rejected",
        6: "other configuration change",
        7: "connection collision resolution",
        8: "out of resources",
        9: "hard reset",
        10: "BFD down",
    },
    ROUTE_REFRESH: {1: "invalid message length"},
}


def describe(code: int, subcode: int) -> str:
    """Return the registry's words for a code and its subcode: `cease, administrative shutdown (6/2)`."""
    name = _NAMES.get(code, "unknown error")
    detail = _SUBNAMES.get(code, {}).get(subcode)
    return f"{name}, {detail} ({code}/{subcode})" if detail else f"{name} ({code}/{subcode})"


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
        return self.reason or describe(self.code, self.subcode)
