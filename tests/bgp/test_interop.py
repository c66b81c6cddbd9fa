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
from .ours import Ours

pytestmark = pytest.mark.bgp

QUIRKS: set[tuple[str, type[Daemon]]] = set()

TABLE: list[tuple[Case, type[Daemon], type[Daemon]]] = [
    (case, Ours, theirs)
    for case in CASES
    for theirs in ((CalicoNode,) if "calico" in case.theirs else (Bird, Frr, Gobgp, Exabgp))
    if case.fits(Ours, theirs) and (case.name, theirs) not in QUIRKS
]
TABLE += [(case, Ours, Ours) for case in ALONE]


@pytest.mark.parametrize(
    ("case", "ours", "theirs"), TABLE, ids=lambda part: getattr(part, "name", None) or part.__name__
)
def test_a_case(case: Case, ours: type[Daemon], theirs: type[Daemon], plays: Play) -> None:
    """Ours can do it, with this daemon."""
    plays(case, ours, theirs)
