"""claim_subnet: many nodes, one store, one injected clock; never two owners of an address at one moment."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from random import Random

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from containernet.allocation import ATTEMPTS, claim_subnet
from containernet.errors import LeaseLost, LeaseTaken, SubnetsExhausted
from containernet.model import Lease, NetworkConfig, Pool, Prefix
from containernet.testing.strategies import networks
from containernet_backends.memory import MemoryStore

TTL = 10.0
NODES = tuple(f"node-{number}" for number in range(5))


def no_sleep(seconds: float) -> None:
    """Wait for nothing: the clock stands still while a node tries."""


def pool(prefix: str, length: int) -> Pool:
    """Return a pool without bounds and reservations."""
    return Pool(prefix=ip_network(prefix), subnet_length=length)


class RacingStore(MemoryStore):
    """A store in which others act between a node's list and its claim, and can take its lease away."""

    before_claim: Callable[[], None] = staticmethod(lambda: None)

    def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
        """Let the others go first, once."""
        others, self.before_claim = self.before_claim, lambda: None
        others()
        return super().claim(subnets, node, ttl)


class Cluster(RuleBasedStateMachine):
    """Nodes that claim, renew, race, sleep past their time, crash, leave and come back."""

    def __init__(self) -> None:
        super().__init__()
        self.time = 0.0
        self.store = RacingStore(now=lambda: self.time)
        self.believed: dict[str, tuple[Lease, float]] = {}  # what each node thinks it owns, and until when
        self.last: dict[str, tuple[Prefix, ...]] = {}  # what each node remembers on its disk

    @initialize(one=networks(bits=2), other=networks(bits=2))
    def configure(self, one: NetworkConfig, other: NetworkConfig) -> None:
        """Choose the network, and the one that the operator will change it to."""
        self.networks = [one, other]

    @property
    def network(self) -> NetworkConfig:
        """The network as it is configured now."""
        return self.networks[0]

    @rule(node=st.sampled_from(NODES))
    def claim(self, node: str) -> None:
        """A node starts, comes back or renews: what it had is its own again if nobody took it."""
        live = self.store.leases()
        mine = [lease.subnets for lease in live if lease.node == node and self.network.admits(lease.subnets)]
        wish = mine[0] if mine else self.last.get(node, ())
        others = [lease for lease in live if lease.node != node]
        still_free = self.network.admits(wish) and not any(lease.overlaps(wish) for lease in others)
        lease = self._claim(node)
        if still_free:
            assert lease is not None
            assert lease.subnets == wish

    @rule(nodes=st.permutations(NODES).flatmap(lambda it: st.integers(2, len(it)).map(lambda n: it[:n])))
    def race(self, nodes: Sequence[str]) -> None:
        """Nodes list one behind the other, then claim in the opposite order, all on stale lists."""
        if len(nodes) > 1:
            self.store.before_claim = lambda: self.race(nodes[1:])
        self._claim(nodes[0])
        self.store.before_claim = lambda: None

    @rule(seconds=st.sampled_from((1.0, TTL / 2, TTL, TTL * 3)))
    def sleep(self, seconds: float) -> None:
        """Time passes for everybody; who does not renew loses its claim."""
        self.time += seconds

    @rule(node=st.sampled_from(NODES))
    def crash(self, node: str) -> None:
        """A node ends without a word; its lease runs on, its disk remembers."""
        self.believed.pop(node, None)

    @rule(node=st.sampled_from(NODES))
    def leave(self, node: str) -> None:
        """A node gives its lease back."""
        lease, _ = self.believed.pop(node, (None, 0.0))
        if lease is not None:
            try:
                self.store.release(lease)
            except LeaseLost:
                assert all(other.revision != lease.revision for other in self.store.leases())

    @rule()
    def reconfigure(self) -> None:
        """The operator changes the network under everybody."""
        self.networks.reverse()

    @invariant()
    def nobody_shares(self) -> None:
        """No address is believed to be their own by two nodes."""
        held = [(node, lease) for node, (lease, end) in self.believed.items() if end > self.time]
        for node, lease in held:
            for other, theirs in held:
                assert node == other or not lease.overlaps(theirs.subnets)

    def _claim(self, node: str) -> Lease | None:
        try:
            lease = claim_subnet(
                self.store,
                self.network,
                node=node,
                ttl=TTL,
                preferred=self.last.get(node, ()),
                sleep=no_sleep,
                random=Random(0),
            )
        except SubnetsExhausted:
            assert not self._room_for(node)
            return None
        assert self.network.admits(lease.subnets)
        self.believed[node] = (lease, self.time + TTL)
        self.last[node] = lease.subnets
        return lease

    def _room_for(self, node: str) -> bool:
        others = [lease for lease in self.store.leases() if lease.node != node]
        return all(
            any(
                one.admits(subnet) and not any(lease.overlaps([subnet]) for lease in others)
                for subnet in one.prefix.subnets(new_prefix=one.subnet_length)
            )
            for one in self.network.pools
        )


TestCluster = Cluster.TestCase
TestCluster.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


class LockStepStore(MemoryStore):
    """The worst luck there is: all who still want a subnet have read the same list before the first claims."""

    def __init__(self, nodes: int) -> None:
        super().__init__(now=lambda: 0.0)
        self._turn = threading.Condition()
        self._running, self._waiting, self._round = nodes, 0, 0

    def leases(self) -> Sequence[Lease]:
        """Return the list once everybody who runs has asked for it."""
        found = super().leases()
        with self._turn:
            self._waiting += 1
            turn = self._round
            self._open_if_all()
            assert self._turn.wait_for(lambda: self._round != turn, timeout=30)
        return found

    def done(self) -> None:
        """Wait no longer for one of the nodes."""
        with self._turn:
            self._running -= 1
            self._open_if_all()

    @property
    def rounds(self) -> int:
        """How often everybody read the list."""
        return self._round

    def _open_if_all(self) -> None:
        if self._waiting == self._running:
            self._round, self._waiting = self._round + 1, 0
            self._turn.notify_all()


@pytest.mark.parametrize("pools", [[pool("10.0.0.0/18", 24)], [pool("10.0.0.0/18", 24), pool("fd00::/58", 64)]])
def test_sixty_four_nodes_in_lock_step_share_out_the_last_sixty_four_subnets(pools: list[Pool]) -> None:
    """Every claim of a race succeeds in the end, even where there is exactly one subnet for each node."""
    network = NetworkConfig(pools=tuple(pools))
    store = LockStepStore(64)

    def join(number: int) -> Lease:
        try:
            return claim_subnet(
                store, network, node=f"n{number}", ttl=TTL, sleep=no_sleep, random=Random(number)
            )
        finally:
            store.done()

    with ThreadPoolExecutor(64) as threads:
        leases = list(threads.map(join, range(64)))
    for version in {pool.version for pool in pools}:
        owned = [subnet for lease in leases for subnet in lease.subnets if subnet.version == version]
        assert len(set(owned)) == 64
    assert store.rounds < ATTEMPTS / 2, "no margin"


@pytest.mark.parametrize("attempts", [1, 2, 64])
def test_a_node_that_loses_every_race_says_so_after_finitely_many(attempts: int) -> None:
    """The error names the node, how often it lost and what it lost to."""

    class Refusing(MemoryStore):
        def claim(self, subnets: tuple[Prefix, ...], node: str, ttl: float) -> Lease:
            """Refuse, for a reason that the list does not show."""
            asked.append(subnets)
            raise LeaseTaken("held by a ghost")

    asked: list[tuple[Prefix, ...]] = []
    pauses: list[float] = []
    wish = (ip_network("10.0.3.0/24"),)
    with pytest.raises(LeaseTaken, match=rf"node a lost {attempts} races .*10\.0\.0\.0/8.*held by a ghost"):
        claim_subnet(
            Refusing(now=lambda: 0.0),
            NetworkConfig(pools=(pool("10.0.0.0/8", 24),)),
            node="a",
            ttl=TTL,
            preferred=wish,
            sleep=pauses.append,
            random=Random(attempts),
            attempts=attempts,
        )
    assert asked[0] == wish
    assert wish not in asked[1:], "what was refused once is not asked for again and again"
    assert len(set(asked)) == attempts, "each try begins somewhere else"
    assert len(pauses) == attempts - 1
    assert all(0 <= pause <= 1 for pause in pauses)


def test_a_lease_that_is_lost_while_it_is_renewed_is_claimed_again_as_it_was() -> None:
    """Losing one's own lease is no reason to change the containers' addresses."""
    clock = 0.0
    network = NetworkConfig(pools=(pool("10.0.0.0/16", 24),))

    class Losing(MemoryStore):
        def renew(self, lease: Lease, ttl: float) -> Lease:
            """Lose the lease at the very moment of its renewal."""
            self.release(lease)
            raise LeaseLost("gone")

    store = Losing(now=lambda: clock)
    # Not the subnet that the name hashes to, so that only memory can bring it back.
    before = store.claim((ip_network("10.0.77.0/24"),), "a", TTL)
    after = claim_subnet(store, network, node="a", ttl=TTL, sleep=no_sleep)
    assert after.subnets == before.subnets
    assert after.revision != before.revision
