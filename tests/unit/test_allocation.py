"""What people look up about the choice of a subnet: one example each."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from containernet.allocation import choose_subnet, choose_subnets, claim_subnet
from containernet.errors import SubnetsExhausted
from containernet.model import Lease, NetworkConfig, Pool, Prefix
from containernet_backends.memory import MemoryStore

POOL = Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)
POOL6 = Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64)


def subnets(*texts: str) -> tuple[Prefix, ...]:
    """Return prefixes from their texts."""
    return tuple(map(ip_network, texts))


def store() -> MemoryStore:
    """Return a store whose clock stands still."""
    return MemoryStore(now=lambda: 0.0)


def test_the_start_of_a_name_is_the_same_forever() -> None:
    """A released version's choice is a promise: a change of the hash would move every returning node."""
    assert choose_subnet(POOL, (), name="host-a") == ip_network("10.4.173.0/24")
    assert choose_subnet(POOL6, (), name="host-a") == ip_network("fd00:4:0:cdad::/64")


def test_a_wish_is_granted_if_it_is_free_and_forgotten_if_it_is_not() -> None:
    """A node gets what it prefers; when that is taken, outside or of another length, what its name says."""
    by_name = choose_subnet(POOL, (), name="host-a")
    [wish] = subnets("10.4.9.0/24")
    assert choose_subnet(POOL, (), name="host-a", preferred=wish) == wish
    for taken in ("10.4.9.0/24", "10.4.9.128/32", "10.4.8.0/23"):
        assert choose_subnet(POOL, subnets(taken), name="host-a", preferred=wish) == by_name
    for refused in subnets("10.5.9.0/24", "10.4.9.0/25", "fd00:4::/64"):
        assert choose_subnet(POOL, (), name="host-a", preferred=refused) == by_name


def test_an_exhausted_pool_says_how_it_is_filled_and_what_to_do() -> None:
    """The message counts subnets, those of reservations apart, each once however often it is reserved."""
    pool = Pool(
        prefix=ip_network("10.4.0.0/28"),
        subnet_length=30,
        first=ip_network("10.4.0.4/30"),
        reserved=subnets("10.4.0.0/29", "10.4.0.5/32", "10.4.0.4/30"),
    )
    with pytest.raises(SubnetsExhausted) as caught:
        choose_subnet(pool, subnets("10.4.0.8/29"), name="host-a")
    assert str(caught.value).startswith(
        "pool 10.4.0.0/28 has no subnet left: of 3 /30 from 10.4.0.4/30 to 10.4.0.12/30, "
        "2 are leased and 1 reserved in the configuration; release leases"
    )


def test_two_families_are_chosen_side_by_side() -> None:
    """Each pool gives one subnet, IPv4 first, and each family's wish goes to its own pool."""
    network = NetworkConfig(pools=(POOL6, POOL))
    lease = Lease(subnets=subnets("10.4.7.0/24", "fd00:4:0:7::/64"), node="b", expires=1.0, revision="1")
    wishes = subnets("fd00:4:0:8::/64", "192.0.2.0/24", "10.4.7.0/24", "10.4.6.0/24")
    v4, v6 = choose_subnets(network, [lease], name="host-a", preferred=wishes)
    assert v4 == choose_subnet(POOL, (), name="host-a"), "only the first admitted wish of a family counts"
    assert v6 == ip_network("fd00:4:0:8::/64")


def test_a_live_lease_is_renewed_whatever_is_preferred() -> None:
    """A node that holds a lease keeps it, under a new revision."""
    leases, network = store(), NetworkConfig(pools=(POOL,))
    before = leases.claim(subnets("10.4.9.0/24"), "a", 10)
    after = claim_subnet(leases, network, node="a", ttl=10, preferred=subnets("10.4.10.0/24"))
    assert after.subnets == before.subnets
    assert after.revision != before.revision


def test_a_network_that_gains_a_family_keeps_the_nodes_subnets_of_the_other() -> None:
    """The first claim after IPv6 was added holds the old IPv4 subnet and a new one of IPv6."""
    leases = store()
    leases.claim(subnets("10.4.9.0/24"), "a", 10)
    lease = claim_subnet(
        leases,
        NetworkConfig(pools=(POOL, POOL6)),
        node="a",
        ttl=10,
        preferred=subnets("10.4.10.0/24", "fd00:4:0:a::/64"),
    )
    assert lease.subnets == subnets("10.4.9.0/24", "fd00:4:0:a::/64")
    assert [other.subnets for other in leases.leases()] == [lease.subnets]


def test_a_nodes_own_lease_does_not_stand_in_its_way() -> None:
    """With smaller subnets and a full pool the node finds room in what it gives up."""
    leases = store()
    leases.claim(subnets("10.4.0.0/17"), "a", 10)
    leases.claim(subnets("10.4.128.0/17"), "b", 10)
    lease = claim_subnet(leases, NetworkConfig(pools=(POOL,)), node="a", ttl=10)
    assert POOL.admits(lease.subnets[0])
    assert lease.subnets[0].subnet_of(ip_network("10.4.0.0/17"))  # type: ignore[arg-type]
