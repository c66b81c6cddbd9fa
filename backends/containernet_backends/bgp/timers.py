"""When each peer has to be looked at next: a heap, in which what has been overtaken lies until it comes up."""

from __future__ import annotations

import heapq
import itertools

from .remote import Remote

_OVERTAKEN = 1000  # entries that may lie there of no use, and four more for each peer


class Timers:
    """Peers by the time of their first deadline. A deadline that moves further away costs nothing."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Remote]] = []
        self._numbers = itertools.count()

    def set(self, remote: Remote, deadline: float | None, *, peers: int) -> None:
        """See to it that `remote` is due when its deadline is over, or before; None: never, or once too often.

        Args:
            peers: how many there are.
        """
        if deadline is None or (remote.due is not None and remote.due <= deadline):
            return
        remote.due = deadline
        heapq.heappush(self._heap, (deadline, next(self._numbers), remote))
        if len(self._heap) > _OVERTAKEN + 4 * peers:  # most of them are of callers long gone
            self._heap = [timer for timer in self._heap if timer[0] == timer[2].due]
            heapq.heapify(self._heap)

    def due(self, now: float) -> list[Remote]:
        """Take those whose time has come."""
        due = []
        while self._heap and self._heap[0][0] <= now:
            at, _, remote = heapq.heappop(self._heap)
            if at == remote.due:  # or else an earlier one took its place
                remote.due = None
                due.append(remote)
        return due

    @property
    def first(self) -> float | None:
        """When somebody is due, at the earliest; None: nobody ever."""
        return self._heap[0][0] if self._heap else None

    def clear(self) -> None:
        """Forget all."""
        self._heap.clear()
