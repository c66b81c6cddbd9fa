"""What holds for every test of this project.

- A test marked `uml` is not skipped where it cannot run: it is deselected, unless `-m` names it.
- A test marked `untraced` is not measured, nor what it starts: coverage takes as long again, and it runs many
  times over what others run too.
- In CI nothing may be skipped: a part that is missing there is a failure, not a footnote.
- A run leaves nothing behind: no process, no thread, no mounted namespace, no interface.
- `HYPOTHESIS_PROFILE` says how hard the properties try.
"""

from __future__ import annotations

import os
import select
import socket
import sys
import threading
import time
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("containernet.testing")  # the suites that we ship explain their failures too

# No deadlines: a loaded CI machine, or user-mode-linux, is slow without anything being wrong.
settings.register_profile("default", deadline=None, print_blob=True, max_examples=40)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.register_profile("fast", settings.get_profile("default"), max_examples=20)
settings.register_profile(
    "uml", settings.get_profile("default"), max_examples=5, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

# gRPC would start its threads again in every fork of ours. In one that has entered a PID namespace, and so may
# have no more threads (pid_namespaces(7)), it aborts. Read when grpc is first used, hence here.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
MARK = "CONTAINERNET_TEST_RUN"
CHILDREN = ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START")  # tell our children to measure too
SECONDS_TO_END = 2


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the tests for user-mode-linux to `tests/uml/run.py`."""
    if "uml" in config.option.markexpr:
        return
    elsewhere = [item for item in items if item.get_closest_marker("uml")]
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = [item for item in items if item not in elsewhere]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run what is marked `untraced` without coverage, with all its fixtures."""
    if item.get_closest_marker("untraced") is None:
        return (yield)
    with _untraced():
        return (yield)


@contextmanager
def _untraced() -> Iterator[None]:
    coverage = sys.modules.get("coverage")
    measuring = coverage and coverage.Coverage.current()
    told = {name: os.environ.pop(name) for name in CHILDREN if name in os.environ}
    if measuring:
        measuring.stop()
    try:
        yield
    finally:
        if measuring:
            with warnings.catch_warnings(action="ignore"):  # it finds imported what it has measured
                measuring.start()
        os.environ.update(told)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Turn a green run with skipped tests red, in CI; the summary names them with their reasons."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if IN_CI and reporter and reporter.stats.get("skipped") and exitstatus == pytest.ExitCode.OK:
        reporter.section("skipped in CI: install what is missing")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Compare what there is after the last test with what there was before the first."""
    os.environ[MARK] = str(os.getpid())
    before = threading.enumerate(), _our_processes(), _mounted_namespaces(), _interfaces()
    yield
    threads, processes, namespaces, interfaces = before
    deadline = time.monotonic() + SECONDS_TO_END  # what was told to stop may be on its way
    left = [
        *(
            f"thread {thread.name}"
            for thread in threading.enumerate()
            if thread not in threads and not _thread_ends(thread, deadline)
        ),
        *(
            f"process {pid}: {command}"
            for pid, command in _our_processes().items()
            if pid not in processes and not _process_ends(pid, deadline)
        ),
        *(f"namespace {each}" for each in _mounted_namespaces() - namespaces),
        *(f"interface {each}" for each in _interfaces() - interfaces),
    ]
    assert not left, f"the tests left behind: {'; '.join(left)}"


def _our_processes() -> dict[int, str]:
    """Return our children, and everything that was started with our environment, however detached it is."""
    ours = {}
    mark = f"{MARK}={os.getpid()}".encode()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            started_by_us = mark in (directory / "environ").read_bytes().split(b"\0")
            command = (directory / "cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:  # it ended meanwhile, or is another user's
            continue
        if int(directory.name) != os.getpid() and (parent == os.getpid() or started_by_us):
            ours[int(directory.name)] = command
    return ours


def _thread_ends(thread: threading.Thread, deadline: float) -> bool:
    thread.join(max(0.0, deadline - time.monotonic()))
    return not thread.is_alive()


def _process_ends(pid: int, deadline: float) -> bool:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))[0])
    finally:
        os.close(descriptor)


def _mounted_namespaces() -> set[str]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return {line.split()[4] for line in mounts if " - nsfs " in line}


def _interfaces() -> set[str]:
    return {name for _, name in socket.if_nameindex()}
