"""The daemon's socket: one JSON object a line in, one out, over a Unix stream socket.

    -> {"version": 1, "command": "attach", "container": "c1", "netns": "/run/netns/c1"}
    <- {"version": 1, "result": {...}}
    <- {"version": 1, "error": {"type": "KernelError", "message": "..."}}

The server hands a command to a function and knows nothing of what it does. A client that is slow, hostile or
gone harms nobody else: each has its own thread, a line has a limit, a pause has a limit, and so has their
number. The socket's mode is 0660: whoever may write to it may attach containers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from . import errors
from .errors import ConfigError, ContainernetError, DaemonUnavailable

log = logging.getLogger(__name__)

VERSION = 1
LINE_LIMIT = 64 * 1024
CLIENT_LIMIT = 64
PAUSE_LIMIT = 30.0

Handler = Callable[[Mapping[str, Any]], Any]


class ControlServer:
    """Answers commands on a Unix socket until it is closed.

    Args:
        path: the socket's path; one that is there already is replaced: the caller holds the host's lock, so
            it is stale.
        commands: name to function; the function gets the request and returns what JSON can hold.
    """

    def __init__(self, path: Path, commands: Mapping[str, Handler]) -> None:
        self._path = path
        self._commands = commands
        self._clients: set[socket.socket] = set()
        self._lock = threading.Lock()
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
        self._listener.listen(CLIENT_LIMIT)
        self._thread = threading.Thread(target=self._accept, name="containernet-control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop listening, hang up on every client, and remove the socket; may be called twice."""
        self._closing = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(timeout=5.0)
        with self._lock:
            clients = list(self._clients)
        for client in clients:
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
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
            with self._lock:
                full = len(self._clients) >= CLIENT_LIMIT
                if not full:
                    self._clients.add(client)
            if full:
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            client.settimeout(PAUSE_LIMIT)
            with client, client.makefile("rwb") as stream:
                while line := stream.readline(LINE_LIMIT + 1):
                    stream.write(self._answer(line) + b"\n")
                    stream.flush()
                    if len(line) > LINE_LIMIT:
                        return
        except (OSError, ValueError):
            log.debug("a client of %s went away", self._path)
        finally:
            with self._lock:
                self._clients.discard(client)

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
