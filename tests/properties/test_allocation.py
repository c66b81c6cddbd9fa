"""choose_subnet: the same answer as the search that looks at every slot, without looking at every slot."""

from __future__ import annotations

import time
from collections.abc import Sequence
from hashlib import sha256
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import given, settings, strategies as st

from containernet.allocation import choose_subnet, choose_subnets
from containernet.errors import SubnetsExhausted
from containernet.model import Lease, NetworkConfig, Pool, Prefix, contains, overlaps
from containernet.testing.strategies import names, networks, pools, prefixes_near, taken_of


def naive_choice(pool: Pool, taken: Sequence[Prefix], name: str, preferred: Prefix | None) -> Prefix | None:
    """Look at every slot of the pool, in the order that the documentation promises."""

    def free(subnet: Prefix) -> bool:
        return pool.admits(subnet) and not any(overlaps(subnet, other) for other in taken)

    if preferred is not None and free(preferred):
        return preferred
    low, high = int(pool.first.network_address), int(pool.last.network_address)
    within = [
        subnet
        for subnet in pool.prefix.subnets(new_prefix=pool.subnet_length)
        if low <= int(subnet.network_address) <= high
    ]
    start = int.from_bytes(sha256(name.encode()).digest(), "big") % len(within)
    return next(filter(free, within[start:] + within[:start]), None)


@st.composite
def questions(draw: st.DrawFn) -> tuple[Pool, list[Prefix], str, Prefix | None]:
    """Return a pool with what is in the way, a name, and perhaps a wish."""
    pool = draw(pools())
    taken = draw(taken_of(pool))
    wish = draw(st.none() | st.sampled_from([pool.first, pool.last, *taken]) | prefixes_near(pool.first))
    return pool, taken, draw(names()), wish


@given(questions())
def test_the_answer_is_the_naive_one(question: tuple[Pool, list[Prefix], str, Prefix | None]) -> None:
    """The chosen subnet is what a walk over all slots finds; exhausted is what such a walk calls exhausted."""
    pool, taken, name, wish = question
    expected = naive_choice(pool, taken, name, wish)
    if expected is None:
        with pytest.raises(SubnetsExhausted, match=f"pool {pool.prefix} has no subnet left"):
            choose_subnet(pool, taken, name=name, preferred=wish)
    else:
        assert choose_subnet(pool, taken, name=name, preferred=wish) == expected


@given(questions(), st.randoms(use_true_random=False))
def test_order_repetition_and_kind_of_iterable_do_not_matter(
    question: tuple[Pool, list[Prefix], str, Prefix | None], random: Random
) -> None:
    """The answer depends on what is taken and on nothing else."""
    pool, taken, name, wish = question
    shuffled = taken + taken
    random.shuffle(shuffled)
    answers: list[Prefix | str] = []
    for order in (iter(taken), shuffled, tuple(reversed(taken))):
        try:
            answers.append(choose_subnet(pool, order, name=name, preferred=wish))
        except SubnetsExhausted as error:
            answers.append(str(error))
    assert len(set(answers)) == 1


@given(networks(), names())
def test_filling_a_network_gives_each_node_its_own_subnets_until_none_is_left(
    network: NetworkConfig, name: str
) -> None:
    """Node after node gets one admitted subnet of each pool that no other has, and the pools end together."""
    leases: list[Lease] = []
    room = min(
        sum(map(pool.admits, pool.prefix.subnets(new_prefix=pool.subnet_length))) for pool in network.pools
    )
    for number in range(room):
        subnets = choose_subnets(network, leases, name=f"{name}{number}")
        assert network.admits(subnets)
        assert not any(lease.overlaps(subnets) for lease in leases)
        leases.append(Lease(subnets=subnets, node=f"{name}{number}", expires=1.0, revision=str(number)))
    with pytest.raises(SubnetsExhausted):
        choose_subnets(network, leases, name=name)


@given(names())
def test_a_pool_of_any_size_is_searched_at_once(name: str) -> None:
    """A search costs what is in the way, not what the pool could hold."""
    began = time.perf_counter()
    huge: tuple[Pool, ...] = (
        Pool(prefix=ip_network("::/0"), subnet_length=126),
        Pool(prefix=ip_network("fd00::/32"), subnet_length=64, reserved=[ip_network("fd00::/33")]),
        Pool(prefix=ip_network("10.0.0.0/8"), subnet_length=28, reserved=[ip_network("10.128.0.0/9")]),
    )
    for pool in huge:
        halves: list[Prefix] = list(pool.prefix.subnets())
        lower, upper = halves
        for half, other in ((lower, upper), (upper, lower)):
            if half in pool.reserved:
                continue
            chosen = choose_subnet(pool, [other], name=name)
            assert contains(half, chosen)
        with pytest.raises(SubnetsExhausted):
            choose_subnet(pool, [lower, upper], name=name)
    assert time.perf_counter() - began < 1  # measured: 0.2 ms


@given(st.sets(names(), min_size=20, max_size=20))
@settings(max_examples=20)
def test_nodes_that_join_together_spread_over_the_pool(together: set[str]) -> None:
    """Twenty nodes that all see an empty store ask for at least fifteen different subnets of 4,096."""
    for prefix, length in (("10.0.0.0/12", 24), ("fd00::/48", 60)):
        pool = Pool(prefix=ip_network(prefix), subnet_length=length)
        assert len({choose_subnet(pool, [], name=name) for name in together}) >= 15


def test_one_long_run_of_leases_is_walked_once() -> None:
    """The worst case, a start right behind which everything is taken, ends at the one free slot."""
    pool = Pool(prefix=ip_network("10.0.0.0/12"), subnet_length=24)
    every: list[Prefix] = list(pool.prefix.subnets(new_prefix=24))
    for free in (0, 1, 2047, 4095):
        taken: list[Prefix] = every[:free] + every[free + 1 :]
        assert choose_subnet(pool, taken, name="any") == every[free]
