"""Why a packet gets where it gets, or does not: the tracer's way in words, with what is said of it.

The first line is the verdict; then what to do, the largest packet, and the way with all that decided. Text and
JSON are written from the same values. Pure: what can be seen is made in `sight`, what is said in `hearsay`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import attrs

from .hearsay import Announcement, Fault, Hearsay
from .items import FdbEntry, KernelRoute
from .model import Address
from .packet import Ethernet, Ipv4, Ipv6, Layer, Udp
from .tracing import UNKNOWN, Entry, Hop, Network, Port, Trace, trace

LARGEST = 65535  # octets of an IP packet
NOTHING_SAID = Hearsay()
Tracer = Callable[..., Trace]  # of one question; takes `size` and `turn`


@attrs.frozen(kw_only=True)
class Decision:
    """An entry of a kernel's tables that decided, and who announced it, where that is known."""

    entry: Entry
    announced: Announcement | None = None

    def __str__(self) -> str:
        return f"{self.entry}  ({self.announced})" if self.announced else str(self.entry)

    def to_json(self) -> dict[str, Any]:
        """Return the decision as JSON values."""
        return {"entry": str(self.entry), "announced": self.announced.to_json() if self.announced else None}


@attrs.frozen(kw_only=True)
class Explanation:
    """A way in words.

    Args:
        start: the namespace that the packet comes from.
        way: the trace.
        wrong: the first thing that is wrong with it; None: nothing that can be seen from here.
        decided: what decided at each hop, and where the packet died.
        fits: the largest packet that takes the same way, octets; 0: none does.
        limit: what becomes of one that is larger; empty: nothing is larger, or none arrives.
        answer: the way back of an echo reply; None: it does not begin within sight.
        notes: what should be known beside it, one line each.
        port: of the destination; None: it is an echo request.
    """

    start: str
    way: Trace
    wrong: Fault | None
    decided: tuple[tuple[Decision, ...], ...]
    fits: int
    limit: str = ""
    answer: Explanation | None = None
    notes: tuple[str, ...] = ()
    port: Port | None = None

    @property
    def first_fault(self) -> Fault | None:
        """What is wrong with the way or, if it is fine, with the way back."""
        return self.wrong or (self.answer.wrong if self.answer else None)

    @property
    def verdict(self) -> str:
        """Whether it arrives, and if not, what is wrong first; one line."""
        way = f"{self.start} > {self.way.destination}"
        way += f" {self.port[0]}/{self.port[1]}" if self.port else ""
        if self.wrong is not None:
            return f"{way} does not arrive: {self.wrong}"
        if self.way.left:
            last = self.way.hops[-1]
            return f"{way} leaves {last.where} by {last.link} for {self._next}; the rest is out of sight"
        if self.answer is None:
            return f"{way} arrives at {self.way.arrived}"
        if self.answer.wrong is not None:
            return f"{way} arrives at {self.way.arrived}, but no answer comes back: {self.answer.wrong}"
        back = "its answer leaves for what is out of sight" if self.answer.way.left else "its answer comes back"
        return f"{way} arrives at {self.way.arrived}, and {back}"

    @property
    def _next(self) -> str:
        """Who gets the packet that leaves: the next host or router, by its address and, if known, its name."""
        last, to = self.way.hops[-1], _outer(self.way.hops[-1].headers).destination
        if to == self.way.destination:
            gateways = [entry.gateway for entry in last.entries if isinstance(entry, KernelRoute)]
            to = gateways[-1] or to
        names = [decision.announced.node for decision in self.decided[-1] if decision.announced]
        return f"{names[0]}, {to}" if names else str(to)

    def lines(self) -> Iterator[str]:
        """Yield the explanation line by line, the verdict first."""
        yield self.verdict
        if self.first_fault is not None:
            yield f"what to do: {self.first_fault.advice}"
        if self.fits:
            yield f"at most {self.fits} octets fit" + (f" ({self.limit})" if self.limit else "")
        yield from (f"note: {note}" for note in self.notes)
        yield from self.steps()
        if self.answer is not None and self.answer.wrong is not None:
            yield f"the answer, {self.answer.start} > {self.answer.way.destination}:"
            yield from self.answer.steps()

    def steps(self) -> Iterator[str]:
        """Yield the way, hop by hop: what decided, the headers from the outside in, the switches."""
        for hop, decisions in zip(self.way.hops, self.decided, strict=False):
            yield f"{hop.where} sends it by {hop.link}, mtu {hop.mtu}"
            yield from (f"    {decision}" for decision in decisions)
            yield from (f"        {_told(layer)}" for layer in hop.headers)
            yield from (f"    through {bridge} of {where}" for where, bridge in hop.switches)
        if self.way.death is not None:
            yield f"it ends at {self.way.death}"
            yield from (f"    {decision}" for decision in self.decided[-1])
        elif self.way.arrived:
            yield f"it arrives at {self.way.arrived}"

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values; docs/operate.md has the fields."""
        way, death = self.way, self.way.death
        return {
            "from": self.start,
            "source": str(way.source) if way.source else None,
            "destination": str(way.destination),
            "port": "/".join(map(str, self.port)) if self.port else None,
            "outcome": "dies" if death else "leaves" if way.left else "arrives",
            "verdict": self.verdict,
            "arrived": way.arrived or None,
            "wrong": self.wrong.to_json() if self.wrong else None,
            "fits": self.fits,
            "limit": self.limit or None,
            "notes": list(self.notes),
            "hops": [
                {
                    "where": hop.where,
                    "link": hop.link,
                    "mtu": hop.mtu,
                    "decided": [decision.to_json() for decision in decisions],
                    "headers": [_told(layer) for layer in hop.headers],
                    "switches": [{"where": where, "link": bridge} for where, bridge in hop.switches],
                }
                for hop, decisions in zip(way.hops, self.decided, strict=False)
            ],
            "death": None
            if death is None
            else {
                "where": death.where,
                "kind": death.kind,
                "reason": death.reason,
                "mtu": death.mtu or None,
                "decided": [decision.to_json() for decision in self.decided[-1]],
            },
            "answer": self.answer.to_json() if self.answer else None,
        }


def _told(layer: Layer) -> str:
    """Return a header, with a star and its meaning for what only a packet that is sent will have."""
    match layer:
        case Ethernet(destination=mac) if mac == UNKNOWN:
            how = "ARP" if layer.ethertype == 0x0800 else "neighbour discovery"
            return (
                str(layer).replace(UNKNOWN, "*") + f" (*: not known yet, asked for by {how} before it is sent)"
            )
        case Udp(source=0):
            # The kernel takes the range from net.ipv4.ip_local_port_range (udp_flow_src_port).
            return str(layer).replace("UDP 0", "UDP *") + " (*: a hash of the packet inside, 32768 to 60999)"
    return str(layer)


def _outer(headers: Iterable[Layer]) -> Ipv4 | Ipv6:
    return next(layer for layer in headers if isinstance(layer, Ipv4 | Ipv6))


def explain(
    network: Network,
    start: str,
    destination: Address,
    *,
    said: Hearsay = NOTHING_SAID,
    port: Port | None = None,
) -> Explanation:
    """Return the way of a small packet, how large it could be, and whether an answer comes back.

    Where there are several ways of equal cost it is the first on which something is wrong, or else the first: a
    fault that meets only some of the flows is the hardest to find by other means.

    Args:
        port: that the packet goes to; None: it is an echo request.
    """
    there = _worst(start, said, partial(trace, network, start, destination, port=port))
    there = attrs.evolve(there, port=port)
    way = there.way
    if not way.arrived or not way.hops or there.wrong or way.source is None:
        return there
    asked = partial(trace, network, way.arrived, way.source, source=destination, answering=way)
    return attrs.evolve(there, answer=_worst(way.arrived, said, asked))


def _worst(start: str, said: Hearsay, tracer: Tracer) -> Explanation:
    """Return the first of the ways of equal cost on which something is wrong; if none is, the first."""
    first = tracer()
    tried = [_judged(start, first, said, tracer)]
    while not tried[-1].wrong and len(tried) < first.ways:
        turned = partial(tracer, turn=len(tried))
        tried.append(_judged(start, turned(), said, turned))
    chosen = tried[-1] if tried[-1].wrong else tried[0]
    if first.ways == 1:
        return chosen
    which = f"number {len(tried)}, the first that is wrong" if chosen.wrong else "the first, and none is wrong"
    note = f"{first.ways} ways of equal cost lead to {first.destination}; shown is {which}"
    return attrs.evolve(chosen, notes=(note, *chosen.notes))


def _judged(start: str, way: Trace, said: Hearsay, tracer: Tracer) -> Explanation:
    wrong = _wrong(way, said)
    fits, limit = (0, "") if wrong else _largest(tracer)
    decisions = [(hop.where, hop.entries) for hop in way.hops]
    if way.death is not None:
        decisions.append((way.death.where, way.death.entries))
    hosts = (where for where, _ in decisions if where in said.hosts)
    return Explanation(
        start=start,
        way=way,
        wrong=wrong,
        decided=tuple(
            tuple(Decision(entry=entry, announced=_announced(said, where, entry)) for entry in entries)
            for where, entries in decisions
        ),
        fits=fits,
        limit=limit,
        notes=(*said.notes(hosts, wrong), *_beside(way, said, wrong)),
    )


def _beside(way: Trace, said: Hearsay, wrong: Fault | None) -> Iterator[str]:
    """Yield whose the address is that was not reached; or what becomes of an answer from out of sight."""
    if wrong:
        if owner := said.owner(way.destination):
            yield owner
    elif way.left and not said.in_pool(way.destination):
        source = _outer(way.hops[-1].headers).source
        if said.in_pool(source):
            yield f"{source} goes out as it is (not masqueraded): is there a way back to it?"


def _announced(said: Hearsay, where: str, entry: Entry) -> Announcement | None:
    return said.announced(where, entry.destination) if isinstance(entry, KernelRoute) else None


def _wrong(way: Trace, said: Hearsay) -> Fault | None:
    """Return the first thing that is wrong with a way, and the deepest that is known of it."""
    if way.arrived:
        return None
    if (nowhere := said.nowhere(way.destination)) is not None:
        return nowhere
    for hop in way.hops:
        if hop.where in said.hosts and (fault := _astray(way, hop, said)) is not None:
            return fault
    death = way.death
    if death is None:
        return None
    nothing = death.kind == "unreachable" and not death.entries
    last = death.entries[-1] if death.entries else None
    unrouted = nothing or (isinstance(last, KernelRoute) and last.blackhole)
    if (
        unrouted
        and death.where in said.hosts
        and (fault := said.routeless(death.where, way.destination)) is not None
    ):
        return fault
    advice = death.advice
    if death.where not in said.hosts and not death.entries and said.in_pool(way.destination):
        advice = "`containernet attach` gives a container its addresses and routes, again if they are gone"
        if way.hops:
            advice = "only hosts know the way to containers: it needs a route there by one of them"
    return Fault(where=death.where, reason=death.reason, advice=advice)


def _astray(way: Trace, hop: Hop, said: Hearsay) -> Fault | None:
    """Return what is wrong with where a host sends a packet for a container; None: nothing."""
    route = next((entry for entry in hop.entries if isinstance(entry, KernelRoute)), None)
    if route is None or not said.in_pool(route.destination):
        return said.routeless(hop.where, way.destination)
    fdb = next((entry.destination for entry in hop.entries if isinstance(entry, FdbEntry)), None)
    behind = fdb or (route.encap.destination if route.encap else route.gateway)
    return said.elsewhere(hop.where, route.destination, behind) if behind else None


def _largest(tracer: Tracer) -> tuple[int, str]:
    fits, too_large = 100, LARGEST + 1
    while too_large - fits > 1:
        middle = (fits + too_large) // 2
        if tracer(size=middle).death is None:
            fits = middle
        else:
            too_large = middle
    return fits, "" if fits == LARGEST else str(tracer(size=too_large).death)
