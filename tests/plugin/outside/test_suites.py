"""All tests that this plugin needs for its contracts, and some for what is its own."""

from __future__ import annotations

import tempfile
from ipaddress import ip_address, ip_network
from pathlib import Path

import containernet as cn
from containernet.testing import AnswersContract, Bed, DataplaneContract, RouteStoreContract
from containernet_standby.dataplane import Standby
from containernet_standby.store import FileStore

ROUTE = cn.Route(prefix=ip_network("10.4.1.0/24"), node="a", next_hop=ip_address("192.0.2.1"))


class TestStandby(DataplaneContract):
    supports = frozenset({"IPv4", "IPv6"})  # and no "router": hosts have to be on one link

    def dataplane(self) -> Standby:
        """Return it as it comes."""
        return Standby()


class TestFile(RouteStoreContract, AnswersContract):
    def bed(self) -> Bed[FileStore]:
        """Return a file that is not there yet; routes have no end, so time need not pass."""
        directory = tempfile.TemporaryDirectory()
        path = Path(directory.name) / "routes"
        return Bed(open=lambda: FileStore(path), advance=lambda _: None, close=directory.cleanup)


def test_found_by_name() -> None:
    """Both are words for config files, and indistinguishable from containernet's own."""
    assert cn.remote_dataplane("standby", {"metric": 9}) == Standby(metric=9)
    assert isinstance(cn.route_store("file", {"path": "/run/routes"}), FileStore)


def test_edited_by_hand(tmp_path: Path) -> None:
    """A line that somebody has broken is told, and withdraws nothing before it is whole or gone."""
    store = FileStore(tmp_path / "routes")
    store.announce(ROUTE)
    subscription = store.subscribe()
    assert subscription.next_event(1) == cn.Snapshot(routes=[ROUTE])
    (tmp_path / "routes").write_text('{"prefix": "10.4.1.0/2\n')
    broken = subscription.next_event(1)
    assert isinstance(broken, cn.Quarantined)
    assert subscription.next_event(0) is None
    (tmp_path / "routes").write_text("")
    assert subscription.next_event(1) == cn.Withdrawn(prefix=ROUTE.prefix)
    store.close()
