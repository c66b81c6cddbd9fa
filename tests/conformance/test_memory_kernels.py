"""The kernels in memory keep the contract of the real one: what is proven on them is worth something."""

from __future__ import annotations

import errno
import threading
from ipaddress import ip_interface

import attrs
import pytest

from containernet import derive
from containernet.errors import KernelError
from containernet.items import Bridge, InterfaceAddress, Item, KernelRoute, Link
from containernet.planning import Create
from containernet.tables import Device
from containernet.testing import (
    SOON,
    EntersNamespacesContract,
    FakeKernel,
    FindsRivalsContract,
    KernelBed,
    KernelContract,
    ReadsSysctlsContract,
    ShowsTablesContract,
    SimulatedKernel,
    UnderlayContract,
)
from containernet.testing.memory_kernel import MemoryKernel

BRIDGE = Link(name="cn0", type=Bridge(), mac="02:00:00:00:00:01", mtu=1500)
NIC = Device(name="eth0", mac=derive.mac("eth0"))


def bed_of(kernel: MemoryKernel) -> KernelBed:
    """Return an empty one; somebody else's items are known by their owner's name."""

    def occupy(item: Item) -> None:
        if isinstance(kernel, SimulatedKernel) and isinstance(item, KernelRoute):
            route = attrs.evolve(item, link="eth0", gateway=None, onlink=False)
            kernel.put_foreign_route(route, owner="bird")
        elif isinstance(kernel, SimulatedKernel) and isinstance(item, InterfaceAddress):
            kernel.put_foreign(NIC, [item.address])
        else:
            kernel.others[item.key] = "bird"

    return KernelBed(
        open=kernel.reopen,
        lose=lambda item: kernel.lose(item.key),
        occupy=occupy,
        netns="/run/netns/c1",
    )


class TestFakeKernel(KernelContract, EntersNamespacesContract, UnderlayContract):
    def bed(self) -> KernelBed:
        """Return one with a container's namespace."""
        kernel = FakeKernel()
        kernel.add_namespace("/run/netns/c1")
        return bed_of(kernel)


def simulated(kind: type[SimulatedKernel] = SimulatedKernel) -> KernelBed:
    """Return one with a network card and a container's namespace."""
    kernel = kind()
    kernel.put_foreign(NIC, map(ip_interface, ("192.0.2.1/24", "2001:db8::1/64")))
    kernel.network.add(SimulatedKernel("c1"), path="/run/netns/c1")
    return bed_of(kernel)


class TestSimulatedKernel(
    KernelContract,
    EntersNamespacesContract,
    FindsRivalsContract,
    ReadsSysctlsContract,
    ShowsTablesContract,
    UnderlayContract,
):
    def bed(self) -> KernelBed:
        """Return it as it is."""
        return simulated()


@pytest.mark.parametrize("made", [FakeKernel, SimulatedKernel])
def test_what_is_to_go_wrong_goes_wrong_in_both(made: type[FakeKernel | SimulatedKernel]) -> None:
    """A call fails or hangs, an operation is refused; healed, everything goes."""
    kernel = made()
    kernel.faults.fail("read", KernelError("busy"))
    with pytest.raises(KernelError, match="busy"):
        kernel.read()
    kernel.fail(lambda operation: operation.item == BRIDGE, code=errno.ENOBUFS)
    assert [failure.errno for failure in kernel.execute([Create(BRIDGE)])] == [errno.ENOBUFS]
    kernel.faults.hang("execute")
    thread = threading.Thread(target=kernel.execute, args=([Create(BRIDGE)],))
    thread.start()
    kernel.faults.wait_until_hung("execute")
    assert not kernel.read()
    kernel.heal()
    thread.join(SOON)
    assert list(kernel.read()) == [BRIDGE.key]
