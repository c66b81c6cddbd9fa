"""Our tables in nftables under other people's hands: noticed at once, put right in one step."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_address, ip_network

import attrs
import pytest

from containernet.items import Hairpin, Item, Masquerade, PortForward, SourceGuard, by_key
from containernet.planning import Create, Delete, Replace, plan
from containernet_backends.netlink import NetlinkKernel

from .conftest import Netns, holding

pytestmark = pytest.mark.kernel

SOON = 1.0  # seconds
OWN = ip_address("10.4.1.2")
GUARD = SourceGuard(interface="veth0", mac="02:00:00:00:00:01", addresses=[OWN], bridged=True)
ITEMS: list[Item] = [
    GUARD,
    Masquerade(pool=ip_network("10.4.0.0/16")),
    Hairpin(subnet=ip_network("10.4.1.0/24")),
    PortForward(protocol="tcp", host_port=80, address=OWN, port=8080),
]
THEIRS = "table ip theirs {\nchain forward {\ntype filter hook forward priority 5\ncounter\n}\n}"


def forward(host_port: int, port: int = 80) -> PortForward:
    """Return a port."""
    return PortForward(protocol="tcp", host_port=host_port, address=OWN, port=port)


@pytest.fixture
def host() -> Iterator[Netns]:
    """A namespace in which somebody has a table of his own."""
    with closing(Netns()) as made:
        assert made.nft(THEIRS)
        yield made


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """A kernel that listens, and holds an item of each kind."""
    with holding(host.kernel(), ITEMS) as made:
        yield made


@pytest.mark.parametrize(
    "tampering",
    [
        "flush ruleset",
        "delete table inet containernet",
        "flush table bridge containernet",
        "flush chain inet containernet postrouting",
        "flush chain inet containernet postrouting; delete chain inet containernet postrouting",
        "insert rule inet containernet ports accept",
        "add rule bridge containernet sources accept",
        "add chain inet containernet more",
        "add set inet containernet more { type ipv4_addr; }",
        "flush map inet containernet ports4",
        "add element inet containernet ports4 { 6 . 81 : 192.0.2.9 . 9 }",
        "add element inet containernet pools4 { 192.0.2.3-192.0.2.5 }",
        "delete element bridge containernet guarded { veth0 }",
        "delete element bridge containernet sources4 { veth0 . 02:00:00:00:00:01 . 10.4.1.2 }",
        "add element bridge containernet guarded { veth1 }",
        "chain inet containernet prerouting { policy drop; }",
    ],
)
def test_what_somebody_changes_is_noticed_and_put_right(
    host: Netns, kernel: NetlinkKernel, tampering: str
) -> None:
    """Within a second, by one more pass; what it does itself wakes nobody."""
    before = host.run("nft", "list", "ruleset")
    assert not kernel.changed(0.05)
    start = time.monotonic()
    assert host.nft(tampering)
    assert kernel.changed(SOON)
    assert time.monotonic() - start < SOON
    operations = plan(by_key(ITEMS), kernel.read())
    assert operations
    assert kernel.execute(operations) == []
    assert plan(by_key(ITEMS), kernel.read()) == ()
    assert not kernel.changed(0.05)
    if tampering != "flush ruleset":
        assert sorted(host.run("nft", "list", "ruleset").split()) == sorted(before.split())


def test_what_is_not_ours_wakes_nobody_and_stays(host: Netns, kernel: NetlinkKernel) -> None:
    """Tables come, change and go beside ours, one with the same name in another family."""
    theirs = host.run("nft", "list", "table", "ip", "theirs")
    for line in ("add chain ip theirs x", "add table ip containernet", "delete table ip containernet"):
        assert host.nft(line)
    assert not kernel.changed(0.1)
    assert host.nft("delete chain ip theirs x")
    assert kernel.execute(plan({}, kernel.read())) == []
    assert host.run("nft", "list", "ruleset") == theirs


def test_a_change_that_somebody_was_in_the_way_of_is_made_all_the_same(
    host: Netns, kernel: NetlinkKernel
) -> None:
    """Between the last look and the transaction the element was taken away, or was made."""
    old, new = forward(80, 8080), forward(80, 9)
    assert host.nft("delete element inet containernet ports4 { 6 . 80 }")
    assert kernel.execute([Replace(new, old), Create(forward(81))]) == []
    assert host.nft("add element inet containernet ports4 { 6 . 82 : 192.0.2.9 . 9 }")
    assert kernel.execute([Create(forward(82)), Delete(new)]) == []
    wanted = by_key([*ITEMS[:3], forward(81), forward(82)])
    assert plan(wanted, kernel.read()) == ()


def test_one_operation_that_fails_does_not_stop_the_others(kernel: NetlinkKernel) -> None:
    """Nft has no words for a quote in an interface's name; and the rest of the batch is carried out."""
    wrong = attrs.evolve(GUARD, interface='a"b')
    right = attrs.evolve(GUARD, interface="veth9")
    (failure,) = kernel.execute([Create(right), Create(wrong), Create(GUARD)])
    assert failure.operation.item == wrong
    assert "choose another name" in failure.reason
    assert right.key in kernel.read()


def test_two_at_once_lose_nothing(host: Netns, kernel: NetlinkKernel) -> None:
    """Two agents in one namespace, which nobody should have, each with its own picture of it."""
    failures: list[object] = []

    def work(first: int) -> None:
        with closing(host.kernel()) as mine:
            for number in range(first, first + 50):
                failures.extend(mine.execute([Create(forward(number))]))

    threads = [threading.Thread(target=work, args=(first,)) for first in (1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    wanted = [*ITEMS, *map(forward, (*range(1000, 1050), *range(2000, 2050)))]
    assert plan(by_key(wanted), kernel.read()) == ()


def test_a_thousand_ports_come_in_one_transaction(host: Netns, kernel: NetlinkKernel) -> None:
    """And one more, or one less, costs what it costs alone."""
    many = [*ITEMS, *map(forward, range(1000, 2000))]
    assert kernel.execute(plan(by_key(many), kernel.read())) == []
    with closing(host.kernel()) as fresh:
        assert plan(by_key(many), fresh.read()) == ()
        few = _seconds(kernel, 5000)
        assert kernel.execute(plan(by_key(ITEMS), kernel.read())) == []
        assert few < 10 * _seconds(kernel, 5000)


def _seconds(kernel: NetlinkKernel, first: int) -> float:
    """Return how long the quickest of some ports took to come and go."""
    taken = []
    for number in range(first, first + 20):
        start = time.perf_counter()
        assert kernel.execute([Create(forward(number))]) == []
        assert kernel.execute([Delete(forward(number))]) == []
        taken.append(time.perf_counter() - start)
    return min(taken)


FLIPPING = """
import sys
from ipaddress import ip_address
from containernet.items import PortForward
from containernet.planning import Replace
from containernet_backends.netlink import NetlinkKernel
kernel = NetlinkKernel(netns=sys.argv[1])
def ports(port):
    return [PortForward(protocol="tcp", host_port=n, address=ip_address("10.4.1.2"), port=port) for n in (1, 2)]
one, other = ports(1), ports(2)
kernel.read()
while True:
    assert not kernel.execute([Replace(b, a) for a, b in zip(one, other)])
    one, other = other, one
    print(flush=True)
"""


def test_who_is_killed_in_the_middle_leaves_all_or_nothing(host: Netns, kernel: NetlinkKernel) -> None:
    """A batch is one transaction, whenever its process dies."""
    both = [forward(1, 1), forward(2, 1)]
    assert kernel.execute([Create(each) for each in both]) == []
    for turns in (3, 8, 13):
        command = [sys.executable, "-c", FLIPPING, host.path]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout
            for _ in range(turns):
                child.stdout.readline()
            child.send_signal(signal.SIGKILL)
        held = kernel.read()
        ports = {item.port for each in both if isinstance(item := held[each.key], PortForward)}
        assert len(ports) == 1
        assert kernel.execute(plan(by_key([*ITEMS, *both]), held)) == []
