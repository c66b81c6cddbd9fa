"""Somebody sets the wall clock, and nothing that has a time to live takes notice.

User-mode-linux has a clock of its own, so here it is really set: CLOCK_REALTIME jumps under an etcd, under
daemons that keep their leases in it, and under others that share a file (sqlite).
"""

from __future__ import annotations

import base64
import functools
import http.client
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from containernet.lab import build, cluster, daemons, namespaces, server, whole
from containernet.lab.cluster import Lab
from containernet.lab.topology import Topology
from containernet.model import Route, Tunnel
from containernet_backends.sqlite import SqliteStore
from tests.kernel import labs
from tests.kernel.labs import SUBNETS

pytestmark = [pytest.mark.uml, pytest.mark.etcd]

DAY = 86_400.0
EARLIEST = 0.0
LEASE_TTL = 10.0  # seconds; renewed after a third of it
MORTAL_TTL = 5  # seconds
SLACK = 10.0  # seconds, in which even a slow machine has done what was due


class Etcd:
    """What a lab's operator does to etcd, and sees there, by its JSON gateway: quicker than etcdctl."""

    name, hosts = "etcd", 2

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        # Before 3.5 it goes by the wall clock to find leases that have ended: what was granted before the clock
        # was set back lives until the clock is there again, or another member leads (etcd-io/etcd#12291).
        major, minor, _ = self._ask("maintenance/status")["version"].split(".")
        self.sees_old_leases_end = (int(major), int(minor)) >= (3, 5)

    def renewals(self) -> dict[str, object]:
        """Return every record with what each renewal changes: it is put again."""
        answer = self._ask("kv/range", key=_text(SUBNETS), range_end=_text(SUBNETS[:-1] + "0"))
        return {each["key"]: each["mod_revision"] for each in answer["kvs"]}

    def announce(self, subnet: str) -> None:
        """Let a host that never renews its lease claim and announce a subnet."""
        key = _text(SUBNETS + subnet.replace("/", "-"))
        record = _text('{"PublicIP":"192.0.2.99","PublicIPv6":null,"BackendType":"host-gw"}')
        lease = self._ask("lease/grant", TTL=MORTAL_TTL)["ID"]
        self._ask("kv/put", key=key, value=record, lease=lease)

    def _ask(self, path: str, **request: object) -> Any:
        (host,) = self.lab.topology.servers
        return self.lab.call(functools.partial(_ask_etcd, host.name, path, json.dumps(request).encode()))


def _text(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _ask_etcd(host: str, path: str, request: bytes) -> Any:
    with namespaces.network(build.path(host)):
        connection = http.client.HTTPConnection("127.0.0.1", server.PORT, timeout=60)
        with closing(connection):
            connection.request("POST", f"/v3/{path}", request)
            return json.loads(connection.getresponse().read())


class Sqlite:
    """The same, for the store in a file."""

    name, hosts = "sqlite", 1  # with the mortal one two processes share the file
    sees_old_leases_end = True

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def renewals(self) -> dict[str, object]:
        """Return every lease's subnets with its revision, which each renewal changes."""
        return self.lab.call(_revisions)

    def announce(self, subnet: str) -> None:
        """Let a host that never renews its lease claim and announce a subnet."""
        self.lab.call(functools.partial(_announce, subnet))


def _store() -> closing[SqliteStore]:
    return closing(SqliteStore(cluster.HOME / "store.db"))


def _revisions() -> dict[str, object]:
    with _store() as store:
        return {str(lease.subnets): lease.revision for lease in store.leases()}


def _announce(subnet: str) -> None:
    prefix = ip_network(subnet)
    route = Route(
        prefix=prefix, node="mortal", next_hop=ip_address("192.0.2.99"), tunnel=Tunnel(type="host-gw")
    )
    with _store() as store:
        store.claim((prefix,), "mortal", MORTAL_TTL)
        store.announce(route)


def _stand(topology: Topology) -> None:
    if topology.servers:
        daemons.start_ready(topology, topology.servers)
    again = "[store.etcd]\nannounce_again = 1.0"
    started = [
        daemons.start_with(host.name, daemons.config(topology, host, edge=False).replace("[store.etcd]", again))
        for host in topology.members
    ]
    daemons.wait_ready(started, deadline=60)
    for host in topology.members:
        for container in host.containers:
            daemons.attach(container, host.name)
    daemons.wait_for_routes(topology)


@pytest.fixture
def jump() -> Iterator[Callable[[float], None]]:
    """What sets the wall clock; afterwards it is right again."""
    wall, steady = time.time(), time.monotonic()

    def jump(moment: float) -> None:
        # 1970, but Linux lets no clock be set to before the boot, as told from there (timekeeping.c).
        time.clock_settime(time.CLOCK_REALTIME, max(moment, time.monotonic() + 1))

    yield jump
    time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - steady)


def test_no_lease_ends_or_lives_on_because_the_wall_clock_jumps(jump: Callable[[float], None]) -> None:
    """Whoever renews keeps subnets, items and packets; whoever does not is gone in due time."""
    wanted: dict[str, Any] = {
        "containers": 1, "versions": (4,), "dataplane": "host-gw", "lease_ttl": LEASE_TTL
    }  # fmt: skip
    with ExitStack() as stack:
        stores = []
        for kind in (Etcd, Sqlite):
            lab = stack.enter_context(labs.bare(store=kind.name, hosts=kind.hosts, **wanted))
            lab.call(functools.partial(_stand, lab.topology))
            stores.append(kind(lab))
        before, now = [_standing(store.lab) for store in stores], time.time()
        lab = stores[0].lab
        (target,) = whole.addresses(lab, "host2-c1")
        ended = stack.enter_context(whole.streaming(lab, "host1-c1", target, rate=20.0))
        for number, moment in enumerate((now + DAY, now - DAY, EARLIEST)):
            mortal = f"10.4.{250 + number}.0/24"
            back = moment < time.time()
            for store in stores:
                if store.sees_old_leases_end or not back:
                    _announce_until_heard(store, mortal)
            jump(moment)
            renewals = [store.renewals() for store in stores]
            for store in stores:
                if not store.sees_old_leases_end and back:
                    _announce_until_heard(store, mortal)
                _check_calm(store.lab)
            for store, told in zip(stores, renewals, strict=True):
                labs.wait_until(functools.partial(_is_gone, store, mortal), at_most=MORTAL_TTL + SLACK)
                labs.wait_until(functools.partial(_all_renewed, store, told), at_most=LEASE_TTL)
            assert [_standing(store.lab) for store in stores] == before
        tally = ended()
        assert not tally.lost, tally
        for store in stores:
            for host in _hosts(store.lab):
                log = store.lab.file(daemons.log_file(host)).read_text()
                assert "level=error" not in log, log
                assert "repaired" not in log, log


def _hosts(lab: Lab) -> list[str]:
    return [host.name for host in lab.topology.members]


def _check_calm(lab: Lab) -> None:
    for host in _hosts(lab):
        status = labs.status(lab, host)
        assert (status["reasons"], status["warnings"]) == ([], [])
        assert 0 < status["lease_seconds"] <= LEASE_TTL


def _standing(lab: Lab) -> list[object]:
    return [(labs.status(lab, host)["subnets"], labs.items(lab, host)) for host in _hosts(lab)]


def _routes(lab: Lab, host: str) -> set[str]:
    return {route["prefix"] for route in labs.status(lab, host)["routes"]}


def _announce_until_heard(store: Etcd | Sqlite, prefix: str) -> None:
    def heard() -> bool:
        store.announce(prefix)  # again, or it could be over before a busy machine has looked
        return all(prefix in _routes(store.lab, host) for host in _hosts(store.lab))

    labs.wait_until(heard, at_most=SLACK)


def _is_gone(store: Etcd | Sqlite, prefix: str) -> bool:
    return not any(prefix in _routes(store.lab, host) for host in _hosts(store.lab))


def _all_renewed(store: Etcd | Sqlite, before: dict[str, object]) -> bool:
    after = store.renewals()
    living = before.keys() & after.keys()
    return len(living) == store.hosts and all(before[key] != after[key] for key in living)
