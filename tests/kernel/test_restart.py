"""Daemons come and go; packets do not notice."""

from __future__ import annotations

import functools
import signal
from collections.abc import Iterator

import pytest

from containernet.lab import daemons, whole
from containernet.lab.cluster import Lab

from . import labs

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

RATE = 100.0  # requests a second


@pytest.fixture(scope="module", params=["vxlan", "host-gw", "bridge", labs.IPIP])
def built(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """Two hosts with a container each."""
    with labs.lab(dataplane=request.param, hosts=2, containers=1) as built:
        yield built


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["SIGTERM", "SIGKILL"])
@pytest.mark.parametrize("host", ["host1", "host2"])
def test_a_restart_loses_no_packet(host: str, number: signal.Signals, built: Lab) -> None:
    """Neither end's daemon matters to a packet: not while it is dead, not when it comes back."""
    target = whole.addresses(built, "host2-c1")[0]
    before = labs.items(built, host), labs.status(built, host)["subnets"]
    with whole.streaming(built, "host1-c1", target, rate=RATE) as stop:
        built.call(functools.partial(daemons.stop, host, number))
        labs.start(built, host)
        tally = stop()
    assert tally.sent > 10
    assert tally.lost == 0, tally
    assert (labs.items(built, host), labs.status(built, host)["subnets"]) == before


def test_a_container_keeps_its_address_over_a_restart(built: Lab) -> None:
    """The address book outlives the daemon: the same id in the same namespace has what it had."""
    before = labs.status(built, "host1")["endpoints"]
    built.call(functools.partial(daemons.stop, "host1", signal.SIGKILL))
    labs.start(built, "host1")
    built.call(functools.partial(daemons.attach, "host1-c1", "host1"))
    assert labs.status(built, "host1")["endpoints"] == before
    assert all(result.reached for result in whole.ping(built, labs.containers(built)))


def test_what_went_while_the_daemon_was_dead_is_put_right_at_its_start(built: Lab) -> None:
    """A start compares everything: what somebody deleted meanwhile is there again when the daemon is ready."""
    before = labs.items(built, "host1")
    built.call(functools.partial(daemons.stop, "host1", signal.SIGKILL))
    built.call(functools.partial(labs.delete, "host1", [item for item in before.values() if item.rank >= 4]))
    assert labs.items(built, "host1") != before
    labs.start(built, "host1")
    assert labs.items(built, "host1") == before
    assert all(result.reached for result in whole.ping(built, labs.containers(built)))
