"""When a speaker that has just started has heard everything: RFC 4724 s4.1, the Selection_Deferral_Timer."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .options import BgpOptions
from .remote import Remote


def heard_at(
    remotes: Iterable[Remote],
    options: BgpOptions,
    *,
    started_at: float,
    up_since: float | None,
    called_again: float,
    enough: Callable[[Remote], bool],
) -> float | None:
    """Return the time at which everything is, or was, heard; None: nobody is there to hear.

    That is when every peer has said that this was all, or could not be reached; or `start_wait` after the first
    session came up. Peers out of ranges get as long from the start, for nobody knows who they are.

    Args:
        started_at, up_since: monotonic times: of our start, and since when any session is up (None: none is).
        called_again: seconds in which everybody has been called twice. Who refuses, and so was not to be waited
            for, may have started with us and be a little late.
        enough: whether a peer has said all that we wait for.
    """
    wait = options.start_wait
    if not options.peers:
        return started_at
    if up_since is None:
        return None
    named = [remote for remote in remotes if not remote.peer.dynamic]
    missing = [remote for remote in named if remote.tried and not remote.established]
    if not all(enough(remote) or remote in missing for remote in named):
        return up_since + wait
    if any(peer.range for peer in options.peers):
        return max(started_at + wait, up_since)
    return max(started_at + min(wait, called_again), up_since) if missing else up_since
