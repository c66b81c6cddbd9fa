"""Routes by BGP-4 (RFC 4271): a speaker of our own, and a route store above it.

    attributes, nlri, message   octets <-> values, and nothing else
    session                     one peer's state machine: events in, effects out, the time passed in
    rib, policy, export         what was heard, which path wins and why, and what is told to whom
    speaker                     sockets, and the one thread that everything runs on
    store                       the RouteStore above it

Everything but `speaker` and `store` is pure: no socket, no thread, no clock.
"""

from .store import BgpStore

__all__ = ["BgpStore"]
