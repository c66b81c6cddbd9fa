"""Graceful restart is for packets: whichever side dies and comes back, none of them is lost (RFC 4724)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path
from threading import Event

import pytest

from containernet.lab.ping import Probe, Tally, stream
from containernet.model import Address
from tests.kernel.conftest import Netns
from tests.waiting import PATIENCE, wait_until

from . import calico
from .agent import Agent
from .calico import CalicoNode
from .conftest import Run
from .topology import Segment
from .values import Neighbour, Path as Route, Speaker

pytestmark = pytest.mark.bgp

OURS, THEIRS = "10.1.0.64/26", "10.2.0.64/26"
WORKLOAD = ip_address("10.2.0.66")


@contextmanager
def flowing(*ways: tuple[str | Path, Address]) -> Iterator[None]:
    """Ping from namespaces to addresses all the while, from the first replies on, and lose nothing."""
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(len(ways)))
        reader, writer = os.pipe()
        stack.callback(os.close, reader)
        streams = []
        with os.fdopen(writer, "wb"):  # closed, it ends the streams, whatever happens
            for netns, target in ways:
                there = Event()
                probe = Probe(netns=Path(netns), target=target)
                streams.append(pool.submit(stream, probe, stop=reader, first=there.set, rate=50))
                assert there.wait(PATIENCE), f"{target} answers"
            yield
        tallies: list[Tally] = [each.result() for each in streams]
    assert not [str(each) for each in tallies if each.lost or each.sent < 10]


def test_either_side_is_killed_and_comes_back(segment: Segment, make: Run, tmp_path: Path) -> None:
    """BIRD keeps our route while our daemon is away, we keep BIRD's, and both kernels go on."""
    here, there = segment.host("ours", "192.0.2.1/24"), segment.host("calico", "192.0.2.2/24")
    there.netns.ip(f"address add {WORKLOAD}/32 dev lo")
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS, families=(4,)))
    speaker = Speaker(asn=calico.AS, router_id=IPv4Address("192.0.2.2"), neighbours=(us,))
    node = make(CalicoNode, there, speaker).start()
    node.announce(Route(prefix=ip_network(THEIRS)))
    bgp = calico.beside(there.address())

    def stale() -> bool:
        return bool(agent.ask("bgp", "peers", str(there.address()))["stale"])

    with (
        Agent(here, tmp_path, subnet=OURS, bgp=bgp, dataplane="host-gw") as agent,
        closing(Netns()) as container,
    ):
        own = agent.start().attach(container)
        node.wait_path(OURS)
        with flowing((container.path, WORKLOAD), (there.path, own)):
            agent.kill()
            node.wait_path(OURS, lambda held: held.stale)
            agent.start()
            node.wait_path(OURS, lambda held: not held.stale)
            node.kill()
            wait_until(stale, what="we keep what the node told")
            node.start(restarting=True)
            wait_until(lambda: not stale(), what="the node has told everything again")
