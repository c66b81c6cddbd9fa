"""Fixtures: a real etcd to share, a secure one to share, and as many to break as a test likes."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .certificates import Authority
from .raw import READ, READWRITE, Raw
from .server import Cluster, needed

# The users of `secure_etcd`: name, CN and password in one, and what each may do where.
USERS = {
    "writer": [("/", READWRITE)],
    "reader": [("/", READ)],
    "confined": [("/confined/", READWRITE)],
    "stranger": [],
}


@pytest.fixture(scope="session")
def authority() -> Iterator[Authority]:
    """A certificate authority."""
    needed()
    with tempfile.TemporaryDirectory(prefix="authority-") as directory:
        yield Authority(Path(directory))


@pytest.fixture(scope="session")
def etcd() -> Iterator[Cluster]:
    """One member over http, for every test that harms nothing outside its own prefix."""
    with Cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def secure_etcd(authority: Authority) -> Iterator[Cluster]:
    """Three members that ask every client for its certificate and let it do what `USERS` says."""
    with Cluster(3, authority=authority) as cluster:
        cluster.enable_auth(USERS)
        yield cluster


@pytest.fixture
def raw(etcd: Cluster) -> Raw:
    """A handle on `etcd`; not to be closed."""
    return etcd.raw()


@pytest.fixture
def prefix() -> str:
    """A prefix that nobody else uses."""
    return f"/{uuid.uuid4().hex}/network"


@pytest.fixture
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """`Cluster`, whose clusters end with the test."""
    with ExitStack() as stack:

        def make(size: int = 1, **options: object) -> Cluster:
            return stack.enter_context(Cluster(size, **options))  # type: ignore[arg-type]

        yield make
