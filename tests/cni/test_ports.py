"""Ports of the host that a runtime asks for: they lead to the container, and outlive the daemon."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from containernet_backends.netlink.namespaces import Namespace
from tests.kernel.conftest import Netns

from .hosts import Host

pytestmark = pytest.mark.kernel

Make = Callable[[], Netns]


def published(host_port: int, protocol: str = "tcp") -> dict[str, Any]:
    """Return what a runtime adds to the network configuration."""
    port = {"hostPort": host_port, "containerPort": 80, "protocol": protocol}
    return {"runtimeConfig": {"portMappings": [port]}}


def socket_in(space: Netns) -> socket.socket:
    """Return a TCP socket in a namespace."""
    with closing(Namespace(space.path)) as entered:
        return entered.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM))


@contextmanager
def serving(container: Netns, word: bytes) -> Iterator[None]:
    """Say a word to everybody who comes to port 80 of a container."""
    with socket_in(container) as listener:
        listener.bind(("0.0.0.0", 80))
        listener.listen()

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    client.sendall(word)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def said_at(space: Netns, address: str, port: int) -> bytes:
    """Return what is said to who comes from a namespace to a port."""
    with socket_in(space) as client:
        client.settimeout(5)
        client.connect((address, port))
        return client.recv(99)


def test_a_port_leads_to_its_container_as_long_as_that_is_attached(clean: Host, netns: Make) -> None:
    """From the host and its neighbour, while no daemon runs and after it is back; then it is free."""
    one, other = netns(), netns()
    assert clean.runtime.ask("ADD", "c1", one.path, **published(8080)).code == 0
    assert clean.runtime.ask("ADD", "c2", other.path).code == 0
    with serving(one, b"c1"):
        assert said_at(clean.netns, "127.0.0.1", 8080) == b"c1"
        clean.stop(signal.SIGKILL)
        assert said_at(other, clean.address, 8080) == b"c1"
        clean.start()
        assert said_at(other, clean.address, 8080) == b"c1"
        assert "nothing to do" in clean.run("plan")
        assert clean.asked("status")["warnings"] == []
    assert clean.runtime.ask("DEL", "c1", one.path, **published(8080)).code == 0
    with pytest.raises(ConnectionRefusedError):
        said_at(clean.netns, "127.0.0.1", 8080)
    third = netns()
    assert clean.runtime.ask("ADD", "c3", third.path, **published(8080)).code == 0
    with serving(third, b"c3"):
        assert said_at(clean.netns, clean.address, 8080) == b"c3"


def test_a_port_that_is_taken_is_refused_with_who_has_it(clean: Host, netns: Make) -> None:
    """And the one who asked for it has nothing, nor the one who has it less."""
    one, other = netns(), netns()
    assert clean.runtime.ask("ADD", "c1", one.path, **published(8080)).code == 0
    refused = clean.runtime.ask("ADD", "c2", other.path, **published(8080)).error
    assert "c1 has 8080/tcp" in str(refused["msg"]) + str(refused.get("details", ""))
    assert set(clean.endpoints()) == {"c1"}
    assert clean.runtime.ask("ADD", "c2", other.path, **published(8080, "udp")).code == 0
    with serving(one, b"c1"):
        assert said_at(clean.netns, clean.address, 8080) == b"c1"
