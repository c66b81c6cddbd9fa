"""The lab itself: namespaces, cables and processes, and that nothing of it is left behind."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from containernet.errors import AlreadyRunning, ConfigError, KernelError
from containernet.lab import build, capture, cluster, interfaces, namespaces, ping, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Probe, Reply, Silence, TooBig, Unreachable
from containernet.lab.topology import Topology
from containernet.packet import Ethernet

pytestmark = pytest.mark.kernel

ROUTED = Topology(hosts=2, containers=1, underlay="routed")
L2 = Topology(hosts=2, containers=1, underlay="l2")
TARGETS = (ip_address("198.51.100.2"), ip_address("2001:db8:0:b::2"))  # host2, from the other segment
ROUTER = {4: ip_address("192.0.2.254"), 6: ip_address("2001:db8:0:a::fe")}


def unique(word: str) -> str:
    """Return a name that another run of the tests on this machine does not use."""
    return f"test-{os.getpid()}-{word}"


@contextlib.contextmanager
def standing(word: str, topology: Topology) -> Iterator[Lab]:
    """Make a lab without daemons, and take it down."""
    with cluster.up(unique(word), topology) as lab:
        try:
            yield lab
        finally:
            lab.down()


@pytest.fixture(scope="module")
def routed() -> Iterator[Lab]:
    """Two hosts with a router between them; a test puts back what it changes."""
    with standing("routed", ROUTED) as lab:
        yield lab


def ask(lab: Lab, *probes: Probe, timeout: float = 1.0) -> list[ping.Answer]:
    """Send the requests from inside the lab."""
    return lab.call(functools.partial(ping.ping, probes, timeout=timeout))


def processes_in(namespace: str) -> list[str]:
    """Return the processes that run in a pid namespace, as /proc/PID/ns/pid names it.

    A zombie does not run: how soon it is buried is a matter of this machine's process 1.
    """
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        with contextlib.suppress(OSError):
            state = (link.parents[1] / "stat").read_text().rpartition(")")[2].split()[0]
            if str(link.readlink()) == namespace and state != "Z":
                found.append(link.parts[2])
    return found


def start_sleeper(netns: Path) -> None:
    """Leave a process behind, as a daemon would."""
    with namespaces.network(netns):
        sleeper = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    sleeper.returncode = 0


def test_hosts_reach_each_other_through_the_router_in_both_families(routed: Lab) -> None:
    """The router takes one hop off IPv4 and IPv6 alike, and every pair answers."""
    results = whole.ping(routed, ["host1", "host2"])
    assert [str(each.target) for each in results] == [
        *map(str, TARGETS),
        "192.0.2.1",
        "2001:db8:0:a::1",
    ]
    assert all(each.reached for each in results), results


def test_hosts_on_one_switch_reach_each_other_without_a_router() -> None:
    """On `l2` all hosts are on one segment, and there is no default route."""
    with standing("l2", L2) as lab:
        assert all(each.reached for each in whole.ping(lab, ["host1", "host2"]))
        netns = lab.netns("host1")
        (answer,) = ask(lab, Probe(netns=netns, target=ip_address("203.0.113.1")))
        assert answer == Unreachable(reason="Network is unreachable")


def test_a_packet_as_large_as_the_mtu_fits_and_one_octet_more_does_not(routed: Lab) -> None:
    """The sender's own kernel knows the MTU of its own link, and says so."""
    netns = routed.netns("host1")
    assert routed.call(functools.partial(interfaces.mtu, netns)) == 1500
    for target in TARGETS:
        fits, does_not = ask(
            routed, Probe(netns=netns, target=target, size=1500), Probe(netns=netns, target=target, size=1501)
        )
        assert isinstance(fits, Reply)
        assert does_not == TooBig(mtu=1500)


def set_mtu(netns: Path, interface: str, mtu: int) -> None:
    """Change a link's MTU by hand, as an operator would who breaks something."""
    from pyroute2 import IPRoute

    with namespaces.network(netns), IPRoute() as links:
        links.link("set", index=links.link_lookup(ifname=interface)[0], mtu=mtu)


def test_a_wrong_mtu_on_the_way_is_found_and_the_router_named(routed: Lab) -> None:
    """Somebody makes the far link smaller: the router says which size would have fitted."""
    netns, router = routed.netns("host1"), routed.netns("router")
    routed.call(functools.partial(set_mtu, router, "eth1", 1400))
    try:
        probes = [Probe(netns=netns, target=target, size=size) for target in TARGETS for size in (1401, 1400)]
        big4, fits4, big6, fits6 = ask(routed, *probes)
    finally:
        routed.call(functools.partial(set_mtu, router, "eth1", 1500))
    assert (big4, big6) == tuple(TooBig(mtu=1400, reporter=ROUTER[version]) for version in (4, 6))
    assert isinstance(fits4, Reply)
    assert isinstance(fits6, Reply)


def test_a_learnt_mtu_does_not_hide_that_the_path_is_wide_again(routed: Lab) -> None:
    """The kernel remembers a path MTU for minutes; each request finds out anew."""
    netns, router = routed.netns("host1"), routed.netns("router")
    probes = [Probe(netns=netns, target=target, size=1500) for target in TARGETS]
    routed.call(functools.partial(set_mtu, router, "eth1", 1400))
    try:
        narrow = ask(routed, *probes)
    finally:
        routed.call(functools.partial(set_mtu, router, "eth1", 1500))
    assert all(isinstance(answer, TooBig) for answer in narrow)
    assert all(isinstance(answer, Reply) for answer in ask(routed, *probes))


def test_an_answer_names_who_knows_no_way(routed: Lab) -> None:
    """A router without a route says so, in both families, at once."""
    netns = routed.netns("host1")
    probes = [Probe(netns=netns, target=ip_address(target)) for target in ("203.0.113.1", "2001:db8:ffff::1")]
    answers = ask(routed, *probes)
    assert [answer.reporter for answer in answers if isinstance(answer, Unreachable)] == list(ROUTER.values())


def test_nobody_at_home_is_silence(routed: Lab) -> None:
    """An address that nobody has is not answered, and the wait has an end."""
    (answer,) = ask(routed, Probe(netns=routed.netns("host1"), target=ip_address("192.0.2.99")), timeout=0.1)
    assert answer == Silence()


def test_the_frames_on_the_wire_are_the_ones_that_were_sent(routed: Lab) -> None:
    """A capture on the sender's NIC shows the request, from its Ethernet header to its payload."""
    probe = Probe(netns=routed.netns("host1"), target=TARGETS[1], size=99)
    layers = routed.call(functools.partial(capture.echo_on_wire, probe, routed.netns("host1"), "eth0"))
    assert isinstance(layers[0], Ethernet)
    assert str(layers[1]).startswith("IP6 2001:db8:0:a::1 > 2001:db8:0:b::2: next-header ICMPv6")
    assert [type(layer).__name__ for layer in layers] == ["Ethernet", "Ipv6", "Icmp", "Payload"]
    assert str(layers[3]) == "payload, 51 octets"


@pytest.mark.parametrize("until", ["before the end", "beyond the end"])
def test_a_stream_counts_what_is_lost(routed: Lab, until: str) -> None:
    """Requests that go nowhere for a while are lost, and the pause is as long as that, up to the end."""
    with whole.streaming(routed, "host1", TARGETS[0], rate=500.0) as stop:
        routed.call(functools.partial(forward, routed.netns("router"), on=False))
        if until == "before the end":
            routed.call(functools.partial(forward, routed.netns("router"), on=True))
        tally = stop()
    routed.call(functools.partial(forward, routed.netns("router"), on=True))
    assert 0 < tally.lost < tally.sent
    assert tally.pause > 0.1


def forward(router: Path, *, on: bool) -> None:
    """Give forwarding back; or take it away, until a few requests must have been lost."""
    with namespaces.network(router):
        Path("/proc/sys/net/ipv4/conf/all/forwarding").write_text(str(int(on)))
        if not on:
            ping.ping([Probe(netns=router, target=ip_address("192.0.2.77"))], timeout=0.15)  # 0.15 s of silence


def test_a_stream_without_a_reply_says_so(routed: Lab) -> None:
    """Waiting for a first reply that cannot come ends with the stream."""
    stream = whole.Stream(routed, Probe(netns=Path("/run/netns/nowhere"), target=TARGETS[0]), rate=100.0)
    with pytest.raises(KernelError, match="before its first reply"):
        stream.wait_for_reply()
    with pytest.raises(KernelError, match="nowhere"):
        stream.stop()


def test_a_container_is_empty_until_a_daemon_fills_it(routed: Lab) -> None:
    """The lab gives a container a namespace with a loopback and nothing else."""
    assert whole.addresses(routed, "host1-c1") == ()
    assert whole.addresses(routed, "host1") == (ip_address("192.0.2.1"), IPv6Address("2001:db8:0:a::1"))
    with pytest.raises(KernelError, match="host1-c1 has no interface eth0"):
        whole.mtu(routed, "host1-c1")


def test_a_command_runs_in_its_host_and_its_exit_status_comes_back(
    routed: Lab, capfd: pytest.CaptureFixture[str]
) -> None:
    """A command sees the host's links, the lab's processes, and ends as in a shell."""
    assert routed.run("host2", ["ip", "-4", "-o", "address", "show", "dev", "eth0"]) == 0
    assert "198.51.100.2/24" in capfd.readouterr().out
    assert routed.run("host2", ["sh", "-c", "readlink /proc/1/exe /proc/self/exe; exit 42"]) == 42
    assert len(capfd.readouterr().out.splitlines()) == 2
    assert routed.run("host2", ["sh", "-c", "kill -TERM $$"]) == 128 + signal.SIGTERM
    assert routed.run("host2", ["/no/such/program"]) == 127
    assert "/no/such/program: No such file" in capfd.readouterr().err


def test_an_unknown_place_is_an_error_that_names_the_known_ones(routed: Lab) -> None:
    """The message lists what there is."""
    with pytest.raises(ConfigError, match=r"no 'host9'.*host1, host2, host1-c1.*router"):
        routed.run("host9", ["true"])


def test_an_error_inside_comes_out_as_what_it_was(routed: Lab) -> None:
    """A library error keeps its class; any other comes with its trace."""
    with pytest.raises(KernelError, match="/run/netns/nowhere: No such file"):
        ask(routed, Probe(netns=Path("/run/netns/nowhere"), target=TARGETS[0]))
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        routed.call(functools.partial(divmod, 1, 0))


def test_two_labs_stand_side_by_side(routed: Lab) -> None:
    """Each has its own hosts with the same names and addresses; the end of one is nothing to the other."""
    with standing("second", ROUTED) as second:
        assert {routed.name, second.name} <= set(cluster.names())
        for lab in (routed, second):
            assert all(each.reached for each in whole.ping(lab, ["host1", "host2"]))
    assert second.name not in cluster.names()
    assert all(each.reached for each in whole.ping(routed, ["host1", "host2"]))


def test_a_name_belongs_to_one_lab(routed: Lab) -> None:
    """A second lab of that name is refused, and the first does not notice."""
    with pytest.raises(AlreadyRunning, match=f"lab down --name {routed.name}"):
        cluster.up(routed.name, L2)
    with cluster.find(routed.name) as found:
        assert found.pid == routed.pid
        assert found.topology == ROUTED


@pytest.mark.parametrize("name", ["", "-x", "a/b", "a" * 41, "a\0b"])
def test_what_cannot_be_a_name_is_refused(name: str) -> None:
    """A name is checked before anything is made."""
    with pytest.raises(ConfigError, match="expected 1 to 40"):
        cluster.up(name, L2)


def test_a_lab_that_is_not_there_is_an_error_with_the_next_step() -> None:
    """The message says how to make one."""
    with pytest.raises(ConfigError, match="containernet lab up --name nowhere"):
        cluster.find("nowhere")


@pytest.mark.parametrize("end", ["down", "kill -9", "kill"])
def test_whatever_ends_a_lab_nothing_is_left(end: str) -> None:
    """The holder's death takes every process with it, and there is no file to begin with."""
    with cluster.up(unique("end"), L2) as lab:
        lab.call(functools.partial(start_sleeper, lab.netns("host1")))
        namespace = str(Path(f"/proc/{lab.pid}/ns/pid").readlink())
        assert len(processes_in(namespace)) == 2
        if end == "down":
            lab.down()
        else:
            signal.pidfd_send_signal(lab.pidfd, signal.SIGKILL if end == "kill -9" else signal.SIGTERM)
            wait_for_end(lab)
        assert processes_in(namespace) == []
        assert lab.name not in cluster.names()
        assert "/run/netns/host1" not in Path("/proc/self/mountinfo").read_text()
        lab.down()  # a second time


def wait_for_end(lab: Lab) -> None:
    """Wait until the holder is dead."""
    import select

    assert select.select([lab.pidfd], [], [], 10.0)[0]


def test_a_lab_that_cannot_be_built_leaves_nothing() -> None:
    """The kernel refuses an MTU; the error says so, and the holder is gone."""
    with pytest.raises(RuntimeError, match="inside the lab"):
        cluster.up(unique("broken"), Topology(mtu=1 << 30))
    assert unique("broken") not in cluster.names()


def test_a_kind_of_link_that_the_kernel_lacks_is_found_out_by_trying(routed: Lab) -> None:
    """What every kernel with containers has is there; what nobody has is not."""
    assert routed.call(functools.partial(build.missing_link_kinds, ("veth", "nonsense"))) == ("nonsense",)


def test_orphans_are_buried(routed: Lab) -> None:
    """A process that outlives its parent is the holder's child, and no zombie when it ends."""
    namespace = str(Path(f"/proc/{routed.pid}/ns/pid").readlink())
    assert routed.run("host1", ["sh", "-c", "(sleep 0.05; exit 3) & echo $! >/run/orphan"]) == 0
    gone = "while [ -e /proc/$(cat /run/orphan) ]; do :; done"
    assert routed.run("host1", ["timeout", "5", "sh", "-c", gone]) == 0
    assert processes_in(namespace) == [str(routed.pid)]


def test_the_command_line_speaks_json_and_exits_with_what_it_means() -> None:
    """`lab ping` is 0 when all answered; a missing lab is a configuration error."""
    command = [sys.executable, "-m", "containernet.cli.main", "lab"]
    name = ["--name", unique("cli")]
    up = [*command, "up", "--bare", "--hosts", "2", *name]
    try:
        assert subprocess.run(up, check=False, capture_output=True).returncode == 0
        answer = subprocess.run(
            [*command, "ping", "--hosts", "--json", *name], check=False, capture_output=True, text=True
        )
        assert answer.returncode == 0
        assert answer.stdout.count('"reached": true') == 4
        run = [*command, "exec", *name, "host1", "--", "sh", "-c", "exit 7"]
        assert subprocess.run(run, check=False).returncode == 7
    finally:
        assert subprocess.run([*command, "down", *name], check=False, capture_output=True).returncode == 0
    gone = subprocess.run([*command, "ping", *name], check=False, capture_output=True, text=True)
    assert gone.returncode == ConfigError.exit_code
    assert "no lab named" in gone.stderr
