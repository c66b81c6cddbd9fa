"""A lab with everything running: daemons ready, containers attached, and what can be asked of it."""

from __future__ import annotations

import contextlib
import functools
import os
import select
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs

from ..errors import KernelError
from ..model import Address
from . import build, cluster, daemons, interfaces, namespaces, ping as pinging, server
from .cluster import Lab
from .topology import Topology

_FIRST_REPLY = 10.0  # seconds


def up(name: str, topology: Topology, *, say: Callable[[str], object] = str) -> Lab:
    """Make a lab whose daemons are ready, whose routes are programmed, and whose containers have addresses.

    A failure takes down what was there already. The caller closes the handle; `down` ends the lab.

    Args:
        say: told in a line what is being done.

    Raises:
        DaemonUnavailable: a daemon did not become ready; says which one and why.
        ContainernetError: see `cluster.up`.
    """
    for host in topology.members:
        daemons.config(topology, host)  # refuses before anything is made
    server.program(topology)
    lab = cluster.up(name, topology)
    try:
        store = f" and {topology.store}" if topology.servers else ""
        say(
            f"{topology.hosts} hosts on {topology.underlay}; starting containernetd with {topology.dataplane}"
            + store
        )
        lab.call(functools.partial(_check_kernel, topology))
        lab.call(functools.partial(_start, topology))
        say(f"daemons ready; {len(topology.container_names)} containers attached")
    except BaseException:
        lab.down()
        lab.close()
        raise
    return lab


LINK_KINDS = {"vxlan": {4: "vxlan", 6: "vxlan"}, "ipip": {4: "ipip", 6: "ip6tnl"}}


def _check_kernel(topology: Topology) -> None:
    """Refuse at once what the daemons could only wait for.

    Raises:
        MissingDriver: this kernel lacks what the dataplane needs.
    """
    kinds = LINK_KINDS.get(topology.dataplane, {})
    wanted = dict.fromkeys(kinds[version] for version in topology.versions if version in kinds)
    if missing := build.missing_link_kinds(wanted):
        raise build.MissingDriver(
            f"this kernel has no {' and no '.join(missing)}, which dataplane {topology.dataplane} needs: load "
            f"the module as root (modprobe -a {' '.join(map(_module, missing))}), or choose another dataplane"
        )


def _module(kind: str) -> str:
    return "ip6_tunnel" if kind == "ip6tnl" else kind


def _start(topology: Topology) -> None:
    daemons.start_ready(topology, topology.servers)
    daemons.start_ready(topology, topology.members)
    for host in topology.members:
        for container in host.containers:
            daemons.attach(container, host.name)
    daemons.wait_for_routes(topology)


@attrs.frozen(kw_only=True)
class Result:
    """What one request between two members of a lab came to."""

    source: str
    destination: str
    target: Address
    answer: pinging.Answer

    @property
    def reached(self) -> bool:
        """Whether the echo came back."""
        return isinstance(self.answer, pinging.Reply)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values; the time in milliseconds."""
        return {
            "from": self.source,
            "to": self.destination,
            "address": str(self.target),
            "reached": self.reached,
            "ms": round(self.answer.rtt * 1000, 3) if isinstance(self.answer, pinging.Reply) else None,
            "answer": str(self.answer),
        }


def ping(lab: Lab, names: Sequence[str], *, size: int = pinging.SIZE) -> list[Result]:
    """Ping from each of those hosts or containers to each other, in every family that both have, at once."""
    for name in names:
        lab.netns(name)
    return lab.call(functools.partial(_ping, names, size))


def _ping(names: Sequence[str], size: int) -> list[Result]:
    places = [(build.path(name), interfaces.addresses(build.path(name))) for name in names]
    pairs = pinging.all_pairs(places, size=size)
    answers = pinging.ping([probe for _, _, probe in pairs])
    return [
        Result(source=names[one], destination=names[other], target=probe.target, answer=answer)
        for (one, other, probe), answer in zip(pairs, answers, strict=True)
    ]


class Stream:
    """A stream of requests that runs until it is stopped; see `streaming`."""

    def __init__(self, lab: Lab, probe: pinging.Probe, rate: float) -> None:
        stop, self._stop = os.pipe()
        self._first, first = os.pipe()
        self._process = namespaces.Inside(
            lab.pidfd, functools.partial(_stream, probe, rate, stop, first), close=(self._stop, self._first)
        )
        os.close(stop)
        os.close(first)

    def wait_for_reply(self) -> None:
        """Wait until the first reply has come.

        Raises:
            KernelError: none did, in ten seconds or while the stream ran.
        """
        if not select.select([self._first], [], [], _FIRST_REPLY)[0]:
            raise KernelError(f"the stream had no reply in {_FIRST_REPLY:.0f} s")
        if not os.read(self._first, 1):
            raise KernelError("the stream ended before its first reply")

    def stop(self) -> pinging.Tally:
        """End the stream and return what became of it; call it once."""
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            os.write(self._stop, b".")  # closing is no signal: a stream that began later holds this end too
        os.close(self._stop)
        os.close(self._first)
        tally: pinging.Tally = self._process.result()
        return tally


def _stream(probe: pinging.Probe, rate: float, stop: int, first: int) -> pinging.Tally:
    return pinging.stream(probe, stop=stop, first=lambda: os.write(first, b"."), rate=rate)


@contextlib.contextmanager
def streaming(
    lab: Lab, source: str, target: Address, *, rate: float = 100.0
) -> Iterator[Callable[[], pinging.Tally]]:
    """Ping `target` from `source` all the while; yields what ends the stream and returns its tally.

    Begins when the first reply has come.
    """
    stream = Stream(lab, pinging.Probe(netns=lab.netns(source), target=target), rate)
    tally: list[pinging.Tally] = []

    def stop() -> pinging.Tally:
        if not tally:
            tally.append(stream.stop())
        return tally[0]

    try:
        stream.wait_for_reply()
        yield stop
    finally:
        stop()


def addresses(lab: Lab, name: str) -> tuple[Address, ...]:
    """Return the addresses of a host or a container, as its kernel has them."""
    return lab.call(functools.partial(interfaces.addresses, lab.netns(name)))


def mtu(lab: Lab, name: str) -> int:
    """Return the MTU of the `eth0` of a host or a container, octets."""
    return lab.call(functools.partial(interfaces.mtu, lab.netns(name)))
