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
from tests.conformance.like_etcd import SUPPORTS

from .beds import bed
from .server import Cluster

pytestmark = pytest.mark.etcd


class TestEtcd(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    supports = SUPPORTS
    examples = 10
    cluster: ClassVar[Cluster]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _shared(cls, etcd: Cluster) -> None:
        cls.cluster = etcd

    def bed(self) -> Bed[EtcdStore]:
        """Return an empty prefix of the cluster that all tests share."""
        return bed({**self.cluster.options(), "prefix": f"/{uuid.uuid4().hex}/network"})
