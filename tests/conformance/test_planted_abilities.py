"""The suites for what a kernel can do besides find what is planted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

import attrs
import pytest

from containernet.contracts import Failure, UnderlayLink
from containernet.items import Item, Sysctl
from containernet.planning import Operation
from containernet.tables import Tables
from containernet.testing import (
    EntersNamespacesContract,
    FindsRivalsContract,
    KernelBed,
    KernelContract,
    ReadsSysctlsContract,
    ShowsTablesContract,
    SimulatedKernel,
    UnderlayContract,
)
from containernet.testing.kernels import OnKernelBed

from .test_memory_kernels import simulated


class Confined(SimulatedKernel):
    """It takes its own namespace for every other."""

    def inside(self, netns: str) -> Self:
        """Stay outside."""
        return self


class Trusting(SimulatedKernel):
    """It enters what is not there."""

    def inside(self, netns: str) -> Self:
        """Make up a namespace."""
        return super().inside(netns) if netns in self.network.namespaces else type(self)()


class Echoing(SimulatedKernel):
    """It believes that a setting is what it is asked about."""

    def sysctls(self, wanted: Iterable[Sysctl]) -> Sequence[Sysctl]:
        """Say it again."""
        return list(wanted)


class Open(SimulatedKernel):
    """It lets everybody write in its own tables."""

    def show_tables(self) -> Tables:
        """Give them away."""
        return self.tables


class Selfish(SimulatedKernel):
    """It shows what is its own."""

    def show_tables(self) -> Tables:
        """Leave other people's addresses out."""
        tables = super().show_tables()
        for address in self.foreign["eth0"].addresses:
            del tables.addresses[address.ip]
        return tables


class Bare(SimulatedKernel):
    """It knows the link, and not what is on it."""

    def underlay(self, interface: str = "") -> UnderlayLink:
        """Leave the addresses out."""
        return attrs.evolve(super().underlay(interface), addresses=())


class Content(SimulatedKernel):
    """It thinks that whatever stands is used."""

    def rivals(self, items: Iterable[Item]) -> Sequence[str]:
        """Say nothing."""
        return []


class Jealous(SimulatedKernel):
    """It takes everybody for a rival."""

    def rivals(self, items: Iterable[Item]) -> Sequence[str]:
        """Name them all."""
        return [f"{item}: {owner}" for item in items for owner in self.others.values()]


class Discreet(SimulatedKernel):
    """It does not say who is in the way."""

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Keep the owner's name."""
        return [attrs.evolve(failure, reason="no") for failure in super().execute(operations)]


class Nervous(SimulatedKernel):
    """Its own work wakes who waits."""

    def execute(self, operations: Sequence[Operation]) -> Sequence[Failure]:
        """Execute, and be disturbed by it."""
        failures = super().execute(operations)
        self.disturb()
        return failures


@pytest.mark.parametrize(
    ("planted", "contract", "test"),
    [
        (Confined, EntersNamespacesContract, "inside"),
        (Trusting, EntersNamespacesContract, "no_namespace"),
        (Echoing, ReadsSysctlsContract, "settings"),
        (Echoing, ReadsSysctlsContract, "settings_stay_as_they_are"),
        (Open, ShowsTablesContract, "tables_are_the_callers"),
        (Selfish, ShowsTablesContract, "tables_of_others"),
        (Bare, UnderlayContract, "underlay_by_name"),
        (Content, FindsRivalsContract, "rival_route"),
        (Content, FindsRivalsContract, "rival_subnet"),
        (Jealous, FindsRivalsContract, "no_rival"),
        (Discreet, KernelContract, "no_theft"),
        (Nervous, KernelContract, "own_work_while_waiting"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_of_an_ability(planted: type[SimulatedKernel], contract: type[OnKernelBed], test: str) -> None:
    """Each fault is found by the test whose fact it breaks."""

    class Suite(contract):  # type: ignore[valid-type, misc]
        def bed(self) -> KernelBed:
            """Return the faulty one."""
            return simulated(planted)

    suite = Suite()
    suite.setup_method()
    with pytest.raises(AssertionError):
        getattr(suite, f"test_{test}")()
    suite.teardown_method()
