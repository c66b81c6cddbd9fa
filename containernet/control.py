"""The daemon's socket: one JSON object a line in, one out, over a Unix stream socket.

    -> {"version": 1, "command": "attach", "container": "c1", "netns": "/run/netns/c1"}
    <- {"version": 1, "result": {...}}
    <- {"version": 1, "error": {"type": "KernelError", "message": "..."}}

The server hands a command to a function and knows nothing of what it does. A client that is slow, hostile or
gone harms nobody else: each has its own thread, and a line has a limit. So has their number: beyond it the
next ones wait in line, and whoever has been connected for a while and says nothing makes room for them. What is
asked by somebody who has gone away since is not done. The socket's mode is 0660: whoever may write to it may
attach containers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import errors
from .errors import ConfigError, ContainernetError, DaemonUnavailable

log = logging.getLogger(__name__)

VERSION = 1
LINE_LIMIT = 1024 * 1024  # octets
CLIENT_LIMIT = 256
BACKLOG = 1024  # clients that wait to be accepted, and do not notice
PAUSE_LIMIT = 30.0  # seconds
GRACE = 1.0  # seconds in which a client can say what it wants, however many others want something

Handler = Callable[[Mapping[str, Any]], Any]


class ControlServer:
    """Answers commands on a Unix socket until it is closed.

    Args:
        path: the socket's path; one that is there already is replaced: the caller holds the host's lock, so
            it is stale.
        commands: name to function; the function gets the request and returns what JSON can hold.
        group: the name of the group that may use the socket; empty: the group of this process.

    Raises:
        ConfigError: the socket cannot be there, or there is no such group, or it cannot be given to it.
    """

    def __init__(self, path: Path, commands: Mapping[str, Handler], *, group: str = "") -> None:
        self._path = path
        self._commands = commands
        self._waiting_since: dict[socket.socket, float] = {}  # for a request; infinite: it is being answered
        self._changed = threading.Condition()
        self._closing = False
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o117)
        try:
            path.unlink(missing_ok=True)
            self._listener.bind(str(path))
        except OSError as error:
            self._listener.close()
            raise ConfigError(f"cannot listen on {path}: {error}; choose another run_dir") from error
        finally:
            os.umask(old)
        try:
            _give_to(path, group)
        except ConfigError:
            self._listener.close()
            raise
        self._listener.listen(BACKLOG)
        self._thread = threading.Thread(target=self._accept, name="containernet-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, hang up on every client, and remove the socket; may be called twice."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5.0)
        with self._changed:
            for client in self._waiting_since:
                _hang_up(client)
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._closing:
            try:
                client, _ = self._listener.accept()
            except OSError:
                if self._closing:
                    return
                threading.Event().wait(0.1)  # out of descriptors: clients that leave free some
                continue
            self._admit(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _admit(self, client: socket.socket) -> None:
        """Wait until there is room for one more client; make some."""
        with self._changed:
            while len(self._waiting_since) >= CLIENT_LIMIT and not self._closing:
                longest = min(self._waiting_since, key=self._waiting_since.__getitem__)
                if self._waiting_since[longest] < time.monotonic() - GRACE:
                    _hang_up(longest)
                    self._waiting_since[longest] = math.inf  # its thread ends; the next one is another
                self._changed.wait(0.1)
            self._waiting_since[client] = time.monotonic()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(PAUSE_LIMIT)
            with client.makefile("rwb") as stream:
                while (line := stream.readline(LINE_LIMIT + 1)) and not _is_gone(client):
                    self._waiting_since[client] = math.inf
                    stream.write(self._answer(line) + b"\n")
                    stream.flush()
                    if len(line) > LINE_LIMIT:
                        return
                    self._waiting_since[client] = time.monotonic()
        except (OSError, ValueError):
            log.debug("a client of %s went away", self._path)
        finally:
            with self._changed:
                del self._waiting_since[client]
                client.close()  # under the lock: nobody hangs up on a descriptor that is somebody else's by now
                self._changed.notify()

    def _answer(self, line: bytes) -> bytes:
        try:
            return json.dumps({"version": VERSION, "result": self._dispatch(line)}).encode()
        except ContainernetError as error:
            failed = {"type": type(error).__name__, "message": str(error)}
        except Exception as error:
            log.exception("a command failed in a way that nobody foresaw")
            text = f"{type(error).__name__}: {error}; the daemon's log has more"
            failed = {"type": "ContainernetError", "message": text}
        return json.dumps({"version": VERSION, "error": failed}).encode()

    def _dispatch(self, line: bytes) -> Any:
        if len(line) > LINE_LIMIT:
            raise ConfigError(f"request longer than {LINE_LIMIT} octets")
        try:
            request = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"request is not JSON: {error}") from None
        if not isinstance(request, dict) or request.get("version") != VERSION:
            raise ConfigError(f'expected an object with "version": {VERSION}')
        handler = self._commands.get(str(request.get("command")))
        if handler is None:
            raise ConfigError(
                f"unknown command {request.get('command')!r}; known are: {', '.join(sorted(self._commands))}"
            )
        return handler(request)


def _give_to(path: Path, group: str) -> None:
    if group:
        import shutil  # most daemons do without, and without the compressors that come with it

        try:
            shutil.chown(path, group=group)
        except (LookupError, OSError) as error:
            raise ConfigError(f"socket_group = {group!r}: cannot give {path} to it: {error}") from error


def _hang_up(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)


def _is_gone(client: socket.socket) -> bool:
    """Return whether the other side has closed its end; not, if it only has nothing more to say."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(0))


def ask(path: Path, command: str, *, timeout: float = 60.0, **arguments: object) -> Any:
    """Send one command to the daemon whose socket is at `path`, and return its result.

    Raises:
        DaemonUnavailable: nobody answers there.
        ContainernetError: what the daemon raised, of the same class.
    """
    request = json.dumps({"version": VERSION, "command": command, **arguments}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout)
            connection.connect(str(path))
            connection.sendall(request)
            with connection.makefile("rb") as stream:
                line = stream.readline()
    except PermissionError as error:
        raise errors.PermissionRefused(
            f"{path} may not be opened by this user: run as root, or as a member of the socket's group"
        ) from error
    except OSError as error:
        raise DaemonUnavailable(
            f"no containernetd answers on {path} ({error.strerror or error}): start it, or name its config "
            "file with --config"
        ) from error
    if not line:
        raise DaemonUnavailable(f"containernetd hung up on {path} without an answer; its log may say why")
    try:
        answer = json.loads(line)
        failed = answer.get("error")
        result = None if failed else answer["result"]
    except (ValueError, KeyError, AttributeError):
        raise DaemonUnavailable(
            f"what answers on {path} speaks another language, or died in the middle of a word: {line[:80]!r}"
        ) from None
    if failed:
        raise _error(failed)
    return result


def _error(document: Any) -> ContainernetError:
    kind, message = (
        (document.get(key) for key in ("type", "message")) if isinstance(document, dict) else ("", "")
    )
    cls = getattr(errors, str(kind), None)
    if isinstance(cls, type) and issubclass(cls, ContainernetError):
        return cls(message)
    return ContainernetError(f"{kind}: {message}")
