"""For who writes a backend: what its contract demands, as tests; and what those tests are made of.

Subclass a suite under a name that your test runner collects, override its one factory, and run it:

    class TestMine(RouteStoreContract):
        def bed(self) -> Bed[MyStore]:
            clock = Clock()
            return Bed(open=lambda: MyStore(now=clock), advance=clock.advance)

A backend that cannot do everything says so in `supports`, and a store also by the suites that it inherits. No
test is skipped for that: what a backend does not support it must refuse the way its contract says, or it is
held to less, and that is tested instead. docs/plugins.md has a whole plugin, and all words for `supports`.

Nothing here imports a test runner. `pytest.register_assert_rewrite("containernet.testing")` in a conftest.py
makes pytest explain the failures of these tests as it does those of your own.
"""

from __future__ import annotations

try:
    import hypothesis as _hypothesis  # noqa: F401 - said here, before a module of ours fails with less to say
except ModuleNotFoundError as _error:
    raise ModuleNotFoundError(
        "containernet.testing needs the Python package 'hypothesis': pip install 'containernet[test]'",
        name=_error.name,
    ) from None

from .abilities import (
    EntersNamespacesContract as EntersNamespacesContract,
    FindsRivalsContract as FindsRivalsContract,
    ReadsSysctlsContract as ReadsSysctlsContract,
    ShowsTablesContract as ShowsTablesContract,
    UnderlayContract as UnderlayContract,
)
from .bed import Bed as Bed
from .dataplanes import DataplaneContract as DataplaneContract
from .delivery import LocalDeliveryContract as LocalDeliveryContract
from .fake_kernel import FakeKernel as FakeKernel
from .faults import FOR_EVER as FOR_EVER, SOON as SOON, Faults as Faults
from .kernels import KernelBed as KernelBed, KernelContract as KernelContract
from .simulated_kernel import SimulatedKernel as SimulatedKernel
from .simulation import World as World
from .store_abilities import (
    AnswersContract as AnswersContract,
    ConfinesContract as ConfinesContract,
    DrainsContract as DrainsContract,
)
from .stores import (
    BoundRoutesContract as BoundRoutesContract,
    Clock as Clock,
    ConfiguresNetworkContract as ConfiguresNetworkContract,
    LeaseStoreContract as LeaseStoreContract,
    ReservesContract as ReservesContract,
    RouteStoreContract as RouteStoreContract,
)
from .supports import ABILITIES as ABILITIES

__all__ = [
    "ABILITIES",
    "AnswersContract",
    "Bed",
    "BoundRoutesContract",
    "Clock",
    "ConfiguresNetworkContract",
    "ConfinesContract",
    "DataplaneContract",
    "DrainsContract",
    "EntersNamespacesContract",
    "FOR_EVER",
    "FakeKernel",
    "Faults",
    "FindsRivalsContract",
    "KernelBed",
    "KernelContract",
    "LeaseStoreContract",
    "LocalDeliveryContract",
    "ReadsSysctlsContract",
    "ReservesContract",
    "RouteStoreContract",
    "SOON",
    "ShowsTablesContract",
    "SimulatedKernel",
    "UnderlayContract",
    "World",
]
