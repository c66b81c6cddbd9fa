"""When to tell what is new: at once what comes alone, and what comes in crowds in one go.

A telling has its price for each peer, however little is new. So a third of the time is for it, and a peer that
tells us much is listened to before what it said is passed on.
"""

from __future__ import annotations

LISTENING = 0.05  # seconds in which peers that talk are listened to
LONGEST_PAUSE = 0.2  # seconds between two tellings


class Pace:
    """The times of tellings, monotonic.

    Attributes:
        at: when the next one is due; None: there is none to wait for.
        more: the last one was cut short.
    """

    def __init__(self) -> None:
        self.at: float | None = None
        self.more = False
        self._ended = self._took = 0.0

    def due(self, *, now: float, listening: bool) -> bool:
        """Return whether to tell now; if not, `at` says when.

        Args:
            listening: peers are telling us something.
        """
        pause = 2 * self._took
        if listening:
            pause = max(pause, LISTENING)
        elif self.more:
            pause = 0.0
        at = self._ended + min(pause, LONGEST_PAUSE)
        self.at = None if at <= now else at
        return self.at is None

    def told(self, *, began: float, ended: float, more: bool) -> None:
        """Note how a telling went."""
        self._ended = ended
        self._took = ended - began
        self.more = more
