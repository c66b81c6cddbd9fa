"""containernet.testing is a package for outsiders: what it promises before a single suite is run."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

import containernet.testing

SUITES = [value for name, value in vars(containernet.testing).items() if name.endswith("Contract")]


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.__name__)
def test_every_test_of_a_suite_opens_with_a_fact(suite: type) -> None:
    """One sentence, in one line: who fails it learns from it what he has promised."""
    tests = [value for name, value in vars(suite).items() if name.startswith("test_")]
    assert tests
    for test in tests:
        assert (inspect.getdoc(test) or "").endswith("."), test
        assert "\n" not in (inspect.getdoc(test) or ""), test


def test_no_test_hides_another() -> None:
    """A store inherits several suites, and of two tests with one name it would run one."""
    names = [name for suite in SUITES for name in vars(suite) if name.startswith("test_")]
    stores = [name for suite in SUITES if hasattr(suite, "advance") for name in vars(suite)]
    tests = [name for name in stores if name.startswith("test_")]
    assert len(set(tests)) == len(tests) > 40
    assert len(names) > len(tests)


def run(script: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": ":".join(sys.path)}, capture_output=True, text=True
    )


def test_without_hypothesis_it_says_what_to_install() -> None:
    """The kit is in every installation, what it needs is not."""
    done = run("import sys; sys.modules['hypothesis'] = None; import containernet.testing")
    assert "pip install 'containernet[test]'" in done.stderr.splitlines()[-1]


def test_it_brings_no_test_runner_and_no_backend() -> None:
    """An outsider may use another runner, and his backend is as good as ours."""
    done = run("import sys, containernet.testing; print(*{name.split('.')[0] for name in sys.modules})")
    assert done.returncode == 0, done.stderr
    assert not {"pytest", "containernet_backends", "pyroute2"} & {*done.stdout.split()}
