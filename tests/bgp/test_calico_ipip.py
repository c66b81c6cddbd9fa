"""A host of ours in a cluster of Calico's: IP in IP between our agent's device and the one that BIRD fills."""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

import pytest

from containernet.lab.ping import Probe, Reply, ping
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import calico
from .agent import PATIENCE, SUBNET, Agent
from .calico import CalicoIpipNode
from .daemons import Run
from .topology import Host, Segment

pytestmark = [pytest.mark.bgp, pytest.mark.uml]

TUNNEL_ADDRESS, WORKLOAD = ip_address("10.2.0.65"), ip_address("10.2.0.66")


def way(host: Host, prefix: str) -> str:
    """Return where a host's kernel sends a prefix, and who said so."""
    return " ".join(host.netns.ip(f"route show {prefix}").split()[1:7])


def test_packets_cross_between_calico_and_ours(segment: Segment, make: Run, tmp_path: Path) -> None:
    """Each side's containers reach the other's: routes are learnt, and nobody configured a tunnel."""
    here = segment.host("ours", "192.0.2.1/24")
    there = segment.host("calico", "192.0.2.2/24")
    there.netns.ip(f"address add {TUNNEL_ADDRESS}/32 dev {calico.TUNNEL}")  # the module's, nameless and for all
    there.netns.ip(f"link set {calico.TUNNEL} mtu 1480 up")
    there.netns.ip(f"address add {WORKLOAD}/32 dev lo")
    node = calico.node_on(there, beside=here, make=make, kind=CalicoIpipNode)
    bgp = calico.beside(there.address())
    with Agent(here, tmp_path, bgp=bgp, dataplane="ipip") as agent, closing(Netns()) as container:
        own = agent.start().attach(container)
        node.wait_path(SUBNET)
        ways = [Probe(netns=Path(container.path), target=WORKLOAD), Probe(netns=there.path, target=own)]
        wait_until(
            lambda: all(isinstance(each, Reply) for each in ping(ways)),
            what="both sides answer",
            patience=PATIENCE,
        )
        assert way(there, SUBNET) == f"via 192.0.2.1 dev {calico.TUNNEL} proto bird"
        assert way(here, calico.BLOCK) == "via 192.0.2.2 dev ipip.4 proto 77"
