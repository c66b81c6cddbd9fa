"""What a kernel backend must do that can more than the Kernel contract asks for: a suite for each ability.

A backend inherits, beside `KernelContract`, the suites of what it can do; they share its bed.
"""

from __future__ import annotations

from contextlib import closing
from ipaddress import ip_address, ip_interface, ip_network

import attrs

from ..contracts import EntersNamespaces, FindsRivals, Kernel, ReadsSysctls, ShowsTables, Underlay
from ..errors import ConfigError, KernelError
from ..items import InterfaceAddress, Item, KernelRoute, Link, Sysctl, Veth, by_key
from ..planning import Create
from .bed import refused
from .kernels import (
    ADDRESSES,
    BRIDGE,
    FDB,
    FOUR,
    NEIGHBOURS,
    PORT,
    SIX,
    SYSCTL,
    VXLAN,
    OnKernelBed,
    with_ground,
)

DEFAULT_ROUTES = [
    KernelRoute(destination=ip_network(everything), link="eth0", gateway=ip_address(gateway))
    for everything, gateway in (("0.0.0.0/0", "192.0.2.254"), ("::/0", "2001:db8::fe"))
]
INSIDE: list[Item] = [
    InterfaceAddress(link="eth9", address=ip_interface("10.4.1.2/24")),
    KernelRoute(destination=ip_network("0.0.0.0/0"), link="eth9", gateway=ip_address("10.4.1.1")),
]
FORWARDING = Sysctl(name="net/ipv4/ip_forward", value="1")


class EntersNamespacesContract(OnKernelBed):
    """A container's namespace is another kernel: what is done there is done there alone."""

    def enter(self, kernel: Kernel) -> Kernel:
        """Return the kernel of the bed's other namespace; it is closed after the test."""
        assert isinstance(kernel, EntersNamespaces)
        inner = kernel.inside(self._bed.netns)
        self._opened.append(inner)
        return inner

    def cable(self) -> Link:
        """Return a veth with its far end, eth9, in the bed's other namespace."""
        return Link(name="veth0", type=Veth(peer="eth9", peer_netns=self._bed.netns), mtu=1400)

    def inside(self, inner: Kernel) -> list[Item]:
        """Return what a container holds of ours, but for the cable's end, which a kernel may count among it."""
        return [item for item in inner.read().values() if not isinstance(item, Link)]

    def test_inside(self) -> None:
        """What is done in a container's namespace is seen there alone, and what is done outside is not."""
        kernel = self.open()
        self.reach(kernel, [BRIDGE, FOUR, self.cable()])
        before = kernel.read()
        inner = self.enter(kernel)
        assert self.inside(inner) == []
        assert list(inner.execute([Create(item) for item in INSIDE])) == []
        assert by_key(self.inside(inner)) == by_key(INSIDE)
        assert kernel.read() == before

    def test_inside_goes_with_the_cable(self) -> None:
        """When the cable is taken away, all that stood on its far end goes."""
        kernel = self.open()
        self.reach(kernel, [self.cable()])
        inner = self.enter(kernel)
        assert list(inner.execute([Create(item) for item in INSIDE])) == []
        self.reach(kernel, [])
        assert inner.read() == {}

    def test_inside_is_closed_alone(self) -> None:
        """To close a container's kernel closes no other, takes nothing away, and it can be entered again."""
        kernel = self.open()
        self.reach(kernel, [self.cable()])
        with closing(self.enter(kernel)) as inner:
            assert list(inner.execute([Create(item) for item in INSIDE])) == []
        assert self.cable().key in kernel.read()
        assert by_key(self.inside(self.enter(kernel))) == by_key(INSIDE)

    def test_no_namespace(self) -> None:
        """Where nothing is, or no network namespace, a KernelError names the path."""
        kernel = self.open()
        assert isinstance(kernel, EntersNamespaces)
        for path in ("/run/netns/no-such-namespace", __file__):
            assert path in str(refused(KernelError, kernel.inside, path))


class ReadsSysctlsContract(OnKernelBed):
    """Settings are told as they are, whoever made them, and become nobody's by that."""

    def test_settings(self) -> None:
        """Of the settings that are asked for, those are told that exist, with the values that they have now."""
        kernel = self.open()
        assert isinstance(kernel, ReadsSysctls)
        missing = attrs.evolve(SYSCTL, name="net/ipv4/conf/br0/no-such-setting")
        self.reach(kernel, [BRIDGE, SYSCTL])
        for value in "101":
            now = attrs.evolve(SYSCTL, value=value)
            self.reach(kernel, [BRIDGE, now])
            assert list(kernel.sysctls([missing, SYSCTL])) == [now]
        assert list(kernel.sysctls([])) == []
        self.reach(kernel, [])
        assert list(kernel.sysctls([SYSCTL])) == []

    def test_settings_stay_as_they_are(self) -> None:
        """To ask for a setting neither sets it nor makes it ours."""
        kernel = self.open()
        assert isinstance(kernel, ReadsSysctls)
        self.reach(kernel, [BRIDGE])
        before = kernel.sysctls([SYSCTL])
        asked = attrs.evolve(SYSCTL, value="no such value")
        assert kernel.sysctls([asked]) == before
        assert kernel.read() == {BRIDGE.key: BRIDGE}


class FindsRivalsContract(OnKernelBed):
    """Who is preferred to us is named; who only stands beside us is not."""

    def rivals(self, kernel: Kernel) -> list[str]:
        """Return what the kernel says of all that it holds of ours."""
        assert isinstance(kernel, FindsRivals)
        return list(kernel.rivals(kernel.read().values()))

    def test_rival_route(self) -> None:
        """Another route with a smaller metric, or to a part of the prefix, is named with its owner."""
        for rival in (
            attrs.evolve(SIX, metric=1),
            attrs.evolve(SIX, destination=ip_network("fd00:4:0:1::/65")),
        ):
            kernel = self.open()
            self.reach(kernel, with_ground([SIX, FOUR]))
            assert self.rivals(kernel) == []
            before = kernel.read()
            self._bed.occupy(rival)
            lines = self.rivals(kernel)
            assert [str(SIX.destination) in line and self._bed.owner in line for line in lines] == [True]
            assert kernel.read() == before
            self.teardown_method()
            self.setup_method()

    def test_rival_subnet(self) -> None:
        """Another link on which our subnet is on link, too, is named, whoever came first."""
        kernel = self.open()
        own = InterfaceAddress(link="br0", address=ip_interface("10.4.9.1/24"))
        self.reach(kernel, with_ground([own]))
        for text, named in (("10.4.0.9/16", False), ("10.4.9.7/32", False), ("10.4.9.1/24", True)):
            self._bed.occupy(InterfaceAddress(link="eth0", address=ip_interface(text)))
            assert [("10.4.9.0/24" in line, "eth0" in line) for line in self.rivals(kernel)] == [
                (True, True)
            ] * named

    def test_no_rival(self) -> None:
        """A route with a larger metric, or one to a larger prefix, is none; and what is not there has none."""
        kernel = self.open()
        assert isinstance(kernel, FindsRivals)
        self.reach(kernel, with_ground([SIX, *ADDRESSES]))
        self._bed.occupy(attrs.evolve(SIX, metric=4096))
        self._bed.occupy(attrs.evolve(SIX, destination=ip_network("fd00:4::/48"), metric=1))
        assert self.rivals(kernel) == []
        assert list(kernel.rivals([FOUR])) == []


class ShowsTablesContract(OnKernelBed):
    """All that a namespace forwards by is shown, ours and others' alike."""

    def test_tables_of_others(self) -> None:
        """A link, addresses and a route of somebody else's are shown, although they are not ours."""
        kernel = self.open()
        assert isinstance(kernel, ShowsTables)
        self._bed.occupy(FOUR)
        tables = kernel.show_tables()
        eth0 = tables.devices["eth0"]
        assert (eth0.up, eth0.mtu, eth0.master) == (True, 1500, "")
        assert all(map(tables.own, map(ip_address, ("192.0.2.1", "2001:db8::1"))))
        for far in (FOUR.destination[9], ip_address("192.0.2.77"), ip_address("2001:db8::77")):
            route = tables.route(far)
            assert route is not None
            assert (route.link, route.gateway) == ("eth0", None)
        assert tables.route(SIX.destination[9]) is None
        assert kernel.read() == {}

    def test_tables_of_ours(self) -> None:
        """Every kind of item is shown, where a packet finds it."""
        kernel = self.open()
        assert isinstance(kernel, ShowsTables)
        self.reach(kernel, [*with_ground([PORT, FDB, *NEIGHBOURS, *ADDRESSES, FOUR, SIX]), FORWARDING])
        tables = kernel.show_tables()
        for link in (BRIDGE, VXLAN):
            device = tables.devices[link.name]
            assert (device.type, device.mac, device.mtu, device.up) == (link.type, link.mac, link.mtu, link.up)
        assert tables.devices["vx0"].master == "br0"
        assert tables.fdb["vx0", FDB.mac] == FDB
        assert {tables.neighbours["vx0", each.address] for each in NEIGHBOURS} == {*NEIGHBOURS}
        assert all(tables.own(each.address.ip) for each in ADDRESSES)
        assert [tables.route(each.destination[9]) for each in (FOUR, SIX)] == [FOUR, SIX]
        assert 4 in tables.forwarding

    def test_tables_are_the_callers(self) -> None:
        """What was shown does not change any more, and who changes it changes no kernel."""
        kernel = self.open()
        assert isinstance(kernel, ShowsTables)
        before = kernel.show_tables()
        self.reach(kernel, [BRIDGE])
        assert "br0" not in before.devices
        kernel.show_tables().drop(BRIDGE)
        assert "br0" in kernel.show_tables().devices

    def test_tables_of_a_container(self) -> None:
        """The far end of a veth is as large as the near one, and up."""
        kernel = self.open()
        assert isinstance(kernel, EntersNamespaces)
        self.reach(kernel, [Link(name="veth0", type=Veth(peer="eth9", peer_netns=self._bed.netns), mtu=1400)])
        with closing(kernel.inside(self._bed.netns)) as inner:
            assert isinstance(inner, ShowsTables)
            far = inner.show_tables().devices["eth9"]
        assert (far.mtu, far.up) == (1400, True)


class UnderlayContract(OnKernelBed):
    """The host's own link is found, by its name or by the default route, and only looked at."""

    def test_underlay_by_name(self) -> None:
        """The link of a name is told with its MTU and its addresses, and nothing of it becomes ours."""
        kernel = self.open()
        assert isinstance(kernel, Underlay)
        found = kernel.underlay("eth0")
        assert (found.name, found.mtu) == ("eth0", 1500)
        assert list(found.addresses) == [ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")]
        assert kernel.read() == {}

    def test_underlay_by_default_route(self) -> None:
        """Without a name it is the link of the default route, of whichever family there is one."""
        kernel = self.open()
        assert isinstance(kernel, Underlay)
        for route in DEFAULT_ROUTES:
            self.reach(kernel, [route])
            assert kernel.underlay() == kernel.underlay("eth0")

    def test_no_underlay_link(self) -> None:
        """A link that is not there is refused, with the links that are."""
        kernel = self.open()
        assert isinstance(kernel, Underlay)
        reason = str(refused(ConfigError, kernel.underlay, "no-such-link"))
        assert "no-such-link" in reason
        assert "eth0" in reason
