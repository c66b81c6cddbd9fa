"""A run as a picture: a panel for each case and quantity, with bars, or curves where there are several sizes.

SVG by hand, so that it needs nothing installed and a difference of two pictures can be read.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from xml.sax.saxutils import escape

import attrs

from benchmarks.frame import Result, Row

COLUMNS, WIDTH, HEIGHT = 3, 320, 220  # of panels; of a panel, pixels
LEFT, TOP, RIGHT, BOTTOM = 60, 40, 70, 30  # around what is drawn in a panel
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")  # Okabe and Ito: told apart by all
BAR = 18


def draw(result: Result) -> str:
    """Return the picture."""
    groups = [
        list(group)
        for _, group in groupby(sorted(result.rows, key=_panel_of), key=lambda row: (row.case, row.quantity))
    ]
    sides = list(dict.fromkeys(side for row in result.rows for side in row.rounds))
    colours = {side: COLOURS[nth % len(COLOURS)] for nth, side in enumerate(sides)}
    width, height = WIDTH * min(COLUMNS, len(groups)), HEIGHT * math.ceil(len(groups) / COLUMNS) + TOP
    panels = "".join(
        f'<g transform="translate({nth % COLUMNS * WIDTH},{nth // COLUMNS * HEIGHT + TOP})">'
        f"{''.join(_panel(group, colours))}</g>\n"
        for nth, group in enumerate(groups)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{_text(10, 20, result.title, weight="bold")}\n'
        f"{panels}</svg>\n"
    )


def _panel_of(row: Row) -> tuple[str, str, int]:
    return (row.case, row.quantity.name, row.size or 0)


def _panel(rows: Sequence[Row], colours: Mapping[str, str]) -> Iterator[str]:
    first = rows[0]
    size = f", {first.size:,}" if len(rows) == 1 and first.size is not None else ""
    yield _text(10, 15, f"{first.case}{size}: {first.quantity.name}, {first.quantity.unit}")
    yield from _bars(first, colours) if len(rows) == 1 else _curves(rows, colours)


def _bars(row: Row, colours: Mapping[str, str]) -> Iterator[str]:
    medians = _medians(row)
    scale = (WIDTH - LEFT - RIGHT) / (max(medians.values()) or 1.0)
    for nth, (side, value) in enumerate(medians.items()):
        y = TOP + nth * (BAR + 6)
        length = max(1.0, value * scale)
        yield _text(LEFT - 5, y + 13, side, anchor="end")
        yield f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colours[side]}"/>'
        yield _text(LEFT + length + 5, y + 13, figure(value))


def _medians(row: Row) -> dict[str, float]:
    return {
        side: statistics.median(value for value in rounds if value is not None)
        for side, rounds in row.rounds.items()
    }


@attrs.frozen
class Axis:
    """A logarithmic scale from values to pixels."""

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, values: Sequence[float], start: float, end: float, *, span: float = 2.0) -> Axis:
        """Return an axis with room for all the values, whose end is at least `span` times its start."""
        low, high = min(values), max(values)
        margin = max(1.0, math.sqrt(span * low / high))
        return cls(low / margin, high * margin, start, end)

    def at(self, value: float) -> float:
        """Return where a value is."""
        share = math.log(value / self.low) / math.log(self.high / self.low)
        return self.start + share * (self.end - self.start)


def _curves(rows: Sequence[Row], colours: Mapping[str, str]) -> Iterator[str]:
    points: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for side, value in _medians(row).items():
            if row.size and value > 0:  # a logarithm has no place for the rest
                points.setdefault(side, []).append((row.size, value))
    every = [point for curve in points.values() for point in curve]
    if not every:
        return
    across = Axis.over([size for size, _ in every], LEFT, WIDTH - RIGHT)
    # A decade at least: what hardly changes is to look like it.
    up = Axis.over([value for _, value in every], HEIGHT - BOTTOM, TOP, span=10.0)
    yield from _grid(across, up, sorted({size for size, _ in every}))
    for side, curve in points.items():
        line = " ".join(f"{across.at(size):.1f},{up.at(value):.1f}" for size, value in curve)
        yield f'<polyline points="{line}" fill="none" stroke="{colours[side]}" stroke-width="2"/>'
        x, y = line.split()[-1].split(",")
        yield _text(float(x) + 5, float(y) + 4, side, colour=colours[side])


def _grid(across: Axis, up: Axis, sizes: Sequence[int]) -> Iterator[str]:
    for size in sizes:
        yield _line(across.at(size), up.start, across.at(size), up.end)
        yield _text(across.at(size), up.start + 15, f"{size:,}", anchor="middle")
    for value in (up.low, math.sqrt(up.low * up.high), up.high):
        yield _line(across.start, up.at(value), across.end, up.at(value))
        yield _text(across.start - 5, up.at(value) + 4, figure(value), anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="#ddd"/>'


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "", colour: str = "") -> str:
    extra = (f' font-weight="{weight}"' if weight else "") + (f' fill="{colour}"' if colour else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{extra}>{escape(words)}</text>'


def figure(value: float) -> str:
    """Return a number with three digits that count, and no fewer than it has before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
