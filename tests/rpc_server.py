"""A gRPC server of the package h2's, on a real socket, for what no etcd does on demand.

/echo      answers with the message that it got       /goodbye   the same, and takes no more calls here
/many/N    answers with N messages                     /never     answers nothing
/slow      answers after 0.3 s                         /hang-up   breaks the connection
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import Self

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    PingReceived,
    RequestReceived,
    StreamEnded,
    StreamReset,
)

from containernet_backends.rpc import frames

HEAD = [(":status", "200"), ("content-type", "application/grpc")]
SLOW = 0.3


class Server:
    """Listens until it is closed.

    Args:
        mute: it accepts, says SETTINGS and nothing more.

    `connections`: how many there were. `pings`, `resets`: how often a client sent such a frame.
    """

    def __init__(self, *, mute: bool = False) -> None:
        self.connections = self.pings = self.resets = 0
        self._mute = mute
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ending = threading.Event()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, name="rpc server")]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    def hang_up(self) -> None:
        """Close every connection, and go on to listen."""
        while self._open:
            with contextlib.suppress(OSError):  # it has hung up itself
                self._open.pop().shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End all of it."""
        self._ending.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _accept(self) -> None:
        while not self._ending.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(accepted)
            thread = threading.Thread(target=self._serve, args=(accepted,), name="rpc connection")
            self._threads.append(thread)
            thread.start()

    def _serve(self, accepted: socket.socket) -> None:
        with accepted:
            conversation = _Conversation(self, accepted)
            try:
                while conversation.go_on() and not self._ending.is_set():
                    pass
            except OSError:
                pass


class _Conversation:
    def __init__(self, server: Server, accepted: socket.socket) -> None:
        self._server, self._socket = server, accepted
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._h2.initiate_connection()
        self._socket.sendall(self._h2.data_to_send())
        self._asked: dict[int, tuple[str, bytes]] = {}
        self._late: dict[int, float] = {}  # when to answer

    def go_on(self) -> bool:
        """Wait for something, and answer; False: the other end has hung up."""
        if not select.select([self._socket], [], [], 0.02 if self._late else None)[0]:
            self._answer_late()
            return True
        octets = self._socket.recv(1 << 16)
        if self._server._mute:
            return bool(octets)
        events = self._h2.receive_data(octets)
        if any(isinstance(event, ConnectionTerminated) for event in events):
            return False
        for event in events:
            match event:
                case RequestReceived(stream_id=stream, headers=headers):
                    paths = {str(name): str(value) for name, value in headers}
                    self._asked[stream] = paths[":path"], b""
                case DataReceived(stream_id=stream, data=data, flow_controlled_length=length):
                    path, before = self._asked[stream]
                    self._asked[stream] = path, before + data
                    self._h2.acknowledge_received_data(length, stream)
                case StreamEnded(stream_id=stream):
                    self._answer(stream, *self._asked[stream])
                case StreamReset(stream_id=stream):
                    self._server.resets += 1
                    self._late.pop(stream, None)
                case PingReceived():
                    self._server.pings += 1
        self._answer_late()
        self._socket.sendall(self._h2.data_to_send())
        return bool(octets)

    def _answer(self, stream: int, path: str, asked: bytes) -> None:
        match path.split("/")[1:]:
            case ["echo"]:
                self._say(stream, asked)
            case ["many", count]:
                self._say(stream, asked * int(count))
            case ["slow"]:
                self._late[stream] = time.monotonic() + SLOW
            case ["goodbye"]:
                self._say(stream, asked)
                # h2 itself would end the other calls with it.
                last = max(self._asked)
                self._socket.sendall(self._h2.data_to_send())
                self._socket.sendall(frames.frame(frames.GOAWAY, 0, 0, last.to_bytes(4, "big") + bytes(4)))
            case ["hang-up"]:
                self._socket.shutdown(socket.SHUT_RDWR)

    def _answer_late(self) -> None:
        for stream in [each for each, due in self._late.items() if time.monotonic() >= due]:
            del self._late[stream]
            self._say(stream, self._asked[stream][1])
        self._socket.sendall(self._h2.data_to_send())

    def _say(self, stream: int, octets: bytes) -> None:
        self._h2.send_headers(stream, HEAD)
        for at in range(0, len(octets), 1 << 14):
            self._h2.send_data(stream, octets[at : at + (1 << 14)])
        self._h2.send_headers(stream, [("grpc-status", "0"), ("grpc-message", "")], end_stream=True)
