"""A BIRD that is a Calico node, met by a host of ours."""

from __future__ import annotations

from tests.waiting import wait_until

from .. import calico
from ..values import Neighbour
from .bed import OURS, OURS6, THEIRS, THEIRS6, Bed, case, path, start, up


@case("Calico's confd templates", theirs={"calico"})
def a_calico_node(bed: Bed) -> None:
    """Its block arrives with its preference, ours gets into its kernel, as a route of the wire."""
    here, there = bed.host(), bed.host()
    ours = bed.daemon(bed.ours, here, calico.AS, Neighbour(address=there.address(), asn=calico.AS))
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS, families=(4,)))
    theirs = bed.daemon(bed.theirs, there, calico.AS, us)
    start(ours, theirs)
    theirs.announce(path("10.2.0.64/26"), path("203.0.113.0/24"))
    held = ours.wait_path("10.2.0.64/26")
    assert (held.local_pref, held.next_hop) == (calico.LOCAL_PREF, there.address())
    ours.announce(path(OURS, local_pref=calico.LOCAL_PREF))
    theirs.wait_path(OURS)
    told = wait_until(lambda: there.netns.ip(f"route show {OURS}"), what=f"{OURS} is in the node's kernel")
    assert told.startswith(f"{OURS} via {here.address()} dev eth0 proto bird")
    assert "203.0.113.0/24" not in {str(each.prefix) for each in ours.paths()}


@case("Calico's confd templates", both={"calico"})
def like_a_calico_node(bed: Bed) -> None:
    """As one node to another: both dial, paths have identifiers, routes the preference of Calico's."""
    here, there = bed.host(), bed.host()
    ours = bed.daemon(
        bed.ours,
        here,
        calico.AS,
        Neighbour(address=there.address(), asn=calico.AS, add_paths="both", graceful_restart=120),
    )
    us = calico.towards(Neighbour(address=here.address(), asn=calico.AS))
    theirs = bed.daemon(bed.theirs, there, calico.AS, us)
    start(ours, theirs)
    ours.announce(path(OURS), path(OURS6))
    theirs.announce(path(THEIRS), path(THEIRS6))
    for each in (OURS, OURS6):
        assert theirs.wait_path(each).local_pref == calico.LOCAL_PREF
    for each in (THEIRS, THEIRS6):
        held = ours.wait_path(each)
        assert held.local_pref == calico.LOCAL_PREF
        assert held.path_id
    session = ours.sessions()[there.address()]
    assert session.capabilities >= {"add-path", "restart", "refresh", "enhanced-refresh"}
    assert session.hold_time == 240
    up(ours, theirs)
