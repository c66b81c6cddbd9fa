"""Fifty of our hosts around one reflector: each hears all others, and its restart loses nothing."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

import attrs
import pytest

from tests.waiting import wait_until

from .bird import Bird
from .cases import Bed, Case, case
from .conftest import Play
from .daemons import Daemon
from .ours import Crowd, Ours
from .topology import Host
from .values import Neighbour, Range

pytestmark = [pytest.mark.bgp, pytest.mark.untraced]

HOSTS = 50
AS = 64512
HOLD = 60  # seconds: fifty speakers are one process here, and that may have to wait for its turn
REFLECTOR = IPv4Address("192.0.2.254")
# Seconds in which a reflector waits for its clients before it says that this was all. BIRD waits no longer than
# it has to; ours has no route of its own here, which it would wait for.
RESTART = {Bird: 60, Ours: 12}


@case("RFC 4456, RFC 4724")
def fifty_hosts(bed: Bed) -> None:
    """All hold the routes of the others, before, while and after the reflector is killed and comes back."""
    middle = bed.segment.host("middle", f"{REFLECTOR}/24")
    edge = bed.segment.host("edge", *(f"192.0.2.{number}/24" for number in range(1, HOSTS + 1)))
    neighbour = Neighbour(address=REFLECTOR, asn=AS, graceful_restart=60, hold_time=HOLD)
    crowd = bed.daemon(bed.ours, edge, AS, neighbour)
    assert isinstance(crowd, Crowd)
    reflector = reflecting(bed, middle, crowd).start(wait=False)
    crowd.start()
    reflector.wait()
    for at, own in enumerate(crowd.addresses):
        crowd.announce_route(f"10.{at + 1}.0.0/24", own, at=at)
        crowd.subscribe(at)
    expected = {f"10.{at + 1}.0.0/24": [str(own)] for at, own in enumerate(crowd.addresses)}

    def all_hear_all() -> bool:
        return all(
            {prefix: each["next_hops"] for prefix, each in crowd.heard(at)["routes"].items()} == expected
            for at in range(HOSTS)
        )

    def stale() -> int:
        return sum(crowd.ask("peers", at=at)[0]["stale"] for at in range(HOSTS))

    wait_until(all_hear_all, what="all hear all")
    reflector.kill()
    wait_until(lambda: stale() == HOSTS, what="all keep what they had heard")
    reflector.start(restarting=True)
    wait_until(lambda: stale() == 0, what="all have heard everything again")
    assert [crowd.heard(at)["lost"] for at in range(HOSTS)] == [[]] * HOSTS
    assert all_hear_all()


def reflecting(bed: Bed, host: Host, crowd: Crowd) -> Daemon:
    """Return a reflector. BIRD has to know its clients, or it does not wait for them after a restart."""
    restart = RESTART[bed.theirs]
    like = Neighbour(
        address=REFLECTOR, asn=AS, client=True, passive=True, graceful_restart=restart, hold_time=HOLD
    )
    if bed.theirs is Ours:
        everybody = Range(prefix=ip_network("192.0.2.0/24"), like=like)
        return bed.daemon(bed.theirs, host, AS, ranges=(everybody,), router_id=REFLECTOR)
    clients = (attrs.evolve(like, address=each) for each in crowd.addresses)
    return bed.daemon(bed.theirs, host, AS, *clients, router_id=REFLECTOR)


@pytest.mark.parametrize(("case", "ours", "theirs"), [(fifty_hosts, Crowd, Bird), (fifty_hosts, Crowd, Ours)])
def test_a_crowd(case: Case, ours: type[Daemon], theirs: type[Daemon], plays: Play) -> None:
    """It is so, with BIRD as the reflector and with ours."""
    plays(case, ours, theirs)
