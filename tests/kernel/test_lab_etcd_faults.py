"""A cluster of etcd is hurt in every way, and no packet is lost between hosts that have no part in it.

Three members, four hosts, real kernels. Most faults are one test: while the fault lasts a host of flannel's
announces itself, through a member that is well, and everybody hears of it. When it is over and that host has
left, every kernel holds item for item what it held before, every record is there, and every container reaches
every other. All the while two hosts that are well ping each other.
"""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from ipaddress import IPv6Network
from itertools import combinations, count, islice
from pathlib import Path

import attrs
import pytest

from containernet.items import FdbEntry, Item, KernelRoute, Key, Neighbour
from containernet.lab import daemons, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Tally
from containernet.lab.topology import Topology
from containernet.model import Prefix, overlaps
from containernet_backends.etcd import records
from tests.etcd.certificates import Authority, Credentials

from . import labs
from .labs import (
    PREFIX,
    SUBNETS,
    all_items,
    ctl,
    hosts,
    log,
    owners,
    plug,
    run,
    send,
    start,
    stop,
    subnets,
    told,
    wait_until,
)
from .members import (
    MEMBERS,
    but,
    compact,
    deaf,
    fill,
    is_dead,
    join,
    leader,
    put_junk,
    start_members,
    status,
    strike,
)

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

WELL = ("host1", "host2")  # no fault is about these
VICTIM = "host4"
TTL = 60.0  # seconds; longer than a leader pauses, which may end leases once it goes on (docs/operate.md)
SHORT_TTL = 10.0  # the shortest that a config file may ask for
PAUSE = 30.0
LULL = 5.0  # seconds without any member, in which a daemon has nothing to do
IDLE = 0.04  # of a processor; at rest it is 0.002
QUOTA = 16 << 20  # octets; of each member's database
SMALL_DISK = 160 << 20  # two write-ahead logs, for each of which etcd reserves 64 MiB, and the database
BURST = 1000
FLANNELS = "10.4.99.0-24&fd00:4:0:99::-64"
MAC, OTHER_MAC = "c6:d2:32:6f:8f:44", "c6:d2:32:6f:8f:45"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Four hosts with a container each, and three members, on two segments with a router between.

    Everybody shows a certificate, and each host may do what the manual says, and no more.
    """
    topology = Topology(
        store="etcd",
        store_members=3,
        certificates=str(tmp_path_factory.mktemp("certificates")),
        underlay="routed",
        hosts=4,
        containers=1,
        lease_ttl=TTL,
    )
    root = certify(topology)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ETCD_QUOTA_BACKEND_BYTES", str(QUOTA))
        environment.setenv("ETCD_STRICT_RECONFIG_CHECK", "false")  # else five quiet seconds before each change
        environment.setenv("ETCDCTL_ENDPOINTS", "https://127.0.0.1:2379")
        for name, path in {"CACERT": root.ca, "CERT": root.cert, "KEY": root.key}.items():
            environment.setenv(f"ETCDCTL_{name}", str(path))
        with labs.lab(topology) as built:
            confine_to_roles(built)
            assert not due(built)
            yield built


def certify(topology: Topology) -> Credentials:
    """Found a CA, and write a certificate for everybody; return root's."""
    authority = Authority(Path(topology.certificates))
    for each in topology.stations:
        authority.station(each.name, [own.ip for own in each.addresses])
    return authority.user("root")


def confine_to_roles(built: Lab) -> None:
    """Let etcd ask who it is, while the hosts run, by the commands of the manual."""
    manual = (Path(__file__).parents[2] / "docs" / "operate.md").read_text()
    for command in re.findall(r"^    etcdctl (role .*)$", manual, re.MULTILINE):
        ctl(built, *command.split())
    for command in re.findall(r"^    etcdctl (user .*)$", manual, re.MULTILINE):
        for host in hosts(built):
            ctl(built, *command.replace("host-3", host).split())
    ctl(built, "user", "add", "root", "--no-password")
    ctl(built, "user", "grant-role", "root", "root")
    ctl(built, "auth", "enable")


def at_rest(built: Lab) -> bool:
    """Return whether every host is ready and has nothing to say."""
    statuses = [labs.status(built, host) for host in hosts(built)]
    return all(status["ready"] and not status["warnings"] and not status["quarantined"] for status in statuses)


def due(built: Lab) -> dict[str, list[str]]:
    """Return what `containernet plan` would do on each host that has anything to do."""
    plans = {host: run(built, host, "plan", "--json").json["operations"] for host in hosts(built)}
    return {host: operations for host, operations in plans.items() if operations}


def says_the_store_is_away(built: Lab, host: str) -> bool:
    """Return whether a host says so."""
    return any("etcd" in each and "forwarding goes on" in each for each in labs.status(built, host)["warnings"])


@contextmanager
def undisturbed(built: Lab) -> Iterator[None]:
    """Let two hosts that are well ping each other, both ways and in both families, and lose nothing."""
    with ExitStack() as stack:
        stops = [
            stack.enter_context(whole.streaming(built, f"{one}-c1", address, rate=50))
            for one, other in (WELL, WELL[::-1])
            for address in whole.addresses(built, f"{other}-c1")
        ]
        yield
        tallies: list[Tally] = [stop() for stop in stops]
    assert not [str(tally) for tally in tallies if tally.lost or tally.sent < 10]


def check_everybody_reaches_everybody(built: Lab) -> None:
    """Check every pair of containers, in both families."""
    results = whole.ping(built, labs.containers(built))
    assert len(results) == 4 * 3 * 2
    assert all(each.reached for each in results), results


def announce(built: Lab, *, via: str, mac: str = MAC, key: str = FLANNELS) -> None:
    """Put the record of a host of flannel's, through a member that is well."""
    data = {"VNI": 1, "VtepMAC": mac}
    record = {
        "PublicIP": "192.0.2.99",
        "PublicIPv6": "2001:db8:0:a::63",
        "BackendType": "vxlan",
        "BackendData": data,
        "BackendV6Data": data,
    }
    lease = ctl(built, "lease", "grant", "86400", via=via).split()[1]
    ctl(built, "put", f"--lease={lease}", SUBNETS + key, json.dumps(record), via=via)


def wait_until_heard(built: Lab, by: Iterable[str], *, mac: str = MAC) -> None:
    """Wait until the kernels of those hosts know that MAC, of both families, and no other of that host."""
    for host in by:
        wait_until(lambda host=host: _macs(labs.items(built, host)) == [mac] * 4)  # type: ignore[misc]


def _macs(items: Mapping[Key, Item]) -> list[str]:
    found = [each.mac for each in items.values() if isinstance(each, Neighbour | FdbEntry)]
    return [mac for mac in found if mac in {MAC, OTHER_MAC}]


Fault = Callable[[Lab], Iterator[str]]  # it yields a member that can write meanwhile; empty: none can


def leader_killed(built: Lab) -> Iterator[str]:
    """As by kill -9, and started again."""
    killed = leader(built)
    stop(built, killed, signal.SIGKILL)
    yield leader(built, among=but(killed))
    start_members(built, killed)


def leader_paused(built: Lab) -> Iterator[str]:
    """For half a minute, in which a host starts and is cut off as well; then it finds that it leads no more."""
    paused, begun = leader(built), time.monotonic()
    send(built, paused, signal.SIGSTOP)
    try:
        yield leader(built, among=but(paused))
        stop(built, VICTIM)
        start(built, VICTIM)
        with contextmanager(host_cut_off)(built):
            pass
        threading.Event().wait(begun + PAUSE - time.monotonic())  # this fault is how long it lasts
    finally:
        send(built, paused, signal.SIGCONT)


def minority_cut_off(built: Lab) -> Iterator[str]:
    """The leader, from the other members and from every host."""
    alone = leader(built)
    plug(built, alone, "down")
    yield leader(built, among=but(alone))
    plug(built, alone, "up")


def majority_cut_off(built: Lab) -> Iterator[str]:
    """Nobody leads, nothing can be written, every host says so, and every kernel stays as it is."""
    before = all_items(built)
    for each in MEMBERS[:2]:
        plug(built, each, "down")
    wait_until(lambda: all(says_the_store_is_away(built, host) for host in before))
    assert all_items(built) == before
    yield ""
    for each in MEMBERS[:2]:
        plug(built, each, "up")


def all_killed(built: Lab) -> Iterator[str]:
    """The same, and no connection is left; nobody knocks more often than that costs next to nothing."""
    before = all_items(built)
    for each in MEMBERS:
        stop(built, each, signal.SIGKILL)
    wait_until(lambda: all(says_the_store_is_away(built, host) for host in before))
    assert all_items(built) == before
    begun = {host: cpu(built, host) for host in before}
    threading.Event().wait(LULL)
    assert not {host: spent for host in before if (spent := cpu(built, host) - begun[host]) > LULL * IDLE}
    yield ""
    start_members(built, *MEMBERS)


def all_disks_lost(built: Lab) -> Iterator[str]:
    """A cluster without a memory takes the other's place: every host puts back what it had, and the network."""
    for each in MEMBERS:
        stop(built, each, signal.SIGKILL)
    for each in MEMBERS:
        shutil.rmtree(built.file(daemons.directory(each) / "data"))
    start_members(built, *MEMBERS)
    confine_to_roles(built)
    wait_until(lambda: owners(built).keys() == set(hosts(built)))
    yield "store1"


def certificates_replaced(built: Lab) -> Iterator[str]:
    """By those of another CA, on every disk; the members are started again, and no host is."""
    certify(built.topology)
    for each in MEMBERS:
        stop(built, each, signal.SIGKILL)
    start_members(built, *MEMBERS)
    yield "store1"


def host_cut_off(built: Lab) -> Iterator[str]:
    """From the others and from etcd, which is reached over the same cable."""
    before = all_items(built)
    plug(built, VICTIM, "down")
    wait_until(lambda: says_the_store_is_away(built, VICTIM))
    assert all_items(built) == before
    yield ""
    plug(built, VICTIM, "up")


def cpu(built: Lab, host: str) -> float:
    """Return how many seconds of a processor a host's daemon has had so far."""
    return built.call(functools.partial(_cpu, host))


def _cpu(host: str) -> float:
    fields = Path(f"/proc/{daemons.pid(host)}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def compacted_while_cut_off(built: Lab) -> Iterator[str]:
    """From etcd alone: a host hears of a MAC that changed meanwhile, though nothing is left to resume from."""
    announce(built, via="store1", mac=OTHER_MAC)
    wait_until_heard(built, hosts(built), mac=OTHER_MAC)
    with deaf(built, VICTIM):
        wait_until(lambda: says_the_store_is_away(built, VICTIM))
        announce(built, via="store1")
        wait_until_heard(built, [host for host in hosts(built) if host != VICTIM])
        compact(built)
        check_everybody_reaches_everybody(built)
        wait_until_heard(built, [VICTIM], mac=OTHER_MAC)
    wait_until_heard(built, [VICTIM])
    yield ""


def no_space_left(built: Lab) -> Iterator[str]:
    """By etcd's own quota: it takes no record any more, until an operator makes room."""
    with pytest.raises(RuntimeError, match="database space exceeded"):
        put_junk(built, QUOTA >> 20, via="store1")
    with pytest.raises(RuntimeError, match="database space exceeded"):
        announce(built, via="store1")
    yield ""
    ctl(built, "del", "--prefix", "/junk")
    compact(built)
    for each in MEMBERS:
        ctl(built, "defrag", via=each)
    ctl(built, "alarm", "disarm")


def member_replaced(built: Lab) -> Iterator[str]:
    """By one with an empty disk."""
    gone = but(leader(built))[0]
    stop(built, gone, signal.SIGKILL)
    yield strike(built, gone)
    built.call(functools.partial(join, built, gone, 0))


def disk_full(built: Lab) -> Iterator[str]:
    """A member, replaced by one with a small disk, dies of that; and comes back when there is room."""
    small = but(leader(built))[0]
    stop(built, small, signal.SIGKILL)
    via = strike(built, small)
    built.call(functools.partial(join, built, small, SMALL_DISK))
    ctl(built, "defrag", via=small)  # it has grown by what others have had, and would not have to grow
    built.call(functools.partial(fill, small))
    put_junk(built, 2, via=via)
    wait_until(lambda: built.call(functools.partial(is_dead, small)))
    assert "no space left on device" in log(built, small)
    yield via
    built.file(daemons.directory(small) / "data" / "filling").unlink()
    start_members(built, small)
    ctl(built, "del", "--prefix", "/junk")


def junk(built: Lab) -> Iterator[str]:
    """Keys and values that nobody can read: every host names them, and removes nothing."""
    rubbish = {"rubbish": "rubbish", "10.4.98.0-24": "{", "10.4.97.0-24": "[]", "10.4.096.0-24": "{}"}
    before = all_items(built)
    for key, value in rubbish.items():
        ctl(built, "put", SUBNETS + key, value)
    wait_until(
        lambda: all(_set_aside(built, host) == {SUBNETS + key for key in rubbish} for host in before),
    )
    assert all(labs.status(built, host)["ready"] for host in before)
    assert all_items(built) == before
    yield "store1"
    for key in rubbish:
        ctl(built, "del", SUBNETS + key)


def _set_aside(built: Lab, host: str) -> set[str]:
    return set(labs.status(built, host)["quarantined"])


def hostile(built: Lab) -> Iterator[str]:
    """Records that can be read and must not be believed: a host says why, and its kernel holds none of them."""
    before, part = all_items(built), subnets(built, VICTIM)[0].replace("/24", "-25")
    address = str(next(each.addresses[0].ip for each in built.topology.members if each.name == VICTIM))
    lies = {
        "10.9.9.0-24": ("192.0.2.99", "lies outside the pool"),
        part: ("192.0.2.99", "is not a /24"),
        "10.4.98.0-24": ("224.0.0.1", "not a unicast address"),
        "10.4.97.0-24": ("127.0.0.1", "not a unicast address"),
        "10.4.96.0-24": ("10.4.95.7", "lies in the pool"),
        "10.4.94.0-24": (address, "is this node itself"),
    }
    for key, (hop, _) in lies.items():
        value = {"PublicIP": hop, "BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": MAC}}
        ctl(built, "put", SUBNETS + key, json.dumps(value))
    wait_until(lambda: len(labs.status(built, VICTIM)["refused"]) == len(lies))
    warnings = labs.status(built, VICTIM)["warnings"]
    for _, reason in lies.values():
        assert any(reason in each for each in warnings), (reason, warnings)
    assert all_items(built)[VICTIM] == before[VICTIM]
    for key in lies:
        ctl(built, "del", SUBNETS + key)
    yield "store1"


def own_key_deleted(built: Lab) -> Iterator[str]:
    """The host claims the same subnets again, and says so."""
    key = owners(built)[VICTIM]
    ctl(built, "del", SUBNETS + key)
    wait_until(lambda: owners(built).get(VICTIM) == key)
    for alarm in ("our own announcement is gone", "lease lost, asking for the same subnets again"):
        assert alarm in log(built, VICTIM)
    yield "store1"


def burst(built: Lab) -> Iterator[str]:
    """A thousand hosts announce themselves at once, every kernel gets all, and they leave at once."""
    before = all_items(built)
    lease = ctl(built, "lease", "grant", "86400").split()[1]
    held = {subnet for host in before for subnet in subnets(built, host)}
    every = (IPv6Network((0xFD00_0004 << 96 | number << 64, 64)) for number in count(0x1000))
    crowd = list(islice((each for each in every if str(each) not in held), BURST))
    for first in range(0, BURST, 125):  # etcd takes no more than 128 at once
        puts = [f"put --lease={lease} {_record(each)}" for each in crowd[first : first + 125]]
        ctl(built, "txn", stdin="\n" + "\n".join(puts) + "\n\n\n")
    for host in before:
        told_all = functools.partial(_leads_to, built, host, set(crowd))
        wait_until(told_all)
    yield "store1"
    ctl(built, "lease", "revoke", lease)


def _record(subnet: IPv6Network) -> str:
    """Return the key and the value of a host that has IPv6 alone, as etcdctl reads them."""
    number = int(subnet.network_address) >> 64 & 0xFFFF
    mac = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
    value = {
        "PublicIP": "0.0.0.0",
        "PublicIPv6": f"2001:db8:0:a::{number:x}",
        "BackendType": "vxlan",
        "BackendV6Data": {"VNI": 1, "VtepMAC": mac},
    }
    return f"{SUBNETS}{records.key_of([subnet])} {json.dumps(json.dumps(value))}"


def _leads_to(built: Lab, host: str, crowd: set[IPv6Network]) -> bool:
    items = labs.items(built, host).values()
    return crowd <= {each.destination for each in items if isinstance(each, KernelRoute)}


@pytest.mark.parametrize(
    "fault",
    [
        burst,
        leader_killed,
        leader_paused,
        minority_cut_off,
        majority_cut_off,
        all_killed,
        all_disks_lost,
        certificates_replaced,
        compacted_while_cut_off,
        member_replaced,
        disk_full,
        no_space_left,  # after those: who joins is given all the junk, and none of the room
        junk,
        hostile,
        own_key_deleted,
    ],
    ids=lambda fault: fault.__name__.replace("_", " "),
)
def test_nothing_is_lost_and_nothing_stays(built: Lab, fault: Fault) -> None:
    """Whoever joins during the fault is heard of; once he has left, all is as it was before."""
    before, records_before, network = all_items(built), told(built), config(built)
    with undisturbed(built):
        with contextmanager(fault)(built) as via:
            if via:
                announce(built, via=via)
                wait_until_heard(built, before)
        leader(built)
        announce(built, via="store1")
        wait_until_heard(built, before)
        ctl(built, "del", SUBNETS + FLANNELS)
        wait_until(lambda: at_rest(built) and all_items(built) == before)
        check_everybody_reaches_everybody(built)
    assert (told(built), config(built)) == (records_before, network)
    assert not sum(labs.status(built, host)["repairs"] for host in before)


def config(built: Lab) -> str:
    """Return what the store says to all hosts."""
    return ctl(built, "get", "--print-value-only", f"{PREFIX}/config")


def test_whatever_an_operator_deletes_is_put_back(built: Lab) -> None:
    """All of it by one command: every host claims the same subnets again, and the network stands again."""
    before, records_before, network = all_items(built), told(built), config(built)
    ctl(built, "del", "--prefix", f"{PREFIX}/")
    wait_until(lambda: (told(built), config(built)) == (records_before, network))
    wait_until(lambda: at_rest(built) and all_items(built) == before)
    check_everybody_reaches_everybody(built)


def test_a_host_that_dies_leaves_and_one_that_slept_too_long_makes_way(built: Lab) -> None:
    """Leases end in etcd, whoever sleeps: the dead host's routes leave, and the sleeper's subnet is given away.

    The sleeper's kernel goes on to forward, which no store can prevent (docs/design.md, What is not). What is
    guaranteed: etcd never shows two owners of one subnet; awake, the sleeper finds its lease lost, says so,
    takes other subnets, and never writes what is the other's now.
    """
    dead, sleeper = "host3", VICTIM
    brief = attrs.evolve(built.topology, lease_ttl=SHORT_TTL)
    for host in (dead, sleeper):
        stop(built, host)
    mortal = [host for host in brief.members if host.name in {dead, sleeper}]
    built.call(functools.partial(daemons.start_ready, brief, mortal))
    begun, keys = status(built, "store1")["header"]["revision"], owners(built)
    held = subnets(built, sleeper)
    with undisturbed(built):
        stop(built, dead, signal.SIGKILL)
        send(built, sleeper, signal.SIGSTOP)
        try:
            wait_until(lambda: owners(built).keys() == set(WELL), at_most=SHORT_TTL + 5)
            announce(built, via="store1", key=keys[sleeper])
        finally:
            send(built, sleeper, signal.SIGCONT)
        wait_until(lambda: "lease lost" in log(built, sleeper))
        wait_until(lambda: sleeper in owners(built))
        wait_until(lambda: labs.status(built, sleeper)["ready"])
    fresh = subnets(built, sleeper)
    assert fresh != held
    assert f"subnets change from {' and '.join(held)}" in log(built, sleeper)
    assert any("attach it again" in each for each in labs.status(built, sleeper)["warnings"])
    known = {route["prefix"]: route["node"] for route in labs.status(built, "host1")["routes"]}
    assert not [prefix for prefix, node in known.items() if node == dead]
    assert [known[prefix] for prefix in (*held, *fresh)] == ["192.0.2.99"] * 2 + [sleeper] * 2
    for each in range(begun, status(built, "store1")["header"]["revision"] + 1):
        _check_no_two_owners(told(built, each))
    assert records.decode(keys[sleeper], told(built)[keys[sleeper]].encode()).owner == "192.0.2.99"
    _check_they_come_back(built, dead, sleeper)


def _check_no_two_owners(told: Mapping[str, str]) -> None:
    held: list[tuple[str, Prefix]] = [(key, subnet) for key in told for subnet in records.subnets_of(key)]
    for (one, first), (other, second) in combinations(held, 2):
        assert one == other or not overlaps(first, second), (one, other)
    names = [records.decode(key, value.encode()).owner for key, value in told.items()]
    assert len(set(names)) == len(names), names


def _check_they_come_back(built: Lab, dead: str, sleeper: str) -> None:
    """The dead host is started, the sleeper's container attached again, and no kernel has anything to do."""
    with undisturbed(built):
        start(built, dead)
        assert run(built, sleeper, "detach", f"{sleeper}-c1").code == 0
        built.call(functools.partial(daemons.attach, f"{sleeper}-c1", sleeper))
        wait_until(lambda: at_rest(built))
        wait_until(lambda: not due(built))
    check_everybody_reaches_everybody(built)
