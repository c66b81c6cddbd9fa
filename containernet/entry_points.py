"""What the installed distributions offer, read as quickly as a start needs it.

`importlib.metadata`, which is the truth, and stevedore cost a start 30 ms, and 2 MB that stay. A start asks for
four entry points, and nearly every distribution is a directory ending in `.dist-info` on the path: those are
read here, by the same rules. Whatever is not as usual is not decided here, but left to those two.
"""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from importlib.machinery import PathFinder
from pathlib import Path

Point = tuple[str, str, str]  # group, name, target

_TARGET = re.compile(r"[\w.]+:[\w.]+")


def target(group: str, name: str, path: Iterable[str] | None = None) -> str | None:
    """Return the entry point of that name, as `module:attribute`.

    Args:
        path: where distributions are; by default where modules are.

    Returns:
        None: nobody offers it, or several, or it is not as usual; ask importlib.metadata.
    """
    if any(finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path):
        return None
    offered: dict[str, tuple[Point, ...]] = {}
    for folder in map(Path, sys.path if path is None else path):
        if folder.suffix.lower() == ".egg" or folder.is_file():  # it may be a distribution itself
            return None
        with suppress(OSError):  # it is not there, or not ours to read
            # The first of a name on the path hides all others.
            offered = {**_offered(folder, folder.stat().st_mtime_ns), **offered}
    found = [point[2] for points in offered.values() for point in points if point[:2] == (group, name)]
    return found[0] if len(found) == 1 and _TARGET.fullmatch(found[0]) else None


@functools.lru_cache
def _offered(folder: Path, modified: int) -> Mapping[str, tuple[Point, ...]]:
    """Return what a directory of the path, as it was last modified, offers by the distribution's name."""
    offered: dict[str, tuple[Point, ...]] = {}
    for child in folder.iterdir():
        if child.suffix.lower() in {".dist-info", ".egg-info"}:
            name = re.sub(r"[-_.]+", "-", child.stem.partition("-")[0]).lower()
            offered.setdefault(name, tuple(_points(child / "entry_points.txt")))
    return offered


def _points(file: Path) -> Iterator[Point]:
    """Yield what a file of entry points says (packaging.python.org, "Entry points specification")."""
    try:
        lines = file.read_text("utf-8").splitlines()
    except OSError:
        return  # most offer nothing
    group = ""
    for line in map(str.strip, lines):
        name, equals, value = map(str.strip, line.partition("="))
        if line.startswith("[") and line.endswith("]"):
            group = line.strip("[]")
        elif equals and not line.startswith("#"):
            yield group, name, value
