"""What the leases do beyond the contract: answers that get lost, records of others, and what a claim costs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import ip_address, ip_network
from typing import Any, TypeVar

import pytest

from containernet import claim_subnet
from containernet.errors import LeaseLost, LeaseTaken, StoreUnavailable
from containernet.model import Lease, NetworkConfig, Pool, Prefix
from containernet_backends.etcd import EtcdOptions, EtcdStore, requests
from containernet_backends.etcd.client import Client
from containernet_backends.etcd.messages import Method

from .raw import Raw
from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
ONE: tuple[Prefix, ...] = (ip_network("10.4.1.0/24"),)
TWO: tuple[Prefix, ...] = (ip_network("10.4.2.0/24"),)
T = TypeVar("T")
KEY = "/subnets/10.4.1.0-24"
FLANNELS = '{"PublicIP":"192.0.2.7","PublicIPv6":null,"BackendType":"host-gw"}'


class Odd(Client):
    """A client that counts its calls, and to which the answers of some are lost."""

    def __init__(self, options: EtcdOptions, *, lost: str = "") -> None:
        super().__init__(options)
        self.calls: list[str] = []
        self.lost = lost

    def _ask(self, number: int, method: Method[T], *rest: Any) -> T:
        self.calls.append(method.name)
        answer = super()._ask(number, method, *rest)
        if method.name == self.lost:
            self.lost = ""
            raise StoreUnavailable("the answer was lost")
        return answer


def options(etcd: Cluster, prefix: str, *, endpoints: int = 1) -> EtcdOptions:
    """Return options that name the one member so many times, each as another way to it."""
    return EtcdOptions(endpoints=etcd.urls * endpoints, prefix=prefix)


def claim(store: EtcdStore, node: str) -> Lease:
    """Claim as a keeper does."""
    return claim_subnet(store, NETWORK, node=node, ttl=60)


@pytest.mark.parametrize("lost", ["LeaseGrant", "Txn"])
def test_an_answer_that_is_lost_on_one_way_is_found_on_the_other(etcd: Cluster, prefix: str, lost: str) -> None:
    """What was carried out is not taken for somebody else's work."""
    checked = options(etcd, prefix, endpoints=2)
    with closing(EtcdStore(checked, client=Odd(checked, lost=lost))) as store:
        lease = store.claim(ONE, "a", 60)
        assert [each.revision for each in store.leases()] == [lease.revision]
        store.renew(lease, 60)
        store.release(lease)


@pytest.mark.parametrize("lost", ["Range", "LeaseGrant", "Txn"])
def test_a_claim_whose_answer_is_lost_is_had_by_asking_again(etcd: Cluster, prefix: str, lost: str) -> None:
    """The node has one lease, whichever of the two tries it is from."""
    checked = options(etcd, prefix)
    with closing(EtcdStore(checked, client=Odd(checked, lost=lost))) as store:
        with pytest.raises(StoreUnavailable):
            claim(store, "a")
        lease = claim(store, "a")
        assert [(each.node, each.revision) for each in store.leases()] == [("a", lease.revision)]


@pytest.mark.parametrize("lost", ["Range", "Txn"])
def test_a_claim_that_fails_leaves_no_etcd_lease(etcd: Cluster, prefix: str, raw: Raw, lost: str) -> None:
    """Between grant and record, or where the answer says nothing of the record: both are gone."""
    before = raw.leases()
    checked = options(etcd, prefix)
    client = Odd(checked)
    with closing(EtcdStore(checked, client=client)) as store, closing(EtcdStore(checked)) as other:
        store.leases()
        theirs = other.claim(TWO, "b", 60)
        client.lost = lost
        # The Range is that of a lost race whose winner is looked at again.
        with pytest.raises(StoreUnavailable if lost == "Txn" else LeaseTaken):
            store.claim(TWO if lost == "Range" else ONE, "a", 60)
        assert [lease.node for lease in other.leases()] == ["b"]
        assert raw.leases() - before == {int(theirs.revision, 16)}


class Hurried(Client):
    """The client of a host that others are always quicker than: one goes, and another comes."""

    others: tuple[bytes, bytes]

    def txn(self, *request: Any) -> Any:
        """Let a record be made first, which is in nobody's way."""
        self.others = self.others[::-1]
        super().txn([], [requests.delete(self.others[0]), requests.put(self.others[1], FLANNELS.encode())])
        return super().txn(*request)


def test_a_claim_that_loses_every_race_leaves_no_etcd_lease(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """A thousand times, and then it says so."""
    before = raw.leases()
    checked = options(etcd, prefix)
    client = Hurried(checked)
    client.others = (f"{prefix}/subnets/10.4.8.0-24".encode(), f"{prefix}/subnets/10.4.9.0-24".encode())
    with closing(EtcdStore(checked, client=client)) as store:
        with pytest.raises(LeaseTaken, match="1000 times in a row"):
            store.claim(ONE, "a", 60)
        assert raw.leases() <= before  # those of other tests end with their time
        assert raw.get(prefix + KEY) is None


def test_a_claim_costs_one_list_and_one_transaction(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """However many others there are."""
    for number in range(200):
        raw.put(f"{prefix}/subnets/10.4.{number}.0-24", FLANNELS, lease=raw.grant(600))
    checked = options(etcd, prefix)
    client = Odd(checked)
    with closing(EtcdStore(checked, client=client)) as store:
        claim(store, "a")
        assert client.calls == ["Range", "LeaseGrant", "Txn"]


def test_many_who_claim_different_subnets_at_once_all_get_them(etcd: Cluster, prefix: str) -> None:
    """A lost race is decided again on what was created since, and nobody lists twice."""
    stores = [EtcdStore(options(etcd, prefix)) for _ in range(10)]
    subnets: list[Prefix] = list(NETWORK.pools[0].prefix.subnets(new_prefix=24))
    with ThreadPoolExecutor(10) as pool:
        leases = list(pool.map(lambda n: stores[n].claim((subnets[n],), f"n{n}", 60), range(10)))
    assert {lease.subnets for lease in leases} == {(subnet,) for subnet in subnets[:10]}
    for store in stores:
        store.close()


def test_a_host_finds_the_record_that_flannel_left_by_its_address(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """The subnet is the same, the etcd lease is ours and lives as long as ours do."""
    old = raw.grant(86400)
    raw.put(prefix + KEY, FLANNELS, lease=old)
    with closing(EtcdStore(options(etcd, prefix))) as store:
        assert [lease.node for lease in store.leases()] == ["192.0.2.7"]
        store.recognise("a", [ip_address("198.51.100.1"), ip_address("192.0.2.7")])
        lease = claim(store, "a")
        assert (lease.subnets, lease.node) == (ONE, "a")
        assert raw.remaining(old) == -1
        assert raw.remaining(int(lease.revision, 16)) <= 60


def test_a_key_without_a_lease_is_honoured_for_ever(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """Whatever its value is."""
    raw.put(prefix + KEY, "a line that an operator typed")
    with closing(EtcdStore(options(etcd, prefix))) as store:
        assert [(lease.node, lease.expires) for lease in store.leases()] == [("", None)]
        with pytest.raises(LeaseTaken, match="reserved"):
            store.claim(ONE, "a", 60)


def test_a_key_with_a_lease_blocks_though_its_value_is_junk(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """Somebody lives there; who, cannot be read."""
    raw.put(prefix + KEY, b"\xff\x00", lease=raw.grant(600))
    with closing(EtcdStore(options(etcd, prefix))) as store:
        with pytest.raises(LeaseTaken):
            store.claim(ONE, "a", 60)
        assert store.claim(TWO, "a", 60).subnets == TWO


@pytest.mark.parametrize("how", ["deleted", "moved to another lease", "ended"])
def test_a_lease_that_somebody_took_away_is_lost_and_can_be_claimed_again(
    etcd: Cluster, prefix: str, raw: Raw, how: str
) -> None:
    """The same subnets, with nothing of the lost lease left behind."""
    with closing(EtcdStore(options(etcd, prefix))) as store:
        lease = store.claim(ONE, "a", 60)
        match how:
            case "deleted":
                raw.delete(prefix + KEY)
            case "moved to another lease":
                raw.put(prefix + KEY, raw.get(prefix + KEY) or b"", lease=raw.grant(600))
            case _:
                raw.revoke(int(lease.revision, 16))
        with pytest.raises(LeaseLost):
            store.renew(lease, 60)
        assert raw.remaining(int(lease.revision, 16)) == -1
        assert claim_subnet(store, NETWORK, node="a", ttl=60, preferred=ONE).subnets == ONE


def test_a_renewal_puts_the_record_again_once_in_a_while(etcd: Cluster, prefix: str, raw: Raw) -> None:
    """Unchanged, and only when it is time: that heals flannel's watchers, and costs every host an event."""
    checked = EtcdOptions(endpoints=etcd.urls, prefix=prefix, announce_again=3600)
    with closing(EtcdStore(checked)) as one, closing(EtcdStore(checked)) as restarted:
        lease = one.claim(ONE, "a", 60)
        lease = one.renew(lease, 60)
        value = raw.get(prefix + KEY)
        lease = restarted.renew(lease, 60)  # it does not know when the record was put last
        restarted.renew(lease, 60)
        assert raw.get(prefix + KEY) == value
        assert raw.call("KV/Range", key=(prefix + KEY).encode()).kvs[0].version == 2
