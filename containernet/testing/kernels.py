"""What every kernel backend must do, as tests that any kernel can run: a real one in a namespace, or a fake.

Every kind of item comes, changes and goes; what a kernel does not support it must refuse, and go on. Then
Hypothesis wants this and that, takes things away behind the kernel's back, and lets single operations fail: the
next pass must make good whatever it was.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_interface, ip_network
from itertools import pairwise

import attrs
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from ..contracts import Failure, Kernel
from ..errors import ConfigError
from ..items import (
    Bridge,
    BridgePort,
    ExternalTunnel,
    FdbEntry,
    ForwardAccept,
    Hairpin,
    InterfaceAddress,
    IpEncap,
    IpTunnel,
    Item,
    KernelRoute,
    Key,
    Link,
    Masquerade,
    Neighbour,
    PortForward,
    SourceGuard,
    Sysctl,
    Veth,
    Vxlan,
    by_key,
    multipath,
)
from ..planning import Create, Delete, Operation, Replace, plan
from ..reconciler import Reconciler
from .bed import refuses_unknown_options
from .faults import SOON
from .machines import run
from .supports import check_supports

NOTHING = 0.05  # seconds to hear nothing: what was done before has been told by then
MAC = "02:00:00:00:00:0a"
BRIDGE = Link(name="br0", type=Bridge(), mtu=1400, mac="02:00:00:00:00:01")
VNI = Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0")
VXLAN = Link(name="vx0", type=VNI, mtu=1400, mac="02:00:00:00:00:02")
IPIP_FROM = [IpTunnel(local=IPv4Address(local)) for local in ("192.0.2.1", "192.0.2.9")]
IPIP = Link(name="tun0", type=IPIP_FROM[0], mtu=1400)
IP6TNL = Link(name="tun6", type=ExternalTunnel(), mtu=1400)
# Over eth0, which keeps its addresses: with a link's last one the kernel drops the link's IPv4 routes too.
FOUR = KernelRoute(
    destination=ip_network("10.4.1.0/24"), link="eth0", gateway=ip_address("10.4.1.0"), onlink=True
)
SIX = KernelRoute(
    destination=ip_network("fd00:4:0:1::/64"), link="vx0", gateway=ip_address("fd00:4:0:1::"), onlink=True
)
HOPS = [ip_address(text) for text in ("192.0.2.2", "192.0.2.3")]
FAR = [ip_network(text) for text in ("10.4.6.0/24", "fd00:4:0:6::/64")]
OVER_IPIP = [attrs.evolve(FOUR, destination=FAR[0], link="tun0", gateway=hop) for hop in HOPS]
OUTER = [
    IpEncap(source=IPv6Address("2001:db8::1"), destination=IPv6Address(text))
    for text in ("2001:db8::2", "2001:db8::3")
]
# Not to SIX's destination: Linux takes SIX's gateway as on link only where no other route leads there.
OVER_IP6TNL = [KernelRoute(destination=FAR[1], link="tun6", encap=encap) for encap in OUTER]


def _end(plain: KernelRoute) -> KernelRoute:
    """Return a blackhole in the place of a route."""
    return KernelRoute(destination=plain.destination, metric=plain.metric, blackhole=True)


def _several(plain: KernelRoute) -> list[KernelRoute]:
    """Return routes with one, two and three next hops, of which the first is always the same, and one again."""
    paths = [attrs.evolve(plain, gateway=plain.destination[last]) for last in (0, 9, 7)]
    other = multipath([paths[0], attrs.evolve(plain, gateway=plain.destination[8])])
    return [plain, multipath(paths[:2]), multipath(paths), other, plain]


# RFC 8950: an IPv4 prefix behind an IPv6 next hop, alone and beside others.
VIA_SIX = attrs.evolve(FOUR, gateway=ip_address("2001:db8::2"), onlink=False)
VIA_FOUR = [attrs.evolve(VIA_SIX, gateway=hop) for hop in HOPS]
PORT = BridgePort(link="vx0", bridge="br0")
FDB = FdbEntry(link="vx0", mac=MAC, destination=ip_address("192.0.2.2"))
NEIGHBOURS = [Neighbour(link="vx0", address=hop, mac=MAC) for hop in (FOUR.gateway, SIX.gateway) if hop]
SYSCTL = Sysctl(name="net/ipv4/conf/br0/accept_redirects", value="0", link="br0")
ADDRESSES = [
    InterfaceAddress(link="br0", address=ip_interface(text))
    for text in ("10.0.0.1/24", "10.0.0.1/32", "fd00::1/64", "fd00::2/128")
]

POOLS = [ip_network(text) for text in ("10.4.0.0/16", "fd00:4::/48")]
CHAIN = "inet others forward"  # somebody else's, in which we may accept
HERE = [prefix[2] for prefix in (FOUR.destination, SIX.destination)]
FORWARDS = [
    PortForward(protocol=protocol, host_port=80, address=own, port=8080)
    for own in HERE
    for protocol in ("tcp", "udp", "sctp")
]
AT_ONE = [
    PortForward(protocol="tcp", host_ip=ip_address(at), host_port=80, address=own, port=8080)
    for at, own in zip(("192.0.2.1", "2001:db8::1"), HERE, strict=True)
]
GUARDS = [
    SourceGuard(interface=name, mac=MAC, addresses=own, bridged=bridged)
    for name, own in (("veth0", HERE), ("veth1", HERE[:1]))
    for bridged in (True, False)
]

# Of every kind: items, and what each may become in one step.
KINDS: dict[type, tuple[tuple[Item, Item], ...]] = {
    Bridge: ((BRIDGE, attrs.evolve(BRIDGE, mtu=1300, mac="02:00:00:00:00:03")),),
    Vxlan: ((VXLAN, attrs.evolve(VXLAN, mtu=1300)),),
    IpTunnel: (
        (IPIP, attrs.evolve(IPIP, mtu=1300)),
        (OVER_IPIP[0], OVER_IPIP[1]),
        (OVER_IPIP[1], multipath(OVER_IPIP)),
    ),
    ExternalTunnel: (
        (IP6TNL, attrs.evolve(IP6TNL, mtu=1300)),
        (OVER_IP6TNL[0], OVER_IP6TNL[1]),
        (OVER_IP6TNL[0], multipath(OVER_IP6TNL)),
    ),
    BridgePort: ((PORT, attrs.evolve(PORT, hairpin=True)),),
    InterfaceAddress: tuple((item, item) for item in ADDRESSES),
    Sysctl: ((SYSCTL, attrs.evolve(SYSCTL, value="1")),),
    FdbEntry: ((FDB, attrs.evolve(FDB, destination=ip_address("192.0.2.3"))),),
    Neighbour: tuple((item, attrs.evolve(item, mac="02:00:00:00:00:0b")) for item in NEIGHBOURS),
    KernelRoute: (
        *(
            (route, attrs.evolve(route, gateway=route.destination[9]))
            for plain in (FOUR, SIX)
            for route in (plain, attrs.evolve(plain, metric=7), attrs.evolve(plain, table=100))
        ),
        *(pair for plain in (FOUR, SIX) for pair in pairwise(_several(plain))),
        *pairwise([each for plain in (FOUR, SIX) for each in (plain, _end(plain), plain)]),
        *pairwise([FOUR, VIA_SIX, multipath([VIA_SIX, *VIA_FOUR]), FOUR]),
    ),
    Masquerade: tuple((Masquerade(pool=pool), Masquerade(pool=pool)) for pool in POOLS),
    Hairpin: tuple(
        (Hairpin(subnet=each), Hairpin(subnet=each)) for each in (FOUR.destination, SIX.destination)
    ),
    ForwardAccept: tuple(
        (ForwardAccept(chain=CHAIN, pool=pool), ForwardAccept(chain=CHAIN, pool=pool)) for pool in POOLS
    ),
    PortForward: tuple((each, attrs.evolve(each, port=8081)) for each in (*FORWARDS, *AT_ONE)),
    SourceGuard: tuple(
        pair
        for guard in GUARDS
        for pair in pairwise(
            [guard, attrs.evolve(guard, addresses=HERE[1:]), attrs.evolve(guard, mac="02:00:00:00:00:0b")]
        )
    ),
}

# Of the kinds that a kernel gives out only once: what stands on one device, and then on another that needs the
# first to be gone.
ANEW: dict[type, tuple[Sequence[Item], Sequence[Item], Sequence[Item]]] = {
    Vxlan: (
        [VXLAN, SIX, FDB],
        [attrs.evolve(VXLAN, type=attrs.evolve(VNI, vni=2)), SIX, FDB],
        [attrs.evolve(VXLAN, name="vx9")],
    ),
    IpTunnel: (
        [IPIP, OVER_IPIP[0]],
        [attrs.evolve(IPIP, type=IPIP_FROM[1]), OVER_IPIP[0]],
        [attrs.evolve(IPIP, name="tun9")],
    ),
    ExternalTunnel: (
        [IP6TNL, OVER_IP6TNL[0]],
        [IP6TNL],
        [attrs.evolve(IP6TNL, name="tun9"), attrs.evolve(OVER_IP6TNL[0], link="tun9")],
    ),
}


@attrs.frozen(kw_only=True)
class KernelBed:
    """One namespace for one test: a link `eth0` that is not ours, up, with 192.0.2.1/24 and 2001:db8::1/64.

    Where it has nftables, somebody has a chain `forward` there, in a table `others` of family inet.

    Args:
        open: returns the kernel; called again only when what it returned before is closed.
        lose: deletes an item of ours, as somebody else would.
        occupy: makes something of somebody else's with the key of that link, route (on link at eth0) or address
            (of eth0).
        owner: whose an occupied route is, as the kernel calls him.
        netns: the path of another namespace, without links, that a veth's far end can be born in.
        close: called after the test, when the kernel is closed.
    """

    open: Callable[[], Kernel]
    lose: Callable[[Item], None]
    occupy: Callable[[Item], None]
    netns: str
    owner: str = "bird"
    close: Callable[[], None] = lambda: None


def with_ground(items: Iterable[Item]) -> list[Item]:
    """Return items with the links that they stand on."""
    links = {link.name: link for link in (BRIDGE, VXLAN, IPIP, IP6TNL)}
    wanted: dict[Key, Item] = {}
    for item in items:
        for name in (item.link, getattr(item, "bridge", "")):
            if name in links and not isinstance(item, Link):
                wanted.setdefault(links[name].key, links[name])
        wanted[item.key] = item
    return list(wanted.values())


class OnKernelBed:
    """Makes the bed before each test, and closes what was opened after it."""

    def bed(self) -> KernelBed:
        """Return a bed whose namespace holds nothing of ours."""
        raise NotImplementedError

    def setup_method(self) -> None:
        """Make the bed; the test runner calls this."""
        self._bed = self.bed()
        self._opened: list[Kernel] = []

    def teardown_method(self) -> None:
        """Close what the test opened."""
        for kernel in self._opened:
            kernel.close()
        self._bed.close()

    def open(self) -> Kernel:
        """Return the kernel; it is closed after the test."""
        kernel = self._bed.open()
        self._opened.append(kernel)
        return kernel

    def reach(self, kernel: Kernel, items: Iterable[Item]) -> None:
        """Make it so, without a failure, and find nothing left to do."""
        wanted = by_key(items)
        assert list(kernel.execute(plan(wanted, kernel.read()))) == []
        assert plan(wanted, kernel.read()) == ()


class KernelContract(OnKernelBed):
    """Items come, change and go; what is others' stays; what fails is told, and made good.

    `supports` holds the kinds of links and items that the kernel can hold; a kernel that lacks a driver takes
    away that one.

    Raises:
        ConfigError: when the class is made: a word that there is not.
    """

    supports: frozenset[type] = frozenset({*KINDS, Veth})

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_supports(cls, KernelContract.supports)

    def comes_changes_and_goes(self, kind: type) -> None:
        """Check one kind: what is asked for is there after each step; what is not supported is refused."""
        kernel = self.open()
        for before, after in KINDS[kind]:
            if kind in self.supports:
                self.reach(kernel, with_ground([before]))
                self.reach(kernel, with_ground([after]))
                self.reach(kernel, [])
            else:
                (failure,) = kernel.execute([Create(before), Create(BRIDGE)])
                assert failure.operation == Create(before)
                assert failure.errno > 0
                assert kernel.read() == {BRIDGE.key: BRIDGE}

    def is_made_anew(self, kind: type) -> None:
        """Check one kind of device: it makes room for another, and comes back under another name."""
        kernel = self.open()
        for items in ANEW[kind]:
            self.reach(kernel, items)
        self.reach(kernel, [])

    def test_kernel(self) -> None:
        """It is a kernel, and an option that it does not know is refused by name."""
        kernel = self.open()
        assert isinstance(kernel, Kernel)
        refuses_unknown_options(type(kernel))

    def test_empty(self) -> None:
        """What was there before us is not ours."""
        assert self.open().read() == {}

    def test_bridge(self) -> None:
        """A bridge comes, changes in place, and goes."""
        self.comes_changes_and_goes(Bridge)

    def test_vxlan(self) -> None:
        """A VXLAN device comes, changes in place, and goes."""
        self.comes_changes_and_goes(Vxlan)

    def test_ipip(self) -> None:
        """A tunnel of IPv4 in IPv4 comes, changes in place, and goes."""
        self.comes_changes_and_goes(IpTunnel)

    def test_ip6tnl(self) -> None:
        """A tunnel of IPv6 in IPv6 comes, changes in place, and goes."""
        self.comes_changes_and_goes(ExternalTunnel)

    def test_veth(self) -> None:
        """A cable is born with its far end in another namespace, and goes with it."""
        kernel = self.open()
        veth = Link(name="veth0", type=Veth(peer="eth9", peer_netns=self._bed.netns), mtu=1400)
        if Veth in self.supports:
            self.reach(kernel, [BRIDGE, veth, BridgePort(link="veth0", bridge="br0", hairpin=True)])
            self.reach(kernel, [BRIDGE])
            self.reach(kernel, [veth])
        else:
            assert [failure.operation for failure in kernel.execute([Create(veth)])] == [Create(veth)]

    def test_port(self) -> None:
        """A link becomes a port of a bridge, changes as one, and leaves it."""
        self.comes_changes_and_goes(BridgePort)

    def test_address(self) -> None:
        """Addresses come and go, in both families, on link or for themselves."""
        self.comes_changes_and_goes(InterfaceAddress)

    def test_sysctl(self) -> None:
        """A setting is set and set again; it is nobody's to unset."""
        self.comes_changes_and_goes(Sysctl)

    def test_fdb(self) -> None:
        """An fdb entry comes, moves, and goes."""
        self.comes_changes_and_goes(FdbEntry)

    def test_neighbour(self) -> None:
        """Neighbours come, change their MAC, and go, in both families."""
        self.comes_changes_and_goes(Neighbour)

    def test_route(self) -> None:
        """Routes come, change their gateway, and go, in both families, in any table, with any metric."""
        self.comes_changes_and_goes(KernelRoute)

    def test_masquerade(self) -> None:
        """A pool is masqueraded, and is not any more, in both families."""
        self.comes_changes_and_goes(Masquerade)

    def test_hairpin(self) -> None:
        """What a port leads back is masqueraded, and is not any more, in both families."""
        self.comes_changes_and_goes(Hairpin)

    def test_port_forward(self) -> None:
        """Ports come, lead elsewhere, and go, of each protocol, at one address or at all, in both families."""
        self.comes_changes_and_goes(PortForward)

    def test_forward_accept(self) -> None:
        """A chain of somebody else's accepts what is forwarded for a pool, and does not any more."""
        self.comes_changes_and_goes(ForwardAccept)

    def test_source_guard(self) -> None:
        """A guard comes, before what it guards, changes, and goes, on a bridge and without one."""
        self.comes_changes_and_goes(SourceGuard)

    def test_device_made_anew(self) -> None:
        """A device that needs another to be gone takes its place, with all that stood on it, in one plan."""
        for kind in ANEW:
            if kind in self.supports:
                self.is_made_anew(kind)

    def test_one_fails(self) -> None:
        """Every refused operation is a failure with its errno, in order, and stops no other."""
        kernel = self.open()
        lost = [Create(attrs.evolve(FOUR, link="no-such-link", metric=metric)) for metric in (1, 2)]
        good = [Create(attrs.evolve(FOUR, metric=metric)) for metric in (3, 4)]
        missing = Create(BridgePort(link="no-such-link", bridge="br0"))
        failures = kernel.execute([Create(BRIDGE), lost[0], good[0], missing, good[1], lost[1]])
        assert [failure.operation for failure in failures] == [lost[0], missing, lost[1]]
        assert [failure.errno for failure in failures] == [errno.ENODEV] * 3
        assert all(failure.reason for failure in failures)
        assert kernel.read() == by_key([BRIDGE, *(each.item for each in good)])

    def test_no_theft(self) -> None:
        """What is somebody else's is in the way: EEXIST, with the owner; it is neither read nor deleted."""
        for item in (BRIDGE, FOUR):
            kernel = self.open()
            self._bed.occupy(item)
            for _ in range(2):
                (failure,) = kernel.execute([Create(item)])
                assert (failure.operation, failure.errno) == (Create(item), errno.EEXIST)
                assert isinstance(item, Link) or self._bed.owner in failure.reason  # a link has no owner's mark
                assert item.key not in kernel.read()
                assert list(kernel.execute([Delete(item)])) == []
            kernel.close()

    def test_deleted_already(self) -> None:
        """To delete what is gone is success: alone, again, and with the link that it stood on."""
        kernel = self.open()
        items: list[Item] = [VXLAN, BRIDGE, *NEIGHBOURS, FDB, *ADDRESSES, FOUR, SIX, PORT]
        deletions = [Delete(item) for item in items]
        assert list(kernel.execute(deletions)) == []
        self.reach(kernel, with_ground([FOUR, SIX, *ADDRESSES]))
        for _ in range(2):
            assert list(kernel.execute(deletions)) == []
        assert kernel.read() == {}

    def test_replace_what_is_gone(self) -> None:
        """A change of what somebody has deleted fails or makes it; the next pass has it in any case."""
        kernel = self.open()
        changed = attrs.evolve(FOUR, gateway=FOUR.destination[9])
        self.reach(kernel, [BRIDGE, FOUR])
        self._bed.lose(FOUR)
        assert len(kernel.execute([Replace(changed, FOUR)])) <= 1
        self.reach(kernel, [BRIDGE, changed])

    def test_read_is_the_callers(self) -> None:
        """Who changes what was read changes no kernel."""
        kernel = self.open()
        self.reach(kernel, [BRIDGE])
        read = kernel.read()
        assert isinstance(read, Mapping)
        dict(read).clear()
        kernel.execute([Create(FOUR)])
        assert set(read) == {BRIDGE.key}
        assert set(kernel.read()) == {BRIDGE.key, FOUR.key}

    def test_own_work(self) -> None:
        """What the kernel was told to do is no change; what somebody else does to it is one."""
        kernel = self.open()
        kernel.changed(0)
        self.reach(kernel, [BRIDGE, VXLAN, FOUR, SIX, FDB, *NEIGHBOURS, *ADDRESSES])
        self.reach(kernel, [BRIDGE, VXLAN, FOUR, SIX, FDB, *NEIGHBOURS])
        assert not kernel.changed(NOTHING)
        items: list[Item] = [FOUR, SIX, FDB, *NEIGHBOURS, VXLAN, BRIDGE]
        for item in items:
            self.reach(kernel, items)
            while kernel.changed(0):
                pass
            self._bed.lose(item)
            assert kernel.changed(SOON), item

    def test_own_work_while_waiting(self) -> None:
        """A second thread may wait while the first reads and executes, and is not woken by that."""
        kernel = self.open()
        kernel.changed(0)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(kernel.changed, SOON)
            self.reach(kernel, [BRIDGE, VXLAN, FOUR, SIX])
            self.reach(kernel, [])
            self.reach(kernel, [BRIDGE, FOUR])
            assert not wait([waiting], NOTHING).done
            self._bed.lose(FOUR)
            assert waiting.result(SOON)

    def test_heard_while_waiting(self) -> None:
        """Somebody else's change wakes a second thread that waits for one."""
        kernel = self.open()
        kernel.changed(0)
        self.reach(kernel, [BRIDGE, FOUR])
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(kernel.changed, SOON)
            self._bed.lose(FOUR)
            assert waiting.result(SOON)

    def test_close(self) -> None:
        """Closing wakes who waits, may be done twice, and takes nothing from the kernel."""
        kernel = self.open()
        self.reach(kernel, [BRIDGE, FOUR])
        begun = threading.Event()

        def hear() -> bool:
            begun.set()
            return kernel.changed(SOON)

        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(hear)
            assert begun.wait(SOON)
            kernel.close()
            assert not waiting.result(SOON / 2)
        kernel.close()
        assert not kernel.changed(0)
        assert plan(by_key([BRIDGE, FOUR]), self.open().read()) == ()

    def test_every_failure_is_made_good(self) -> None:
        """Whichever operation fails once, with what fails for its sake: the next pass converges."""
        kernel = self.open()
        wanted: list[Item] = [BRIDGE, VXLAN, *ADDRESSES, PORT, FDB, *NEIGHBOURS, FOUR, SIX]
        for broken in range(len(wanted)):
            self.reach(kernel, [attrs.evolve(VXLAN, name="old"), attrs.evolve(FOUR, metric=3)])
            reconciler = Reconciler(Unreliable(kernel, broken=broken))
            reconciler.want(("all",), wanted)
            reconciler.refresh()
            reconciler.apply()
            assert reconciler.failures
            reconciler.refresh()
            reconciler.apply()
            assert reconciler.settled
            assert plan(by_key(wanted), kernel.read()) == ()
            self.reach(kernel, [])

    def test_drift_and_failures_in_any_order(self) -> None:
        """Whatever is wanted, lost to others and refused meanwhile, a pass without refusals makes it true."""
        run(lambda: KernelMachine(self.bed(), supports=self.supports), examples=25)


class Unreliable:
    """A kernel of which one operation fails, once.

    Args:
        kernel: the one that does the work; not closed with this one.
        broken: the position, in the next batch, of the operation that fails.
    """

    def __init__(self, kernel: Kernel, *, broken: int | None = None) -> None:
        self._kernel = kernel
        self.broken = broken

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Unreliable:
        """There is none without a kernel."""
        raise ConfigError(f"a kernel is needed, got options {dict(options)}")

    def read(self) -> Mapping[Key, Item]:
        """Read."""
        return self._kernel.read()

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Execute all but one."""
        broken, self.broken = self.broken, None
        if broken is None or broken >= len(operations):
            return self._kernel.execute(operations)
        failure = Failure(operation=operations[broken], errno=errno.ENOBUFS, reason="so that it fails once")
        before = self._kernel.execute(operations[:broken])
        return [*before, failure, *self._kernel.execute(operations[broken + 1 :])]

    def changed(self, timeout: float) -> bool:
        """Wait."""
        return self._kernel.changed(timeout)

    def close(self) -> None:
        """Leave the kernel open."""


class KernelMachine(RuleBasedStateMachine):
    """Wishes, losses and refusals in any order; the truth at every pass without a refusal.

    Args:
        bed: with a namespace that holds nothing of ours; the machine closes it.
        supports: the kinds that the kernel can hold.
    """

    def __init__(self, bed: KernelBed, *, supports: Iterable[type]) -> None:
        self.bed = bed
        self.kernel = bed.open()
        self.unreliable = Unreliable(self.kernel)
        self.reconciler = Reconciler(self.unreliable)
        self.wanted: dict[Key, Item] = {}
        kinds = [kind for kind in KINDS if kind in supports]
        self.items = [item for kind in kinds for pair in KINDS[kind] for item in pair]
        super().__init__()

    def teardown(self) -> None:
        """Come to the truth, take everything away, and let go."""
        try:
            self.converge()
            self.wanted.clear()
            self.converge()
            assert not [item for item in self.kernel.read().values() if not isinstance(item, Sysctl)]
        finally:
            self.kernel.close()
            self.bed.close()

    @rule(data=st.data())
    def want(self, data: st.DataObject) -> None:
        """Want an item, with what it stands on."""
        chosen = data.draw(st.sampled_from(self.items))
        self.wanted = by_key([*with_ground([chosen]), *self.wanted.values(), chosen])

    @precondition(lambda self: self.wanted)
    @rule(data=st.data())
    def want_no_more(self, data: st.DataObject) -> None:
        """Want an item no more, nor what stands on it."""
        gone = self.wanted.pop(data.draw(st.sampled_from(sorted(self.wanted, key=str))))
        if isinstance(gone, Link):
            standing = [key for key, item in self.wanted.items() if gone.name in _under(item)]
            for key in standing:
                del self.wanted[key]

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Somebody deletes an item."""
        there = [item for item in self.kernel.read().values() if not isinstance(item, Sysctl)]
        if there:
            self.bed.lose(data.draw(st.sampled_from(sorted(there, key=str))))

    @rule(broken=st.integers(0, 6), fresh=st.booleans())
    def fail(self, broken: int, fresh: bool) -> None:
        """A pass of which one operation fails; on what was read now, or on what is remembered."""
        self.unreliable.broken = broken
        self.reconciler.want(("all",), self.wanted.values())
        if fresh:
            self.reconciler.refresh()
        self.reconciler.apply()
        self.unreliable.broken = None

    @rule()
    def converge(self) -> None:
        """A pass without a refusal makes it true, and the next has nothing to do."""
        self.reconciler.want(("all",), self.wanted.values())
        self.reconciler.refresh()
        self.reconciler.apply()
        assert list(self.reconciler.failures.values()) == []
        assert plan(self.wanted, self.kernel.read()) == ()


def _under(item: Item) -> set[str]:
    return {item.link, getattr(item, "bridge", "")}
