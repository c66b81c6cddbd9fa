"""Rules of ours in somebody else's chain: they come, are kept and go, and nothing else of his is touched."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network

import attrs
import pytest

from containernet.edge import EdgeOptions
from containernet.items import ForwardAccept, Item, by_key
from containernet.planning import Create, Delete, Replace, plan
from containernet_backends.bridge import Bridge
from containernet_backends.netlink import NetlinkKernel
from containernet_backends.netlink.constants import NETLINK_NETFILTER
from containernet_backends.netlink.namespaces import Namespace
from containernet_backends.netlink.nft_generations import Generations
from containernet_backends.netlink.nft_library import Nft
from containernet_backends.netlink.nft_tables import NftTables
from containernet_backends.netlink.socket import NetlinkSocket

from .conftest import Netns, holding
from .edge import NEVER, OUTSIDE, Place

pytestmark = pytest.mark.kernel

SOON = 1.0  # seconds
POOL, POOL6 = ip_network("10.4.0.0/16"), ip_network("fd00:4::/48")
USERS, OWN = "ip filter DOCKER-USER", "inet firewall forward"
ITEMS: list[Item] = [
    ForwardAccept(chain=USERS, pool=POOL),
    ForwardAccept(chain=OWN, pool=POOL),
    ForwardAccept(chain=OWN, pool=POOL6),
]
DOCKER = """
iptables -N DOCKER-USER
iptables -P FORWARD DROP
iptables -A FORWARD -j DOCKER-USER
iptables -A DOCKER-USER -s 192.0.2.77 -m comment --comment theirs -j DROP
iptables -A DOCKER-USER -j RETURN
"""
FIREWALL = """nft '
table inet firewall {
	chain forward {
		type filter hook forward priority 5; policy drop;
		ct state established accept
		ip saddr 10.4.0.0/16 tcp dport 25 drop comment "containernet accepts no mail"
	}
	chain input { type filter hook input priority 5; }
}'
"""
BOTH = DOCKER + FIREWALL
NAMED = "-m comment --comment 'containernet accept {}'"


@pytest.fixture
def host() -> Iterator[Netns]:
    """A namespace with a Docker of sorts, and with a firewall."""
    with closing(Netns()) as made:
        made.run("sh", "-ec", BOTH)
        yield made


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """A kernel that listens, and holds the items."""
    with holding(host.kernel(), ITEMS) as made:
        yield made


def theirs(host: Netns) -> list[str]:
    """Return what stands in nftables besides ours; nft shows nothing, but two blanks, of iptables' comments."""
    lines = host.run("nft", "list", "ruleset").split("\n")
    return [each for each in lines if 'comment "containernet accept ' not in each and "0.0/16  " not in each]


def test_iptables_reads_them_as_its_own(host: Netns, kernel: NetlinkKernel) -> None:
    """In front of all others, as `iptables -I` would have put them, with our name on."""
    assert kernel.read() == by_key(ITEMS)
    comment = NAMED.format(POOL).replace("'", '"') + " -j ACCEPT"
    assert host.run("iptables", "-S", "DOCKER-USER").splitlines() == [
        "-N DOCKER-USER",
        f"-A DOCKER-USER -d 10.4.0.0/16 {comment}",
        f"-A DOCKER-USER -s 10.4.0.0/16 {comment}",
        "-A DOCKER-USER -s 192.0.2.77/32 -m comment --comment theirs -j DROP",
        "-A DOCKER-USER -j RETURN",
    ]


def test_nothing_is_left_behind(host: Netns, kernel: NetlinkKernel) -> None:
    """Another process finds them, in whichever chain, and takes them away; all else is as it was."""
    with closing(Netns()) as fresh, closing(host.kernel()) as another:
        fresh.run("sh", "-ec", BOTH)
        assert another.execute(plan({}, another.read())) == []
        assert host.run("nft", "list", "ruleset") == fresh.run("nft", "list", "ruleset")
    assert kernel.changed(SOON)
    assert kernel.read() == {}


@pytest.mark.parametrize(
    "tampering",
    [
        "iptables -D DOCKER-USER 1",
        "iptables -D DOCKER-USER 2",
        "iptables -F DOCKER-USER",
        f"iptables -R DOCKER-USER 1 -d 10.4.0.0/16 {NAMED.format(POOL)} -j DROP",
        f"iptables -I DOCKER-USER -s 10.5.0.0/16 {NAMED.format(POOL)} -j ACCEPT",
        f"iptables -I DOCKER-USER -s 10.5.0.0/16 {NAMED.format('10.5.0.0/16')} -j ACCEPT",
        "iptables-save | iptables-restore",
        "iptables-save | iptables-restore --noflush",
        "iptables-save | iptables-restore; iptables-save | iptables-restore --noflush",
        "nft flush ruleset; " + BOTH,
        "nft delete table inet firewall; " + FIREWALL,
        "nft flush chain inet firewall forward",
        f"nft add rule {OWN} ip6 daddr {POOL6} accept comment '\"containernet accept {POOL6}\"'",
    ],
)
def test_what_somebody_changes_is_noticed_and_put_right(
    host: Netns, kernel: NetlinkKernel, tampering: str
) -> None:
    """Within a second, by one more pass; two rules for each item again, and all of theirs as they left it."""
    assert not kernel.changed(0.05)
    start = time.monotonic()
    host.run("sh", "-ec", tampering)
    assert kernel.changed(SOON)
    assert time.monotonic() - start < SOON
    while kernel.changed(0.05):  # theirs were several transactions
        pass
    before = theirs(host)
    assert kernel.execute(plan(by_key(ITEMS), kernel.read())) == []
    assert plan(by_key(ITEMS), kernel.read()) == ()
    assert not kernel.changed(0.05)
    lines = map(str.strip, host.run("nft", "list", "ruleset").split("\n"))
    assert sorted(line for line in lines if "containernet accept " in line) == sorted(
        f'{ip} {way} {pool} accept comment "containernet accept {pool}"'
        for ip, pool in (("ip", POOL), ("ip", POOL), ("ip6", POOL6))
        for way in ("saddr", "daddr")
    )
    assert theirs(host) == before


def test_what_is_not_ours_wakes_nobody(host: Netns, kernel: NetlinkKernel) -> None:
    """Neither in another chain of a table with rules of ours, nor where a chain has the same name."""
    for line in (
        "iptables -A FORWARD -s 198.51.100.0/24 -j ACCEPT",
        "iptables -N CONTAINER-1",
        "iptables -A CONTAINER-1 -j ACCEPT",
        "ip6tables -N DOCKER-USER",
        "ip6tables -A DOCKER-USER -j RETURN",
        "nft add rule inet firewall input counter",
    ):
        host.run("sh", "-ec", line)
    assert not kernel.changed(0.1)
    assert plan(by_key(ITEMS), kernel.read()) == ()


def test_a_chain_that_is_not_there_is_waited_for() -> None:
    """It drops nothing, so nothing is wrong; when Docker starts, the rules come."""
    with closing(Netns()) as host, closing(host.kernel()) as kernel:
        kernel.changed(0)
        for _ in range(2):
            assert kernel.execute(plan(by_key(ITEMS), kernel.read())) == []
            assert plan(by_key(ITEMS), kernel.read()) == ()
        assert host.run("nft", "list", "ruleset") == ""
        host.run("sh", "-ec", DOCKER)
        assert kernel.changed(SOON)
        missing = plan(by_key(ITEMS), kernel.read())
        assert missing == (Create(ITEMS[0]),)
        assert kernel.execute(missing) == []
        assert kernel.execute([Delete(each) for each in ITEMS]) == []
        assert kernel.read() == {}


def test_one_that_fails_does_not_stop_the_others(kernel: NetlinkKernel) -> None:
    """A chain of a name that nft does not read."""
    wrong = ForwardAccept(chain="ip filter { }", pool=POOL)
    right = ForwardAccept(chain=USERS, pool=ip_network("10.6.0.0/16"))
    (failure,) = kernel.execute([Create(wrong), Create(right)])
    assert failure.operation.item == wrong
    assert kernel.read() == by_key([*ITEMS, right])


class Meddled(Nft):
    """Somebody empties the chain between our last look at it and our transaction, once."""

    meddled = False

    def run(self, text: str) -> None:
        """Run it, behind somebody else."""
        if not self.meddled:
            self.meddled = True
            super().run("flush chain inet firewall forward")
        super().run(text)


def test_a_change_that_somebody_was_in_the_way_of_is_made_all_the_same(
    host: Netns, kernel: NetlinkKernel
) -> None:
    """The rules that were to be deleted are not there any more."""
    with closing(Namespace(host.path)) as space:
        own = Generations(lambda: space.run(lambda: NetlinkSocket(protocol=NETLINK_NETFILTER)))
        with closing(own), closing(NftTables(lambda: space.run(Meddled), own)) as tables:
            found = [item for item in tables.read().values() if item in ITEMS[1:]]
            assert len(found) == 2
            assert tables.execute([Delete(ITEMS[1]), Replace(ITEMS[2], ITEMS[2])]) == []
    assert kernel.read() == by_key([ITEMS[0], ITEMS[2]])


@pytest.mark.parametrize(
    ("closed", "chains"),
    [
        (DOCKER + DOCKER.replace("192.0.2.77", "2001:db8::77").replace("iptables", "ip6tables"), "DOCKER-USER"),
        ("iptables -P FORWARD DROP; ip6tables -P FORWARD DROP", "FORWARD"),
        (FIREWALL, ""),
    ],
)
def test_packets_pass(closed: str, chains: str) -> None:
    """From a container and to it, in both families, and what else the chain drops it still drops."""
    accept_in = [f"{family} filter {chains}" for family in ("ip", "ip6")] if chains else [OWN]
    place = Place(local=Bridge(), options=EdgeOptions(masquerade6=True))
    with closing(place):
        place.spaces["host"].run("sh", "-ec", closed)
        assert not reached(place)
        assert len(place.kernel.rivals(place.kernel.read().values())) in (1, 2)
        place.edge = attrs.evolve(place.edge, options=EdgeOptions(masquerade6=True, accept_in=accept_in))
        place.settle()
        assert reached(place)
        assert place.kernel.rivals(place.kernel.read().values()) == []
        place.edge = attrs.evolve(place.edge, options=EdgeOptions(masquerade6=True))
        place.settle()
        assert not reached(place)


def reached(place: Place) -> bool:
    """Return whether a container and the outside reach each other: by both families and ways, or by none."""
    answered = []
    for version in (4, 6):
        ways = (("outside", "a", OUTSIDE[version]), ("a", "outside", place.address("a", version)))
        for server, client, to in ways:
            with place.server(server, 80, version=version, protocol="tcp"):
                try:
                    place.seen_from(client, to, 80, protocol="tcp", patience=NEVER)
                    answered.append(True)
                except TimeoutError:
                    answered.append(False)
    assert len(set(answered)) == 1, answered
    return answered[0]
