"""What every benchmark here is made of: sides that do the same work in turns, and what is reported of it.

A benchmark is a module with a docstring that says what is measured, `TINY`, the arguments of its smallest run,
and a `main` like this one:

    TINY = ("--routes", "10", "--rounds", "1")
    QUANTITIES = (frame.more("add", "routes/s"), frame.less("memory", "MB"))

    def main(argv: Sequence[str] | None = None) -> None:
        parser = frame.parser(__doc__, rounds=7)
        parser.add_argument("--routes", type=int, nargs="+", default=[10_000])
        options = parser.parse_args(argv)
        sides = (
            frame.Side(name="ours", play=lambda: {"add": measured(), "memory": 12.5}),
            frame.Side(name="ip", play=..., needs=(frame.Program("ip", "iproute2"),)),
        )
        frame.run(options, QUANTITIES, [frame.Case(name="host-gw", size=count, sides=sides) ...])

`play` does one round and returns its values by the names of the quantities; what it has not measured in this
round it leaves out. The first side is ours. All sides of all cases play one round, then all play the next, in
reverse: a noisy machine disturbs all of them alike, so the ratio to a peer is taken round by round. Where a
case comes in several sizes, `--plot` draws a curve. A side whose needs are missing is named and left out.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import os
import platform
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import ParamSpec, TypeVar

import attrs

P = ParamSpec("P")
T = TypeVar("T")

Values = Mapping[str, float]


@attrs.frozen
class Quantity:
    """Something that is measured, its unit, and whether more of it is better."""

    name: str
    unit: str
    more_is_better: bool


def more(name: str, unit: str) -> Quantity:
    """Return a quantity of which more is better, such as a rate."""
    return Quantity(name, unit, more_is_better=True)


def less(name: str, unit: str) -> Quantity:
    """Return a quantity of which less is better, such as a duration."""
    return Quantity(name, unit, more_is_better=False)


@attrs.frozen
class Program:
    """A command that a side runs, and the Debian package that brings it."""

    command: str
    package: str

    def absence(self) -> str:
        """Return what is missing and where it comes from; empty: nothing."""
        found = shutil.which(self.command, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        return "" if found else f"{self.command} is not here: install the Debian package {self.package}"


@attrs.frozen
class Module:
    """A Python module that a side imports, and the package on PyPI that brings it."""

    name: str
    package: str

    def absence(self) -> str:
        """Return what is missing and where it comes from; empty: nothing."""
        return "" if find_spec(self.name) else f"{self.name} is not here: pip install {self.package}"


@attrs.frozen(kw_only=True)
class Side:
    """One of those who do the same work."""

    name: str
    play: Callable[[], Values]
    needs: Sequence[Program | Module] = ()

    def absence(self) -> str:
        """Return why it cannot play; empty: it can."""
        return "; ".join(filter(None, (need.absence() for need in self.needs)))


@attrs.frozen(kw_only=True)
class Case:
    """What the sides do, ours first; with a size where the same is done to more and more."""

    name: str
    sides: Sequence[Side]
    size: int | None = None


@attrs.frozen(kw_only=True)
class Row:
    """What was measured of one quantity in one case: the rounds of each side; None: not in this one."""

    case: str
    size: int | None
    quantity: Quantity
    rounds: Mapping[str, Sequence[float | None]]


@attrs.frozen(kw_only=True)
class Result:
    """All that a run found out."""

    title: str
    conditions: Mapping[str, object]
    left_out: Mapping[str, str]
    rows: Sequence[Row]


def parser(doc: str | None, *, rounds: int) -> argparse.ArgumentParser:
    """Return a command line with what every benchmark understands; `doc` is the module's docstring."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.set_defaults(title=(doc or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, default=rounds, help="of each side, in turns (%(default)s)")
    made.add_argument("--json", type=Path, metavar="PATH", help="write every round; - is standard output")
    made.add_argument("--plot", type=Path, metavar="PATH", help="draw it, as SVG")
    return made


def run(
    options: argparse.Namespace,
    quantities: Sequence[Quantity],
    cases: Iterable[Case],
    *,
    warm_up: bool = True,
    conditions: Mapping[str, object] | None = None,
) -> Result:
    """Let all sides of all cases play, and report it as the options say.

    Args:
        options: from `parser`.
        warm_up: whether there is a round more, the first, that does not count.
        conditions: what else the numbers depend on, such as a peer's version.
    """
    from benchmarks import report

    cases = list(cases)
    left_out = {side.name: why for case in cases for side in case.sides if (why := side.absence())}
    cases = [
        attrs.evolve(case, sides=[side for side in case.sides if side.name not in left_out]) for case in cases
    ]
    played = play(cases, rounds=options.rounds, warm_up=warm_up)
    result = Result(
        title=options.title,
        conditions={**machine(), **_sizes(options), **(conditions or {})},
        left_out=left_out,
        rows=list(_rows(cases, quantities, played)),
    )
    report.deliver(result, json=options.json, plot=options.plot)
    return result


Played = dict[tuple[str, int | None, str], list[Values]]


def play(cases: Sequence[Case], *, rounds: int, warm_up: bool) -> Played:
    """Return the values of every round, by case, size and side."""
    played: Played = {(case.name, case.size, side.name): [] for case in cases for side in case.sides}
    turns = [(case, side) for case in cases for side in case.sides]
    with _progress((rounds + warm_up) * len(turns)) as announce:
        for nth in range(rounds + warm_up):
            for case, side in reversed(turns) if nth % 2 else turns:
                announce(f"{case.name} {case.size or ''} {side.name}")
                gc.collect()  # what one side leaves behind is no cost of the next
                values = side.play()
                if nth >= warm_up:
                    played[case.name, case.size, side.name].append(values)
    return played


def _rows(cases: Sequence[Case], quantities: Sequence[Quantity], played: Played) -> Iterator[Row]:
    for case in cases:
        for quantity in quantities:
            rounds = {
                side.name: [values.get(quantity.name) for values in played[case.name, case.size, side.name]]
                for side in case.sides
            }
            rounds = {name: values for name, values in rounds.items() if any(v is not None for v in values)}
            if rounds:
                yield Row(case=case.name, size=case.size, quantity=quantity, rounds=rounds)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[str], None]]:
    """Show on a terminal what plays now, and how much is left."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task, done = progress.add_task("", total=total), itertools.count()
        yield lambda what: progress.update(task, completed=next(done), description=what)


def machine() -> dict[str, object]:
    """Return what every number depends on."""
    return {
        "processors": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "linux": platform.release(),
    }


def _sizes(options: argparse.Namespace) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in {"title", "json", "plot"} and value is not None
    }


def seconds(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def apart(work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
    """Return what a function of a module returns in a process of its own, whose memory no round before used."""
    with get_context("fork").Pool(1) as pool:
        return pool.apply(work, arguments, named)


def memory(process: int | str = "self") -> float:
    """Return the resident memory of a process, megabytes."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
