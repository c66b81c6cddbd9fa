"""What is to go wrong next in a fake: the next call of a name fails, hangs, or loses its answer.

Every wait here is for something to happen, with a deadline, and never for time to pass.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

SOON = 10.0  # seconds; only a failing test waits for so long
FOR_EVER = 1 << 30


class Faults:
    """What is to go wrong next, by the name of the call. Threads may share it."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._before: dict[str, list[Exception]] = {}
        self._after: dict[str, list[Exception]] = {}
        self._always: dict[str, Exception] = {}
        self._hanging: set[str] = set()
        self._inside: list[str] = []

    def fail(self, call: str, error: Exception, *, times: int = 1) -> None:
        """Make the next `times` calls raise `error`, having done nothing."""
        with self._changed:
            if times == FOR_EVER:
                self._always[call] = error
            else:
                self._before.setdefault(call, []).extend([error] * times)

    def lose_answer(self, call: str, error: Exception) -> None:
        """Make the next call do its work, and then raise `error`."""
        with self._changed:
            self._after.setdefault(call, []).append(error)

    def heal(self, call: str = "") -> None:
        """Forget every fault of that call, or of all of them, and let go of who hangs in it."""
        with self._changed:
            for faults in (self._before, self._after, self._always):
                for each in [call] if call else list(faults):
                    faults.pop(each, None)
        self.let_go(call)

    def let_go(self, call: str = "") -> None:
        """Let everybody who hangs in that call, or in any, go on."""
        with self._changed:
            self._hanging -= {call} if call else set(self._hanging)
            self._changed.notify_all()

    def hang(self, call: str) -> None:
        """Make every such call wait until `let_go`."""
        with self._changed:
            self._hanging.add(call)

    def wait_until_hung(self, call: str) -> None:
        """Wait until somebody hangs in that call."""
        with self._changed:
            assert self._changed.wait_for(lambda: call in self._inside, SOON), f"nobody called {call}"

    @contextmanager
    def around(self, call: str) -> Iterator[None]:
        """Do a call's work inside, with what is to go wrong before and after it."""
        with self._changed:
            self._inside.append(call)
            self._changed.notify_all()
            self._changed.wait_for(lambda: call not in self._hanging)
            self._inside.remove(call)
            if self._before.get(call):
                raise self._before[call].pop(0)
            if call in self._always:
                raise self._always[call]
        yield
        with self._changed:
            if self._after.get(call):
                raise self._after[call].pop(0)
