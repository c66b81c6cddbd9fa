"""What is said of a run: a table for people, every round as JSON, and a picture."""

from __future__ import annotations

import json as javascript
import statistics
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import attrs

from benchmarks.frame import Quantity, Result, Row
from benchmarks.picture import draw, figure
from containernet.cli.table import show_json, show_table


@attrs.frozen
class Spread:
    """Several values of one thing."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Return the spread of at least one value."""
        found = sorted(values)
        return cls(statistics.median(found), found[0], found[-1])


def deliver(result: Result, *, json: Path | None, plot: Path | None) -> None:
    """Print the table, and write what was asked for."""
    if plot:
        plot.write_text(draw(result))
    if json == Path("-"):
        show_json(as_json(result))
        return
    if json:
        json.write_text(javascript.dumps(as_json(result), indent=2) + "\n")
    show(result)


def show(result: Result) -> None:
    """Print the table, and whom it leaves out."""
    print(result.title)
    print(", ".join(f"{name} {_word(value)}" for name, value in result.conditions.items()))
    print()
    compared = any(len(row.rounds) > 1 for row in result.rows)
    columns = ["case", "what", "side", "median", "lowest", "highest", "ours is"][: 7 if compared else 6]
    show_table(columns, (line[: len(columns)] for line in _lines(result.rows)))
    if compared:
        print("\nours is: so many times as good, round by round: median (lowest-highest)")
    for side, why in result.left_out.items():
        print(f"left out: {side}: {why}")


def _word(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)


def _lines(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    case = what = ""
    for row in rows:
        for side, rounds in row.rounds.items():
            found = Spread.of(value for value in rounds if value is not None)
            titles = (_case(row), f"{row.quantity.name}, {row.quantity.unit}")
            yield (
                titles[0] if titles[0] != case else "",
                titles[1] if titles != (case, what) else "",
                side,
                *map(figure, (found.median, found.low, found.high)),
                _ratio_in_words(row, side),
            )
            case, what = titles


def _case(row: Row) -> str:
    return row.case if row.size is None else f"{row.case}, {row.size:,}"


def _ratio_in_words(row: Row, side: str) -> str:
    found = ratio(row, side)
    return f"{found.median:.3g}x ({found.low:.3g}-{found.high:.3g})" if found else ""


def ratio(row: Row, side: str) -> Spread | None:
    """Return how many times as good the first side is; None: it is the first, or they share no round."""
    first, *others = row.rounds
    if side not in others:
        return None
    pairs = zip(row.rounds[first], row.rounds[side], strict=True)
    found = [_times(row.quantity, one, other) for one, other in pairs if one and other]
    return Spread.of(found) if found else None


def _times(quantity: Quantity, ours: float, peer: float) -> float:
    return ours / peer if quantity.more_is_better else peer / ours


def as_json(result: Result) -> dict[str, object]:
    """Return everything, every round of it."""
    return {
        "title": result.title,
        "conditions": dict(result.conditions),
        "left_out": dict(result.left_out),
        "rows": [
            {
                "case": row.case,
                "size": row.size,
                **attrs.asdict(row.quantity),
                "sides": {side: _side_as_json(row, side) for side in row.rounds},
            }
            for row in result.rows
        ],
    }


def _side_as_json(row: Row, side: str) -> dict[str, object]:
    rounds = row.rounds[side]
    found = attrs.asdict(Spread.of(value for value in rounds if value is not None))
    times = ratio(row, side)
    return found | {"rounds": list(rounds)} | ({"ours_is": attrs.asdict(times)} if times else {})
