"""What all of it is for: packets arrive, also while somebody is not there."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import pytest

from containernet import remembered
from containernet.lab.ping import Probe, Tally, stream
from containernet.model import Address
from tests.kernel.conftest import Netns
from tests.waiting import PATIENCE, wait_until

from . import calico
from .agent import SUBNET, Agent
from .calico import CalicoNode
from .daemons import Run
from .topology import Host, Segment

pytestmark = [pytest.mark.bgp, pytest.mark.untraced]

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


@contextmanager
def etcd(host: Host) -> Iterator[subprocess.Popen[bytes]]:
    """Run an etcd on a host, at the usual port."""
    url = f"http://{host.address()}:2379"
    with tempfile.TemporaryDirectory(prefix="etcd-") as data:
        words = [f"--data-dir={data}", f"--listen-client-urls={url}", f"--advertise-client-urls={url}"]
        command = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={host.path}", "etcd", *words]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                yield process
            finally:
                process.kill()


def stale(agent: Agent, *, of: Host) -> bool:
    """Return whether an agent keeps what that peer told before its session ended."""
    return bool(agent.ask("bgp", "peers", str(of.address()))["stale"])


def test_leases_by_etcd_and_routes_by_bgp(segment: Segment, tmp_path: Path) -> None:
    """As with Calico: who owns what is agreed on in etcd, who can reach what is not. So etcd may go."""
    store, *hosts = (
        segment.host(name, f"192.0.2.{at}/24") for at, name in enumerate(("store", "one", "two"), 1)
    )
    leases = "etcd", f'endpoints = ["http://{store.address()}:2379"]'
    with ExitStack() as stack:
        process = stack.enter_context(etcd(store))
        agents = []
        for here, there in (hosts, hosts[::-1]):
            home = tmp_path / here.name
            home.mkdir()
            bgp = f'asn = 64512\n[[store.bgp.peer]]\naddress = "{there.address()}"'
            agents.append(stack.enter_context(Agent(here, home, bgp=bgp, dataplane="vxlan", leases=leases)))
        for each in agents:
            each.start(wait=False)
        for each in agents:
            each.wait()
        containers = [stack.enter_context(closing(Netns())) for _ in agents]
        own = [agent.attach(container) for agent, container in zip(agents, containers, strict=True)]
        with flowing((containers[0].path, own[1]), (containers[1].path, own[0])):
            process.kill()
            process.wait()
            peer = agents[1].ask("bgp", "refresh", str(hosts[0].address()))
            assert (peer["state"], peer["sessions"]) == ("Established", 1)
            routes = agents[1].ask("bgp", "routes")["routes"]
            assert [each["tunnel"] for each in routes] == ["vxlan"] * 2
            # And who starts meanwhile goes on with the lease that he has had.
            view = tmp_path / hosts[0].name / "view.json"
            wait_until(lambda: remembered.load(view).lease_until, what="the lease is remembered")
            agents[0].kill()
            agents[0].start()
            wait_until(lambda: not stale(agents[1], of=hosts[0]), what="our daemon has told everything again")


def test_either_side_is_killed_and_comes_back(segment: Segment, make: Run, tmp_path: Path) -> None:
    """RFC 4724: BIRD keeps our route while our daemon is away, we keep BIRD's, and both kernels go on."""
    here, there = segment.host("ours", "192.0.2.1/24"), segment.host("calico", "192.0.2.2/24")
    there.netns.ip(f"address add {WORKLOAD}/32 dev lo")
    node = calico.node_on(there, beside=here, make=make, kind=CalicoNode)
    bgp = calico.beside(there.address())

    with (
        Agent(here, tmp_path, bgp=bgp, dataplane="host-gw") as agent,
        closing(Netns()) as container,
    ):
        own = agent.start().attach(container)
        node.wait_path(SUBNET)
        with flowing((container.path, WORKLOAD), (there.path, own)):
            agent.kill()
            node.wait_path(SUBNET, lambda held: held.stale)
            agent.start()
            node.wait_path(SUBNET, lambda held: not held.stale)
            node.kill()
            wait_until(lambda: stale(agent, of=there), what="we keep what the node told")
            node.start(restarting=True)
            wait_until(lambda: not stale(agent, of=there), what="the node has told everything again")
