"""Many at once: hosts that join in the same moment, and records that come in one burst.

What flannel loses here: some hosts exit that join at once, and of a thousand records in a burst it misses some.
"""

from __future__ import annotations

from contextlib import ExitStack
from itertools import combinations
from pathlib import Path

import pytest

from containernet.model import overlaps
from containernet_backends.etcd import records
from tests.waiting import wait_until

from .hosts import LONG, destinations, flannels, host
from .raw import Raw
from .server import Cluster

pytestmark = pytest.mark.etcd

HOSTS = 50
RECORDS = 1000


def test_hosts_that_join_at_once_all_get_a_subnet(etcd: Cluster, raw: Raw, prefix: str, tmp_path: Path) -> None:
    """Each holds one of its own, nobody gives up, and every kernel ends with a route to every other."""
    before = raw.leases()
    with ExitStack() as stack:
        hosts = [stack.enter_context(host(number, etcd, prefix, tmp_path)) for number in range(1, HOSTS + 1)]
        for each in hosts:
            each.kernel.wait_for(lambda items: len(destinations(items)) == HOSTS - 1, timeout=LONG)
        found = {
            key.rpartition("/")[2]: records.decode(key.rpartition("/")[2], value)
            for key, value in raw.items(f"{prefix}/subnets/").items()
        }
        statuses = [each.agent.status() for each in hosts]
    assert {record.node for record in found.values()} == {f"host{each}" for each in range(1, HOSTS + 1)}
    held = [subnet for record in found.values() for subnet in record.subnets]
    assert len(held) == HOSTS
    assert not [pair for pair in combinations(held, 2) if overlaps(*pair)]
    assert all(status.ready for status in statuses), [status.reasons for status in statuses]
    assert len(raw.leases() - before) == HOSTS  # a race that was lost left none behind


def test_a_burst_of_records_all_reaches_the_kernel(
    etcd: Cluster, raw: Raw, prefix: str, tmp_path: Path
) -> None:
    """A thousand hosts appear in a second, and leave in one request: the kernel follows both ways."""
    with host(1, etcd, prefix, tmp_path) as listener:
        wait_until(lambda: listener.agent.status().ready, what="ready")
        wanted = dict(flannels(number) for number in range(RECORDS))
        for key, value in wanted.items():
            raw.put(f"{prefix}/subnets/{key}", value)
        expected = {subnet for key in wanted for subnet in records.subnets_of(key)}
        listener.kernel.wait_for(lambda items: destinations(items) == expected, timeout=LONG)
        own = records.key_of(listener.agent.node.subnets)
        raw.call(
            "KV/DeleteRange",
            key=f"{prefix}/subnets/10.80".encode(),
            range_end=f"{prefix}/subnets/10.84".encode(),
        )
        listener.kernel.wait_for(lambda items: not destinations(items), timeout=LONG)
        assert [*raw.items(f"{prefix}/subnets/")] == [f"{prefix}/subnets/{own}"]
        assert listener.agent.status().ready
