"""Hosts with etcd between them: real daemons, a real kernel, and a real etcd that is reached over the underlay.

Everything is done to one lab, in order. The two tests at its end let leases run out: the first two hosts do
not come out of that as they were, and nothing after them may rest on it.
"""

from __future__ import annotations

import functools
import json
import os
import signal
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from ipaddress import ip_network
from itertools import combinations
from typing import Any

import pytest

from containernet.lab import daemons, whole
from containernet.lab.cluster import Lab
from containernet.lab.ping import Tally
from containernet.model import Prefix, overlaps
from containernet_backends.etcd import records

from . import labs
from .labs import PREFIX, STORE, SUBNETS, ctl, run, start, stop, told

pytestmark = pytest.mark.kernel

TTL = 10.0  # seconds; the shortest that a config file may ask for


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """Four hosts, two on each side of a router, with a container each."""
    with labs.lab(store="etcd", underlay="routed", hosts=4, containers=1, lease_ttl=TTL) as built:
        yield built


def revision(built: Lab) -> int:
    """Return the revision of the store."""
    answer = json.loads(ctl(built, "get", "/", "--write-out=json"))
    return int(answer["header"]["revision"])


def owners(built: Lab) -> dict[str, str]:
    """Return which key is whose record."""
    return {records.decode(key, value.encode()).owner: key for key, value in told(built).items()}


def subnets(built: Lab, host: str) -> list[str]:
    """Return what a host says that it holds."""
    held: list[str] = labs.status(built, host)["subnets"]
    return held


def log(built: Lab, host: str) -> str:
    """Return what a host's daemon has printed."""
    return built.file(daemons.log_file(host)).read_text()


def all_items(built: Lab) -> dict[str, Mapping[Any, Any]]:
    """Return what every kernel holds of ours."""
    return {host.name: labs.items(built, host.name) for host in built.topology.members}


def at_rest(built: Lab) -> bool:
    """Return whether every host is ready and has nothing to say."""
    statuses = [labs.status(built, host.name) for host in built.topology.members]
    return all(status["ready"] and not status["warnings"] for status in statuses)


def send(built: Lab, host: str, number: int) -> None:
    """Send a host's daemon a signal that does not end it."""
    built.call(functools.partial(_send, host, number))


def _send(host: str, number: int) -> None:
    os.kill(daemons.pid(host), number)


def streams(built: Lab, stack: ExitStack, *pairs: tuple[str, str]) -> list[Any]:
    """Begin to ping between the containers of those hosts; return what ends each and tells its tally."""
    return [
        stack.enter_context(whole.streaming(built, f"{one}-c1", whole.addresses(built, f"{other}-c1")[0]))
        for one, other in pairs
    ]


def lost(stops: list[Any]) -> list[Tally]:
    """End streams; return those that lost a packet, or never sent one."""
    tallies = [stop() for stop in stops]
    return [tally for tally in tallies if tally.lost or tally.sent < 10]


def test_every_container_reaches_every_other_across_the_router(built: Lab) -> None:
    """Four hosts, two families, all pairs; and each record is flannel's, with the host's name in it."""
    results = whole.ping(built, labs.containers(built))
    assert len(results) == 4 * 3 * 2
    assert all(each.reached for each in results), results
    assert sorted(owners(built)) == ["host1", "host2", "host3", "host4"]


def test_every_container_reaches_every_other_on_one_switch() -> None:
    """The same where no router stands between the hosts and the store."""
    with labs.lab(store="etcd", hosts=2, containers=1) as built:
        assert all(each.reached for each in whole.ping(built, labs.containers(built)))


def test_the_network_is_what_flannel_reads_and_what_the_command_shows(built: Lab) -> None:
    """The first daemon stored it; it can be changed, unless leases stand against that."""
    config = json.loads(ctl(built, "get", "--print-value-only", f"{PREFIX}/config"))
    assert (config["Network"], config["Backend"]) == ("10.4.0.0/16", {"Type": "vxlan"})
    shown = run(built, "host1", "network", "show", "--json").json
    assert (shown["dataplane"], shown["network"][0]["prefix"]) == ("vxlan", "10.4.0.0/16")
    assert run(built, "host1", "network", "set", "--json").json == shown


def test_a_reserved_subnet_is_left_alone_until_it_is_released(built: Lab) -> None:
    """It is a key without a lease, as flannel means it."""
    assert run(built, "host1", "reserve", "10.4.99.0/24").out == "10.4.99.0/24 reserved\n"
    try:
        assert "10.4.99.0-24" in told(built)
        taken = run(built, "host2", "reserve", "10.4.99.0/25")
        assert taken.code == 4
        assert "10.4.99.0/24" in taken.err
        refused = run(built, "host2", "release", subnets(built, "host1")[0])
        assert refused.code == 2
        assert "leased to host1" in refused.err
    finally:
        assert run(built, "host2", "release", "10.4.99.0/24").code == 0
    assert "10.4.99.0-24" not in told(built)


def test_the_subnet_file_has_flannels_lines(built: Lab) -> None:
    """Whoever read flannel's file finds the same variables."""
    text = built.file(daemons.directory("host1") / "subnet.env").read_text()
    lines = dict(line.split("=") for line in text.splitlines())
    four, six = map(ip_network, subnets(built, "host1"))
    assert lines == {
        "FLANNEL_NETWORK": "10.4.0.0/16",
        "FLANNEL_SUBNET": f"{four[1]}/24",
        "FLANNEL_IPV6_NETWORK": "fd00:4::/48",
        "FLANNEL_IPV6_SUBNET": f"{six[1]}/64",
        "FLANNEL_MTU": "1430",
        "FLANNEL_IPMASQ": "false",
    }


def test_a_record_that_nobody_can_read_is_set_aside_and_removes_nothing(built: Lab) -> None:
    """One key of rubbish makes flannel drop every host; here every host names it, and goes on."""
    before = all_items(built)
    with ExitStack() as stack:
        stops = streams(built, stack, ("host1", "host2"), ("host3", "host4"))
        ctl(built, "put", f"{SUBNETS}rubbish", "rubbish")
        labs.seconds_until(lambda: all(_sets_aside(built, host) for host in before), at_most=5)
        assert all_items(built) == before
        ctl(built, "del", f"{SUBNETS}rubbish")
        labs.seconds_until(lambda: at_rest(built), at_most=5)
        assert not lost(stops)


def _sets_aside(built: Lab, host: str) -> bool:
    status = labs.status(built, host)
    return list(status["quarantined"]) == [f"{SUBNETS}rubbish"] and status["ready"]


def test_a_record_that_somebody_deletes_is_claimed_again(built: Lab) -> None:
    """The same subnets, an alarm in the log, and no packet lost between the hosts that it was not about."""
    before, key = all_items(built), owners(built)["host1"]
    with ExitStack() as stack:
        stops = streams(built, stack, ("host2", "host3"), ("host4", "host3"))
        ctl(built, "del", SUBNETS + key)
        labs.seconds_until(lambda: owners(built).get("host1") == key, at_most=5)
        labs.seconds_until(lambda: at_rest(built) and all_items(built) == before, at_most=5)
        assert not lost(stops)
    for alarm in ("our own announcement is gone", "lease lost, asking for the same subnets again"):
        assert alarm in log(built, "host1")
    assert all(each.reached for each in whole.ping(built, labs.containers(built)))


def test_etcd_may_be_killed_and_no_packet_is_lost(built: Lab) -> None:
    """The kernel goes on, the status says what is the matter, and when etcd is back all is as before."""
    before, records_before = all_items(built), told(built)
    with ExitStack() as stack:
        stops = streams(built, stack, ("host1", "host2"), ("host3", "host4"))
        stop(built, STORE, signal.SIGKILL)
        labs.seconds_until(lambda: all(_says_the_store_is_away(built, host) for host in before), at_most=10)
        assert all_items(built) == before
        start(built, STORE)
        labs.seconds_until(lambda: at_rest(built), at_most=10)
        assert all_items(built) == before
        assert not lost(stops)
    assert told(built) == records_before
    assert not sum(labs.status(built, host)["repairs"] for host in before)


def _says_the_store_is_away(built: Lab, host: str) -> bool:
    return any("etcd" in each and "forwarding goes on" in each for each in labs.status(built, host)["warnings"])


def test_a_host_that_is_cut_off_from_the_others_is_cut_off_from_etcd(built: Lab) -> None:
    """The store is reached over the underlay; the cable back in, the host hears and is heard again."""
    before = all_items(built)
    assert built.run("underlay", ["ip", "link", "set", "host4-eth0", "down"]) == 0
    try:
        labs.seconds_until(lambda: _says_the_store_is_away(built, "host4"), at_most=15)
    finally:
        assert built.run("underlay", ["ip", "link", "set", "host4-eth0", "up"]) == 0
    labs.seconds_until(lambda: at_rest(built), at_most=10)
    assert all_items(built) == before


def test_a_host_that_dies_leaves_and_one_that_slept_too_long_makes_way(built: Lab) -> None:
    """Leases end in etcd, whoever sleeps: the dead host's routes leave, and the sleeper's subnet is given away.

    The sleeper's kernel goes on to forward, which no store can prevent (docs/design.md, What is not). What is
    guaranteed: etcd never shows two owners of one subnet; awake, the sleeper finds its lease lost, says so,
    takes other subnets, and never writes what is the other's now.
    """
    dead, sleeper = "host2", "host4"
    begun, keys = revision(built), owners(built)
    held = subnets(built, sleeper)
    with ExitStack() as stack:
        stops = streams(built, stack, ("host1", "host3"))
        stop(built, dead, signal.SIGKILL)
        send(built, sleeper, signal.SIGSTOP)
        try:
            labs.seconds_until(lambda: owners(built).keys() == {"host1", "host3"}, at_most=TTL + 5)
            _take(built, keys[sleeper])
        finally:
            send(built, sleeper, signal.SIGCONT)
        labs.seconds_until(lambda: "lease lost" in log(built, sleeper), at_most=10)
        labs.seconds_until(lambda: sleeper in owners(built), at_most=10)
        labs.seconds_until(lambda: labs.status(built, sleeper)["ready"], at_most=10)
        assert not lost(stops)
    fresh = subnets(built, sleeper)
    assert fresh != held
    assert f"subnets change from {' and '.join(held)}" in log(built, sleeper)
    assert any("attach it again" in each for each in labs.status(built, sleeper)["warnings"])
    known = {route["prefix"]: route["node"] for route in labs.status(built, "host1")["routes"]}
    assert not [prefix for prefix, node in known.items() if node == dead]
    assert [known[prefix] for prefix in (*held, *fresh)] == ["192.0.2.99"] * 2 + [sleeper] * 2
    for each in range(begun, revision(built) + 1):
        _check_no_two_owners(told(built, each))
    assert records.decode(keys[sleeper], told(built)[keys[sleeper]].encode()).owner == "192.0.2.99"


def _take(built: Lab, key: str) -> None:
    """Put the record of another host, as flannel would write it."""
    data = {"VNI": 1, "VtepMAC": "c6:d2:32:6f:8f:44"}
    record = {
        "PublicIP": "192.0.2.99",
        "PublicIPv6": "2001:db8:0:a::63",
        "BackendType": "vxlan",
        "BackendData": data,
        "BackendV6Data": data,
    }
    lease = ctl(built, "lease", "grant", "86400").split()[1]
    ctl(built, "put", f"--lease={lease}", SUBNETS + key, json.dumps(record))


def _check_no_two_owners(told: Mapping[str, str]) -> None:
    held: list[tuple[str, Prefix]] = [(key, subnet) for key in told for subnet in records.subnets_of(key)]
    for (one, first), (other, second) in combinations(held, 2):
        assert one == other or not overlaps(first, second), (one, other)
    names = [records.decode(key, value.encode()).owner for key, value in told.items()]
    assert len(set(names)) == len(names), names
