"""The inbox: one thread empties it, many fill it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from containernet.errors import DaemonUnavailable, KernelError
from containernet.inbox import Inbox


@contextmanager
def emptied(inbox: Inbox[str], heard: list[str]) -> Iterator[None]:
    """Let a thread empty the inbox all the while."""
    done = threading.Event()

    def work() -> None:
        inbox.own()
        while not done.is_set():
            inbox.take(60.0, heard.append)
        inbox.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        inbox.wake()
        thread.join()


def test_a_call_runs_on_the_owners_thread_behind_the_messages_before_it() -> None:
    """So it sees what they did, and needs no lock."""
    inbox: Inbox[str] = Inbox()
    heard: list[str] = []
    with emptied(inbox, heard):
        inbox.put("one")
        seen, thread = inbox.call(lambda: (list(heard), threading.get_ident()))
    assert seen == ["one"]
    assert thread != threading.get_ident()


def test_a_call_raises_what_the_function_raises() -> None:
    """The caller meets the error as if it had called the function itself."""
    inbox: Inbox[str] = Inbox()

    def fail() -> None:
        raise KernelError("no")

    with emptied(inbox, []), pytest.raises(KernelError, match="no"):
        inbox.call(fail)


def test_the_owner_calls_without_waiting_for_itself() -> None:
    """A callback on the owner's thread may ask what everybody may ask."""
    inbox: Inbox[str] = Inbox()
    inbox.own()
    assert inbox.call(lambda: 42) == 42


def test_a_call_that_gave_up_is_never_made() -> None:
    """A caller that was told of a timeout must not find it done later."""
    inbox: Inbox[str] = Inbox(patience=0.01)
    made: list[int] = []
    with pytest.raises(DaemonUnavailable, match=r"within 0\.01 s"):
        inbox.call(lambda: made.append(1))
    inbox.take(0.0, lambda _: None)
    assert made == []


def test_a_closed_inbox_refuses_calls_that_wait_and_later_ones() -> None:
    """Nobody hangs on an owner that has gone."""
    inbox: Inbox[str] = Inbox()
    waiting = inbox.later(lambda: 1)
    inbox.close()
    for answer in (waiting, inbox.later(lambda: 2)):
        with pytest.raises(DaemonUnavailable, match="has stopped"):
            answer.result(timeout=0)


def test_a_burst_is_one_batch() -> None:
    """What is there is taken at once, in its order, and a wake-up is no message."""
    inbox: Inbox[str] = Inbox()
    heard: list[str] = []
    for word in ("a", "b", "c"):
        inbox.put(word)
        inbox.wake()
    inbox.take(60.0, heard.append)
    assert heard == ["a", "b", "c"]
