"""A hostile BGP peer, for as many streams as take a second; `make fuzz` goes on."""

from __future__ import annotations

from tests.fuzz_bgp import Hostile


def test_a_hostile_peer_gets_nothing_out_but_values_and_violations() -> None:
    """10,000 streams take a second or two."""
    hostile = Hostile(seed=4271)
    for _ in range(10_000):
        hostile.attack()
    assert hostile.readings > 1_000
    assert hostile.violations > 1_000
    assert hostile.together > 100
