"""The distribution is what it says: one version, whole wheels, entry points that load; and CI is strict."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
from coverage import CoverageData

import containernet

TOP = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]
ENTRY_POINTS = [
    (group, name)
    for group, points in {**PROJECT["entry-points"], "console_scripts": PROJECT["scripts"]}.items()
    for name in points
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel that a release would be, built from this checkout."""
    directory = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(directory)]
    subprocess.run(build, cwd=TOP, check=True, capture_output=True)
    (path,) = directory.iterdir()
    return zipfile.ZipFile(path)


def test_the_version_stands_in_one_place() -> None:
    """The package has it; pyproject.toml and the installed metadata take it from there."""
    assert "version" in PROJECT["dynamic"]
    assert version("containernet") == containernet.__version__


def test_the_changelog_has_the_version_or_a_place_for_it() -> None:
    """Keep a Changelog: a release has its section, and until then there is Unreleased."""
    sections = re.findall(r"^## \[(.+?)\]", (TOP / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert {"Unreleased", containernet.__version__} & set(sections)


def test_the_wheel_holds_every_module_and_both_type_markers(wheel: zipfile.ZipFile) -> None:
    """A package that pyproject.toml forgets still works in an editable install: only the wheel tells."""
    expected = {
        str(path.relative_to(root))
        for root, package in ((TOP, "containernet"), (TOP / "backends", "containernet_backends"))
        for path in [*(root / package).rglob("*.py"), root / package / "py.typed"]
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} >= expected


def test_the_wheel_offers_every_entry_point(wheel: zipfile.ZipFile) -> None:
    """Without them the library finds no backend."""
    (name,) = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    lines = wheel.read(name).decode().splitlines()
    offered = {line.partition(" = ")[0] for line in lines}
    assert offered >= {name for _, name in ENTRY_POINTS}


@pytest.mark.parametrize(("group", "name"), ENTRY_POINTS)
def test_every_entry_point_loads(group: str, name: str) -> None:
    """A name in pyproject.toml that leads nowhere is found by a user first, unless it is found here."""
    (point,) = [
        each for each in entry_points(group=group, name=name) if each.dist and each.dist.name == "containernet"
    ]
    assert callable(point.load())


def pytest_call(test: Path, *, ci: str) -> list[str]:
    """Return the call of another pytest, under this project's rules, for a test that is none of its own."""
    options = ["-p", "tests.conftest", "-c", os.devnull, "--capture=no"]
    return ["env", f"CI={ci}", sys.executable, "-m", "pytest", *options, str(test)]


@pytest.mark.parametrize(
    ("ci", "exit_code"), [("true", pytest.ExitCode.TESTS_FAILED), ("", pytest.ExitCode.OK)]
)
def test_a_skipped_test_is_a_failure_in_ci(ci: str, exit_code: int, tmp_path: Path) -> None:
    """At a desk a missing part costs one test; in CI it would cost it for ever, silently."""
    test = tmp_path / "test_part.py"
    test.write_text('import pytest\n\ndef test_part():\n    pytest.skip("no such part")\n')
    done = subprocess.run(pytest_call(test, ci=ci), cwd=TOP, check=False, capture_output=True, text=True)
    assert done.returncode == exit_code, done.stdout


def test_what_is_marked_untraced_is_not_measured_nor_what_it_starts(tmp_path: Path) -> None:
    """What comes after it is measured again."""
    told = '"COVERAGE_PROCESS_CONFIG" in os.environ'
    test, settings = tmp_path / "test_traced.py", tmp_path / "settings"
    test.write_text(
        "import os, pytest\n"
        f"def test_before():\n    assert {told}\n"
        "@pytest.mark.untraced\n"
        f"def test_untraced():\n    assert not {told}\n"
        f"def test_after():\n    assert {told}\n"
    )
    settings.write_text(f"[run]\npatch = subprocess\nsource = {tmp_path}\n")
    env, setting, python, *call = pytest_call(test, ci="0")
    data_file = f"COVERAGE_FILE={tmp_path}/data"
    measured = [env, setting, data_file, python, "-m", "coverage", "run", f"--rcfile={settings}", *call]
    done = subprocess.run(measured, cwd=TOP, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (told_of,) = tmp_path.glob("data.*")
    data = CoverageData(str(told_of))
    data.read()
    assert {3, 6, 8} & {*(data.lines(str(test)) or ())} == {3, 8}


def test_what_the_tests_leave_behind_is_a_failure(tmp_path: Path) -> None:
    """A check that finds nothing is believed only where it has found what was planted."""
    test = tmp_path / "test_leak.py"
    test.write_text(
        "import subprocess, threading\n"
        "def test_leak():\n"
        "    threading.Thread(target=threading.Event().wait, name='planted', daemon=True).start()\n"
        "    subprocess.run(['setsid', '--fork', 'cat'], stdout=subprocess.DEVNULL)\n"
    )
    run = subprocess.Popen(
        pytest_call(test, ci=""), cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with run:  # leaving it closes the standard input that cat waits for
        assert run.stdout is not None
        output = "".join(iter(run.stdout.readline, ""))
    assert run.returncode == pytest.ExitCode.TESTS_FAILED
    assert "thread planted" in output
    assert re.search(r"process \d+: cat", output)
