"""A host of ours in a cluster of Calico's: IP in IP between our agent's device and the one that BIRD fills."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path

import pytest

from containernet.lab.ping import Probe, Reply, ping
from containernet.model import Address
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from . import calico
from .calico import CalicoIpipNode
from .conftest import Run
from .topology import Host, Segment
from .values import Neighbour, Path as Route, Speaker

pytestmark = [pytest.mark.bgp, pytest.mark.uml]

OURS, THEIRS = "10.1.0.64/26", "10.2.0.64/26"
TUNNEL_ADDRESS, WORKLOAD = ip_address("10.2.0.65"), ip_address("10.2.0.66")
CONFIG = """
[node]
name = "ours"
interface = "eth0"
[network]
pool = "10.0.0.0/8"
subnet_length = 26
[store]
leases = "static"
routes = "bgp"
[store.static]
subnets = ["{subnet}"]
[store.bgp]
asn = {asn}
profile = "calico"
[[store.bgp.peer]]
address = "{peer}"
add_paths = true
[dataplane]
local = "bridge"
remote = "ipip"
[daemon]
state_dir = "{home}"
run_dir = "{home}"
"""


@contextmanager
def containernetd(
    host: Host, home: Path, peer: Address
) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Run our daemon on a host; yields its command line."""
    config, log = home / "config", home / "log"
    config.write_text(CONFIG.format(subnet=OURS, asn=calico.AS, peer=peer, home=home))

    def command(*words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "containernet.cli.main", "--config", str(config), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=False)

    daemon = [sys.executable, "-m", "containernet.daemon", "--config", str(config)]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={host.path}", *daemon],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return (home / "containernet.sock").exists()

    try:
        wait_until(listens, what="the daemon listens", patience=60)
        yield command
    finally:
        process.terminate()
        process.wait(60)


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
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS, families=(4,)))
    speaker = Speaker(asn=calico.AS, router_id=IPv4Address("192.0.2.2"), neighbours=(us,))
    node = make(CalicoIpipNode, there, speaker).start()
    node.announce(Route(prefix=ip_network(THEIRS)))
    with containernetd(here, tmp_path, there.address()) as command, closing(Netns()) as container:
        wait_until(lambda: command("status").returncode == 0, what="ready", patience=60)
        attached = json.loads(command("attach", "c1", "--netns", container.path, "--json").stdout)
        own = ip_address(attached["addresses"][0].partition("/")[0])
        node.wait_path(OURS)
        ways = [Probe(netns=Path(container.path), target=WORKLOAD), Probe(netns=there.path, target=own)]
        wait_until(
            lambda: all(isinstance(each, Reply) for each in ping(ways)), what="both sides answer", patience=60
        )
        assert way(there, OURS) == f"via 192.0.2.1 dev {calico.TUNNEL} proto bird"
        assert way(here, THEIRS) == "via 192.0.2.2 dev ipip.4 proto 77"
