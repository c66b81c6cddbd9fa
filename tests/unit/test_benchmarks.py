"""Benchmarks run, and report what they measured: their smallest runs, and the frame that they are made of."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, strategies as st

from benchmarks import __main__ as every, frame, picture, report

PURE = sorted(every.benchmarks() - every.in_namespaces())  # tests/kernel runs the rest
SVG = "{http://www.w3.org/2000/svg}"

amounts = st.floats(min_value=1e-6, max_value=1e9)


@pytest.mark.parametrize("name", PURE)
def test_a_benchmark_runs_in_a_tiny_size(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It prints a line for each value of the JSON, and draws it."""
    module = import_module(f"benchmarks.{name}")
    table, drawn = tmp_path / "table.json", tmp_path / "picture.svg"
    module.main([*module.TINY, "--json", str(table), "--plot", str(drawn)])
    told = json.loads(table.read_text())
    printed = capsys.readouterr().out
    assert told["title"] in printed
    assert {row["name"] for row in told["rows"]} == {quantity.name for quantity in module.QUANTITIES}
    for row in told["rows"]:
        assert f"{row['name']}, {row['unit']}" in printed
        for side in row["sides"].values():
            assert side["low"] <= side["median"] <= side["high"]
            assert len(side["rounds"]) == told["conditions"]["rounds"]
            assert math.isfinite(side["high"])
    assert ElementTree.parse(drawn).getroot().tag == f"{SVG}svg"


def case(*sides: frame.Side) -> frame.Case:
    """Return a case without a size."""
    return frame.Case(name="case", sides=sides)


def row(quantity: frame.Quantity, **rounds: Sequence[float | None]) -> frame.Row:
    """Return what was measured of the sides."""
    return frame.Row(case="case", size=None, quantity=quantity, rounds=rounds)


def test_sides_play_in_turns_and_the_first_round_warms_up() -> None:
    """A noisy moment of the machine hits all sides, and none of them always plays behind the same one."""
    played: list[str] = []

    def side(name: str) -> frame.Side:
        def play() -> frame.Values:
            played.append(name)
            return {"time": float(len(played))}

        return frame.Side(name=name, play=play)

    values = frame.play([case(side("a"), side("b"))], rounds=2, warm_up=True)
    assert "".join(played) == "abbaab"
    assert values["case", None, "a"] == [{"time": 4.0}, {"time": 5.0}]


@given(st.lists(amounts, min_size=1), st.floats(min_value=0.01, max_value=100))
def test_the_ratio_says_how_many_times_as_good_ours_is(ours: list[float], times: float) -> None:
    """Of a duration less is better, of a rate more; it is taken round by round."""
    peer = [value * times for value in ours]
    for quantity, expected in ((frame.less("x", "s"), times), (frame.more("x", "1/s"), 1 / times)):
        found = report.ratio(row(quantity, ours=ours, peer=peer), "peer")
        assert found is not None
        assert found.low == pytest.approx(expected)
        assert found.high == pytest.approx(expected)


def test_a_round_that_one_side_did_not_measure_has_no_ratio() -> None:
    """And the spread is of those that were measured."""
    found = report.ratio(row(frame.less("x", "s"), ours=[None, 2.0, 4.0], peer=[9.0, 6.0, None]), "peer")
    assert found == report.Spread(3.0, 3.0, 3.0)
    assert report.ratio(row(frame.less("x", "s"), ours=[None, 2.0], peer=[1.0, None]), "peer") is None


def test_a_peer_that_is_not_installed_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the package that brings it."""
    sides = [
        frame.Side(name="ours", play=lambda: {"x": 1.0}),
        frame.Side(name="peer", play=lambda: {"x": 1.0}, needs=[frame.Program("no-such-program", "no-such")]),
        frame.Side(name="other", play=lambda: {"x": 1.0}, needs=[frame.Module("no_such", "no-such-thing")]),
        frame.Side(name="here", play=lambda: {"x": 2.0}, needs=[frame.Program("sh", "dash")]),
    ]
    options = frame.parser("Title.", rounds=1).parse_args([])
    found = frame.run(options, [frame.less("x", "s")], [case(*sides)])
    assert list(found.rows[0].rounds) == ["ours", "here"]
    printed = capsys.readouterr().out
    assert "left out: peer: no-such-program is not here: install the Debian package no-such\n" in printed
    assert "left out: other: no_such is not here: pip install no-such-thing\n" in printed


def test_json_goes_to_standard_output_where_it_is_asked_to(capsys: pytest.CaptureFixture[str]) -> None:
    """Alone, so that another program can read it."""
    options = frame.parser("Title.", rounds=2).parse_args(["--json", "-"])
    frame.run(options, [frame.more("x", "1/s")], [case(frame.Side(name="ours", play=lambda: {"x": 3.0}))])
    (told,) = json.loads(capsys.readouterr().out)["rows"]
    assert told["sides"]["ours"] == {"median": 3.0, "low": 3.0, "high": 3.0, "rounds": [3.0, 3.0]}


@given(st.lists(st.tuples(st.integers(1, 10**6), amounts, amounts), min_size=1, unique_by=lambda each: each[0]))
def test_a_picture_has_a_mark_for_every_value(points: list[tuple[int, float, float]]) -> None:
    """One size: a bar for each side; several: a curve for each side, with a point for each size."""
    rows = [
        frame.Row(case="<&>", size=size, quantity=frame.less("x", "s"), rounds={"ours": [one], "peer": [other]})
        for size, one, other in points
    ]
    root = ElementTree.fromstring(
        picture.draw(frame.Result(title="title", conditions={}, left_out={}, rows=rows))
    )
    bars, curves = root.findall(f".//{SVG}g/{SVG}rect"), root.findall(f".//{SVG}polyline")
    if len(points) == 1:
        assert (len(bars), len(curves)) == (2, 0)
    else:
        assert (len(bars), [len(curve.attrib["points"].split()) for curve in curves]) == (0, [len(points)] * 2)


def test_numbers_keep_three_digits_that_count() -> None:
    """No more are measured, and none before the point is lost."""
    assert [picture.figure(value) for value in (0.00123456, 1.0, 12.345, 1234567.8)] == [
        "0.00123", "1", "12.3", "1,234,568",
    ]  # fmt: skip


def test_work_that_is_done_apart_is_done_in_another_process() -> None:
    """So its memory is its own, and its answer comes back."""
    assert frame.apart(os.getpid) != os.getpid()
