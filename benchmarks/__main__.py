"""Run the benchmarks, one after the other, each in namespaces of its own: all, or those whose names begin so.

    python -m benchmarks [NAME ...]

Each writes its rounds to benchmarks/results/NAME.json, and its picture beside it. What takes arguments is run
by itself: scripts/in-namespaces python benchmarks/NAME.py --help
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
RESULTS = HERE / "results"


def benchmarks() -> set[str]:
    """Return the names of all: the modules that have a smallest run."""
    return {file.stem for file in HERE.glob("*.py") if "\nTINY = " in file.read_text()}


def in_namespaces() -> set[str]:
    """Return the names of those that say how they are run where there is no other interface."""
    return {
        name for name in benchmarks() if "\n    scripts/in-namespaces " in (HERE / f"{name}.py").read_text()
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Return how many of them failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "beginnings", metavar="NAME", nargs="*", default=[""], help=", ".join(sorted(benchmarks()))
    )
    beginnings = parser.parse_args(argv).beginnings
    names = [name for name in sorted(benchmarks()) if name.startswith(tuple(beginnings))]
    if not names:
        parser.error(f"no benchmark begins with {' or '.join(beginnings)}")
    RESULTS.mkdir(exist_ok=True)
    failed = [name for name in names if not run(name)]
    if failed:
        print(f"failed: {', '.join(failed)}")
    return len(failed)


def run(name: str) -> bool:
    """Run one; return whether it came to its end."""
    written = [f"--json={RESULTS / name}.json", f"--plot={RESULTS / name}.svg"]
    print(f"{name}:", flush=True)
    ended = subprocess.run(
        [HERE.parent / "scripts/in-namespaces", sys.executable, HERE / f"{name}.py", *written], check=False
    )
    print(flush=True)
    return ended.returncode == 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
