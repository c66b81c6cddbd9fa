"""A plugin from outside, as its author would have it: our wheel, his wheel, his tests, his words in a lab."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from textwrap import indent

import attrs
import pytest

from tests.docs.pages import TOP, commands, lab_name

OUTSIDE = TOP / "tests" / "plugin" / "outside"
PAGE = "docs/plugins.md"
_SHOWN = re.compile(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen(kw_only=True)
class Installation:
    """An environment of its own with both wheels in it, and the plugin's source tree."""

    root: Path
    source: Path

    def run(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a program of the environment in the plugin's tree; what it prints is one text."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "COV", "COVERAGE"))
        }
        path = f"{self.root / 'bin'}:/usr/sbin:/sbin:{os.environ['PATH']}"
        return subprocess.run(
            [shutil.which(words[0], path=path) or words[0], *words[1:]],
            cwd=self.source,
            env={**inherited, "PATH": path},
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Both wheels, built and installed as a release would be; what they need is borrowed from ours."""
    place = tmp_path_factory.mktemp("plugin")
    source, root, wheels = place / "source", place / "environment", place / "wheels"
    shutil.copytree(OUTSIDE, source, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for project in (TOP, source):
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
        subprocess.run(build, cwd=project, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", root], check=True)
    python = root / "bin" / "python"
    options = ["--no-deps", "--no-index", "--disable-pip-version-check", "--quiet"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    subprocess.run([*pip, *map(str, wheels.iterdir())], check=True, capture_output=True)
    (site,) = root.glob("lib/python*/site-packages")
    # Behind the environment's own packages, and without what a .pth file there adds: our checkout.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installation(root=root, source=source)


def test_the_library_is_the_wheels(installation: Installation) -> None:
    """Not this checkout: the environment is clean, or nothing below proves anything."""
    script = "import containernet as cn, containernet_backends as b; print(cn.__file__, *b.__path__)"
    done = installation.run("python", "-c", script)
    assert done.returncode == 0, done.stdout
    assert all(path.startswith(str(installation.root)) for path in done.stdout.split()), done.stdout


def test_the_plugin_passes_the_suites(installation: Installation) -> None:
    """His whole test file, in his environment, with warnings as errors."""
    done = installation.run("python", "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout
    assert "skipped" not in done.stdout


def test_the_page_shows_what_is_there() -> None:
    """Every block of code stands in the plugin's file of that name, word for word, and none is unmarked."""
    text = (TOP / PAGE).read_text()
    shown = _SHOWN.findall(text)
    assert len(shown) == text.count("```python\n") + text.count("```toml\n") > 3
    for name, block in shown:
        file = (OUTSIDE / name).read_text()
        assert block.strip() in file or indent(block.strip(), "    ") in file, name  # the latter: a method


@pytest.fixture
def lab() -> Iterator[str]:
    """A name for a lab that the developer does not have; what is left of it is taken down."""
    with lab_name("plugin") as name:
        yield name


@pytest.mark.kernel
def test_the_page_prints_what_it_shows(installation: Installation, lab: str) -> None:
    """Its commands, in that environment: found by name, chosen by name, and packets arrive."""
    for each in commands(PAGE):
        line = re.sub(r"containernet lab (\w+)", rf"containernet lab \1 --name {lab}", each.command)
        done = installation.run("sh", "-c", line)
        said = done.stdout.replace(f" --name {lab}", "").replace(f"'{lab}'", "'lab'")
        assert shape(said) == shape(each.output), each.command


def shape(text: str) -> list[str]:
    """Return the words of each line, without times."""
    return [re.sub(r"\d+\.\d+ ms", "N ms", " ".join(line.split())) for line in text.strip().splitlines()]
