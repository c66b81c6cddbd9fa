"""How sessions end: silence, crashes, restarts, and orders of operators."""

from __future__ import annotations

from ipaddress import ip_network

from tests.waiting import wait_until

from ..daemons import Daemon
from ..values import GRACEFUL_SHUTDOWN
from .bed import OUR_AS, OURS, OURS6, THEIR_AS, THEIRS, Bed, case, path, up


@case("RFC 4271 s6.5", theirs={"decides"})
def they_fall_silent(bed: Bed) -> None:
    """Their process hangs: when the hold time is over the session is down and their routes are gone."""
    ours, theirs = bed.pair(hold_time=3)
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    up(ours, theirs)
    theirs.freeze()
    ours.wait_down(theirs.host.address(), patience=6)
    ours.wait_gone(THEIRS)
    theirs.thaw()
    assert ours.wait_path(THEIRS)


@case("RFC 4271 s6.5")
def we_fall_silent(bed: Bed) -> None:
    """Our process hangs: they take our routes away, and hear of them again when we go on."""
    ours, theirs = bed.pair(hold_time=3)
    ours.announce(path(OURS))
    theirs.wait_path(OURS)
    ours.freeze()
    theirs.wait_down(ours.host.address(), patience=6)
    ours.thaw()
    assert theirs.wait_path(OURS)
    wait_until(lambda: "hold timer expired" in ours.log().lower(), what="we were told why")


@case("RFC 4271 s8.2.2")
def they_crash(bed: Bed) -> None:
    """Without graceful restart their routes are gone at once, and back with them."""
    ours, theirs = bed.pair()
    theirs.announce(path(THEIRS))
    ours.wait_path(THEIRS)
    theirs.kill()
    ours.wait_gone(THEIRS)
    theirs.start()
    assert ours.wait_path(THEIRS)


@case("RFC 4724 s4.2", both={"restart"})
def they_restart(bed: Bed) -> None:
    """They crash: their routes stay as stale; back again, what they tell is fresh, the rest gone."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS))  # one that has nothing to say takes its time to say that this was all
    theirs.announce(path(THEIRS), path("10.2.1.0/24"))
    ours.wait_paths((THEIRS, "10.2.1.0/24"))
    up(ours, theirs)
    theirs.kill()
    ours.wait_path(THEIRS, lambda held: held.stale)
    theirs._announced.pop(ip_network("10.2.1.0/24"))
    theirs.start(restarting=True)
    ours.wait_path(THEIRS, lambda held: not held.stale)
    ours.wait_gone("10.2.1.0/24")


@case("RFC 4724 s4.1", both={"restart"})
def we_restart(bed: Bed) -> None:
    """We crash: they keep our routes, and find them fresh when we are back and have told all."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS), path(OURS6))
    theirs.wait_paths((OURS, OURS6))
    up(ours, theirs)
    ours.kill()
    theirs.wait_path(OURS, lambda held: held.stale)
    ours.start(restarting=True)
    theirs.wait_path(OURS, lambda held: not held.stale)
    theirs.wait_path(OURS6, lambda held: not held.stale)


@case("RFC 8538 s4", both={"notification-restart"})
def a_notification_keeps_routes(bed: Bed) -> None:
    """Who falls silent is told so, and its routes stay as stale; both ways."""
    ours, theirs = bed.pair(hold_time=3, graceful_restart=60)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    for one, other, prefix in ((ours, theirs, THEIRS), (theirs, ours, OURS)):
        one.wait_path(prefix)
        other.wait_session(one.host.address())
        other.freeze()
        one.wait_down(other.host.address(), patience=6)
        assert one.wait_path(prefix).stale
        other.thaw()
        one.wait_path(prefix, lambda held: not held.stale)


@case("RFC 8538 s3.1", both={"notification-restart"})
def a_hard_reset_takes_them_away(bed: Bed) -> None:
    """A session that the administrator shuts down leaves nothing on either side."""
    ours, theirs = bed.pair(graceful_restart=60)
    ours.announce(path(OURS))
    theirs.announce(path(THEIRS))
    theirs.wait_path(OURS)
    ours.wait_path(THEIRS)
    ours.shut_down(theirs.host.address())
    theirs.wait_gone(OURS)
    ours.wait_gone(THEIRS)


@case("RFC 9003, RFC 4486", ours={"shutdown-message"})
def we_say_why(bed: Bed) -> None:
    """We end a session with a message, which they show to their operator."""
    ours, theirs = bed.pair()
    shown(by=theirs, end=ours)


@case("RFC 9003, RFC 4486", theirs={"shutdown-message"})
def they_say_why(bed: Bed) -> None:
    """They end a session with a message, which we show to our operator; and it comes up again."""
    ours, theirs = bed.pair()
    shown(by=ours, end=theirs)
    theirs.bring_up(ours.host.address())
    up(ours, theirs)


def shown(*, by: Daemon, end: Daemon) -> None:
    """Let one side end the session with a message, and wait until the other shows it."""
    up(end, by)
    end.shut_down(by.host.address(), "maintenance tonight")
    wait_until(
        lambda: "maintenance tonight" in by.sessions()[end.host.address()].error + by.log(),
        what=f"{by} shows the message",
    )


@case("RFC 8326 s4.1", ours={"drain"})
def we_drain(bed: Bed) -> None:
    """Before we leave, our routes are told again as the last choice: by community, within the AS by rank."""
    for asns in ((OUR_AS, OUR_AS), (OUR_AS, THEIR_AS)):
        ours, theirs = bed.pair(asns=asns)
        ours.announce(path(OURS), path(OURS6))
        theirs.wait_paths((OURS, OURS6))
        ours.drain()  # type: ignore[attr-defined]
        for each in (OURS, OURS6):
            held = theirs.wait_path(each, lambda held: GRACEFUL_SHUTDOWN in held.communities)
            assert held.local_pref == 0 or asns[0] != asns[1]


@case("RFC 8326 s4.2", ours={"drain"})
def they_drain(bed: Bed) -> None:
    """What another system marks so is the last choice of ours."""
    ours, theirs = bed.pair()
    theirs.announce(path(THEIRS, communities=frozenset({GRACEFUL_SHUTDOWN})))
    assert ours.wait_path(THEIRS).local_pref == 0
