"""Hosts with a daemon and a plugin, and containers' namespaces, for tests of CNI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.kernel.conftest import netns as netns

from . import hosts
from .hosts import Host


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """One host with a daemon, for all tests of a module; each leaves it as it was."""
    with hosts.host(tmp_path_factory.mktemp("host")) as made:
        yield made


@pytest.fixture
def clean(host: Host) -> Iterator[Host]:
    """The same host; the test fails if it leaves anything behind on it."""
    before = host.holds()
    yield host
    host.wait_for(before)
