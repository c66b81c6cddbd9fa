"""Keeper: the lease and the announcements of one node, against a store that fails in every call."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TypeVar

import attrs
import pytest

from containernet.errors import ConfigError, LeaseLost, StoreError, StoreUnavailable
from containernet.keeper import Held, Keeper, Lost, Outcome, StoreFailed, Told, agree, agreed
from containernet.model import NetworkConfig, Pool, Prefix, Route
from containernet.testing import FOR_EVER, SOON
from containernet_backends.memory import MemoryStore
from tests.fakes import FakeStore, wait_for_routes

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
OTHER = NetworkConfig(pools=(Pool(prefix=ip_network("10.5.0.0/16"), subnet_length=24),))
AWAY = StoreUnavailable("away")
EARLIER = Route(prefix=ip_network("10.4.7.0/24"), node="me", next_hop=ip_address("192.0.2.1"))

_Outcome = TypeVar("_Outcome", Held, Lost, StoreFailed, Told)


@attrs.define(kw_only=True)
class Bench:
    """A keeper with its store, its clock, and everything that it reports."""

    store: FakeStore
    plain: MemoryStore
    time: list[float]
    routes: MemoryStore | None = None  # by default the store is both
    leased: tuple[Prefix, ...] = ()
    leased_until: float | None = None
    outcomes: queue.SimpleQueue[Outcome] = attrs.Factory(queue.SimpleQueue)
    keeper: Keeper = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.keeper = Keeper(
            leases=self.store,
            routes=self.routes or self.store,
            network=NETWORK,
            node="me",
            ttl=90,
            preferred=self.leased,
            leased_until=self.leased_until,
            report=self.outcomes.put,
            clock=lambda: self.time[0],
        )

    def next(self, kind: type[_Outcome]) -> _Outcome:
        """Wait for the next outcome of a kind."""
        while True:
            outcome = self.outcomes.get(timeout=SOON)
            if isinstance(outcome, kind):
                return outcome

    def hold(self) -> Held:
        """Start, and wait for the lease and the first announcement, which is of nothing."""
        self.keeper.start()
        held = self.next(Held)
        assert self.next(Told).routes == ()
        return held


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A keeper that has not been started."""
    time = [1000.0]
    plain = MemoryStore(name=str(tmp_path), now=lambda: time[0])
    bench = Bench(store=FakeStore(name=str(tmp_path)), plain=plain, time=time)
    yield bench
    bench.store.faults.heal()
    bench.keeper.stop(leave=False, timeout=SOON)
    assert not bench.keeper._thread.is_alive()


@pytest.fixture
def again(bench: Bench) -> Iterator[Bench]:
    """A keeper after an earlier one, whose lease holds for a minute; the route store stands by itself."""
    time = bench.time
    again = Bench(
        store=bench.store,
        plain=bench.plain,
        time=time,
        routes=MemoryStore(now=lambda: time[0]),
        leased=(EARLIER.prefix,),
        leased_until=time[0] + 60,
    )
    yield again
    again.store.faults.heal()
    again.keeper.stop(leave=False, timeout=SOON)
    assert not again.keeper._thread.is_alive()


def own(held: Held) -> Route:
    """Return the route that a node with this lease announces."""
    return Route(prefix=held.lease.subnets[0], node="me", next_hop=ip_address("192.0.2.1"))


def test_a_lease_is_reckoned_from_before_it_was_asked_for(bench: Bench) -> None:
    """However long the store took to answer, nobody believes longer than the store does."""
    bench.store.faults.hang("claim")
    bench.keeper.start()
    bench.store.faults.wait_until_hung("claim")
    bench.time[0] += 30
    bench.store.faults.let_go()
    held = bench.next(Held)
    assert held.until == 1090
    (lease,) = bench.plain.leases()
    assert lease.expires == 90


def test_a_lease_is_renewed_in_time_and_not_before(bench: Bench) -> None:
    """After a third of its time at the latest."""
    bench.hold()
    bench.time[0] += 30
    bench.keeper.announce(())  # wakes it; a look at the clock costs nothing
    assert bench.next(Held).until == 1120


@pytest.mark.parametrize("call", ["configure", "leases", "claim"])
def test_whatever_fails_while_claiming_is_tried_again(bench: Bench, call: str) -> None:
    """With the error told, and the lease had in the end."""
    bench.store.faults.fail(call, AWAY)
    bench.keeper.start()
    assert bench.next(StoreFailed).error is AWAY
    bench.next(Held)


def test_a_claim_whose_answer_was_lost_is_taken_over(bench: Bench) -> None:
    """The store holds it already; the node does not take a second one."""
    bench.store.faults.lose_answer("claim", AWAY)
    bench.keeper.start()
    bench.next(StoreFailed)
    held = bench.next(Held)
    assert [lease.subnets for lease in bench.plain.leases()] == [held.lease.subnets]


def test_a_renewal_whose_answer_was_lost_keeps_the_subnet(bench: Bench) -> None:
    """The revision is not the one that we know: an alarm, and the same subnet again."""
    before = bench.hold().lease
    bench.store.faults.lose_answer("renew", AWAY)
    bench.keeper.check()
    bench.next(StoreFailed)
    bench.next(Lost)
    assert bench.next(Held).lease.subnets == before.subnets


def test_an_announcement_that_comes_while_a_call_is_under_way_is_not_forgotten(bench: Bench) -> None:
    """It does not wait for the next renewal."""
    held = bench.hold()
    bench.store.faults.hang("renew")
    bench.keeper.check()
    bench.store.faults.wait_until_hung("renew")
    bench.keeper.announce((own(held),))
    bench.store.faults.let_go()
    while bench.next(Told).routes != (own(held),):
        pass


def test_an_announcement_that_comes_while_another_is_made_replaces_it(bench: Bench) -> None:
    """The last word counts."""
    held = bench.hold()
    first = own(held)
    second = attrs.evolve(first, next_hop=ip_address("192.0.2.9"))
    bench.store.faults.hang("announce")
    bench.keeper.announce((first,))
    bench.store.faults.wait_until_hung("announce")
    bench.keeper.announce((second,))
    bench.store.faults.let_go()
    wait_for_routes(bench.plain, lambda routes: list(routes.values()) == [second])


def test_a_check_that_comes_while_the_lease_is_renewed_is_not_swallowed(bench: Bench) -> None:
    """What it was for may have happened after the store had answered."""
    bench.hold()
    bench.store.faults.hang("renew")
    bench.keeper.check()
    bench.store.faults.wait_until_hung("renew")
    (lease,) = bench.plain.leases()
    bench.keeper.check()
    bench.store.faults.let_go()
    first, second = bench.next(Held), bench.next(Held)
    assert len({lease.revision, first.lease.revision, second.lease.revision}) == 3


def test_the_same_subnets_had_again_are_announced_again(bench: Bench) -> None:
    """The routes went with the lost lease, and nobody else would tell."""
    held = bench.hold()
    bench.keeper.announce((own(held),))
    wait_for_routes(bench.plain, lambda routes: bool(routes))
    bench.plain.release(bench.plain.leases()[0])
    bench.keeper.check()
    bench.next(Lost)
    assert bench.next(Held).lease.subnets == held.lease.subnets
    wait_for_routes(bench.plain, lambda routes: list(routes.values()) == [own(held)])


def test_nothing_is_announced_that_is_not_leased(bench: Bench) -> None:
    """The agent may be one lease behind."""
    held = bench.hold()
    foreign = attrs.evolve(own(held), prefix=ip_network("10.4.255.0/24"))
    bench.keeper.announce((foreign, own(held)))
    assert bench.next(Told).routes == (own(held),)
    wait_for_routes(bench.plain, lambda routes: list(routes) == [held.lease.subnets[0]])


def test_what_is_not_announced_any_more_is_withdrawn(bench: Bench) -> None:
    """`announce` names all that there is."""
    held = bench.hold()
    bench.keeper.announce((own(held),))
    wait_for_routes(bench.plain, lambda routes: bool(routes))
    bench.keeper.announce(())
    wait_for_routes(bench.plain, lambda routes: not routes)


@pytest.mark.parametrize("call", ["leases", "renew", "announce"])
def test_an_error_that_nobody_foresaw_does_not_end_the_thread(bench: Bench, call: str) -> None:
    """It is told with its name, and tried again."""
    if call != "leases":
        bench.hold()
    bench.store.faults.fail(call, RuntimeError("a bug in the backend"))
    if call == "leases":
        bench.keeper.start()
    else:
        bench.keeper.announce(
            (Route(prefix=bench.plain.leases()[0].subnets[0], node="me", next_hop=ip_address("192.0.2.1")),)
        )
        bench.keeper.check()
    error = bench.next(StoreFailed).error
    assert isinstance(error, StoreError)
    assert "RuntimeError: a bug in the backend" in str(error)
    assert isinstance(error.__cause__, RuntimeError)
    bench.next(Told)


def test_what_an_earlier_run_has_leased_is_announced_while_the_store_is_away(again: Bench) -> None:
    """Nobody else can have it; should that be otherwise when the store is back, it is withdrawn."""
    assert again.routes
    again.store.faults.fail("configure", AWAY, times=FOR_EVER)
    again.keeper.start()
    again.next(StoreFailed)
    again.keeper.announce((EARLIER,))
    assert again.next(Told).routes == (EARLIER,)
    wait_for_routes(again.routes, lambda routes: list(routes.values()) == [EARLIER])
    again.plain.claim((EARLIER.prefix,), "thief", 60)
    again.store.faults.heal()
    assert again.next(Held).lease.subnets != (EARLIER.prefix,)
    wait_for_routes(again.routes, lambda routes: not routes)


@pytest.mark.parametrize(
    ("call", "later", "alone"), [("configure", 60, True), ("leases", 0, True), ("configure", 0, False)]
)
def test_an_earlier_lease_is_not_relied_on(again: Bench, call: str, later: float, alone: bool) -> None:
    """When it may have ended; when the store has been heard; in the store itself, which is away."""
    if not alone:
        again.keeper._routes = again.store
    again.time[0] += later
    again.store.faults.fail(call, AWAY, times=FOR_EVER)
    again.keeper.announce((EARLIER,))
    again.keeper.start()
    told: list[Outcome] = [again.outcomes.get(timeout=SOON) for _ in range(3)]
    assert not [each for each in told if isinstance(each, Told)]


def test_stopping_interrupts_the_backoff(bench: Bench) -> None:
    """Nobody waits half a minute for a store that is away."""
    bench.store.faults.fail("leases", AWAY, times=FOR_EVER)
    bench.keeper._failures = 6  # so that the next pause is half a minute
    bench.keeper.start()
    bench.next(StoreFailed)
    bench.keeper.stop(leave=False, timeout=SOON)
    assert not bench.keeper._thread.is_alive()


def test_leaving_while_the_store_hangs_is_an_error(bench: Bench) -> None:
    """Nothing was given back, and silence would say that it was."""
    bench.hold()
    bench.store.faults.hang("renew")
    bench.keeper.check()
    bench.store.faults.wait_until_hung("renew")
    with pytest.raises(StoreUnavailable, match="ends with its time"):
        bench.keeper.stop(leave=True, timeout=0.01)


def test_leaving_gives_back_what_is_held_by_our_name(bench: Bench) -> None:
    """Whatever revision it has; nobody else's."""
    held = bench.hold()
    bench.plain.claim((ip_network("10.4.254.0/24"),), "other", 60)
    bench.plain.renew(held.lease, 60)
    bench.keeper.stop(leave=True, timeout=SOON)
    assert [lease.node for lease in bench.plain.leases()] == ["other"]


def test_leaving_without_ever_having_started(bench: Bench) -> None:
    """There is nothing to give back."""
    bench.keeper.stop(leave=True, timeout=SOON)
    bench.keeper._thread = threading.Thread()


def test_a_lease_that_is_lost_for_good_is_said(bench: Bench) -> None:
    """Lost, and then why no other can be had; and that again and again."""
    bench.hold()
    bench.plain.release(bench.plain.leases()[0])
    bench.plain.reserve((NETWORK.pools[0].prefix,))
    bench.keeper.check()
    assert "no longer holds" in bench.next(Lost).reason
    assert "no subnet left" in str(bench.next(StoreFailed).error)
    bench.plain.release(bench.plain.leases()[0])
    bench.next(Held)


def test_with_a_lost_lease_the_network_is_agreed_on_again(bench: Bench) -> None:
    """The store may have forgotten everything, or hold another network: nothing is claimed before."""
    bench.hold()
    bench.store.faults.fail("configure", AWAY)
    bench.plain.release(bench.plain.leases()[0])
    bench.keeper.check()
    bench.next(Lost)
    assert bench.next(StoreFailed).error is AWAY
    assert not bench.plain.leases()
    bench.next(Held)


@pytest.mark.parametrize(
    ("stored", "network", "result"),
    [(None, NETWORK, NETWORK), (NETWORK, None, NETWORK), (NETWORK, NETWORK, NETWORK)],
)
def test_what_is_agreed_on(
    stored: NetworkConfig | None, network: NetworkConfig | None, result: NetworkConfig
) -> None:
    """Either says it, or both say the same; a store that can hold the network does from then on."""
    assert agreed(stored, network) == result
    store = MemoryStore()
    if stored is not None:
        store.configure(stored)
    assert agree(store, network) is None
    assert store.network() == result


def test_what_cannot_be_agreed_on() -> None:
    """Both sides are shown."""
    with pytest.raises(ConfigError, match="no network is configured"):
        agreed(None, None)
    with pytest.raises(
        ConfigError, match=r"says 10\.5\.0\.0/16 in /24s from .* the store holds 10\.4\.0\.0/16"
    ):
        agreed(NETWORK, OTHER)


def test_a_lost_lease_is_no_store_failure() -> None:
    """The tree of errors keeps them apart from what is merely away."""
    assert issubclass(LeaseLost, StoreError)
    assert not LeaseLost.retryable
