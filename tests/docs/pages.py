"""The pages of the documentation as programs: their fenced blocks, and how to run them.

A page is run from top to bottom, as a reader would:

- `python`: a part of one program; all of a page share one namespace;
- `sh`: commands of the machine, run before what follows;
- `console`: lines after `$ ` are commands, the others what they print;
- `text`: behind a block of `python`, what that one prints. Anywhere else it is only shown.

Run as a program, this file runs a page's `sh` and `python` blocks where it stands, and prints what they printed
as JSON. It is started in namespaces of its own by `in_own_machine`.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs

from containernet.lab import cluster

TOP = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen(kw_only=True)
class Block:
    """A fenced block: its language, its text, and the line of the page on which the text begins."""

    language: str
    text: str
    line: int


def blocks(page: str, language: str = "") -> list[Block]:
    """Return the blocks of a page, by default those of every language."""
    text = (TOP / page).read_text()
    found = [
        Block(language=match[1], text=match[2], line=text.count("\n", 0, match.start()) + 2)
        for match in _FENCE.finditer(text)
    ]
    return [block for block in found if language in {"", block.language}]


def expectations(page: str) -> Iterator[tuple[Block, str]]:
    """Yield every block of Python that is followed by a block of text, with that text."""
    every = blocks(page)
    for block, following in itertools.pairwise(every):
        if (block.language, following.language) == ("python", "text"):
            yield block, following.text


def in_own_machine(page: str) -> dict[int, str]:
    """Run a page where it can harm nothing; return what its blocks of Python printed, by line.

    An ordinary user becomes root of a user namespace. /run and /var/lib are empty.
    """
    user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    prepare = 'mount -t tmpfs tmpfs /run && mount -t tmpfs tmpfs /var/lib && exec "$@"'
    done = subprocess.run(
        ["unshare", *user, "--net", "--mount", "--", "sh", "-c", prepare, "sh", sys.executable, __file__, page],
        cwd=TOP,
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return {int(line): text for line, text in json.loads(done.stdout).items()}


def run(page: str) -> dict[int, str]:
    """Run a page's blocks here and now."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed: dict[int, str] = {}
    for block in blocks(page):
        if block.language == "sh":
            subprocess.run(["sh", "-eu", "-c", block.text], check=True, stdout=sys.stderr)
        elif block.language == "python":
            # The empty lines before it give a traceback the line numbers of the page.
            code = compile("\n" * (block.line - 1) + block.text, page, "exec")
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(code, namespace)
            printed[block.line] = output.getvalue()
    return printed


@attrs.frozen(kw_only=True)
class Command:
    """A command of a `console` block, and what the page says that it prints."""

    line: int
    command: str
    output: str


def commands(page: str) -> list[Command]:
    """Return the commands of a page's `console` blocks, in order."""
    found = []
    for block in blocks(page, "console"):
        for part in re.split(r"^(?=\$ )", block.text, flags=re.MULTILINE):
            if part.startswith("$ "):
                command, _, output = part[2:].partition("\n")
                found.append(Command(line=block.line, command=command, output=output))
    return found


def shape(text: str) -> str:
    """Return text without what differs from run to run: times, and the MACs that a kernel makes up.

    MACs become numbers in the order of their appearance, so that it still shows which are the same.
    """
    seen: dict[str, str] = {}

    def number(match: re.Match[str]) -> str:
        return seen.setdefault(match[0], f"MAC{len(seen) + 1}")

    text = re.sub(r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", number, text)
    text = re.sub(r"\d+\.\d+ ms", "N ms", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "TIME", text)
    return "\n".join(
        re.sub(r" +", " ", line).rstrip() for line in text.splitlines() if "──" not in line
    ).strip()


@contextlib.contextmanager
def lab_name(word: str) -> Iterator[str]:
    """A name for a lab that nobody else has; what is left of it in the end is taken down."""
    name = f"{word}-{os.getpid()}"
    yield name
    if name in cluster.names():
        with cluster.find(name) as left:
            left.down()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
