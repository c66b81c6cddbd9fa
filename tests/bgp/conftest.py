"""Fixtures: a wire, and daemons on its hosts, all of which end with the test."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from .cases import Case, played
from .daemons import Daemon, Run
from .topology import Host, Segment
from .values import Speaker

AT_ONCE = 16

Play = Callable[[Case, type[Daemon], type[Daemon]], None]


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


@pytest.fixture(scope="session")
def plays(request: pytest.FixtureRequest) -> Iterator[Play]:
    """Play a case; all that were collected are played side by side, for each waits most of its time."""
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="case") as pool:
        began = {}
        for item in request.session.items:
            if isinstance(item, pytest.Function) and "plays" in item.fixturenames:
                given: dict[str, Any] = item.callspec.params
                which = given["case"], given["ours"], given["theirs"]
                began[which] = pool.submit(played, *which)
        yield lambda case, ours, theirs: began[case, ours, theirs].result()
        for each in began.values():
            each.cancel()
