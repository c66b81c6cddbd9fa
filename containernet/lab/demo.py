"""`containernet lab demo`: every dataplane on every underlay, shown and measured, in one table.

For each combination a lab of three hosts with two containers each is made and taken down again. What is shown
is what happened: the headers are captured on the wire, the MTUs are tried out, the losses are counted. Where a
dataplane cannot reach a peer the refusal is shown, because that is the truth about it, and where this kernel
lacks what a dataplane needs, that is said and the rest goes on. At the end one is shown again with routes that
the hosts tell each other by BGP, and no store that holds them.

The exit code is 0 when every combination did what it should, refusals included.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_network
from typing import Any

import attrs

from ..errors import ConfigError
from ..packet import Layer
from . import build, capture, daemons, drift, ping as pinging, whole
from .build import MissingDriver
from .cluster import Lab
from .topology import UNDERLAYS, Topology

DATAPLANES = ("bridge", "host-gw", "vxlan", "ipip")
_ONE_SEGMENT = frozenset({"bridge", "host-gw"})  # those that cannot cross a router
_OBSERVED = "host1"  # whose wire is watched, whose daemon is killed, whose route is deleted

Trial = tuple[int, tuple[pinging.Answer, ...]]  # a size, and an answer for each address family
_NOTHING_SENT = pinging.Tally(sent=0, answered=0, pause=0.0)


@attrs.frozen(kw_only=True)
class Report:
    """What one combination came to.

    Args:
        store: of the routes.
        missing: why nothing could be shown; empty: it could.
        pairs, expected, reached: requests that were sent, that should be answered, and that were.
        refusals: what the daemons say about the peers that they cannot reach.
        wire: where the headers were captured.
        headers: of one echo request, outermost first.
        fits, too_big: packet sizes in octets, with what came of them in each family.
        killed: the requests that went on while the daemon was killed and started again.
        healed: after how many seconds the deleted route was back.
    """

    dataplane: str
    underlay: str
    store: str = Topology().store
    missing: str = ""
    pairs: int = 0
    expected: int = 0
    reached: int = 0
    refusals: tuple[str, ...] = ()
    wire: str = ""
    headers: tuple[str, ...] = ()
    fits: Trial = (0, ())
    too_big: Trial = (0, ())
    killed: pinging.Tally = _NOTHING_SENT
    healed: float = 0.0

    @property
    def good(self) -> bool:
        """Whether the combination did what it should; one that this kernel cannot show did."""
        return bool(self.missing) or (
            self.reached == self.expected
            and bool(self.refusals) == (self.expected < self.pairs)
            and all(isinstance(answer, pinging.Reply) for answer in self.fits[1])
            and all(isinstance(answer, pinging.TooBig) for answer in self.too_big[1])
            and self.killed.lost == 0
        )

    @property
    def title(self) -> str:
        """What is shown."""
        return f"{self.dataplane} on {self.underlay}{', routes by BGP' if self.store == 'bgp' else ''}"

    @property
    def row(self) -> tuple[str, ...]:
        """The cells of the table."""
        start = (self.dataplane, self.underlay)
        if self.missing:
            return (*start, "-", "-", "-", "-", "-", self.missing.partition(",")[0])
        remarks = ["routes by BGP"] if self.store == "bgp" else []
        remarks += [f"refuses {self.pairs - self.expected} pairs"] if self.refusals else []
        remark = "; ".join(remarks)
        return (
            *start,
            f"{self.reached}/{self.pairs}",
            str(self.fits[0]),
            str(self.too_big[0]),
            f"{self.killed.lost}/{self.killed.sent}",
            f"{self.healed * 1000:.1f} ms",
            remark if self.good else f"NOT AS IT SHOULD BE; {remark}".rstrip("; "),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "dataplane": self.dataplane,
            "underlay": self.underlay,
            "store": self.store,
            "good": self.good,
            "missing": self.missing,
            "pairs": self.pairs,
            "expected": self.expected,
            "reached": self.reached,
            "refusals": list(self.refusals),
            "headers": list(self.headers),
            "fits": self.fits[0],
            "too_big": self.too_big[0],
            "sent_while_killed": self.killed.sent,
            "lost_while_killed": self.killed.lost,
            "healed_ms": round(self.healed * 1000, 3),
        }


BY_BGP = Report(dataplane="vxlan", underlay="routed", store="bgp")

COLUMNS = ("dataplane", "underlay", "reached", "fits", "too big", "lost", "healed", "remark")  # 80 wide

_LEGEND = """\
reached: pairs of containers, IPv4 and IPv6. fits, too big: octets of a packet.
lost: requests while containernetd was killed and started again. healed: the time
until a route that somebody deleted was back."""


def run(dataplanes: Sequence[str] | None, *, as_json: bool = False) -> int:
    """Show those dataplanes, by default all; return 0 if each did what it should, 1 otherwise.

    Raises:
        ConfigError: one of them is unknown.
    """
    from ..cli.table import show_json, show_table

    chosen = tuple(dataplanes or DATAPLANES)
    for name in chosen:
        if name not in DATAPLANES:
            raise ConfigError(f"--dataplane {name}: expected one of {', '.join(DATAPLANES)}")
    say: Callable[[str], object] = functools.partial(print, file=sys.stderr) if as_json else print
    # Ended by SIGTERM, as by Ctrl-C, it takes its lab down.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    start = time.monotonic()
    reports = []
    wanted = [
        Report(dataplane=dataplane, underlay=underlay)
        for dataplane, underlay in itertools.product(chosen, UNDERLAYS)
    ]
    wanted += [BY_BGP] if BY_BGP.dataplane in chosen else []
    for each in wanted:
        say(each.title)
        report = show(each)
        for line in narrate(report):
            say(f"    {line}")
        reports.append(report)
    if as_json:
        show_json([report.to_json() for report in reports])
    else:
        show_table(COLUMNS, [report.row for report in reports])
        print(_LEGEND)
        print(f"{len(reports)} combinations in {time.monotonic() - start:.0f} s; nothing is left behind")
    return 0 if all(report.good for report in reports) else 1


def narrate(report: Report) -> list[str]:
    """Return a report as lines for a reader."""
    if report.missing:
        return [f"cannot be shown: {report.missing}"]
    lines = [f"{report.reached} of {report.pairs} pairs reach each other"]
    lines += [f"refused: {reason}" for reason in report.refusals[:1]]
    lines += [f"an echo request, as captured on {report.wire}:"]
    lines += [f"    {header}" for header in report.headers]
    for size, answers in (report.fits, report.too_big):
        lines += [f"{size} octets: {', '.join(dict.fromkeys(map(str, answers)))}"]
    lines += [f"containernetd of {_OBSERVED} killed and started again: {report.killed}"]
    lines += [f"a route deleted behind its back: there again after {report.healed * 1000:.1f} ms"]
    return lines


def show(empty: Report) -> Report:
    """Make a lab of that combination, try everything out, take it down, and return the report filled in."""
    for versions in ((4, 6), (4,)):  # a kernel may have ipip and no ip6tnl
        topology = Topology(
            dataplane=empty.dataplane, underlay=empty.underlay, store=empty.store, versions=versions
        )
        try:
            lab = whole.up(f"demo-{os.getpid()}", topology)
        except MissingDriver as error:
            missing = str(error)
            continue
        with lab:
            try:
                return _observe(lab, empty)
            finally:
                lab.down()
    return attrs.evolve(empty, missing=missing)


def _observe(lab: Lab, report: Report) -> Report:
    topology = lab.topology
    results = whole.ping(lab, topology.container_names)
    meant = [each for each in results if reachable(topology, each)]
    mine = [each for each in meant if each.source == f"{_OBSERVED}-c1"]
    far = max(mine, key=lambda each: _distance(topology, each))
    targets = [each.target for each in mine if each.destination == far.destination]
    wire = build.NICS[1 if topology.second_nic else 0]
    netns = {name: lab.netns(name) for name in (far.source, _OBSERVED)}
    mtu = whole.mtu(lab, far.source)
    largest = pinging.Probe(netns=netns[far.source], target=far.target, size=mtu)
    layers: tuple[Layer, ...] = lab.call(
        functools.partial(capture.echo_on_wire, largest, netns[_OBSERVED], wire)
    )

    def attempt(size: int) -> Trial:
        probes = [attrs.evolve(largest, target=target, size=size) for target in targets]
        return size, tuple(lab.call(functools.partial(pinging.ping, probes)))

    return attrs.evolve(
        report,
        pairs=len(results),
        expected=len(meant),
        reached=sum(each.reached for each in results),
        refusals=_refusals(lab),
        wire=f"{wire} of {_OBSERVED}",
        headers=tuple(str(layer) for layer in layers),
        fits=attempt(mtu),
        too_big=attempt(mtu + 1),
        killed=_kill_and_restart(lab, far),
        healed=_heal(lab, far),
    )


def _distance(topology: Topology, pair: whole.Result) -> int:
    """Return how far apart two containers are: 0 on one host, 1 on one segment, 2 with a router between."""
    one, other = (topology.host_of(name).name for name in (pair.source, pair.destination))
    if one == other:
        return 0
    return 1 if topology.same_segment(one, other) else 2


def reachable(topology: Topology, pair: whole.Result) -> bool:
    """Return whether the dataplane is one that can reach that pair at all."""
    return topology.dataplane not in _ONE_SEGMENT or _distance(topology, pair) < 2


def _refusals(lab: Lab) -> tuple[str, ...]:
    homes = [lab.file(daemons.directory(host.name)) for host in lab.topology.members]
    return tuple(reason for home in homes for reason in daemons.ask(home, "status")["refused"].values())


def _kill_and_restart(lab: Lab, pair: whole.Result) -> pinging.Tally:
    """Kill the daemon, let traffic go on without it, start it again; count what was lost all the while."""
    with whole.streaming(lab, pair.source, pair.target) as stop:
        lab.call(functools.partial(daemons.stop, _OBSERVED, signal.SIGKILL))
        observed = [host for host in lab.topology.members if host.name == _OBSERVED]
        lab.call(functools.partial(daemons.start_ready, lab.topology, observed))
        lab.call(functools.partial(daemons.wait_for_routes, lab.topology))
        return stop()


def _heal(lab: Lab, pair: whole.Result) -> float:
    """Delete the route that leads to the pair's destination; return how long it stays away, in seconds."""
    status = daemons.ask(lab.file(daemons.directory(_OBSERVED)), "status")
    prefixes = [ip_network(route["prefix"]) for route in status["routes"] if route["node"] != _OBSERVED]
    prefix = next(each for each in prefixes if pair.target in each)
    return lab.call(functools.partial(drift.delete_route, lab.netns(_OBSERVED), prefix))
