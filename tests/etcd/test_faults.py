"""A cluster of three members is hurt in every way, and hosts lose nothing: what they had programmed stays.

Three hosts with agents of ours; a fourth record is flannel's. While a fault lasts and after it no kernel
loses an item, and when it is over everybody hears of everything that happened meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import attrs
import pytest

from containernet.items import FdbEntry, Neighbour
from containernet.planning import Delete
from tests.waiting import wait_until

from .hosts import LONG, Host, destinations, flannels, host
from .raw import Raw
from .server import Cluster, Member

pytestmark = pytest.mark.etcd

HOSTS = 3


@attrs.frozen(kw_only=True)
class Site:
    """Hosts that have settled on a cluster."""

    etcd: Cluster
    prefix: str
    hosts: Sequence[Host]

    @property
    def raw(self) -> Raw:
        """A handle on the leader of a whole cluster."""
        return self.etcd.raw(self.etcd.leader())

    def tell(self, number: int, *, via: Sequence[Member] = (), mac: int = 0) -> None:
        """Let a host of flannel's announce itself, or another MAC, to members that are well."""
        key, value = flannels(number)
        value = value.replace("02:00:", f"02:{mac:02x}:")
        leader = self.etcd.leader(among=via or None)
        self.etcd.raw(leader).put(f"{self.prefix}/subnets/{key}", value)

    def everybody_hears_of(self, count: int) -> None:
        """Wait until every host sends to the other hosts and to so many of flannel's."""
        for each in self.hosts:
            each.kernel.wait_for(lambda items: len(destinations(items)) == HOSTS - 1 + count, timeout=LONG)

    def nothing_is_lost(self) -> None:
        """Check that no kernel was told to delete anything, but for the entry of a MAC that is no more."""
        batches = [batch for each in self.hosts for batch in each.kernel.batches]
        deleted = [each for batch in batches for each in batch if isinstance(each, Delete)]
        assert not [str(each) for each in deleted if not isinstance(each.item, FdbEntry)]


@pytest.fixture(scope="module")
def shared() -> Iterator[Cluster]:
    """Three members that can be cut off, and soon have no space left."""
    with Cluster(3, apart=True, flags=["--quota-backend-bytes=16777216"]) as cluster:
        yield cluster


@pytest.fixture
def site(shared: Cluster, prefix: str, tmp_path: Path) -> Iterator[Site]:
    """Hosts that know each other and one of flannel's."""
    with ExitStack() as stack:
        shared.leader()
        hosts = [stack.enter_context(host(number, shared, prefix, tmp_path)) for number in range(1, HOSTS + 1)]
        made = Site(etcd=shared, prefix=prefix, hosts=hosts)
        made.tell(1)
        made.everybody_hears_of(1)
        for each in hosts:
            each.kernel.batches.clear()
        yield made


Fault = Callable[[Site], Iterator[Sequence[Member]]]  # it yields the members that are well meanwhile


def leader_killed(site: Site) -> Iterator[Sequence[Member]]:
    """And started again."""
    leader = site.etcd.leader()
    leader.kill()
    yield _others(site, [leader])
    site.etcd.restart(leader)


def leader_frozen(site: Site) -> Iterator[Sequence[Member]]:
    """For as long as the others need to elect another."""
    leader = site.etcd.leader()
    leader.freeze()
    yield _others(site, [leader])
    leader.thaw()


def minority_cut_off(site: Site) -> Iterator[Sequence[Member]]:
    """The leader, which is alone then."""
    leader = site.etcd.leader()
    site.etcd.cut_off(leader)
    yield _others(site, [leader])
    site.etcd.rejoin(leader)


def majority_cut_off(site: Site) -> Iterator[Sequence[Member]]:
    """Nobody leads, and nothing can be written."""
    for member in site.etcd.members[:2]:
        site.etcd.cut_off(member)
    wait_until(
        lambda: all("etcd" in each.agent.status().route_trouble for each in site.hosts),
        what="every host says that its store is away",
    )
    site.nothing_is_lost()
    for member in site.etcd.members[:2]:
        site.etcd.rejoin(member)
    yield ()


def member_replaced(site: Site) -> Iterator[Sequence[Member]]:
    """By one with an empty disk."""
    site.etcd.replace(site.etcd.followers()[0])
    yield ()


def disk_full(site: Site) -> Iterator[Sequence[Member]]:
    """Until an operator makes room."""
    leader = site.etcd.leader()
    junk = f"{site.prefix}/junk"
    site.etcd.raw(leader).fill(junk)
    site.etcd.raw(leader).make_room(junk, others=[site.etcd.raw(each) for each in _others(site, [leader])])
    yield ()


def compacted(site: Site) -> Iterator[Sequence[Member]]:
    """Everything that a watch could resume from."""
    site.raw.compact()
    yield ()


JUNK = {
    b"": b"0",
    b"x": b"\xff",
    b"\xff\x00\x1b[2J\n": b"{}",
    b"1" * 200_000 + b"-24": b"{}",
    b"10.90.1.0-24": b"{",
    b"10.90.2.0-24": b"[" * 60_000,
    b"10.90.3.0-24": b'{"BackendType":"vxlan"}' + b" " * 1_000_000,
    b"10.90.4.0-24": b'{"PublicIP":"192.0.2.9","BackendType":' + b"9" * 60_000 + b"}",
    b"10.90.5.0-24&fd00::-64": b'{"PublicIP":{"PublicIP":["\xc3\x28"]}}',
    b"10.90.6.0-33": b"{}",
}


def junk(site: Site) -> Iterator[Sequence[Member]]:
    """Keys and values that nobody can read, under the very prefix; each costs a line, and a short one."""
    for key, value in JUNK.items():
        site.raw.call("KV/Put", key=f"{site.prefix}/subnets/".encode() + key, value=value)
    for each in site.hosts:
        wait_until(lambda each=each: len(each.agent.status().warnings) == len(JUNK), what="all is named")  # type: ignore[misc]
        for warning in each.agent.status().warnings:
            assert len(warning) < 1000, warning[:1000]
    yield ()


@pytest.mark.parametrize(
    "fault",
    [
        leader_killed,
        leader_frozen,
        minority_cut_off,
        majority_cut_off,
        member_replaced,
        disk_full,
        compacted,
        junk,
    ],
    ids=lambda fault: fault.__name__.replace("_", " "),
)
def test_nothing_is_lost(site: Site, fault: Fault) -> None:
    """Neither an item nor an event: a host that joins meanwhile is heard of, and a MAC that changes."""
    with contextmanager(fault)(site) as well:
        site.tell(2, via=well)
        site.tell(1, via=well, mac=7)
    site.everybody_hears_of(2)
    site.nothing_is_lost()
    for each in site.hosts:
        each.kernel.wait_for(
            lambda items: any(isinstance(item, Neighbour) and item.mac[3:5] == "07" for item in items.values()),
            timeout=LONG,
        )
        wait_until(lambda each=each: each.agent.status().ready, what="ready again", patience=LONG)  # type: ignore[misc]


def test_an_older_backup_is_noticed_and_nobody_is_given_what_is_held(
    make_cluster: Callable[..., Cluster], prefix: str, tmp_path: Path
) -> None:
    """What joined since is forgotten: it claims the same subnets again, and nobody stops to send to it."""
    etcd = make_cluster()
    backup = tmp_path / "backup"
    with ExitStack() as stack:
        first = stack.enter_context(host(1, etcd, prefix, tmp_path, ttl=30))
        wait_until(lambda: first.agent.status().ready, what="the first is ready")
        etcd.save(backup)
        second = stack.enter_context(host(2, etcd, prefix, tmp_path, ttl=30))
        for each in (first, second):
            each.kernel.wait_for(lambda items: len(destinations(items)) == 1)
            each.kernel.batches.clear()
        subnets = second.agent.node.subnets
        etcd.restore(backup)
        held = f"{prefix}/subnets/{str(subnets[0]).replace('/', '-')}"
        wait_until(lambda: etcd.raw().get(held), what="the second has claimed again", patience=LONG)
        Site(etcd=etcd, prefix=prefix, hosts=[first, second]).nothing_is_lost()
        assert second.agent.node.subnets == subnets


def _others(site: Site, without: Sequence[Member]) -> list[Member]:
    return [each for each in site.etcd.members if each not in without]
