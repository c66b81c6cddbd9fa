"""The daemon dies at each call that a request makes it do, and the runtime goes on as the specification says.

It dies right before a call (see `mortal`). That is right after the one before, since in between it changes
nothing; and after the last one, the answer, the runtime knows. The subnets have room for one container: had a
death cost an address, the next ADD would be refused.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from containernet.addresses import recorded
from containernet.errors import DaemonUnavailable
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import hosts
from .hosts import Host
from .runtime import Done

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

ROOM_FOR_ONE = "subnet_length = 30\nsubnet_length6 = 126"
PROGRAM = str(Path(__file__).with_name("mortal.py"))
CALL = "next call: "  # how lines of the log begin that say what the daemon is about to do

PORT = {"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}
PUBLISHED = {"runtimeConfig": {"portMappings": [PORT]}}
AS_IPAM = {"type": "ptp", "ipam": {"type": "containernet-cni"}}
IN_THE_BOOK = {"COMMIT", "an answer"}
EVERYWHERE = {*IN_THE_BOOK, "a transaction of nftables", "RTM_SETLINK"}

WITH_A_PORT, FOR_ANOTHER_PLUGIN = (PUBLISHED, EVERYWHERE), (AS_IPAM, IN_THE_BOOK)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One host, whose daemon dies where it is told to."""
    with hosts.host(tmp_path_factory.mktemp("host"), network=ROOM_FOR_ONE) as made:
        made.stop()
        made.program = (PROGRAM, str(orders(made)))
        made.start()
        yield made


def orders(host: Host) -> Path:
    """Return the file that says where the daemon dies."""
    return host.home / "orders"


def asked(host: Host, number: int, command: str, netns: str, **config: Any) -> tuple[Done, list[str]]:
    """Ask the plugin, of a daemon that dies before its call of that number; return what it says, and the calls.

    The daemon is none any more, if it has died; a DEL has left a letter then.
    """
    said = len(host.log())
    orders(host).write_text(str(number))
    done = host.runtime.ask(command, "c1", netns, **config)
    calls = [line.removeprefix(CALL) for line in host.log()[said:].splitlines() if line.startswith(CALL)]
    left_alone = list(host.config.letters.iterdir()) if command == "DEL" else done.code
    if left_alone:
        assert host.daemon
        assert host.daemon.wait(10) == -signal.SIGKILL, done
        assert len(calls) == number
        host.daemon = None
    return done, calls


def deleted(host: Host) -> None:
    """Have DEL done as soon as the daemon listens, which is before it has read the kernel."""

    def answered() -> bool:
        with suppress(DaemonUnavailable):
            assert host.asked("cni", **host.runtime.words("DEL", "c1", "")) == {"exit": 0, "output": ""}
            return True
        return False

    wait_until(answered, what="DEL")


def check_nothing_is_left(host: Host, container: Netns, before: object) -> None:
    """In memory, in the book, in the kernel, in files."""
    assert host.holds() == before
    assert recorded(host.config.addresses) == ()
    assert not container.can("link show dev eth0")


@pytest.mark.parametrize(
    ("config", "kinds", "way"),
    [
        (*WITH_A_PORT, "DEL at once"),
        (*WITH_A_PORT, "DEL while it starts"),
        (*WITH_A_PORT, "no DEL"),
        (*FOR_ANOTHER_PLUGIN, "DEL at once"),
        (*FOR_ANOTHER_PLUGIN, "no DEL"),
    ],
)
def test_whichever_call_of_an_add_is_the_last(
    clean: Host, netns: Callable[[], Netns], config: dict[str, Any], kinds: set[str], way: str
) -> None:
    """It can be tried again; DEL succeeds, and nothing is left. What was answered is there.

    Where the runtime dies as well, the namespace goes without a DEL.
    """

    def delete() -> None:
        assert clean.runtime.ask("DEL", "c1", container.path, **config).result is None

    container, before = netns(), clean.holds()
    assert clean.runtime.ask("ADD", "c1", container.path, **config).result  # the same calls from now on
    delete()
    died = []
    for number in itertools.count(1):
        done, calls = asked(clean, number, "ADD", container.path, **config)
        if clean.daemon:
            break
        died.append(calls[-1])
        assert done.error["code"] == 11
        if way == "DEL at once":
            delete()
        if way == "no DEL":
            container.close()
        clean.start((lambda: deleted(clean)) if way == "DEL while it starts" else lambda: None)
        if way == "no DEL":
            container = netns()
            clean.wait_for(before)  # a kernel takes its time to end a namespace
        check_nothing_is_left(clean, container, before)
    assert died == calls
    assert kinds <= set(died)
    clean.stop(signal.SIGKILL)
    clean.start()
    assert clean.runtime.ask("CHECK", "c1", container.path, prevResult=done.result, **config).result is None
    delete()


@pytest.mark.parametrize(("config", "kinds"), [WITH_A_PORT, FOR_ANOTHER_PLUGIN])
def test_whichever_call_of_a_del_is_the_last(
    clean: Host, netns: Callable[[], Netns], config: dict[str, Any], kinds: set[str]
) -> None:
    """It succeeds, for it leaves a letter; that is enough."""
    container, before = netns(), clean.holds()
    died = []
    for number in itertools.count(1):
        assert clean.runtime.ask("ADD", "c1", container.path, **config).result
        done, calls = asked(clean, number, "DEL", container.path, **config)
        assert done.result is None
        if clean.daemon:
            break
        died.append(calls[-1])
        clean.start()
        check_nothing_is_left(clean, container, before)
    check_nothing_is_left(clean, container, before)
    assert died == calls
    assert kinds <= set(died)
