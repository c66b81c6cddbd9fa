"""A lock whose holders take turns.

Python's locks are whoever's is first: a thread that lets go of one and takes it again has it before those who
wait have woken up. So a long job in many small pieces under such a lock keeps everybody else out, as one long
piece would. Here it stands in line.
"""

from __future__ import annotations

from threading import Lock, get_ident


class TurnLock:
    """A reentrant lock for which nobody waits longer than it takes all those who waited before.

    It has what threading.Condition asks of a lock that is not threading's own.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._door = Lock()  # held by the one who is next, so that nobody overtakes it
        self._owner = 0
        self._depth = 0

    def acquire(self) -> bool:
        """Wait for one's turn; at once where one has it already."""
        if not self._is_owned():
            with self._door:
                self._lock.acquire()
            self._owner = get_ident()
        self._depth += 1
        return True

    def release(self) -> None:
        """Undo an `acquire`."""
        self._depth -= 1
        if not self._depth:
            self._owner = 0
            self._lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_owned(self) -> bool:
        return self._owner == get_ident()

    def _release_save(self) -> int:
        depth, self._depth = self._depth, 1
        self.release()
        return depth

    def _acquire_restore(self, depth: int) -> None:
        self.acquire()
        self._depth = depth
