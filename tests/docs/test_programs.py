"""What the documentation shows as a program runs, and prints what the page says that it prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from containernet.lab import demo
from tests.docs.pages import (
    TOP,
    Command,
    blocks,
    commands,
    expectations,
    in_own_machine,
    lab_name,
    shape,
)

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]


@pytest.fixture(scope="module")
def printed() -> dict[int, str]:
    """What the blocks of docs/library.md print, by line; the page is run once."""
    return in_own_machine("docs/library.md")


@pytest.mark.parametrize(
    ("line", "expected"), [(block.line, text) for block, text in expectations("docs/library.md")]
)
def test_the_library_page_prints_what_it_shows(line: int, expected: str, printed: dict[int, str]) -> None:
    """Every part of the page's one program, in order, in an empty machine."""
    assert printed[line] == expected


def test_the_example_of_the_readme_has_at_most_twenty_lines() -> None:
    """The library is what it claims to be: a few lines."""
    (example,) = blocks("README.md", "python")
    assert len(example.text.splitlines()) <= 20


def test_the_readme_opens_with_the_two_commands_and_the_table_of_today() -> None:
    """A demonstration that shows more by now is shown as it is now."""
    opening, shown = blocks("README.md")[:2]
    assert re.findall(r"^make (\w+)", opening.text, re.MULTILINE) == ["demo", "test"]
    assert re.search(rf"^{' +'.join(demo.COLUMNS)}$", shown.text, re.MULTILINE)


@pytest.fixture
def lab() -> Iterator[str]:
    """A name for a lab that the developer does not have; what is left of it is taken down."""
    with lab_name("docs") as name:
        yield name


def converse(each: Command, *, lab: str, directory: Path) -> str:
    """Run a command as the page's reader would, in the lab of that name; return what it prints."""
    line = re.sub(r"containernet lab (\w+)", rf"containernet lab \1 --name {lab}", each.command)
    done = subprocess.run(
        ["sh", "-c", line],
        cwd=directory,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/sbin:{os.environ['PATH']}"},
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
    )
    return done.stdout.replace(f" --name {lab}", "").replace(f"'{lab}'", "'lab'")


@pytest.mark.parametrize("page", ["README.md", "docs/packets.md", "docs/operate.md", "docs/bgp.md"])
def test_the_commands_of_a_page_print_what_it_shows(page: str, lab: str, tmp_path: Path) -> None:
    """All commands of a page, in order, compared but for times and the MACs that a kernel makes up."""
    for example in blocks(page):
        if name := re.match(r"# (\w+\.sh):", example.text) if example.language == "sh" else None:
            (tmp_path / name[1]).write_text(example.text)
        elif example.language == "python":
            (tmp_path / "host.py").write_text(example.text)
    for each in commands(page):
        said = converse(each, lab=lab, directory=tmp_path)
        assert shape(said) == shape(each.output), f"{page}, the block at line {each.line}: $ {each.command}"


@pytest.mark.parametrize(
    "page",
    sorted(
        str(path.relative_to(TOP))
        for path in [TOP / "README.md", TOP / "CONTRIBUTING.md", *(TOP / "docs").rglob("*.md")]
    ),
)
def test_every_link_inside_the_repository_leads_somewhere(page: str) -> None:
    """A page that was moved, or a heading that was renamed, is found here and not by a reader."""
    text = re.sub(r"```.*?```", "", (TOP / page).read_text(), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        if ":" in name:
            continue
        path = (TOP / page).parent / name if name else TOP / page
        assert path.exists(), f"{page} links to {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, f"{page} links to {target}"
