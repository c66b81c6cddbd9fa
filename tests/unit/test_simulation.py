"""The simulated kernel refuses what Linux refuses, and the world is large enough to be of use."""

from __future__ import annotations

import errno
from ipaddress import IPv4Address, ip_interface, ip_network
from itertools import permutations

import attrs
import pytest

from benchmarks.world import world
from containernet.errors import ConfigError, KernelError
from containernet.items import (
    Bridge,
    BridgePort,
    FdbEntry,
    InterfaceAddress,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Sysctl,
    Veth,
    Vxlan,
)
from containernet.planning import Create, Delete, Operation, Replace
from containernet.tables import Device
from containernet.testing import SimulatedKernel
from containernet.testing.memory_kernel import Fabric
from containernet.testing.simulation import Reply

BRIDGE = Link(name="cn0", type=Bridge(), mac="02:00:00:00:00:01", mtu=1500)
VXLAN = Link(
    name="vxlan.1",
    type=Vxlan(vni=1, local=IPv4Address("192.0.2.1"), port=8472, dev="eth0"),
    mac="02:00:00:00:00:02",
    mtu=1450,
)
PREFIX = ip_network("10.4.2.0/24")


def kernel() -> SimulatedKernel:
    """Return a namespace with a network card."""
    made = SimulatedKernel()
    made.put_foreign(Device(name="eth0", mac="02:00:00:00:00:99"), [ip_interface("192.0.2.1/24")])
    return made


def refused(made: SimulatedKernel, *operations: Operation) -> list[int]:
    """Return the errno of what fails."""
    return [failure.errno for failure in made.execute(operations)]


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (BRIDGE, errno.EEXIST),
        (Link(name="eth0", type=Bridge(), mtu=1500), errno.EEXIST),
        (attrs.evolve(VXLAN, name="vxlan.2"), errno.EEXIST),
        (Link(name="v0", type=Veth(peer="eth0", peer_netns="/run/netns/none"), mtu=1500), errno.ENOENT),
        (InterfaceAddress(link="none", address=ip_interface("10.4.2.1/24")), errno.ENODEV),
        (BridgePort(link="eth0", bridge="none"), errno.ENODEV),
        (BridgePort(link="eth0", bridge="vxlan.1"), errno.EOPNOTSUPP),
        (FdbEntry(link="cn0", mac="02:00:00:00:00:03", destination=IPv4Address("192.0.2.2")), errno.EOPNOTSUPP),
        (KernelRoute(destination=PREFIX, link="none"), errno.ENODEV),
        (KernelRoute(destination=PREFIX, link="eth0", gateway=IPv4Address("198.51.100.1")), errno.ENETUNREACH),
        (KernelRoute(destination=PREFIX, link="eth0", gateway=IPv4Address("192.0.2.1")), errno.EINVAL),
    ],
    ids=str,
)
def test_what_linux_refuses_is_refused(item: Item, code: int) -> None:
    """With the same errno, and the rest of the batch is done nevertheless."""
    made = kernel()
    assert not made.execute([Create(BRIDGE), Create(VXLAN)])
    setting = Sysctl(name="net/ipv4/ip_forward", value="1")
    assert refused(made, Create(item), Create(setting)) == [code]
    assert made.sysctls([setting]) == [setting]


def test_a_link_takes_along_what_stands_on_it() -> None:
    """Routes, addresses, ports, and the far end of a veth with all that stands on that."""
    fabric = Fabric[SimulatedKernel]()
    outer = fabric.add(SimulatedKernel("host"))
    inner = fabric.add(SimulatedKernel("c1"), path="/run/netns/c1")
    veth = Link(name="v0", type=Veth(peer="eth0", peer_netns="/run/netns/c1"), mtu=1500)
    assert not outer.execute([Create(BRIDGE), Create(veth), Create(BridgePort(link="v0", bridge="cn0"))])
    own = InterfaceAddress(link="eth0", address=ip_interface("10.4.1.2/24"))
    assert not outer.inside("/run/netns/c1").execute([Create(own)])
    assert not outer.execute([Delete(veth), Delete(veth)])
    assert list(outer.read()) == [BRIDGE.key]
    assert inner.read() == {}
    assert fabric.cables == {}


def test_a_link_that_goes_down_takes_along_its_routes_and_neighbours() -> None:
    """And takes no route until it is up again."""
    made = kernel()
    route = KernelRoute(destination=PREFIX, link="vxlan.1", gateway=IPv4Address("10.4.2.0"), onlink=True)
    neighbour = Neighbour(link="vxlan.1", address=IPv4Address("10.4.2.0"), mac="02:00:00:00:00:03")
    assert not made.execute([Create(VXLAN), Create(neighbour), Create(route)])
    assert not made.execute([Replace(attrs.evolve(VXLAN, up=False), VXLAN)])
    assert list(made.read()) == [VXLAN.key]
    assert refused(made, Create(route)) == [errno.ENETDOWN]


def test_what_somebody_else_did_is_told_once() -> None:
    """Its own work is not."""
    made = kernel()
    made.execute([Create(BRIDGE)])
    assert not made.changed(0)
    made.disturb(Delete(BRIDGE))
    assert made.changed(0)
    assert not made.changed(0)


def test_a_kernel_that_is_closed_says_so() -> None:
    """And one that was told of options, or asked for what is not there."""
    made = kernel()
    with pytest.raises(ConfigError, match="no default route; there are: eth0"):
        made.underlay()
    assert made.underlay("eth0").addresses == (ip_interface("192.0.2.1/24"),)
    with pytest.raises(ConfigError, match="no link 'eth7'"):
        made.underlay("eth7")
    with pytest.raises(KernelError, match="no such namespace"):
        made.inside("/run/netns/none")
    made.close()
    assert not made.changed(0)
    with pytest.raises(KernelError, match="closed"):
        made.read()
    with pytest.raises(ConfigError, match="no option 'netns'"):
        SimulatedKernel.from_options({"netns": ""})


@pytest.mark.untraced
def test_a_thousand_hosts_are_a_matter_of_seconds() -> None:
    """Ten containers on each; a host that packets visit hears of all others once, and no other host does."""
    made = world(1000, 10)
    before = {name: member.kernel.operations for name, member in made.members.items()}
    visited = [f"h{number}" for number in range(0, 1000, 125)]
    for one, other in permutations(visited, 2):
        assert made.ping(f"{one}-c0", f"{other}-c9") == Reply()
    for name, member in made.members.items():
        heard = 3 * 999 if name in visited else 0
        assert member.kernel.operations - before[name] == heard
