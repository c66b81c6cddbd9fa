"""Many containers, at once and one after the other: nothing is left behind, whatever happens to the daemon."""

from __future__ import annotations

import random
import signal
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import pytest

from containernet import control
from containernet.errors import DaemonUnavailable
from tests.kernel.conftest import Netns

from .hosts import Host
from .runtime import Done

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

ROUNDS = 1000
AT_ONCE = 4
LIVES = 8  # of the daemon, during all of it


def test_two_hundred_at_once(clean: Host, netns: Callable[[], Netns], tmp_path: Path) -> None:
    """All have addresses of their own; and all go at once."""
    containers = {f"c{number}": netns().path for number in range(200)}
    added = clean.runtime.ask_all("ADD", containers, tmp_path)
    given = Counter(each["address"] for done in added for each in done.result["ips"])
    assert (len(given), max(given.values())) == (400, 1)
    assert len(clean.cables()) == 200
    assert [done.result for done in clean.runtime.ask_all("DEL", containers, tmp_path)] == [None] * 200


def test_a_thousand_times_while_the_daemon_is_killed(clean: Host, netns: Callable[[], Netns]) -> None:
    """A runtime that follows the specification, and a daemon that dies at any moment of it.

    ADD succeeds or can be tried again, when DEL has followed; DEL always succeeds. In the end there is nothing:
    no address, cable, file or rule. That is what `clean` looks for.
    """
    spare = [netns() for _ in range(2 * AT_ONCE)]
    mortal = Mortal(clean)

    def attach(number: int) -> None:
        container = spare.pop()
        while mortal.ask("ADD", f"c{number}", container.path).code:
            mortal.ask("DEL", f"c{number}", container.path)
            mortal.living.wait(10)
        mortal.ask("DEL", f"c{number}", container.path)
        spare.append(container)

    with mortal, ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(attach, range(ROUNDS)))
    assert mortal.seen["killed"] == LIVES
    assert mortal.seen["left as a letter"] > 0
    assert mortal.seen["ADD"] >= ROUNDS
    for container in spare:
        assert not container.can("link show dev eth0")


class Mortal:
    """A host whose daemon is killed again and again, at moments that nobody foresees, and started at once.

    It is asked over its socket, in the executable's words: a thousand interpreters would take a minute. What it
    does not answer the executable is asked, as ever.
    """

    def __init__(self, host: Host) -> None:
        self.seen: Counter[str] = Counter()
        self.living = threading.Event()
        self._host = host
        self._socket = host.config.socket
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> Self:
        self.living.set()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _kill(self) -> None:
        dice = random.Random()
        for life in range(1, LIVES + 1):
            while self.seen["ADD"] < life * ROUNDS / (LIVES + 1) and not self._over.wait(0.002):
                pass
            self._over.wait(dice.uniform(0, 0.05))
            self.living.clear()
            self._host.stop(signal.SIGKILL)
            self._over.wait(0.05)
            self._host.start()
            self.living.set()
            self.seen["killed"] += 1

    def ask(self, command: str, container: str, netns: str) -> Done:
        """Ask for one attachment; fail the test unless the answer is one that may be."""
        runtime = self._host.runtime
        try:
            answer = control.ask(self._socket, "cni", **runtime.words(command, container, netns))
            done = Done(code=answer["exit"], out=answer["output"], err="")
        except DaemonUnavailable:
            if command == "ADD":
                return Done(code=1, out="", err="")
            done = runtime.ask(command, container, netns)
            self.seen["left as a letter"] += 1
        self.seen[command] += done.code == 0
        assert done.code == 0 or (command == "ADD" and done.error["code"] == 11), done.out
        return done
