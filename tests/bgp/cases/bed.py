"""A case, the wire that it is played on, and what each side has to be able to do for it.

A case is a function of a `Bed`, which knows our side's class and theirs. What a class cannot do is missing in
its `abilities`, and a case says which it needs of which side; so nothing is skipped, and what is not played is
not in the table.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator, Set as AbstractSet
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, ip_network
from pathlib import Path as File
from typing import Any

import attrs

from ..daemons import Daemon
from ..frr import Frr
from ..raw import Raw
from ..topology import Host, Segment
from ..values import Neighbour, Path, Speaker

# What a class may have in its `abilities`.
ABILITIES = {
    "calico": "is a Calico node",
    "add-path-receive": "RFC 7911, told several paths of a prefix",
    "add-path-send": "RFC 7911, telling them",
    "decides": "holds a table, and passes on what is best in it (RFC 4271 s9)",
    "extended-next-hop": "RFC 8950",
    "drain": "RFC 8326, asking others to take another way",
    "gtsm": "RFC 5082",
    "gtsm-at-once": "RFC 5082, from the first packet on",
    "long-messages": "RFC 8654",
    "many-communities": "can announce hundreds on one prefix",
    "max-prefix": "ends a session that tells too much (RFC 4486: Cease/1)",
    "long-parameters": "RFC 9072",
    "multihop": "eBGP over routers",
    "multipath": "uses several paths of equal cost",
    "notification-restart": "RFC 8538",
    "observer": "shows what was on the wire",
    "passive": "waits to be dialled",
    "password": "RFC 2385",
    "policy": "without a policy nothing passes on eBGP (RFC 8212), by configuration or by itself",
    "range": "takes neighbours that it does not know",
    "reflector": "RFC 4456",
    "refresh": "RFC 2918, as the one who asks",
    "restart": "RFC 4724, as the one who restarts and as the one who waits",
    "route-origin": "can announce RFC 4360's Route Origin",
    "same-identifier": "RFC 6286: one BGP Identifier in two ASes",
    "send-hold": "RFC 9687",
    "shutdown-message": "RFC 9003",
    "tunnels": "RFC 9012",
    "two-octets": "can be without 4-octet AS numbers (RFC 6793)",
}

OUR_AS, THEIR_AS, THIRD_AS = 65001, 4200000002, 65003
OURS, THEIRS, THIRD = "10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"
OURS6, THEIRS6 = "2001:db8:1::/64", "2001:db8:2::/64"


@attrs.frozen(kw_only=True, eq=False)
class Bed:
    """A wire of its own for one case, and the two sides that it is played with.

    Args:
        ours, theirs: the classes of both sides.
        segment: the wire.
        stack: ends everything.
    """

    ours: type[Daemon]
    theirs: type[Daemon]
    segment: Segment
    stack: ExitStack
    _numbers: Iterator[int] = attrs.field(factory=lambda: itertools.count(1))

    def host(self) -> Host:
        """Plug a further host in, with an address of each family."""
        number = next(self._numbers)
        addresses = f"192.0.2.{number}/24", f"2001:db8::{number}/64"
        return self.segment.host(f"h{number}", *addresses, link_local=self.link_local)

    @property
    def link_local(self) -> bool:
        """Whether the hosts have link-local addresses: bgpd without zebra refuses what is told with one."""
        return Frr not in {self.ours, self.theirs}

    def daemon(self, kind: type[Daemon], host: Host, asn: int, *neighbours: Neighbour, **more: Any) -> Daemon:
        """Make a daemon on a host; its BGP Identifier is like no address. Not started yet."""
        kind.needed()
        directory = File(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="bgp-")))
        more.setdefault("router_id", IPv4Address("10.255.0.0") + int(host.address()) % 256)
        speaker = Speaker(asn=asn, neighbours=neighbours, **more)
        return self.stack.enter_context(kind(host, speaker, directory))

    def pair(
        self,
        *,
        asns: tuple[int, int] = (OUR_AS, THEIR_AS),
        ours: dict[str, Any] | None = None,
        theirs: dict[str, Any] | None = None,
        version: int = 4,
        router_ids: tuple[str, str] = ("10.255.0.1", "10.255.0.2"),
        **both: Any,
    ) -> tuple[Daemon, Daemon]:
        """Return both sides, started, each the other's neighbour.

        Args:
            asns: of ours and theirs.
            ours, theirs, both: `Neighbour`'s arguments, as one side or both have the other configured.
            version: over which IP they speak.
        """
        hosts = self.host(), self.host()
        made = []
        for kind, here, there, at, own in zip(
            (self.ours, self.theirs), hosts, reversed(hosts), (0, 1), (ours, theirs), strict=True
        ):
            words = {"address": there.address(version), "asn": asns[1 - at], **both, **(own or {})}
            router_id = IPv4Address(router_ids[at])
            made.append(self.daemon(kind, here, asns[at], Neighbour(**words), router_id=router_id))
        return start(*made)[0], made[1]

    def against_raw(self, **words: Any) -> tuple[Daemon, Host]:
        """Return our side, started and waiting to be dialled, and the host of a raw peer of another AS."""
        here, there = self.host(), self.host()
        neighbour = Neighbour(**{"address": there.address(), "asn": THIRD_AS, "passive": True, **words})
        (made,) = start(self.daemon(self.ours, here, OUR_AS, neighbour))
        return made, there

    def dial(self, ours: Daemon, host: Host, **words: Any) -> Raw:
        """Dial our side from a raw peer's host."""
        return self.stack.enter_context(Raw.dial(host, ours.host.address(), **words))


@attrs.frozen(kw_only=True)
class Case:
    """One thing that has to work.

    Args:
        name: a word. rfc: where it is demanded.
        play: does it, and fails where it does not work.
        ours, theirs: which abilities it needs of each side.
        alone: it is played by our side and a raw peer.
    """

    name: str
    rfc: str
    play: Callable[[Bed], None]
    ours: frozenset[str]
    theirs: frozenset[str]
    alone: bool = False

    def fits(self, ours: type[Daemon], theirs: type[Daemon]) -> bool:
        """Return whether these two can play it."""
        return self.ours <= ours.abilities and (self.alone or self.theirs <= theirs.abilities)


def case(
    rfc: str,
    *,
    both: AbstractSet[str] = frozenset(),
    ours: AbstractSet[str] = frozenset(),
    theirs: AbstractSet[str] = frozenset(),
    alone: bool = False,
) -> Callable[[Callable[[Bed], None]], Case]:
    """Make a case of a function."""

    def made(play: Callable[[Bed], None]) -> Case:
        return Case(
            name=play.__name__,
            rfc=rfc,
            play=play,
            ours=frozenset(both | ours),
            theirs=frozenset(both | theirs),
            alone=alone,
        )

    return made


def played(wanted: Case, ours: type[Daemon], theirs: type[Daemon]) -> None:
    """Play a case on a wire of its own; may be called from several threads at once."""
    with bed(ours, theirs) as made:
        wanted.play(made)


@contextmanager
def bed(ours: type[Daemon], theirs: type[Daemon]) -> Iterator[Bed]:
    """Return a bed that ends with the block."""
    with ExitStack() as stack:
        segment = stack.enter_context(Segment())
        yield Bed(ours=ours, theirs=theirs, segment=segment, stack=stack)


def start(*daemons: Daemon) -> tuple[Daemon, ...]:
    """Start daemons side by side; return them when all of them answer."""
    for each in daemons:
        each.start(wait=False)
    for each in daemons:
        each.wait()
    return daemons


def path(prefix: str, **words: Any) -> Path:
    """Return a path to be announced."""
    return Path(prefix=ip_network(prefix), **words)


def up(one: Daemon, other: Daemon, *, version: int = 4) -> None:
    """Wait until both sides say that their session is up."""
    one.wait_session(other.host.address(version))
    other.wait_session(one.host.address(version))
