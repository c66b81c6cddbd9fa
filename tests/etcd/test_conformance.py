"""The etcd store keeps every contract of a store, on a real etcd."""

from __future__ import annotations

import uuid
from typing import ClassVar

import pytest

from containernet.testing import (
    Bed,
    BoundRoutesContract,
    ConfiguresNetworkContract,
    LeaseStoreContract,
    ReservesContract,
    RouteStoreContract,
)
from containernet_backends.etcd import EtcdStore

from .beds import bed
from .server import Cluster

pytestmark = pytest.mark.etcd


class TestEtcd(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    # etcd deletes what hangs on a lease when that ends; KeepAlive writes nothing; what is left of a lease costs
    # a call each; and who watches is told a moment after the writer is answered.
    supports = LeaseStoreContract.supports - {
        "late renewal",
        "renewal revisions",
        "remaining time",
        "immediate",
    }
    examples = 10
    cluster: ClassVar[Cluster]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _shared(cls, etcd: Cluster) -> None:
        cls.cluster = etcd

    def bed(self) -> Bed[EtcdStore]:
        """Return an empty prefix of the cluster that all tests share."""
        return bed({**self.cluster.options(), "prefix": f"/{uuid.uuid4().hex}/network"})
