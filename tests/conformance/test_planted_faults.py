"""The suites find what is planted: a test that has never failed is believed by nobody."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import pytest

from containernet.contracts import Dataplane, Failure
from containernet.items import Item, KernelRoute
from containernet.model import Node, Route
from containernet.planning import Create, Operation
from containernet.testing import DataplaneContract, FakeKernel, KernelBed, KernelContract
from containernet_backends.host_gw import HostGateway
from containernet_backends.vxlan import Vxlan

COUNT = itertools.count(2)


class Forgetful(Vxlan):
    """Its answer depends on how often it was asked."""

    def peer(self, node: Node, route: Route) -> Iterable[Item]:
        """Render, with a number of its own."""
        return [KernelRoute(destination=route.prefix, link=f"vx{next(COUNT)}")]


class Fat(Vxlan):
    """It says that it adds less than it does."""

    def overhead(self, version: int) -> int:
        """Leave the outer header out."""
        return 8


class Careless(HostGateway):
    """It takes whatever host it is on, and sends through routers that know nothing."""

    def host(self, node: Node) -> Iterable[Item]:
        """Check nothing."""
        return ()


@pytest.mark.parametrize(
    ("planted", "tests"),
    [
        (Forgetful(), ["test_pure"]),
        (Fat(), ["test_mtu", "test_small_mtu"]),
        (Careless(), ["test_small_mtu", "test_no_underlay", "test_reach"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_of_a_dataplane(planted: Dataplane, tests: list[str]) -> None:
    """Each fault is found by the tests whose facts it breaks."""

    class Suite(DataplaneContract):
        def dataplane(self) -> Dataplane:
            """Return the faulty one."""
            return planted

    for test in tests:
        with pytest.raises(AssertionError):
            getattr(Suite(), test)()


class Thief(FakeKernel):
    """It takes what others own."""

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Forget about others first."""
        self.others.clear()
        return super().execute(operations)


class Quitter(FakeKernel):
    """It stops at the first failure."""

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Carry out what can be carried out up to there."""
        for operation in operations:
            if failures := super().execute([operation]):
                return failures
        return []


class Jumpy(FakeKernel):
    """It hears its own work."""

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Execute, and be disturbed by it."""
        failures = super().execute(operations)
        self.put(
            *(each.item for each in operations if isinstance(each, Create) and each.item.key in self.items)
        )
        return failures


@pytest.mark.parametrize(
    ("planted", "test"),
    [(Thief, "test_no_theft"), (Quitter, "test_one_fails"), (Jumpy, "test_own_work")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_of_a_kernel(planted: type[FakeKernel], test: str) -> None:
    """Each fault is found by the test whose fact it breaks."""

    class Suite(KernelContract):
        def bed(self) -> KernelBed:
            """Return the faulty one."""
            kernel = planted()

            def occupy(item: Item) -> None:
                kernel.others[item.key] = "bird"

            def lose(item: Item) -> None:
                kernel.lose(item.key)

            return KernelBed(open=kernel.reopen, lose=lose, occupy=occupy, netns="")

    suite = Suite()
    suite.setup_method()
    with pytest.raises((AssertionError, ValueError)):
        getattr(suite, test)()
    suite.teardown_method()
