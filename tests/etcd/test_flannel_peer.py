"""One cluster of flannel's hosts and ours, and the way from one to the other.

The store is a real etcd, the network is what flannel's operator wrote there, and our hosts' files say nothing
of it. A host of flannel's (`flannel`) reads our record raw and makes its kernel's entries by hand.
"""

from __future__ import annotations

import functools
import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Network, IPv6Network
from typing import Any

import pytest

from containernet.lab import daemons, ping as pinging, server, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Probe, Reply
from tests.kernel import labs
from tests.kernel.labs import PREFIX, SUBNETS, ctl, run, stop, told

from .flannel import TTL, Flannel

pytestmark = [pytest.mark.kernel, pytest.mark.etcd, pytest.mark.untraced]

OURS, THEIRS, THIRD = "host1", "host2", "host3"
LEASE_TTL = 600.0
MTU = {"vxlan": 1450, "host-gw": 1500}  # of flannel's containers over an underlay of 1500


def config(lab: Lab, host: str) -> str:
    """Return a host's file that leaves the network and the dataplane to the store."""
    home = daemons.directory(host)
    return f"""
[node]
name = "{host}"
interface = "eth0"
[store]
leases = "etcd"
routes = "etcd"
[store.etcd]
endpoints = {json.dumps(server.endpoints(lab.topology))}
[dataplane]
masquerade = false
guard = false
[daemon]
state_dir = "{home}"
run_dir = "{home}"
lease_ttl = {LEASE_TTL}
subnet_file = "{home / "subnet.env"}"
"""


def launch(lab: Lab, host: str, *, wait: bool = True) -> None:
    """Start containernetd on a host."""
    lab.call(functools.partial(_launch, host, config(lab, host), wait))


def _launch(host: str, text: str, wait: bool) -> None:
    started = daemons.start_with(host, text)
    if wait:
        daemons.wait_ready([started])
    else:
        started.notify.close()


def attach(lab: Lab, host: str) -> None:
    """Give a host's container its interface."""
    lab.call(functools.partial(daemons.attach, f"{host}-c1", host))


@contextmanager
def network(
    backend: str, *, dual: bool = False, hosts: int = 2, underlay: str = "l2", **options: Any
) -> Iterator[Lab]:
    """Make a cluster whose operator knows flannel alone: hosts without a daemon, etcd, and a config."""
    versions = (4, 6) if dual else (4,)
    wanted: dict[str, Any] = {"EnableIPv4": True, "Network": "10.5.0.0/16"}
    wanted["Backend"] = {"Type": backend, **options}
    if dual:
        wanted |= {"EnableIPv6": True, "IPv6Network": "fd00:5::/48"}
    with labs.bare(store="etcd", hosts=hosts, containers=1, versions=versions, underlay=underlay) as lab:
        lab.call(functools.partial(daemons.start_ready, lab.topology, lab.topology.servers))
        ctl(lab, "put", f"{PREFIX}/config", json.dumps(wanted))
        yield lab


def flannel(lab: Lab, host: str, backend: str, *, number: int = 52, dual: bool = False) -> Flannel:
    """Run flannel on a host."""
    made = Flannel(
        lab=lab,
        host=host,
        backend=backend,
        subnet=IPv4Network(f"10.5.{number}.0/24"),
        subnet6=IPv6Network(f"fd00:5:0:{number}::/64") if dual else None,
        mac=f"c6:d2:32:6f:8f:{number:02}",
    )
    made.start()
    return made


def wait_for_route(lab: Lab, host: str, peer: Flannel) -> None:
    """Wait until a host of ours has programmed the way to a host of flannel's."""
    wanted = {str(each) for each in (peer.subnet, peer.subnet6) if each}

    def programmed() -> bool:
        status = labs.status(lab, host)
        return status["settled"] and wanted <= {route["prefix"] for route in status["routes"]}

    labs.seconds_until(programmed, at_most=10)


def all_reached(lab: Lab, *hosts: str) -> bool:
    """Return whether the containers of those hosts reach each other, and hosts those of other hosts."""
    names = [f"{host}-c1" for host in hosts]
    probes = [
        Probe(netns=lab.netns(host), target=target)
        for host in hosts
        for name in names
        if not name.startswith(host)
        for target in whole.addresses(lab, name)
    ]
    answers = lab.call(functools.partial(pinging.ping, probes))
    between = whole.ping(lab, names)
    return (
        bool(between)
        and all(each.reached for each in between)
        and all(isinstance(answer, Reply) for answer in answers)
    )


def record(lab: Lab, host: str) -> tuple[str, dict[str, Any]]:
    """Return key and document of the record that bears a host's address."""
    address = str(next(each.addresses[0].ip for each in lab.topology.members if each.name == host))
    documents = {key: json.loads(value) for key, value in told(lab).items()}
    ((key, document),) = ((k, d) for k, d in documents.items() if d["PublicIP"] == address)
    return key, document


def granted(lab: Lab, key: str) -> int:
    """Return the duration of the lease that a record hangs on, seconds."""
    answer = json.loads(ctl(lab, "get", SUBNETS + key, "--write-out=json"))
    lease = f"{answer['kvs'][0]['lease']:x}"
    told = json.loads(ctl(lab, "lease", "timetolive", lease, "--write-out=json"))
    return int(told["granted-ttl"])


@pytest.mark.parametrize(
    ("backend", "dual"),
    [
        ("vxlan", False),
        ("vxlan", True),
        ("host-gw", False),
        ("host-gw", True),
        pytest.param("ipip", False, marks=pytest.mark.uml),
    ],
)
def test_a_host_of_flannels_and_one_of_ours_reach_each_other(backend: str, dual: bool) -> None:
    """Each from the other's record alone; containers and hosts, both ways."""
    with network(backend, dual=dual) as lab:
        theirs = flannel(lab, THEIRS, backend, dual=dual)
        theirs.attach(f"{THEIRS}-c1")
        launch(lab, OURS)
        attach(lab, OURS)
        (seen,) = theirs.follow()
        assert (str(seen.public), seen.backend) == ("192.0.2.1", backend)
        assert (seen.public6 is not None) == dual
        wait_for_route(lab, OURS, theirs)
        assert all_reached(lab, OURS, THEIRS)
        assert granted(lab, theirs.key) == TTL
        assert not labs.status(lab, OURS)["warnings"]


def test_the_options_of_flannels_vxlan_are_followed() -> None:
    """VNI, Port and MTU on the way through a tunnel; with DirectRouting, a peer on the same link needs none."""
    options: dict[str, Any] = {"VNI": 42, "Port": 4789, "DirectRouting": True, "MTU": 1400}
    with network("vxlan", hosts=3, underlay="routed", **options) as lab:
        across, near = (
            Flannel(
                lab=lab,
                host=host,
                backend="vxlan",
                subnet=IPv4Network(f"10.5.{number}.0/24"),
                mac=f"c6:d2:32:6f:8f:{number}",
                vni=42,
                port=4789,
                direct=True,
                mtu=1400,
            )
            for host, number in ((THEIRS, 52), (THIRD, 53))
        )
        launch(lab, OURS)
        attach(lab, OURS)
        for each in (across, near):
            each.start()
            each.attach(f"{each.host}-c1")
            wait_for_route(lab, OURS, each)
        for each in (across, near):
            each.follow()
        items = {str(item) for item in labs.items(lab, OURS).values()}
        assert f"route {near.subnet} via {near.public} dev eth0" in items
        assert f"route {across.subnet} via {across.subnet[0]} dev vxlan.42 onlink" in items
        assert not [item for item in items if near.mac in item]
        assert all_reached(lab, OURS, THEIRS, THIRD)
        env = lab.file(daemons.directory(OURS) / "subnet.env").read_text().splitlines()
        assert "FLANNEL_MTU=1350" in env
        (device,) = [item for item in items if item.startswith("link vxlan.42 ")]
        assert "mtu 1350" in device
        assert "id 42" in device
        assert "dstport 4789" in device


@pytest.mark.parametrize(("backend", "dual"), [("vxlan", False), ("host-gw", False), ("host-gw", True)])
def test_a_host_is_taken_over_from_flannel_and_given_back(backend: str, dual: bool) -> None:
    """The same subnets all along, and no packet is lost between the hosts that it is not about."""
    with network(backend, hosts=3, dual=dual) as lab:
        theirs = flannel(lab, THEIRS, backend, dual=dual)
        theirs.attach(f"{THEIRS}-c1")
        before = flannel(lab, OURS, backend, number=77, dual=dual)
        before.attach(f"{OURS}-c1")
        launch(lab, THIRD)
        attach(lab, THIRD)
        for each in (theirs, before):
            each.follow()
            wait_for_route(lab, THIRD, each)
        assert all_reached(lab, OURS, THEIRS, THIRD)

        with ExitStack() as streams:
            ends = [
                streams.enter_context(whole.streaming(lab, f"{THIRD}-c1", target))
                for target in whole.addresses(lab, f"{THEIRS}-c1")
            ]
            _take_over(lab, before)
            theirs.follow()
            assert all_reached(lab, OURS, THEIRS, THIRD)
            _give_back(lab, before)
            theirs.follow()
            assert all_reached(lab, OURS, THEIRS, THIRD)
            for tally in [ended() for ended in ends]:
                assert tally.sent > 50
                assert not tally.lost, tally


# What stands in the way on a host that ran flannel, as `containernet status` says it, and what removes it.
IN_THE_WAY = {
    "vxlan": ("flannel.1 has VNI 1", ["ip link del flannel.1"]),
    "host-gw": (
        "dev eth0 exists already, proto boot (3): `ip route del 10.5.",
        ["ip route flush proto boot root 10.5.0.0/16"],
    ),
}


def _take_over(lab: Lab, before: Flannel) -> None:
    """Do on a host what the page Moving from flannel says, and look at what it says of each step."""
    # flanneld is stopped: its record, its devices and its routes stay.
    named, commands = IN_THE_WAY[before.backend]
    launch(lab, OURS, wait=False)
    labs.seconds_until(lambda: named in _reasons(lab, OURS), at_most=10)
    if before.subnet6:
        commands = [*commands, "ip -6 route flush proto boot root fd00:5::/48"]
    for command in commands:
        before.run(command)
    labs.seconds_until(lambda: labs.status(lab, OURS)["ready"], at_most=10)
    shared = {
        f"{subnet} is on link at cn0 and at cni0, where packets for containers can end: "
        f"`ip address del {subnet[1]}/{subnet.prefixlen} dev cni0`"
        for subnet in (before.subnet, before.subnet6)
        if subnet
    }
    # Until our record has come back from etcd, flannel's of this host stands there too.
    labs.seconds_until(lambda: set(labs.status(lab, OURS)["warnings"]) == shared, at_most=5)
    before.run("ip link del cni0")
    before.run("ip link del veth1")
    assert not labs.status(lab, OURS)["warnings"]
    key, document = record(lab, OURS)
    assert key == before.key
    assert document["BackendType"] == before.backend
    assert granted(lab, key) == LEASE_TTL
    attach(lab, OURS)
    env = lab.file(daemons.directory(OURS) / "subnet.env").read_text().splitlines()
    assert env[:2] == ["FLANNEL_NETWORK=10.5.0.0/16", "FLANNEL_SUBNET=10.5.77.1/24"]
    assert env[-2:] == [f"FLANNEL_MTU={MTU[before.backend]}", "FLANNEL_IPMASQ=false"]
    labs.seconds_until(lambda: _known(lab).get(str(before.subnet)) == OURS, at_most=5)


def _give_back(lab: Lab, before: Flannel) -> None:
    stop(lab, OURS, signal.SIGTERM)
    assert run(lab, OURS, "cleanup").code == 0
    before.start()
    key, document = record(lab, OURS)
    assert (key, "Node" in document.get("BackendData", {})) == (before.key, False)
    assert granted(lab, key) == TTL
    before.attach(f"{OURS}-c1")
    before.follow()
    labs.seconds_until(lambda: _known(lab).get(str(before.subnet)) == str(before.public), at_most=5)


def _reasons(lab: Lab, host: str) -> str:
    try:
        status = labs.status(lab, host)
    except Exception:
        return ""
    return " ".join((*status["reasons"], *status["failures"]))


def _known(lab: Lab) -> dict[str, str]:
    """Return whose subnets the third host knows, and its kernel too; empty: it is about to be told."""
    status = labs.status(lab, THIRD)
    return {route["prefix"]: route["node"] for route in status["routes"]} if status["settled"] else {}
