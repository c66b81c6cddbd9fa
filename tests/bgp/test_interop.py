"""Our speaker passes every case that BIRD, FRR, GoBGP and ExaBGP can play, with each of them.

What is missing in the table is missing for a reason: a daemon's `abilities`, or `QUIRKS`.
"""

from __future__ import annotations

import pytest

from .bird import Bird
from .calico import CalicoNode
from .cases import ALONE, CASES, Case
from .conftest import Play
from .daemons import Daemon
from .exabgp import Exabgp
from .frr import Frr
from .gobgp import Gobgp
from .ours import Ours, OursLikeCalico

pytestmark = [pytest.mark.bgp, pytest.mark.untraced]

# What they do not do. FRR 8.4 knows attribute 23 (RFC 9012), and drops it where it reflects unicast routes.
QUIRKS: set[tuple[str, type[Daemon]]] = {("tunnels_through_them", Frr)}

# Who is put to the test: a Calico node is played by one, and met by both of ours.
SIDES: list[tuple[type[Daemon], type[Daemon]]] = [(Ours, each) for each in (Bird, Frr, Gobgp, Exabgp, Ours)]
CALICO: list[tuple[type[Daemon], type[Daemon]]] = [(Ours, CalicoNode), (OursLikeCalico, CalicoNode)]

TABLE = [
    (case, ours, theirs)
    for case in CASES
    for ours, theirs in (CALICO if "calico" in case.theirs else SIDES)
    if case.fits(ours, theirs) and (case.name, theirs) not in QUIRKS
]
TABLE += [(case, Ours, Ours) for case in ALONE]


@pytest.mark.parametrize(
    ("case", "ours", "theirs"), TABLE, ids=lambda part: getattr(part, "name", None) or part.__name__
)
def test_a_case(case: Case, ours: type[Daemon], theirs: type[Daemon], plays: Play) -> None:
    """Ours can do it, with this daemon."""
    plays(case, ours, theirs)
