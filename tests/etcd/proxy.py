"""A TCP connection that fails as networks fail: silently, in one direction, slowly, or with a reset.

A proxy stands between a client and one member. It listens on 127.0.0.1 in this process's network namespace, and
connects from any other: a client needs to know nothing of namespaces, nor to be told that it is being tested.

Nothing that was sent is ever lost, it is held: TCP would send it again. So a direction that was cut and is
mended delivers what was sent meanwhile, also the end of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import struct
from collections.abc import Coroutine
from pathlib import Path
from threading import Thread
from typing import Any, Self

from containernet.lab.namespaces import network

from .ports import free_port

LOOPBACK = "127.0.0.1"
PATIENCE = 10
RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST


class Proxy:
    """Listens on `port` of 127.0.0.1 and forwards to a port of 127.0.0.1, until it is closed.

    All methods may be called from any thread, return when they have taken effect, and may be called twice.

    Args:
        target: the port to forward to.
        netns: the path of the network namespace that the port is in; empty: this one.
    """

    def __init__(self, target: int, *, netns: str = "") -> None:
        self.port = free_port()
        self._target, self._netns = target, netns
        self._delay = 0.0
        self._connections: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None
        self._requests, self._answers = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name=f"proxy {self.port}")
        self._thread.start()
        self.mend()

    def cut(self, *, requests: bool = True, answers: bool = True) -> None:
        """Let nothing pass, and tell nobody.

        Args:
            requests: what goes to the server; new connections, too, stay without an answer.
            answers: what comes back. Cut these alone, and what is asked for happens and is not confirmed.
        """
        self._do(self._cut(requests, answers))

    def delay(self, seconds: float) -> None:
        """Pass on what is sent from now on, either way, this much later."""
        self._do(self._set_delay(seconds))

    def reset(self) -> None:
        """Break every connection there is; new ones are welcome."""
        self._do(self._reset())

    def refuse(self) -> None:
        """Break every connection and refuse new ones, as a host does whose etcd is not running."""
        self._do(self._refuse())

    def mend(self) -> None:
        """Undo all of it: everything passes, at once."""
        self._do(self._mend())

    @property
    def connections(self) -> int:
        """How many connections there are, cut ones included."""
        return len(self._connections)

    def close(self) -> None:
        """Break every connection and end; may be called twice."""
        if not self._loop.is_closed():
            self.refuse()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, change: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(change, self._loop).result(PATIENCE)

    async def _cut(self, requests: bool, answers: bool) -> None:
        if requests:
            self._requests.clear()
        if answers:
            self._answers.clear()

    async def _set_delay(self, seconds: float) -> None:
        self._delay = seconds

    async def _reset(self) -> None:
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _refuse(self) -> None:
        if self._accepting:
            self._accepting.cancel()
            await asyncio.wait([self._accepting])
            self._accepting = None
        await self._reset()

    async def _mend(self) -> None:
        self._delay = 0.0
        self._requests.set()
        self._answers.set()
        if self._accepting is None:
            listener = socket.create_server((LOOPBACK, self.port))
            listener.setblocking(False)
            self._accepting = self._loop.create_task(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        # Not asyncio's own server: what that has accepted and not yet begun to serve, nobody can close.
        with listener:
            while True:
                client, _ = await self._loop.sock_accept(listener)
                connection = self._loop.create_task(self._serve(client))
                self._connections.add(connection)
                connection.add_done_callback(functools.partial(self._ended, client))

    def _ended(self, client: socket.socket, connection: asyncio.Task[None]) -> None:
        self._connections.discard(connection)
        client.close()

    async def _serve(self, connection: socket.socket) -> None:
        """Forward one connection to its end."""
        client, to_client = await asyncio.open_connection(sock=connection)
        writers = [to_client]
        try:
            await self._requests.wait()
            server, to_server = await asyncio.open_connection(sock=await self._connect())
            writers.append(to_server)
            await asyncio.gather(
                self._pump(client, to_server, self._requests), self._pump(server, to_client, self._answers)
            )
        except (OSError, asyncio.CancelledError) as error:  # one side broke it, or we do: both shall see it
            for writer in writers:
                _break(writer)
            if isinstance(error, asyncio.CancelledError):
                raise
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _connect(self) -> socket.socket:
        with network(Path(self._netns)) if self._netns else contextlib.nullcontext():
            connection = socket.socket()
        connection.setblocking(False)
        try:
            await self._loop.sock_connect(connection, (LOOPBACK, self._target))
        except BaseException:
            connection.close()
            raise
        return connection

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: asyncio.Event
    ) -> None:
        """Pass on what one side says until it has said everything; its failure, too, has to pass the gate."""
        while True:
            failure: OSError | None = None
            sent = b""
            try:
                sent = await reader.read(1 << 16)
            except OSError as error:
                failure = error
            await asyncio.sleep(self._delay)
            await gate.wait()
            if failure:
                raise failure
            if not sent:
                writer.write_eof()
                return
            writer.write(sent)
            await writer.drain()


def _break(writer: asyncio.StreamWriter) -> None:
    """Let the other side see a reset instead of an orderly end."""
    connection = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # closed already
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
