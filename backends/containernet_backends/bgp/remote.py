"""One peer as the speaker has it: its session, its connections, and what it has said."""

from __future__ import annotations

from collections import Counter, deque
from ipaddress import IPv4Address

import attrs

from containernet.model import Address

from .connection import earliest
from .export import Member
from .families import Family
from .message import Volley
from .options import BgpOptions, Neighbour
from .paths import Source
from .peering import Negotiated, Peer
from .pipe import Pipe
from .session import Session
from .sockets import Transport
from .update import Reader

INBOX = 8 << 20  # octets of UPDATEs that may wait for the table; then the peer is not read for a while
OVERHEAD = 64  # octets of memory that each of them takes beside its own: the shortest UPDATE has 4
FAULTS = 100  # kinds of errors that are told apart
OUTBOX = 1 << 18  # octets that may wait for a peer; then it is told no more for a while

Said = bytes | Volley | tuple[int, Family]  # UPDATEs, or a mark between them (RFC 7313): subtype and family


@attrs.define(eq=False, kw_only=True)
class Remote:
    """One peer.

    Args:
        neighbour: the table of the config that it is of.
        peer, transport, session, source: what the parts of the speaker call it.

    Attributes:
        pipes: connections by number. dialing: the number of the dial that is under way; 0: none is.
        connection: the number of the established one; 0: there is none.
        negotiated, reader, member: of the established session; None: there is none.
        inbox, inbox_octets: what the peer said and the table has not heard yet.
        complete: families of which it has told everything since the session came up.
        stale_at: when what it said before its session broke is forgotten; None: nothing is kept.
        rests_until: when its session begins again after an error of ours; None: there was none.
        due: when the speaker will look at its timers.
        tried: a dial of ours has failed since anybody could be reached, so it need not be waited for.
        shut: our operator wants no session with it.
        since: when the session came up or ended, seconds since the epoch.
        reason: why the last session ended, or the last dial failed.
        faults: errors that cost the peer an attribute or a route, but not its session (RFC 7606), by kind.
    """

    neighbour: Neighbour
    peer: Peer
    transport: Transport
    session: Session
    source: Source
    pipes: dict[int, Pipe] = attrs.field(factory=dict, init=False)
    dialing: int = attrs.field(default=0, init=False)
    connection: int = attrs.field(default=0, init=False)
    negotiated: Negotiated | None = attrs.field(default=None, init=False)
    reader: Reader | None = attrs.field(default=None, init=False)
    member: Member | None = attrs.field(default=None, init=False)
    inbox: deque[Said] = attrs.field(factory=deque, init=False)
    inbox_octets: int = attrs.field(default=0, init=False)
    complete: set[Family] = attrs.field(factory=set, init=False)
    stale_at: float | None = attrs.field(default=None, init=False)
    rests_until: float | None = attrs.field(default=None, init=False)
    due: float | None = attrs.field(default=None, init=False)
    tried: bool = attrs.field(default=False, init=False)
    shut: bool = attrs.field(default=False, init=False)
    local_address: Address | None = attrs.field(default=None, init=False)
    since: float = attrs.field(default=0.0, init=False)
    sessions: int = attrs.field(default=0, init=False)
    reason: str = attrs.field(default="", init=False)
    faults: Counter[str] = attrs.field(factory=Counter, init=False)
    updates: int = attrs.field(default=0, init=False)

    @property
    def address(self) -> Address:
        """Where it is."""
        return self.peer.address

    @property
    def established(self) -> bool:
        """Whether its session is up."""
        return self.negotiated is not None

    @property
    def has_told_all(self) -> bool:
        """Whether its session is up, and it has told everything that it knows."""
        return self.negotiated is not None and self.complete.issuperset(self.negotiated.families)

    @property
    def has_restarted(self) -> bool:
        """Whether its session is up, and it had just restarted then (RFC 4724 s3, the R bit)."""
        return self.negotiated is not None and self.negotiated.restarting

    @property
    def deadline(self) -> float | None:
        """When the first of its timers expires."""
        return earliest(self.session.deadline, self.stale_at, self.rests_until)

    @property
    def forgettable(self) -> bool:
        """Whether nothing is left of a peer that had called out of a range."""
        idle = not self.pipes and self.stale_at is None and not self.established
        return self.peer.dynamic and idle and not self.shut

    def hear(self, mark: tuple[int, Family]) -> None:
        """Put a mark behind what waits for the table."""
        self.inbox.append(mark)
        self.inbox_octets += len(mark) + OVERHEAD

    def hear_updates(self, bodies: tuple[bytes, ...] | Volley) -> None:
        """Put UPDATEs behind what waits for the table."""
        if isinstance(bodies, Volley):
            self.inbox.append(bodies)
            self.inbox_octets += bodies.octets + OVERHEAD * len(bodies)
        else:
            self.inbox.extend(bodies)
            self.inbox_octets += sum(map(len, bodies)) + OVERHEAD * len(bodies)

    def skip(self, count: int = 1) -> None:
        """Take the first of what waits for the table away; of a volley so many of the first."""
        said = self.inbox[0]
        if isinstance(said, Volley):
            before = said.octets
            said.skip(count)
            self.inbox_octets -= before - said.octets + OVERHEAD * count
            if said:
                return
        else:
            self.inbox_octets -= len(said) + OVERHEAD
        self.inbox.popleft()

    def note_fault(self, fault: str) -> bool:
        """Count an error by its kind, and return whether it is the first of its kind.

        The number of kinds is bounded, whatever the peer thinks of.
        """
        kind = fault if fault in self.faults or len(self.faults) < FAULTS else "others"
        self.faults[kind] += 1
        return self.faults[kind] == 1

    def begin(self, connection: int, negotiated: Negotiated, *, now: float) -> None:
        """Note that the session is up."""
        self.connection = connection
        self.negotiated = negotiated
        self.source.asn = negotiated.peer_asn
        self.source.identifier = IPv4Address(negotiated.peer_id)
        self.reader = Reader(negotiated)
        self.complete.clear()
        self.since = now
        self.sessions += 1

    def end(self, reason: str, *, now: float) -> None:
        """Note that the session is over; what the table has not heard is dropped, and will be told again."""
        self.connection = 0
        self.negotiated = self.reader = self.member = None
        self.inbox.clear()
        self.inbox_octets = 0
        self.since = now
        self.reason = reason


def met(options: BgpOptions, neighbour: Neighbour, address: Address, session: Session) -> Remote:
    """Return the peer at an address, for which `neighbour` stands, with a session that has not begun."""
    peer, external = options.peering(neighbour, address), options.external(neighbour)
    return Remote(
        neighbour=neighbour,
        peer=peer,
        transport=options.travel(neighbour),
        session=session,
        source=Source(
            address=address,
            asn=peer.asn,
            identifier=IPv4Address(0),
            external=external,
            client=neighbour.client,
            policy=options.judged_by(neighbour.import_policy, external=external),
            allow_own_as=neighbour.allow_own_as,
            max_prefixes=neighbour.max_prefixes,
        ),
    )
