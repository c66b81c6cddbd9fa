"""Jitter: how far apart what began together goes on, and whose chance that is."""

from __future__ import annotations

import random

import pytest

from containernet.jitter import backoff, jitter

TIMES = 200


@pytest.mark.parametrize(("least", "most"), [(0.5, 1.0), (0.8, 1.2)])
def test_a_time_lies_between_its_bounds_and_nowhere_in_particular(least: float, most: float) -> None:
    """In the lower half as well as in the upper one."""
    times = [jitter(60, least, most) for _ in range(TIMES)]
    middle = 60 * (least + most) / 2
    assert 60 * least <= min(times) < middle < max(times) <= 60 * most


@pytest.mark.parametrize(
    ("failures", "least", "most"), [(1, 0.25, 0.5), (2, 0.5, 1), (6, 8, 16), (7, 15, 30), (10**6, 15, 30)]
)
def test_the_more_failures_the_longer_the_pause(failures: int, least: float, most: float) -> None:
    """Half a minute is the longest: somebody waits for that store."""
    assert all(least <= backoff(failures) <= most for _ in range(TIMES))


def test_the_programs_own_random_numbers_stay_as_they_were() -> None:
    """Regression: a program that had seeded them got others, whenever one of our threads had drawn."""
    before = random.getstate()
    jitter(1, 0.5)
    assert random.getstate() == before
