"""Underlay: what an operator changed about the link since the node was described, and what to do."""

from __future__ import annotations

from ipaddress import ip_interface

import pytest

from containernet import underlay
from containernet.contracts import UnderlayLink
from containernet.errors import KernelError
from containernet.model import Node
from containernet.testing import FakeKernel

ADDRESSES = ("192.0.2.1/24", "2001:db8::1/64")
NODE = Node(name="a", interface="eth0", addresses=tuple(map(ip_interface, ADDRESSES)), mtu=1500)


@pytest.mark.parametrize("addresses", [ADDRESSES, (*ADDRESSES, "192.0.2.9/24")])
def test_what_is_there_still_is_no_change(addresses: tuple[str, ...]) -> None:
    """More addresses harm nobody."""
    assert underlay.changes(FakeKernel(addresses=addresses), NODE) == underlay.Changes()


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (
            FakeKernel(addresses=("192.0.2.9/24", "2001:db8::1/64")),
            underlay.Changes(
                broken="the underlay eth0 has lost 192.0.2.1/24, where the peers send to, and has "
                "192.0.2.9/24, 2001:db8::1/64: put it back, or start containernetd again"
            ),
        ),
        (
            FakeKernel(addresses=()),
            underlay.Changes(
                broken="the underlay eth0 has lost 192.0.2.1/24, 2001:db8::1/64, where the peers send to, "
                "and has no address: put it back, or start containernetd again"
            ),
        ),
        (
            FakeKernel(foreign=("uplink",)),
            underlay.Changes(
                broken="the underlay eth0 is gone: no link 'eth0'; there are: uplink; bring it back, or name "
                "another one under [node] and start containernetd again"
            ),
        ),
        (
            FakeKernel(mtu=1400),
            underlay.Changes(
                mtu="the underlay eth0 has MTU 1400, and the containers' is made for 1500: put it back, or "
                "start containernetd again"
            ),
        ),
    ],
    ids=["another address", "no address", "renamed", "mtu"],
)
def test_each_change_is_said_with_what_to_do(kernel: FakeKernel, expected: underlay.Changes) -> None:
    """What it was, what it is, and the next step."""
    assert underlay.changes(kernel, NODE) == expected


def test_a_kernel_that_cannot_be_read_has_not_changed() -> None:
    """That it cannot be read is said elsewhere."""

    class Broken(FakeKernel):
        def underlay(self, interface: str = "") -> UnderlayLink:
            raise KernelError("ENOBUFS")

    assert underlay.changes(Broken(), NODE) == underlay.Changes()
