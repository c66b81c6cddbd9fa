"""The control socket: whoever talks to it, however badly, harms nobody else."""

from __future__ import annotations

import grp
import json
import os
import select
import socket
import stat
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from containernet.control import CLIENT_LIMIT, GRACE, LINE_LIMIT, ControlServer, ask
from containernet.errors import (
    AddressesExhausted,
    ConfigError,
    ContainernetError,
    DaemonUnavailable,
    KernelError,
)
from containernet.testing import SOON


def _fail(request: Mapping[str, Any]) -> None:
    raise {"ours": AddressesExhausted("none left"), "bug": ZeroDivisionError("by zero")}[request["how"]]


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """The socket of a server that echoes and fails."""
    path = tmp_path / "s"
    commands = {"echo": lambda request: request.get("text"), "fail": _fail, "strange": lambda _request: {1, 2}}
    with closing(ControlServer(path, commands)):
        yield path


def connect(path: Path) -> socket.socket:
    """Return a connection with a deadline."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(SOON)
    connection.connect(str(path))
    return connection


def answer_to(path: Path, raw: bytes) -> dict[str, Any]:
    """Send these octets and return the one answer."""
    with connect(path) as connection, connection.makefile("rb") as stream:
        connection.sendall(raw)
        answer: dict[str, Any] = json.loads(stream.readline())
        return answer


def test_a_command_and_its_result(path: Path) -> None:
    """One line in, one line out."""
    assert ask(path, "echo", text="é\n") == "é\n"


@pytest.mark.parametrize(
    ("how", "kind", "message"),
    [
        ("ours", AddressesExhausted, "none left"),
        ("bug", ContainernetError, "ZeroDivisionError: by zero; the daemon's log has more"),
    ],
)
def test_an_error_comes_back_as_what_it_was(path: Path, how: str, kind: type[Exception], message: str) -> None:
    """So a client exits as the daemon would have."""
    with pytest.raises(kind) as raised:
        ask(path, "fail", how=how)
    assert type(raised.value) is kind
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"\n", "request is not JSON"),
        (b"{\n", "request is not JSON"),
        (b"\xff\xfe\x00\n", "request is not JSON"),
        (b"[" * 60000 + b"\n", "request is not JSON"),
        (b"9" * 6000 + b"\n", "request is not JSON"),
        (b"null\n", 'expected an object with "version": 1'),
        (b"[]\n", 'expected an object with "version": 1'),
        (b'{"command": "echo"}\n', 'expected an object with "version": 1'),
        (b'{"version": 2, "command": "echo"}\n', 'expected an object with "version": 1'),
        (b'{"version": 1}\n', "unknown command None; known are: echo, fail, strange"),
        (b'{"version": 1, "command": ["echo"]}\n', "unknown command ['echo']"),
        (b"x" * (LINE_LIMIT + 1), f"request longer than {LINE_LIMIT} octets"),
    ],
)
def test_junk_is_answered_and_the_next_client_served(path: Path, raw: bytes, message: str) -> None:
    """With an error that says what was expected."""
    answer = answer_to(path, raw)
    assert answer["error"]["type"] == "ConfigError"
    assert message in answer["error"]["message"]
    assert ask(path, "echo", text="still here") == "still here"


def test_one_connection_may_ask_often_and_survives_junk(path: Path) -> None:
    """Every line has its answer, in order."""
    with connect(path) as connection, connection.makefile("rwb") as stream:
        for number in range(20):
            stream.write(json.dumps({"version": 1, "command": "echo", "text": number}).encode() + b"\njunk\n")
        stream.flush()
        answers = [json.loads(stream.readline()) for _ in range(40)]
    assert [each["result"] for each in answers[::2]] == list(range(20))
    assert all("error" in each for each in answers[1::2])


def test_a_client_that_says_nothing_holds_nobody_up(path: Path) -> None:
    """Nor one that stops in the middle of a word, nor one that has closed its half."""
    with connect(path), connect(path) as half, connect(path) as closed:
        half.sendall(b'{"version": 1, "comm')
        closed.sendall(b'{"version": 1, "command": "echo", "text": "bye"}\n')
        closed.shutdown(socket.SHUT_WR)
        with closed.makefile("rb") as stream:
            assert json.loads(stream.readline())["result"] == "bye"
        assert ask(path, "echo", text="x") == "x"


def test_more_clients_at_once_than_there_is_room_for(path: Path) -> None:
    """The others wait in line, and each gets its own answer."""
    waiting = [connect(path) for _ in range(CLIENT_LIMIT + 200)]
    for number, connection in enumerate(waiting):
        connection.sendall(json.dumps({"version": 1, "command": "echo", "text": number}).encode() + b"\n")
    for number, connection in enumerate(waiting):
        with connection, connection.makefile("rb") as stream:
            assert json.loads(stream.readline())["result"] == number


def test_who_says_nothing_makes_room_for_others(path: Path) -> None:
    """And who trickles; who is being answered does not, and neither does who has just come."""
    idle = [connect(path) for _ in range(CLIENT_LIMIT)]
    for connection in idle:
        connection.sendall(b"{")
    assert ask(path, "echo", text="x", timeout=SOON) == "x"
    assert idle[0].recv(1) == b""
    assert not select.select([idle[-1]], [], [], 0)[0]
    for connection in idle:
        connection.close()


def test_who_is_being_answered_is_not_hung_up_on(tmp_path: Path) -> None:
    """However long that takes; the next one waits for it."""
    path, going, go_on = tmp_path / "s", threading.Semaphore(0), threading.Event()

    def wait(request: Mapping[str, Any]) -> str:
        going.release()
        go_on.wait(SOON)
        return "done"

    with closing(ControlServer(path, {"wait": wait})), ThreadPoolExecutor(CLIENT_LIMIT + 1) as threads:
        answers = [threads.submit(ask, path, "wait") for _ in range(CLIENT_LIMIT + 1)]
        for _ in range(CLIENT_LIMIT):
            assert going.acquire(timeout=SOON)
        threading.Event().wait(1.5 * GRACE)
        go_on.set()
        assert [answer.result(SOON) for answer in answers] == ["done"] * (CLIENT_LIMIT + 1)


def test_what_nobody_waits_for_is_not_done(tmp_path: Path) -> None:
    """Whoever asked has gone, and perhaps asks for something else by now."""
    path, first, go_on, asked = tmp_path / "s", threading.Event(), threading.Event(), list[str]()

    def note(request: Mapping[str, Any]) -> None:
        asked.append(request["who"])
        first.set()
        go_on.wait(SOON)

    with closing(ControlServer(path, {"note": note})) as server:
        with connect(path) as impatient:
            for who in ("one", "two"):
                impatient.sendall(json.dumps({"version": 1, "command": "note", "who": who}).encode() + b"\n")
            assert first.wait(SOON)
        go_on.set()
        ask(path, "note", who="three")
        assert sorted(asked) == ["one", "three"]
        del server


def test_the_socket_is_given_to_a_group(tmp_path: Path) -> None:
    """That its members may use it; an unknown group is the operator's to change."""
    own = grp.getgrgid(os.getgid()).gr_name
    with closing(ControlServer(tmp_path / "s", {}, group=own)):
        assert (tmp_path / "s").stat().st_gid == os.getgid()
    with pytest.raises(ConfigError, match="socket_group = 'no such group'"):
        ControlServer(tmp_path / "s", {}, group="no such group")


def test_only_owner_and_group_may_talk(path: Path) -> None:
    """Whoever may write to it may attach containers; and the process's umask is as it was."""
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_ISSOCK(path.stat().st_mode)
    before = os.umask(0)
    os.umask(before)
    assert before != 0o117


def test_a_stale_socket_is_replaced(tmp_path: Path) -> None:
    """Its owner was killed; the lock that the caller holds says so."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    with closing(ControlServer(path, {"echo": lambda request: request["text"]})):
        assert ask(path, "echo", text="x") == "x"


def test_closing_hangs_up_and_removes_the_socket(path: Path, tmp_path: Path) -> None:
    """Nobody waits for a daemon that has gone; closing twice is closing."""
    other = tmp_path / "other"
    server = ControlServer(other, {})
    with connect(other) as connection:
        assert answer_to(other, b"x\n")["error"]
        server.close()
        assert connection.recv(1) == b""
    server.close()
    assert not other.exists()
    with pytest.raises(DaemonUnavailable, match="no containernetd answers"):
        ask(other, "echo")


@pytest.mark.parametrize("name", ["x" * 200, "directory", "none/s"])
def test_a_path_that_cannot_be_is_the_operators_to_change(tmp_path: Path, name: str) -> None:
    """Too long for a socket's address, taken, or nowhere."""
    (tmp_path / "directory").mkdir()
    with pytest.raises(ConfigError, match="choose another run_dir"):
        ControlServer(tmp_path / name, {})


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"", "hung up"),
        (b'{"version": 1, "resu', "died in the middle of a word"),
        (b"[]\n", "speaks another language"),
        (b"{}\n", "speaks another language"),
        (b'{"error": {"type": "os", "message": "x"}}\n', "os: x"),
        (b'{"error": {"type": "ClassVar", "message": "x"}}\n', "ClassVar: x"),
        (b'{"error": "x"}\n', ": "),
        (b'{"error": {"type": "KernelError", "message": "x"}}\n', "x"),
    ],
)
def test_whatever_answers_the_client_gets_an_error_of_ours(tmp_path: Path, raw: bytes, error: str) -> None:
    """A daemon of another version, another program, or one that dies."""
    path = tmp_path / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()

        def serve() -> None:
            client, _ = listener.accept()
            with client, client.makefile("rb") as stream:
                stream.readline()
                client.sendall(raw)

        thread = threading.Thread(target=serve)
        thread.start()
        with pytest.raises(ContainernetError, match=error) as raised:
            ask(path, "echo", timeout=SOON)
        thread.join(SOON)
    assert isinstance(raised.value, KernelError) == (b"KernelError" in raw)


def test_a_result_that_json_cannot_hold_is_an_answer_too(path: Path) -> None:
    """A bug in a command must not look like a daemon that died."""
    with pytest.raises(ContainernetError, match="TypeError"):
        ask(path, "strange")
