"""An inbox that one thread empties: messages from other threads, and calls that wait for their answer.

A call runs on the owner's thread, between two messages, so what it sees is consistent and needs no lock.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from .errors import DaemonUnavailable
from .values import shown

if TYPE_CHECKING:
    from concurrent.futures import Future

_Message = TypeVar("_Message")
_Result = TypeVar("_Result")

PATIENCE = 60.0  # seconds
BATCH = 10_000  # messages that are taken at once


@attrs.frozen(kw_only=True, eq=False)
class _Call:
    function: Callable[[], Any]
    answer: Future[Any]
    __repr__ = shown

    def run(self) -> None:
        """Answer the caller, if it still waits."""
        if not self.answer.set_running_or_notify_cancel():
            return
        try:
            self.answer.set_result(self.function())
        except Exception as error:
            self.answer.set_exception(error)


class Inbox(Generic[_Message]):
    """Messages for one thread: the one that calls `own`.

    Args:
        patience: seconds that a caller waits for its turn.
    """

    def __init__(self, *, patience: float = PATIENCE) -> None:
        self.patience = patience
        self._queue: queue.SimpleQueue[_Message | _Call | None] = queue.SimpleQueue()
        self._owner = 0
        self._closed = threading.Event()

    def own(self) -> None:
        """Make the calling thread the one that empties the inbox."""
        self._owner = threading.get_ident()

    def put(self, message: _Message) -> None:
        """Leave a message; never blocks."""
        self._queue.put(message)

    def wake(self) -> None:
        """Make a waiting `take` return; may be called from a signal handler."""
        self._queue.put(None)

    @property
    def closed(self) -> bool:
        """Whether the owner has stopped."""
        return self._closed.is_set()

    def later(self, function: Callable[[], _Result]) -> Future[_Result]:
        """Have `function` run on the owner's thread; return at once what will hold its result."""
        from concurrent.futures import Future  # not in a start: whoever calls, calls later

        answer: Future[_Result] = Future()
        self._queue.put(_Call(function=function, answer=answer))
        if self._closed.is_set():
            self._refuse_all()
        return answer

    def call(self, function: Callable[[], _Result]) -> _Result:
        """Run `function` on the owner's thread, and return what it returns or raise what it raises.

        Raises:
            DaemonUnavailable: the owner has stopped, or did not get to it in time; then it never will.
        """
        if threading.get_ident() == self._owner:
            return function()
        from concurrent.futures import wait

        answer = self.later(function)
        wait([answer], timeout=self.patience)
        if answer.cancel():
            raise DaemonUnavailable(f"the agent did not get to it within {self.patience:g} s; ask its log why")
        return answer.result()

    def take(self, timeout: float, handle: Callable[[_Message], None]) -> None:
        """Wait up to `timeout` seconds for a message, then handle all that are there: a burst is one batch."""
        with contextlib.suppress(queue.Empty):
            self._deal_with(self._queue.get(timeout=max(0.0, timeout)), handle)
            for _ in range(BATCH - 1):
                self._deal_with(self._queue.get_nowait(), handle)

    def close(self) -> None:
        """Refuse every call that waits, and every later one."""
        self._closed.set()
        self._owner = 0
        self._refuse_all()

    @staticmethod
    def _deal_with(found: _Message | _Call | None, handle: Callable[[_Message], None]) -> None:
        if isinstance(found, _Call):
            found.run()
        elif found is not None:
            handle(found)

    def _refuse_all(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                found = self._queue.get_nowait()
                if isinstance(found, _Call) and found.answer.set_running_or_notify_cancel():
                    found.answer.set_exception(DaemonUnavailable("the agent has stopped; start it again"))
