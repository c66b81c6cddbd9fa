"""What really crosses a wire: frames from a packet socket, decoded (packet(7))."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from .. import packet
from ..errors import KernelError
from ..model import Address
from ..packet import ECHO_REQUEST, Icmp, Ipv4, Ipv6, Layer
from . import namespaces, ping as pinging

_ALL = 0x0003  # ETH_P_ALL
_FRAME = 65600  # octets; the longest frame, with segmentation offload


class Capture:
    """Frames that leave or reach one interface of a namespace, from the moment it is made.

    Raises:
        KernelError: there is no such interface.
    """

    def __init__(self, netns: Path, interface: str) -> None:
        with namespaces.network(netns):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL))
            try:
                self._socket.bind((interface, _ALL))
            except OSError as error:
                self._socket.close()
                raise KernelError(f"cannot capture on {interface} of {netns.name}: {error.strerror}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def frames(self, timeout: float) -> Iterator[tuple[Layer, ...]]:
        """Yield the headers of each frame, outermost first, for `timeout` seconds."""
        end = time.monotonic() + timeout
        while (left := end - time.monotonic()) > 0 and self._waits(left):
            yield packet.decode(self._socket.recv(_FRAME))

    def arrived(self) -> Iterator[tuple[Layer, ...]]:
        """Yield the headers of each frame that is there already, however long it takes to look at them."""
        while self._waits(0):
            yield packet.decode(self._socket.recv(_FRAME))

    def _waits(self, timeout: float) -> bool:
        return bool(select.select([self._socket], [], [], timeout)[0])


def echo_on_wire(probe: pinging.Probe, wire: Path, interface: str) -> tuple[Layer, ...]:
    """Send an echo request and return its headers as they pass an interface of another namespace.

    Raises:
        KernelError: it did not come by.
    """
    with Capture(wire, interface) as capture:
        answer = pinging.ping([probe])[0]
        for layers in capture.frames(timeout=1.0):
            if asks(layers, probe.target):
                return layers
    raise KernelError(f"no echo request to {probe.target} came by on {interface} of {wire.name} ({answer})")


def asks(layers: tuple[Layer, ...], target: Address) -> bool:
    """Return whether the innermost packet of these headers is an echo request to `target`."""
    icmp = [layer for layer in layers if isinstance(layer, Icmp)]
    packets = [layer for layer in layers if isinstance(layer, Ipv4 | Ipv6)]
    return (
        bool(icmp and packets)
        and icmp[-1].type == ECHO_REQUEST[icmp[-1].version]
        and packets[-1].destination == target
    )
