"""What a namespace makes of a packet's addresses: by our masquerade, our ports, and as conntrack remembers.

Pure, and for the tracer. Linux decides this for the first packet of a connection and remembers it; whatever
follows, the answers the other way round, is translated alike and not decided again (RFC 3022).
"""

from __future__ import annotations

from collections.abc import Callable

import attrs

from .items import Hairpin, Masquerade, PortForward
from .model import Address, Prefix
from .values import shown

PROTOCOL_NUMBERS = {"tcp": 6, "udp": 17, "sctp": 132}
_NAMES = {number: name for name, number in PROTOCOL_NUMBERS.items()}

Rule = Masquerade | Hairpin | PortForward


@attrs.frozen(kw_only=True)
class Flow:
    """What tells one connection from another.

    Args:
        protocol: IANA's number.
        ports: source and destination; 0 where the protocol has none.
    """

    source: Address
    destination: Address
    protocol: int
    ports: tuple[int, int] = (0, 0)
    __repr__ = shown

    @property
    def answer(self) -> Flow:
        """The same the other way round."""
        return Flow(
            source=self.destination,
            destination=self.source,
            protocol=self.protocol,
            ports=(self.ports[1], self.ports[0]),
        )

    def __str__(self) -> str:
        ends = zip((self.source, self.destination), self.ports, strict=True)
        return " > ".join(_end(address, port) for address, port in ends)


def _end(address: Address, port: int) -> str:
    words = f"[{address}]" if port and address.version == 6 else str(address)
    return f"{words}:{port}" if port else words


@attrs.frozen(kw_only=True)
class Translated:
    """A packet got other addresses.

    Args:
        where: the namespace.
        rule: what decided; None: it answers what was translated before.
    """

    where: str
    rule: Rule | None
    before: Flow
    after: Flow
    __repr__ = shown

    def __str__(self) -> str:
        return f"{self.rule or 'conntrack'}: {self.before} becomes {self.after}"


class Translations:
    """Our rules of one namespace."""

    def __init__(self) -> None:
        self.pools: set[Prefix] = set()
        self.subnets: set[Prefix] = set()
        self.ports: dict[object, PortForward] = {}

    def put(self, rule: Rule) -> None:
        """Take a rule in."""
        match rule:
            case Masquerade(pool=pool):
                self.pools.add(pool)
            case Hairpin(subnet=subnet):
                self.subnets.add(subnet)
            case PortForward():
                self.ports[rule.key] = rule

    def drop(self, rule: Rule) -> None:
        """Let a rule go."""
        match rule:
            case Masquerade(pool=pool):
                self.pools.discard(pool)
            case Hairpin(subnet=subnet):
                self.subnets.discard(subnet)
            case PortForward():
                self.ports.pop(rule.key, None)

    def led(self, flow: Flow, own: Callable[[Address], bool]) -> PortForward | None:
        """Return the port by which a connection is led to a container.

        Args:
            own: whether an address is the host's.
        """
        protocol, to = _NAMES.get(flow.protocol), flow.destination
        for at in (int(to), -1):
            port = self.ports.get(("port", to.version, protocol, at, flow.ports[1]))
            if port is not None and (at != -1 or own(to)):
                return port
        return None

    def masks(self, flow: Flow, *, led: bool) -> Masquerade | Hairpin | None:
        """Return what gives a connection the host's own address for its source.

        Args:
            led: a port of this host led it here.
        """
        for subnet in self.subnets if led else ():
            if flow.destination in subnet and (flow.source in subnet or flow.source.is_loopback):
                return Hairpin(subnet=subnet)
        for pool in self.pools:
            inside = any(flow.destination in other for other in self.pools)
            if flow.source in pool and not inside and not flow.destination.is_multicast:
                return Masquerade(pool=pool)
        return None
