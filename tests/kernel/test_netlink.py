"""NetlinkKernel on a real kernel: what it is told to make is there, marked, and reads as it was asked for."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from threading import Thread

import attrs
import pytest

from containernet.contracts import EntersNamespaces, Failure, Kernel, Underlay
from containernet.errors import ConfigError, KernelError, PermissionRefused
from containernet.items import (
    Bridge,
    BridgePort,
    ExternalTunnel,
    FdbEntry,
    InterfaceAddress,
    IpEncap,
    IpTunnel,
    Item,
    KernelRoute,
    Key,
    Link,
    Neighbour,
    Sysctl,
    Veth,
    Vxlan,
    by_key,
)
from containernet.planning import Create, Delete, Replace, plan
from containernet_backends.netlink import NetlinkKernel, constants as c
from containernet_backends.netlink.namespaces import Namespace
from containernet_backends.netlink.ownership import PROTOCOL
from containernet_backends.netlink.socket import NetlinkSocket
from containernet_backends.netlink.wire import decode_link

from .conftest import Netns

# A test's name states its fact; a docstring follows where there is more to say.
# ruff: noqa: D102

pytestmark = pytest.mark.kernel

Make = Callable[[], Netns]
MAC = "02:00:00:00:00:01"
BRIDGE = Link(name="br0", type=Bridge(), mtu=1450, mac=MAC)
PEERS = {4: (ip_address("10.0.0.2"), ip_address("10.0.0.3")), 6: (ip_address("fd00::2"), ip_address("fd00::3"))}
OWN = {4: ip_interface("10.0.0.1/24"), 6: ip_interface("fd00::1/64")}
PREFIX = {4: ip_network("10.4.1.0/24"), 6: ip_network("fd01:0:0:1::/64")}
FAMILIES = pytest.mark.parametrize("version", [4, 6])


@pytest.fixture
def host(netns: Make) -> Netns:
    """A namespace."""
    return netns()


@pytest.fixture
def kernel(host: Netns) -> Iterator[NetlinkKernel]:
    """The kernel of `host`."""
    with closing(host.kernel()) as kernel:
        yield kernel


def ground(version: int) -> list[Item]:
    """What routes and neighbours stand on: a bridge with an address."""
    return [BRIDGE, InterfaceAddress(link="br0", address=OWN[version])]


def vxlan(version: int, *, vni: int = 1, dev: str = "br0") -> Link:
    """A tunnel over the bridge."""
    kind = Vxlan(vni=vni, local=OWN[version].ip, port=8472, dev=dev)
    return Link(name="vx0", type=kind, mtu=1300, mac="02:00:00:00:00:02")


def reach(kernel: Kernel, desired: Sequence[Item] | Mapping[Key, Item]) -> None:
    """Make it so, without a failure, and find nothing left to do."""
    wanted = desired if isinstance(desired, Mapping) else by_key(desired)
    assert kernel.execute(plan(wanted, kernel.read())) == []
    assert plan(wanted, kernel.read()) == ()


def route(version: int, **changes: object) -> KernelRoute:
    """A route through a peer."""
    plain = KernelRoute(destination=PREFIX[version], link="br0", gateway=PEERS[version][0])
    return attrs.evolve(plain, **changes)  # type: ignore[arg-type]


def test_it_fulfils_the_contracts(kernel: NetlinkKernel) -> None:
    """The kernel is a Kernel, enters namespaces, and knows the underlay."""
    assert isinstance(kernel, Kernel)
    assert isinstance(kernel, EntersNamespaces)
    assert isinstance(kernel, Underlay)


def test_an_empty_namespace_holds_nothing_of_ours(kernel: NetlinkKernel) -> None:
    """What was there before us is invisible."""
    assert kernel.read() == {}


# Every kind of item: first as it is, then changed in place, then gone.

VARIANTS: dict[str, Callable[[int], tuple[list[Item], list[Item]]]] = {
    "route": lambda v: (
        [*ground(v), route(v)],
        [*ground(v), route(v, gateway=PEERS[v][1])],
    ),
    "route that loses its gateway": lambda v: ([*ground(v), route(v)], [*ground(v), route(v, gateway=None)]),
    "route that gains a gateway": lambda v: ([*ground(v), route(v, gateway=None)], [*ground(v), route(v)]),
    "route through a stranger": lambda v: (
        [*ground(v), route(v, gateway=PREFIX[v][0], onlink=True)],
        [*ground(v), route(v, gateway=PREFIX[v][1], onlink=True)],
    ),
    "route in another table": lambda v: (
        [*ground(v), route(v, table=1000, metric=7), route(v, table=100), route(v, metric=9)],
        [*ground(v), route(v, table=1000, metric=7, gateway=PEERS[v][1]), route(v)],
    ),
    "default route": lambda v: (
        [*ground(v), route(v, destination=ip_network("0.0.0.0/0" if v == 4 else "::/0"))],
        ground(v),
    ),
    "neighbour": lambda v: (
        [*ground(v), Neighbour(link="br0", address=PEERS[v][0], mac="02:00:00:00:00:aa")],
        [*ground(v), Neighbour(link="br0", address=PEERS[v][0], mac="02:00:00:00:00:bb")],
    ),
    "fdb entry": lambda v: (
        [*ground(v), vxlan(v), FdbEntry(link="vx0", mac="02:00:00:00:00:aa", destination=PEERS[v][0])],
        [*ground(v), vxlan(v), FdbEntry(link="vx0", mac="02:00:00:00:00:aa", destination=PEERS[v][1])],
    ),
    "fdb entry of a port": lambda v: (
        [
            *ground(v), attrs.evolve(BRIDGE, name="br1", mac=""), vxlan(v),
            BridgePort(link="vx0", bridge="br1"),
            FdbEntry(link="vx0", mac="02:00:00:00:00:aa", destination=PEERS[v][0]),
        ],
        ground(v),
    ),
    "address": lambda v: (
        ground(v),
        [BRIDGE, InterfaceAddress(link="br0", address=ip_interface(f"{OWN[v].ip}/{OWN[v].max_prefixlen}"))],
    ),
    "link": lambda v: (
        [*ground(v), vxlan(v)],
        [*ground(v), attrs.evolve(vxlan(v), mtu=1290, mac="02:00:00:00:00:03")],
    ),
    "link going down": lambda _: ([BRIDGE], [attrs.evolve(BRIDGE, up=False)]),
    "link of another VNI": lambda v: (
        [*ground(v), vxlan(v)],
        [*ground(v), vxlan(v, vni=2)],
    ),
    "link of another name": lambda v: (
        [*ground(v), vxlan(v)],
        [*ground(v), attrs.evolve(vxlan(v), name="vx9")],
    ),
    "sysctl": lambda v: (
        [*ground(v), Sysctl(name=f"net/ipv{v}/conf/br0/accept_redirects", value="0", link="br0")],
        [*ground(v), Sysctl(name=f"net/ipv{v}/conf/br0/accept_redirects", value="1", link="br0")],
    ),
}  # fmt: skip


@FAMILIES
@pytest.mark.parametrize("kind", VARIANTS)
def test_every_kind_is_made_changed_and_removed(kernel: NetlinkKernel, kind: str, version: int) -> None:
    """Whatever is asked for is there afterwards, and a second plan is empty, at each of three steps."""
    before, after = VARIANTS[kind](version)
    reach(kernel, before)
    reach(kernel, after)
    reach(kernel, [])


def test_ip_sees_our_marks(kernel: NetlinkKernel, host: Netns) -> None:
    """An operator recognises our work without any tool of ours."""
    neighbour = Neighbour(link="br0", address=PEERS[4][0], mac=MAC)
    reach(kernel, [*ground(4), *ground(6), route(4), route(6), neighbour])
    assert "10.4.1.0/24 via 10.0.0.2 dev br0 proto 77" in host.ip("route show")
    assert "fd01:0:0:1::/64 via fd00::2 dev br0 proto 77 metric 1024" in host.ip("-6 route show")
    assert "PERMANENT proto 77" in host.ip("neigh show")
    assert "alias containernet" in host.ip("link show br0")
    assert "group" not in host.ip("link show br0").replace("group default", "")
    addresses = host.ip("address show dev br0")
    assert "tentative" not in addresses.replace("fe80", "") or "fd00::1/64 scope global nodad" in addresses


def test_a_next_hop_may_be_of_the_other_family(kernel: NetlinkKernel) -> None:
    """IPv4 through an IPv6 router, as RFC 5549 has it."""
    reach(kernel, [*ground(6), route(4, gateway=PEERS[6][0])])


class TestVeth:
    """A veth is two ends in two namespaces, made in one operation."""

    @staticmethod
    def link(container: Netns) -> Link:
        kind = Veth(peer="eth0", peer_netns=container.path, peer_mac="02:00:00:00:00:cc")
        return Link(name="veth1", type=kind, mtu=1400)

    def test_the_far_end_is_finished_too(self, kernel: NetlinkKernel, netns: Make) -> None:
        """It has its final name, MAC, MTU and state, and carries our mark."""
        container = netns()
        reach(kernel, [BRIDGE, self.link(container), BridgePort(link="veth1", bridge="br0", hairpin=True)])
        with closing(kernel.inside(container.path)) as inside:
            assert inside.read() == by_key([
                Link(name="eth0", type=Veth(), mtu=1400, mac="02:00:00:00:00:cc", up=True)
            ])  # fmt: skip

    def test_inside_addresses_and_routes_are_ours(self, kernel: NetlinkKernel, netns: Make) -> None:
        """A container's interface gets what a container needs, in both families."""
        container = netns()
        reach(kernel, [BRIDGE, self.link(container), BridgePort(link="veth1", bridge="br0")])
        with closing(kernel.inside(container.path)) as inside:
            wanted: list[Item] = []
            for version in (4, 6):
                default = ip_network("0.0.0.0/0" if version == 4 else "::/0")
                wanted.append(InterfaceAddress(link="eth0", address=OWN[version]))
                wanted.append(KernelRoute(destination=default, link="eth0", gateway=PEERS[version][0]))
            wanted.append(Sysctl(name="net/ipv4/conf/eth0/arp_notify", value="1", link="eth0"))
            reach(inside, {**inside.read(), **by_key(wanted)})
        assert kernel.read().keys() == {("link", "br0"), ("link", "veth1"), ("port", "veth1")}

    def test_a_port_moves_and_changes(self, kernel: NetlinkKernel, netns: Make) -> None:
        """Hairpin is switched in place; a port goes from bridge to bridge of ours and leaves."""
        link = self.link(netns())
        other = attrs.evolve(BRIDGE, name="br1", mac="02:00:00:00:00:0b")
        port = BridgePort(link="veth1", bridge="br0")
        reach(kernel, [BRIDGE, other, link, port])
        reach(kernel, [BRIDGE, other, link, attrs.evolve(port, hairpin=True)])
        reach(kernel, [BRIDGE, other, link, attrs.evolve(port, bridge="br1")])
        reach(kernel, [BRIDGE, other, link])

    def test_a_namespace_that_is_gone(self, kernel: NetlinkKernel, netns: Make) -> None:
        """The failure names the path, and nothing of the link stays."""
        container = netns()
        link = self.link(container)
        kernel.read()  # all descriptors are open: none takes the number that is about to be free
        container.close()
        (failure,) = kernel.execute([Create(link)])
        assert failure.errno == errno.ENOENT
        assert container.path in failure.reason
        assert kernel.read() == {}

    def test_our_mark_comes_when_both_ends_are_up(
        self, kernel: NetlinkKernel, netns: Make, host: Netns
    ) -> None:
        """Who dies before that has made half a cable, which is made anew; nobody looks at a whole one's end."""
        with closing(Namespace(host.path)) as entered:
            listener = entered.run(lambda: NetlinkSocket([c.RTNLGRP_LINK]))
        with closing(listener):
            assert kernel.execute([Create(self.link(netns()))]) == []
            told = [decode_link(each.body) for each in listener.notifications() if each.type == c.RTM_NEWLINK]
        seen = [(each.ours, each.carrier) for each in told if each.name == "veth1"]
        assert (False, False) in seen
        assert (True, True) in seen
        assert (True, False) not in seen

    @pytest.mark.parametrize("wanted", [True, False])
    def test_half_of_one_is_made_anew_or_goes(
        self, kernel: NetlinkKernel, netns: Make, host: Netns, wanted: bool
    ) -> None:
        """Whoever made it died before our mark was on it; what is of our group and of no kind of ours stays."""
        container = netns()
        half = f"type veth peer name eth0 netns {container.path}"
        host.ip(f"link add veth1 group {PROTOCOL} {half}")
        host.ip(f"link set lo group {PROTOCOL}")
        reach(kernel, [self.link(container)] if wanted else [])
        assert container.can("link show dev eth0") == wanted
        assert host.can("link show dev lo")

    def test_the_name_is_taken_inside(self, kernel: NetlinkKernel, netns: Make, host: Netns) -> None:
        """Neither end is made, and what has the name stays as it is."""
        container = netns()
        container.ip("link add eth0 type bridge")
        (failure,) = kernel.execute([Create(self.link(container))])
        assert failure.errno == errno.EEXIST
        assert "eth0" in failure.reason
        assert "veth1" not in host.ip("link show")
        assert "alias" not in container.ip("link show eth0")


@pytest.mark.uml
@FAMILIES
def test_ip_in_ip_is_made_changed_and_removed(kernel: NetlinkKernel, host: Netns, version: int) -> None:
    """The tunnel is what the operator would have made, and can carry a route per peer, on its own link."""
    own = OWN[version].ip
    if isinstance(own, IPv4Address):
        tunnel = Link(name="tun0", type=IpTunnel(local=own), mtu=1400)
        over = route(4, link="tun0", gateway=own + 1, onlink=True)
    else:
        tunnel = Link(name="tun0", type=ExternalTunnel(), mtu=1380)
        over = route(6, link="tun0", gateway=None, encap=IpEncap(source=own, destination=own + 1))
    reach(kernel, [*ground(version), tunnel, over])
    shown = host.ip("-d link show tun0")
    assert ("nopmtudisc" if version == 4 else "ip6tnl external") in shown
    assert ("onlink" if version == 4 else f"encap ip6 id 0 src {own} dst {own + 1}") in host.ip(
        f"-{version} route"
    )
    reach(kernel, [*ground(version), attrs.evolve(tunnel, mtu=1300), over])
    reach(kernel, ground(version))


@pytest.mark.uml
def test_a_second_tunnel_of_one_address(kernel: NetlinkKernel, host: Netns) -> None:
    """The kernel gives one address to one tunnel; the failure says which value is taken, and by whom."""
    host.ip("tunnel add other mode ipip local 10.0.0.1 remote any")
    (failure,) = kernel.execute(
        [Create(Link(name="tun0", type=IpTunnel(local=IPv4Address("10.0.0.1")), mtu=1400))]
    )
    assert failure.errno == errno.EEXIST
    assert "other has local 10.0.0.1" in failure.reason


class TestFailures:
    """Each refused operation is told with its errno and the way out, and stops no other."""

    def refuse(self, kernel: Kernel, item: Item) -> Failure:
        """Create one item between two good ones, all of which must be there."""
        good = [route(4, metric=1), route(4, metric=2)]
        assert kernel.execute([Create(it) for it in ground(4)]) == []
        (failure,) = kernel.execute([Create(good[0]), Create(item), Create(good[1])])
        assert failure.operation == Create(item)
        assert by_key(good).items() <= kernel.read().items()
        return failure

    @pytest.mark.parametrize(
        ("item", "code", "words"),
        [
            (route(4, link="eth7"), errno.ENODEV, "no link eth7"),
            (route(4, gateway=ip_address("192.0.2.9")), errno.ENETUNREACH, "192.0.2.9 is not on link at br0"),
            (Neighbour(link="eth7", address=PEERS[4][0], mac=MAC), errno.ENODEV, "no link eth7"),
            (FdbEntry(link="br0", mac=MAC, destination=PEERS[4][0]), errno.EOPNOTSUPP, "not a vxlan"),
            (BridgePort(link="eth7", bridge="br0"), errno.ENODEV, "no link eth7"),
            (BridgePort(link="lo", bridge="br7"), errno.ENODEV, "no link br7"),
            (
                vxlan(4, dev="eth7"),
                errno.ENODEV,
                "no link eth7",
            ),
            (Link(name="br7", type=Bridge(), mtu=20), errno.EINVAL, "mtu 20"),
            (Sysctl(name="net/ipv4/conf/eth7/forwarding", value="1"), errno.ENOENT, "net/ipv4/conf/eth7"),
            (Sysctl(name="net/ipv4/ip_forward", value="yes"), errno.EINVAL, "'yes'"),
            (Sysctl(name="../../etc/passwd", value="x"), errno.EINVAL, "etc/passwd"),
        ],
        ids=str,
    )
    def test_a_reason(self, kernel: NetlinkKernel, item: Item, code: int, words: str) -> None:
        """The errno is the kernel's; the sentence holds the value that was wrong."""
        failure = self.refuse(kernel, item)
        assert (failure.errno, words in failure.reason) == (code, True), failure

    def test_deleting_what_is_gone_is_success(self, kernel: NetlinkKernel) -> None:
        """Every kind of item, with its link and without."""
        items: list[Item] = [
            route(4), route(6), InterfaceAddress(link="br0", address=OWN[4]), vxlan(4),
            InterfaceAddress(link="br0", address=OWN[6]), Neighbour(link="br0", address=PEERS[4][0], mac=MAC),
            Neighbour(link="br0", address=PEERS[6][0], mac=MAC), BridgePort(link="lo", bridge="br0"),
            Sysctl(name="net/none", value="1"), FdbEntry(link="vx0", mac=MAC, destination=PEERS[4][0]),
        ]  # fmt: skip
        assert kernel.execute([Delete(item) for item in items]) == []
        reach(kernel, [*ground(4), vxlan(4)])
        assert kernel.execute([Delete(item) for item in items if item.key != vxlan(4).key]) == []

    def test_without_the_right_one_error_says_so(self, host: Netns) -> None:
        """Where all is refused for lack of the capability: links, and what needs to enter a namespace."""
        errors: list[PermissionRefused] = []

        def attempt() -> None:
            with closing(host.kernel()) as kernel:
                kernel.read()
                _drop_capabilities()
                with pytest.raises(PermissionRefused) as caught:
                    kernel.execute([Create(BRIDGE), Create(Sysctl(name="net/ipv4/ip_forward", value="1"))])
                errors.append(caught.value)

        powerless = Thread(target=attempt)  # capabilities belong to a thread, and this one's are lost
        powerless.start()
        powerless.join()
        assert "CAP_NET_ADMIN" in str(errors[0])


def _drop_capabilities() -> None:
    """Give up all capabilities of the calling thread (capset(2), version 3)."""
    nothing = (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(0x20080522, 0), nothing) == 0


class TestOthers:
    """What others own stays as it is, and the failure names the owner."""

    @FAMILIES
    def test_a_route_of_a_routing_daemon(self, kernel: NetlinkKernel, host: Netns, version: int) -> None:
        reach(kernel, ground(version))
        host.ip(f"-{version} route add {PREFIX[version]} dev br0 proto bird")
        before = host.ip(f"-{version} route show")
        (failure,) = kernel.execute([Create(route(version))])
        assert failure.errno == errno.EEXIST
        assert f"{PREFIX[version]} dev br0 exists already, proto bird (12)" in failure.reason
        assert kernel.execute([Delete(route(version))]) == []
        assert host.ip(f"-{version} route show") == before
        assert plan(by_key(ground(version)), kernel.read()) == ()

    @pytest.mark.parametrize(
        ("kind", "words"),
        [
            ("blackhole", f"route blackhole {PREFIX[4]} exists already, proto boot"),
            ("throw", "of another type"),
        ],
    )
    def test_a_route_that_leads_nowhere(
        self, kernel: NetlinkKernel, host: Netns, kind: str, words: str
    ) -> None:
        reach(kernel, ground(4))
        host.ip(f"route add {kind} {PREFIX[4]}")
        (failure,) = kernel.execute([Create(route(4))])
        assert words in failure.reason

    @FAMILIES
    def test_a_neighbour(self, kernel: NetlinkKernel, host: Netns, version: int) -> None:
        reach(kernel, ground(version))
        host.ip(f"neigh add {PEERS[version][0]} lladdr 02:00:00:00:00:ee dev br0 nud permanent")
        (failure,) = kernel.execute([Create(Neighbour(link="br0", address=PEERS[version][0], mac=MAC))])
        assert failure.errno == errno.EEXIST
        assert "02:00:00:00:00:ee" in host.ip("neigh show")

    def test_a_learned_neighbour_is_nobodys(self, kernel: NetlinkKernel, host: Netns) -> None:
        host_items = ground(4)
        reach(kernel, host_items)
        host.ip(f"neigh add {PEERS[4][0]} lladdr 02:00:00:00:00:ee dev br0 nud stale")
        reach(kernel, [*host_items, Neighbour(link="br0", address=PEERS[4][0], mac=MAC)])

    def test_a_link(self, kernel: NetlinkKernel, host: Netns) -> None:
        host.ip("link add br0 type bridge")
        (failure,) = kernel.execute([Create(BRIDGE)])
        assert failure.errno == errno.EEXIST
        assert "a link br0 (bridge) exists, not ours" in failure.reason
        assert kernel.execute([Delete(BRIDGE)]) == []
        assert kernel.execute([Replace(BRIDGE, BRIDGE)]) != []
        assert "mtu 1500" in host.ip("link show br0")
        assert kernel.read() == {}

    def test_the_vni_of_another_device(self, kernel: NetlinkKernel, host: Netns) -> None:
        reach(kernel, ground(4))
        host.ip("link add other type vxlan id 1 local 10.0.0.1 dev br0 dstport 8472 nolearning")
        (failure,) = kernel.execute([Create(vxlan(4))])
        assert failure.errno == errno.EEXIST
        assert "other has VNI 1 at port 8472 over IPv4" in failure.reason

    def test_the_fdb_of_another_device(self, kernel: NetlinkKernel, host: Netns) -> None:
        host.ip("link add vx0 type vxlan id 1 dev lo dstport 8472")
        (failure,) = kernel.execute([Create(FdbEntry(link="vx0", mac=MAC, destination=PEERS[4][0]))])
        assert "vx0 is not ours" in failure.reason
        assert MAC not in host.bridge("fdb show dev vx0")

    def test_an_address_on_another_link(self, kernel: NetlinkKernel, host: Netns) -> None:
        host.ip("link add br0 type bridge")
        host.ip(f"address add {OWN[4]} dev br0")
        (failure,) = kernel.execute([Create(InterfaceAddress(link="br0", address=OWN[4]))])
        assert failure.errno == errno.EEXIST
        assert kernel.read() == {}

    def test_a_port_of_another_bridge(self, kernel: NetlinkKernel, host: Netns) -> None:
        host.ip("link add theirs type bridge")
        host.ip("link add port type veth peer name far")
        host.ip("link set port master theirs")
        reach(kernel, [BRIDGE])
        (failure,) = kernel.execute([Create(BridgePort(link="port", bridge="br0"))])
        assert "port is in theirs" in failure.reason
        (failure,) = kernel.execute([Create(BridgePort(link="far", bridge="theirs"))])
        assert "theirs is not ours" in failure.reason


class TestRepair:
    """What somebody bent is bent back."""

    def test_what_is_ours_already_is_success(self, kernel: NetlinkKernel) -> None:
        """A plan that is out of date does no harm: what it creates may stand, or stand differently."""
        items = [*ground(4), *ground(6)[1:], vxlan(4), route(4), route(6)]
        items.append(FdbEntry(link="vx0", mac=MAC, destination=PEERS[4][0]))
        items.append(Neighbour(link="vx0", address=PEERS[4][1], mac=MAC))
        reach(kernel, items)
        assert kernel.execute([Create(item) for item in items]) == []
        assert kernel.execute([Create(route(4, gateway=PEERS[4][1])), Create(route(6, gateway=None))]) == []
        assert kernel.read()[route(4).key] == route(4, gateway=PEERS[4][1])
        assert kernel.read()[route(6).key] == route(6, gateway=None)

    def test_a_new_mtu_keeps_the_neighbours(self, kernel: NetlinkKernel, host: Netns) -> None:
        """To Linux even the same MAC is a new one and drops all neighbours: it is set only when it differs."""
        neighbour = Neighbour(link="vx0", address=PREFIX[4][0], mac=MAC)
        reach(kernel, [*ground(4), vxlan(4), neighbour])
        smaller = attrs.evolve(vxlan(4), mtu=1200)
        assert kernel.execute([Replace(smaller, vxlan(4))]) == []
        assert neighbour.key in kernel.read()

    def test_a_second_next_hop(self, kernel: NetlinkKernel, host: Netns) -> None:
        """IPv6 joins an appended route to ours; the plan makes one of the two."""
        reach(kernel, [*ground(6), route(6)])
        host.ip(f"-6 route append {PREFIX[6]} via {PEERS[6][1]} dev br0 proto 77")
        assert plan(by_key([*ground(6), route(6)]), kernel.read()) != ()
        reach(kernel, [*ground(6), route(6)])
        host.ip(f"-6 route append {PREFIX[6]} via {PEERS[6][1]} dev br0 proto 77")
        reach(kernel, ground(6))
        assert str(PREFIX[6]) not in host.ip("-6 route show")

    def test_a_link_born_by_a_killed_process(self, kernel: NetlinkKernel, host: Netns) -> None:
        """Born in our group but without our mark: nobody's work but ours, and made again."""
        host.ip("link add br0 group 77 type bridge")
        reach(kernel, [BRIDGE])

    def test_an_address_put_back_by_hand(self, kernel: NetlinkKernel, host: Netns) -> None:
        """On a link of ours even an address without our number is taken over."""
        for version in (4, 6):
            reach(kernel, ground(version))
            host.ip(f"address del {OWN[version]} dev br0")
            host.ip(f"address add {OWN[version]} dev br0")
            reach(kernel, ground(version))

    def test_admin_down_takes_routes_and_up_brings_them_back(self, kernel: NetlinkKernel, host: Netns) -> None:
        """IPv4 routes leave with the state of their link, without a word."""
        wanted = [*ground(4), *ground(6)[1:], route(4), route(6)]
        reach(kernel, wanted)
        host.ip("link set br0 down")
        assert route(4).key not in kernel.read()
        reach(kernel, wanted)

    def test_a_deleted_device(self, kernel: NetlinkKernel, host: Netns) -> None:
        """Everything that stood on it comes back with it."""
        wanted = [
            *ground(4), vxlan(4), FdbEntry(link="vx0", mac=MAC, destination=PEERS[4][0]),
            Neighbour(link="vx0", address=PREFIX[4][0], mac=MAC),
            route(4, link="vx0", gateway=PREFIX[4][0], onlink=True),
        ]  # fmt: skip
        reach(kernel, wanted)
        host.ip("link del vx0")
        reach(kernel, wanted)


class TestScale:
    """Thousands of items are one call."""

    @FAMILIES
    def test_ten_thousand_routes(self, kernel: NetlinkKernel, version: int) -> None:
        """Made, found made, replaced, removed; and a quarter that cannot be is told one by one."""
        reach(kernel, ground(version))
        step = 1 << (PREFIX[version].max_prefixlen - PREFIX[version].prefixlen)
        base = int((ip_network("10.64.0.0/10") if version == 4 else ip_network("fd02::/32"))[0])
        wanted = [
            route(version, destination=type(PREFIX[version])((base + nth * step, PREFIX[version].prefixlen)))
            for nth in range(10_000)
        ]
        assert kernel.execute([Create(item) for item in wanted]) == []
        assert plan(by_key([*ground(version), *wanted]), kernel.read()) == ()
        bad = [Create(attrs.evolve(item, link="br9", metric=5)) for item in wanted[:1000]]
        unreachable = [
            Create(attrs.evolve(item, gateway=ip_address("192.0.2.9"), metric=5)) for item in wanted[:1500]
        ]
        failures = kernel.execute([*bad, *unreachable] if version == 4 else bad)
        assert len(failures) == (2500 if version == 4 else 1000)
        assert kernel.execute([Create(item) for item in wanted]) == []
        assert kernel.execute([Delete(item) for item in wanted]) == []
        assert plan(by_key(ground(version)), kernel.read()) == ()


class TestLife:
    """Opening, closing, namespaces that are not there."""

    def test_descriptors_do_not_leak(self, host: Netns, netns: Make) -> None:
        container = netns()

        def live() -> None:
            with closing(host.kernel()) as kernel:
                kernel.changed(0)
                kernel.execute(
                    [Create(TestVeth.link(container)), Create(Sysctl(name="net/ipv4/ip_forward", value="1"))]
                )
                kernel.inside(container.path).close()
                with pytest.raises(KernelError):
                    kernel.inside("/proc/self/fd/9999")
                kernel.execute([Delete(TestVeth.link(container))])

        live()
        before = sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the descriptor of the listing itself counts too
        for _ in range(100):
            live()
        assert sorted(os.listdir("/proc/self/fd")) == before  # noqa: PTH208

    @pytest.mark.parametrize(
        ("path", "words"), [("/run/netns/no-such", "no-such"), (__file__, "not a network namespace")]
    )
    def test_a_path_that_is_none(self, kernel: NetlinkKernel, path: str, words: str) -> None:
        with pytest.raises(KernelError, match=words):
            kernel.inside(path)

    def test_a_namespace_of_another_kind(self, kernel: NetlinkKernel) -> None:
        with pytest.raises(KernelError, match="not a network namespace"):
            kernel.inside("/proc/self/ns/mnt")

    def test_close_twice_and_use(self, host: Netns) -> None:
        kernel = host.kernel()
        kernel.read()
        kernel.close()
        kernel.close()
        with pytest.raises(KernelError, match="closed"):
            kernel.read()
        assert kernel.changed(60) is False

    def test_unknown_options(self) -> None:
        with pytest.raises(ConfigError, match="'nets' is not an option; did you mean 'netns'"):
            NetlinkKernel.from_options({"nets": ""})
        with pytest.raises(ConfigError, match="netns = 7: expected"):
            NetlinkKernel.from_options({"netns": 7})
        with pytest.raises(ConfigError, match="plain_gateways = -1: expected 0 to"):
            NetlinkKernel.from_options({"plain_gateways": -1})


class TestUnderlay:
    """What the host already has."""

    @FAMILIES
    def test_the_link_of_the_default_route(self, kernel: NetlinkKernel, host: Netns, version: int) -> None:
        host.ip("link add eth0 mtu 1400 type bridge")
        host.ip("link set eth0 up")
        for one in OWN.values():
            host.ip(f"address add {one} dev eth0 nodad" if one.version == 6 else f"address add {one} dev eth0")
        with pytest.raises(ConfigError, match=r"one of eth0, .*lo"):
            kernel.underlay()
        host.ip(f"-{version} route add default via {PEERS[version][0]}")
        found = kernel.underlay()
        assert (found.name, found.mtu, found.addresses) == ("eth0", 1400, (OWN[4], OWN[6]))

    def test_a_link_by_name(self, kernel: NetlinkKernel) -> None:
        assert kernel.underlay("lo").addresses == ()  # 127.0.0.1 is of scope host
        with pytest.raises(ConfigError, match=r"no link 'eth7': expected one of .*lo"):
            kernel.underlay("eth7")

    def test_a_link_of_ours_leads_nowhere(self, kernel: NetlinkKernel) -> None:
        """As in a container that containernet attached, for a daemon that is started in there."""
        assert kernel.execute([Create(Link(name="cn7", mtu=1400, type=Bridge()))]) == []
        with pytest.raises(ConfigError, match="link cn7 leads to no other host: containernet made it"):
            kernel.underlay("cn7")
