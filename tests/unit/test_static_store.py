"""The static store: the operator's word is the lease.

Not by the suite for lease stores: that claims what it likes, from several handles at once, and lets leases end.
Here there is one claim, one host, and no end; what is left of the contract is said below.
"""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest

from containernet.addresses import AddressBook
from containernet.agent import Agent
from containernet.allocation import claim_subnet
from containernet.contracts import Confines, LeaseStore, Recognises
from containernet.errors import ConfigError, LeaseLost, LeaseTaken, StoreUnavailable
from containernet.model import NetworkConfig, Node, Pool
from containernet.testing import FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.memory import MemoryStore
from containernet_backends.static import StaticStore

NETWORK = NetworkConfig(
    pools=(
        Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),
        Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
    )
)
OWN = (ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64"))


def store(*subnets: str) -> StaticStore:
    """Return the store of a file with these subnets, by default OWN in the wrong order."""
    return StaticStore.from_options({"subnets": list(subnets) or [str(subnet) for subnet in reversed(OWN)]})


def test_it_is_a_lease_store_that_knows_its_host_by_name() -> None:
    """And nothing more: it holds no network, it configures none, and it reserves nothing."""
    static = store()
    assert isinstance(static, LeaseStore)
    assert isinstance(static, Recognises)
    assert isinstance(static, Confines)
    assert static.network() is None


def test_the_subnets_of_the_file_are_claimed_whatever_a_search_would_choose() -> None:
    """Once it is known whose file it is, the lease is the node's, and is renewed for ever."""
    static = store()
    static.confine(NETWORK)
    (before,) = static.leases()
    assert (before.subnets, before.node, before.expires) == (OWN, "", None)
    static.recognise("a", [ip_address("192.0.2.1")])
    for _ in range(3):
        lease = claim_subnet(static, NETWORK, node="a", ttl=60)
        assert (lease.subnets, lease.node, lease.expires) == (OWN, "a", 60)
    static.release(lease)
    with pytest.raises(LeaseLost):
        static.renew(lease, 60)
    assert static.claim(OWN, "a", 60).subnets == OWN


def test_it_gives_nothing_else_and_to_nobody_else() -> None:
    """Another subnet is a mistake of the caller's, and another node has a file of its own."""
    static = store()
    static.claim(OWN, "a", 60)
    with pytest.raises(
        ConfigError, match=r"10.4.2.0/24 cannot be leased: \[store.static\] subnets gives 10.4.1.0/24"
    ):
        static.claim((ip_network("10.4.2.0/24"),), "a", 60)
    with pytest.raises(LeaseTaken):
        static.claim(OWN, "b", 60)
    static.close()
    with pytest.raises(StoreUnavailable):
        static.leases()
    static.close()


@pytest.mark.parametrize(
    "subnets",
    [
        ["10.4.1.0/24"],
        ["10.4.1.0/25", "fd00:4:0:1::/64"],
        ["10.5.1.0/24", "fd00:4:0:1::/64"],
        ["fd00:4:0:1::/64"],
    ],
    ids="+".join,
)
def test_subnets_that_are_no_claim_of_the_network_are_refused_with_both(subnets: list[str]) -> None:
    """Before anything is claimed: one is missing, of another length, or outside of its pool."""
    with pytest.raises(ConfigError) as caught:
        store(*subnets).confine(NETWORK)
    assert str(caught.value) == (
        f"[store.static] subnets {' and '.join(subnets)}: expected one subnet of each pool of [network], "
        "10.4.0.0/16 in /24s from 10.4.0.0/24 to 10.4.255.0/24 and "
        "fd00:4::/48 in /64s from fd00:4::/64 to fd00:4:0:ffff::/64"
    )


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, r"\[store.static\] subnets to lease: expected one .* got none"),
        ({"subnets": "10.4.1.0/24"}, r"\[store.static\] subnets = '10.4.1.0/24': expected"),
        ({"subnets": []}, r"\[store.static\] subnets to lease: expected one"),
        ({"subnets": ["10.4.1.0/24", "10.4.2.0/24"]}, r"\[store.static\] subnets to lease: expected one"),
        ({"subnets": ["10.4.1.1/24"]}, r"\[store.static\] subnets: 10.4.1.1/24 has host bits set"),
        ({"subnets": [1.5]}, r"\[store.static\] subnets: "),
        ({"subnet": []}, r"did you mean 'subnets'\?"),
    ],
)
def test_a_wrong_table_is_refused_at_once(options: dict[str, Any], reason: str) -> None:
    """With the table's name and what was expected."""
    with pytest.raises(ConfigError, match=reason):
        StaticStore.from_options(options)


def agent(directory: Path, static: StaticStore, book: AddressBook) -> Agent:
    """Return an agent that leases from the file and announces in memory."""
    underlay = ("192.0.2.1/24", "2001:db8::1/64")
    return Agent(
        node=Node(name="a", interface="eth0", addresses=tuple(map(ip_interface, underlay))),
        network=NETWORK,
        leases=static,
        routes=MemoryStore(),
        local=Bridge(),
        remote=HostGateway(),
        kernel=FakeKernel(addresses=underlay),
        addresses=book,
        state=directory / "view.json",
    )


def test_an_agent_has_the_subnets_of_its_file(tmp_path: Path) -> None:
    """It is ready with them; with subnets that cannot be it does not even begin."""
    with closing(AddressBook(tmp_path / "addresses.db")) as book:
        made = agent(tmp_path, store(), book)
        made.run(when_ready=made.stop)
        assert made.node.subnets == OWN
        with pytest.raises(ConfigError, match="expected one subnet of each pool"):
            agent(tmp_path, store("10.4.1.0/24"), book)
