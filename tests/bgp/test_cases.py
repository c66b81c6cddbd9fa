"""The cases are true of daemons that everybody trusts: ours has to pass what these do.

Each is played with one pair, by turns; the table of ours is all cases with all daemons.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .bird import Bird
from .calico import CalicoNode
from .cases import ABILITIES, ALONE, CASES, Case
from .daemons import Daemon
from .exabgp import Exabgp
from .frr import Frr
from .gobgp import Gobgp

pytestmark = [pytest.mark.bgp, pytest.mark.untraced]

KINDS: tuple[type[Daemon], ...] = (Bird, Frr, Gobgp, Exabgp, CalicoNode)
PAIRS: tuple[tuple[type[Daemon], type[Daemon]], ...] = (
    (Bird, Frr),
    (Bird, Gobgp),
    (Bird, Exabgp),
    (Frr, Bird),
    (Frr, CalicoNode),
)

# What FRR 8.4 does not do itself. After a bad ORIGIN it reads the NLRI field at the wrong place and ends the
# session; it says twice that a connection collided; after the NOTIFICATION of an expired hold timer a KEEPALIVE
# may still come.
QUIRKS = {("broken_updates", Frr), ("a_collision", Frr), ("a_raw_peer_falls_silent", Frr)}


def turns() -> Iterator[tuple[Case, type[Daemon], type[Daemon]]]:
    """Yield every case that some pair can play, with one of them."""
    for at, each in enumerate((*CASES, *ALONE)):
        fitting = [
            (one, other) for one, other in PAIRS if each.fits(one, other) and (each.name, one) not in QUIRKS
        ]
        if plain := [(one, other) for one, other in fitting if other is not CalicoNode]:
            fitting = plain
        if fitting:
            yield (each, *fitting[at % len(fitting)])


TURNS = [
    pytest.param(*each, id="-".join(part.__name__ for part in (each[0].play, *each[1:]))) for each in turns()
]


@pytest.mark.parametrize(("case", "ours", "theirs"), TURNS)
def test_a_case(
    case: Case,
    ours: type[Daemon],
    theirs: type[Daemon],
    plays: Callable[[Case, type[Daemon], type[Daemon]], None],
) -> None:
    """A daemon that is not ours can do it."""
    plays(case, ours, theirs)


def test_every_ability_is_explained() -> None:
    """What a class claims and what a case asks for are words of one list."""
    claimed = frozenset[str]().union(*(kind.abilities for kind in KINDS))
    asked = frozenset[str]().union(*(case.ours | case.theirs for case in (*CASES, *ALONE)))
    assert claimed | asked <= ABILITIES.keys()


def test_every_daemon_plays_most_cases() -> None:
    """A table in which somebody is missing would be green as well."""
    everything = frozenset(ABILITIES)
    for kind in KINDS:
        assert sum(case.theirs <= kind.abilities for case in CASES) > len(CASES) / 2, kind
    assert all(case.ours <= everything for case in CASES)
