"""`changed` on a real kernel: it hears what others do to what is ours; not itself, nor their own business."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_interface, ip_network

import attrs
import pytest

from containernet.items import (
    Bridge,
    BridgePort,
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Veth,
    Vxlan,
    by_key,
)
from containernet.planning import Create, Delete, plan
from containernet_backends.netlink import NetlinkKernel

from .conftest import Netns, holding

pytestmark = pytest.mark.kernel

PEER = "02:00:00:00:00:aa"
VXLAN = Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0")
OWN: list[Item] = [
    Link(name="br0", type=Bridge(), mtu=1450, mac="02:00:00:00:00:01"),
    Link(name="vx0", type=VXLAN, mtu=1400, mac="02:00:00:00:00:02"),
    InterfaceAddress(link="vx0", address=ip_interface("10.4.0.0/32")),
    InterfaceAddress(link="br0", address=ip_interface("fd00:4::1/64")),
    FdbEntry(link="vx0", mac=PEER, destination=ip_address("192.0.2.2")),
    Neighbour(link="vx0", address=ip_address("10.4.1.0"), mac=PEER),
    Neighbour(link="vx0", address=ip_address("fd00:4:0:1::"), mac=PEER),
    KernelRoute(destination=ip_network("10.4.1.0/24"), link="vx0", gateway=ip_address("10.4.1.0"), onlink=True),
    KernelRoute(
        destination=ip_network("fd00:4:0:1::/64"), link="vx0", gateway=ip_address("fd00:4:0:1::"), onlink=True
    ),
    KernelRoute(destination=ip_network("10.5.0.0/16"), link="eth0", gateway=ip_address("192.0.2.9")),
]
SOON = 0.05  # seconds to hear nothing: what was done before is in the socket's queue already
LONG = 20.0  # seconds to hear something; ends at once when it comes


@pytest.fixture
def host(host: Netns) -> Netns:
    """A host with an underlay link, another link and a routing daemon's route."""
    host.ip("link add theirs type bridge")
    host.ip("link set theirs up")
    host.ip("link add aside type bridge")
    host.ip("link set aside up")
    host.ip("route add 198.51.100.0/24 dev eth0 proto bird")
    return host


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """A kernel that listens, and holds all of `OWN`."""
    with holding(host.kernel(), OWN) as kernel:
        yield kernel


def test_our_own_work_is_no_change(kernel: NetlinkKernel) -> None:
    """Making, reading, changing and removing everything wakes nobody, in any order."""
    assert not kernel.changed(SOON)
    changed = [attrs.evolve(item, mtu=1300) if isinstance(item, Link) else item for item in OWN]
    assert kernel.execute(plan(by_key(changed), kernel.read())) == []
    assert not kernel.changed(SOON)
    assert plan(by_key(changed), kernel.read()) == ()
    assert kernel.execute(plan({}, kernel.read())) == []
    assert not kernel.changed(SOON)
    assert kernel.execute([Create(item) for item in OWN]) == []
    assert not kernel.changed(SOON)


def test_containers_come_and_go_unheard(kernel: NetlinkKernel, netns: Callable[[], Netns]) -> None:
    """A veth with its port is ours, even though the kernel tells of many states on the way."""
    link = Link(name="veth1", type=Veth(peer="eth0", peer_netns=netns().path), mtu=1400)
    items: list[Item] = [link, BridgePort(link="veth1", bridge="br0", hairpin=True)]
    assert kernel.execute([Create(item) for item in items]) == []
    assert not kernel.changed(SOON)
    assert kernel.execute([Delete(item) for item in reversed(items)]) == []
    assert not kernel.changed(SOON)


@pytest.mark.parametrize(
    "line",
    [
        "route del 10.4.1.0/24", "route replace 10.4.1.0/24 dev eth0", "-6 route del fd00:4:0:1::/64",
        "route change 10.4.1.0/24 via 10.4.1.9 dev vx0 onlink proto 77",
        "route add 10.9.0.0/16 dev eth0 proto 77",
        "neigh del 10.4.1.0 dev vx0", "neigh replace 10.4.1.0 lladdr 02:00:00:00:00:ee dev vx0 nud permanent",
        "neigh replace fd00:4:0:1:: lladdr 02:00:00:00:00:aa dev vx0 nud stale",
        "address del 10.4.0.0/32 dev vx0", "address del fd00:4::1/64 dev br0",
        "link del vx0", "link set vx0 down", "link set vx0 mtu 1280", "link set vx0 address 02:00:00:00:00:03",
        "link set vx0 alias other", "link set br0 down",
        "link set eth0 down", "link set eth0 mtu 1400", "address del 192.0.2.1/24 dev eth0", "link del eth0",
    ],
)  # fmt: skip
def test_what_others_do_to_ours_is_heard(kernel: NetlinkKernel, host: Netns, line: str) -> None:
    """Each of these leaves something of ours missing or different."""
    assert not kernel.changed(SOON)
    host.ip(line)
    assert kernel.changed(LONG)


@pytest.mark.parametrize(
    "line",
    [
        f"fdb del {PEER} dev vx0",
        f"fdb replace {PEER} dev vx0 dst 192.0.2.7",
        "fdb add 02:00:00:00:00:ee dev vx0 dst 192.0.2.7",
    ],
)
def test_what_others_do_to_our_fdb_is_heard(kernel: NetlinkKernel, host: Netns, line: str) -> None:
    """The forwarding table of our device is ours as a whole."""
    host.bridge(line)
    assert kernel.changed(LONG)


def test_hairpin_switched_by_hand_is_heard(kernel: NetlinkKernel, host: Netns) -> None:
    """A bridge tells of its ports in messages of its own."""
    assert kernel.execute([Create(BridgePort(link="theirs2", bridge="br0"))]) != []
    host.ip("link add theirs2 type veth peer name theirs3")
    assert kernel.execute([Create(BridgePort(link="theirs2", bridge="br0"))]) == []
    kernel.read()
    kernel.changed(SOON)
    host.bridge("link set dev theirs2 hairpin on")
    assert kernel.changed(LONG)


BUSINESS = (
    "route add 203.0.113.0/24 dev eth0", "route del 203.0.113.0/24 dev eth0",
    "route replace 198.51.100.0/24 via 192.0.2.7 proto bird",
    "route append 10.4.1.0/24 dev theirs metric 9",
    "neigh add 192.0.2.77 lladdr 02:00:00:00:00:77 dev eth0 nud stale", "neigh del 192.0.2.77 dev eth0",
    "neigh add 192.0.2.78 lladdr 02:00:00:00:00:77 dev eth0 nud permanent",
    "address add 172.16.0.1/24 dev theirs", "address del 172.16.0.1/24 dev theirs",
    "address add 192.0.2.99/24 dev eth0",
    "link add docker1 type veth peer name docker2", "link set docker1 master theirs", "link set docker1 up",
    "link set docker1 mtu 1300", "link set docker1 down", "link del docker1", "link set eth0 alias uplink",
)  # fmt: skip


def test_other_peoples_business_is_not_heard(kernel: NetlinkKernel, host: Netns) -> None:
    """A busy host does not make us read everything again and again."""
    for line in BUSINESS:
        host.ip(line)
    host.bridge("fdb add 02:00:00:00:00:99 dev theirs self permanent")
    assert not kernel.changed(SOON)


def test_what_stood_in_the_way_and_leaves_is_heard(kernel: NetlinkKernel, host: Netns) -> None:
    """A creation that was refused can be tried again as soon as the occupant goes."""
    host.ip("link add br7 type bridge")
    wanted = Link(name="br7", type=Bridge(), mtu=1450)
    assert len(kernel.execute([Create(wanted)])) == 1
    kernel.changed(SOON)
    host.ip("link del br7")
    assert kernel.changed(LONG)


BLUE = KernelRoute(destination=ip_network("10.7.0.0/16"), link="eth0", gateway=ip_address("192.0.2.9"))
SIXTH = KernelRoute(destination=ip_network("fd00:7::/48"), link="vx0")
AFAR = attrs.evolve(BLUE, gateway=ip_address("198.18.0.1"))
NINTH = Neighbour(link="vx0", address=ip_address("10.4.9.0"), mac=PEER)
SECOND = Link(name="vx9", type=attrs.evolve(VXLAN, vni=9), mtu=1400)


@pytest.mark.parametrize(
    ("there", "wanted", "leaves"),
    [
        ("route add 10.7.0.0/16 via 192.0.2.3 dev eth0", BLUE, "route del 10.7.0.0/16"),
        ("route add blackhole 10.7.0.0/16", BLUE, "route del 10.7.0.0/16"),
        ("route add 10.7.0.0/16 dev aside", BLUE, "link del aside"),
        ("route add 10.7.0.0/16 dev aside", BLUE, "link set aside down"),
        ("route add fd00:7::/48 dev aside proto bird", SIXTH, "-6 route del fd00:7::/48"),
        ("link add theirs9 type vxlan id 9 dev eth0 local 192.0.2.1 dstport 8472", SECOND, "link del theirs9"),
        (
            "neigh add 10.4.9.0 lladdr 02:00:00:00:00:ee dev vx0 nud permanent",
            NINTH,
            "neigh del 10.4.9.0 dev vx0",
        ),
        ("link set theirs alias hers", AFAR, "address add 198.18.0.9/24 dev eth0"),
        ("route add 10.7.0.0/16 dev theirs metric 7", BLUE, ""),
    ],
)
def test_what_a_refusal_named_is_heard_leaving(
    kernel: NetlinkKernel, host: Netns, there: str, wanted: Item, leaves: str
) -> None:
    """Not at the next attempt, half a minute later: who does what the failure says is looking at us."""
    host.ip(there)
    kernel.changed(SOON)
    kernel.read()
    failures = kernel.execute([Create(wanted)])
    assert bool(failures) == bool(leaves)
    for line in BUSINESS:
        host.ip(line)
    assert not kernel.changed(SOON)
    if leaves:
        host.ip(leaves)
        assert kernel.changed(LONG)
        assert kernel.execute(plan(by_key([*OWN, wanted]), kernel.read())) == []
    assert not kernel.changed(SOON)


def test_a_busy_host_costs_no_full_read_while_something_is_refused(kernel: NetlinkKernel, host: Netns) -> None:
    """Thousands of routes that go are each looked at, and none of them is ours to wait for."""
    host.ip("route add 10.7.0.0/16 via 192.0.2.3 dev eth0")
    assert kernel.execute([Create(BLUE)]) != []
    routes = [f"172.20.{n // 256}.{n % 256}/32 dev eth0" for n in range(2000)]
    for verb in ("add", "del"):
        host.run("ip", "-batch", "-", stdin="".join(f"route {verb} {route}\n" for route in routes))
    assert not kernel.changed(SOON)


def test_a_node_that_moves_keeps_its_other_routes(kernel: NetlinkKernel, host: Netns) -> None:
    """With the last IPv4 address of a device Linux drops its IPv4 routes; the new one comes before that."""
    before = {item.key: item for item in OWN}
    old = InterfaceAddress(link="vx0", address=ip_interface("10.4.0.0/32"))
    del before[old.key]
    peer = KernelRoute(
        destination=ip_network("10.4.0.0/24"), link="vx0", gateway=ip_address("10.4.0.0"), onlink=True
    )
    after = before | by_key(
        [
            InterfaceAddress(link="vx0", address=ip_interface("10.4.6.0/32")),
            Neighbour(link="vx0", address=ip_address("10.4.0.0"), mac=PEER),
            peer,
        ]
    )
    assert kernel.execute(plan(after, kernel.read())) == []
    assert not kernel.changed(SOON)
    assert plan(after, kernel.read()) == ()


def test_routes_that_went_with_our_own_last_address_are_missed(kernel: NetlinkKernel, host: Netns) -> None:
    """Where nothing took the address's place, our own deletion is what has to wake us: nobody else tells."""
    gone = InterfaceAddress(link="vx0", address=ip_interface("10.4.0.0/32"))
    assert kernel.execute([Delete(gone)]) == []
    assert kernel.changed(LONG)
    healed = plan(by_key(item for item in OWN if item.key != gone.key), kernel.read())
    assert [each.item for each in healed] == [OWN[5], OWN[7]]


def test_a_flood_that_overflows_is_a_change(kernel: NetlinkKernel, host: Netns) -> None:
    """Lost notifications mean: read everything."""
    routes = "".join(
        f"route add 172.{20 + n // 65536}.{n // 256 % 256}.{n % 256}/32 dev eth0\n" for n in range(40_000)
    )
    host.run("ip", "-batch", "-", stdin=routes)
    assert kernel.changed(LONG)


def test_close_wakes_a_waiting_thread(kernel: NetlinkKernel) -> None:
    """The second thread returns at once, and says that nothing changed."""
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(kernel.changed(60)))
    started = time.monotonic()
    waiting.start()
    kernel.close()
    waiting.join(LONG)
    assert answers == [False]
    assert time.monotonic() - started < LONG


def test_it_waits_while_another_thread_works(kernel: NetlinkKernel, host: Netns) -> None:
    """Reading and executing go on under a waiting `changed`, which then hears the rival."""
    answers: list[bool] = []
    waiting = threading.Thread(target=lambda: answers.append(kernel.changed(LONG)))
    waiting.start()
    for _ in range(20):
        assert kernel.execute([Delete(item) for item in OWN if isinstance(item, KernelRoute)]) == []
        assert kernel.execute(plan(by_key(OWN), kernel.read())) == []
    assert waiting.is_alive()
    host.ip("route del 10.4.1.0/24")
    waiting.join(LONG)
    assert answers == [True]
