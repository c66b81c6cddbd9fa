"""Fixtures: a wire, and daemons on its hosts, all of which end with the test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .daemons import Daemon
from .topology import Host, Segment
from .values import Speaker

Run = Callable[[type[Daemon], Host, Speaker], Daemon]


@pytest.fixture
def segment() -> Iterator[Segment]:
    """A wire without hosts."""
    with Segment() as made:
        yield made


@pytest.fixture
def make() -> Iterator[Run]:
    """A factory of daemons, not started yet."""
    with ExitStack() as stack:

        def make_one(kind: type[Daemon], host: Host, speaker: Speaker) -> Daemon:
            kind.needed()
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bgp-")))
            return stack.enter_context(kind(host, speaker, directory))

        yield make_one
