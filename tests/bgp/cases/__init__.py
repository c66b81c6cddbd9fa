"""What a speaker of ours must be able to do with a daemon of others, a case each, from the list of standards.

    bed        a case, and what it is played on
    sessions   who dials whom, and how it travels
    routes     what one side says arrives at the other
    passing    what a third hears: reflection, transit, what is kept inside
    endings    silence, crashes, restarts, orders of operators
    calico     a BIRD that is a Calico node
    alone      our side against a raw peer: what no well-behaved daemon would do

Our side is whatever has the interface of `Daemon`, so the cases are proved with two real daemons as well.
"""

from __future__ import annotations

from types import ModuleType

from . import alone, calico, endings, passing, routes, sessions
from .bed import ABILITIES, Bed, Case, case, played

__all__ = ["ABILITIES", "ALONE", "CASES", "Bed", "Case", "case", "played"]


def _of(*modules: ModuleType) -> tuple[Case, ...]:
    return tuple(each for module in modules for each in vars(module).values() if isinstance(each, Case))


CASES = _of(sessions, routes, passing, calico, endings)
ALONE = _of(alone)
