"""A path: what one peer says of a prefix, and its rank, worked out once.

A path does not know its prefix: all prefixes that a peer announces with the same attributes share one Path, so
the thousand prefixes of an UPDATE cost one decision and a pointer each.
"""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address

import attrs

from containernet.model import Address

from .as_paths import path_length
from .attributes import AS_CONFED_SEQUENCE, AS_CONFED_SET, AS_SEQUENCE, LONG, Attributes, size
from .families import Family
from .policy import EVERYTHING, Judgement, Policy

Entry = tuple["Path", ...]  # what is known of a prefix, the best first; never empty


@attrs.define(eq=False, kw_only=True)
class Source:
    """Whom paths come from: a peer, over all its sessions, or this speaker itself.

    Args:
        address: the peer's; None: this speaker's own routes.
        asn, identifier: what its OPEN says; may change from session to session, before the table's `join`.
        external: it is of another AS.
        client: it is a client of this route reflector (RFC 4456 s6).
        policy: what is taken from it.
        allow_own_as: how often our AS may be in a path of its.
        first_as: the first AS of an external peer's paths has to be its own (RFC 4271 s6.3); not a route
            server's (RFC 7947 s2.2.2.1).
        max_prefixes: more, in one family, end the session; 0: no limit.

    Attributes:
        held: how many paths are known that it told in this session, by family. weight: what these weigh.
        refused: how many prefixes were refused so far, by reason.
        place: where its address stands among those of others: the last of all tie-breaks.
        epoch: which telling of all its routes we are in, by family. Paths of an earlier one are stale: told
            before a restart (RFC 4724) or a refresh (RFC 7313), and not told again yet.
        since: the epoch that its session began with. Paths of an earlier one are kept from before a restart.
        floor: paths of an earlier epoch than this are not believed any more and wait for the sweep.
        awaited: families whose End-of-RIB is still to come, from a peer that has announced it (RFC 4724 s3).
    """

    address: Address | None
    asn: int
    identifier: IPv4Address
    external: bool
    client: bool = False
    policy: Policy = EVERYTHING
    allow_own_as: int = 0
    first_as: bool = True
    max_prefixes: int = 0
    place: tuple[int, int] = attrs.field(init=False)
    held: Counter[Family] = attrs.field(factory=Counter, init=False)
    weight: Counter[Family] = attrs.field(factory=Counter, init=False)
    refused: Counter[str] = attrs.field(factory=Counter, init=False)
    epoch: Counter[Family] = attrs.field(factory=Counter, init=False)
    since: Counter[Family] = attrs.field(factory=Counter, init=False)
    floor: Counter[Family] = attrs.field(factory=Counter, init=False)
    awaited: set[Family] = attrs.field(factory=set, init=False)

    @place.default
    def _place(self) -> tuple[int, int]:
        return (self.address.version, int(self.address)) if self.address else (0, 0)

    def __str__(self) -> str:
        return str(self.address or "this speaker")


class Path:
    """What a source says of some prefixes, and how good that is. Compared by identity.

    Attributes:
        source, path_id: whose path this is: of a prefix there is one for each such pair (RFC 7911 s3).
        attributes: after the import policy.
        epoch: of its source, when it was learned.
        refused: why it may not be chosen; empty: it may.
        tier, neighbour, med, rest: its rank (see `decision`).
        alone: the entry of a prefix of which only this path is known.
        told: what it becomes when it is told to others, by whom; kept here so that it goes with the path.
        weight: how much it says, where that is so much that nothing but the table itself is to keep it (see
            `is_long`); else 0.
    """

    __slots__ = (
        "alone",
        "attributes",
        "epoch",
        "med",
        "neighbour",
        "path_id",
        "refused",
        "rest",
        "source",
        "tier",
        "told",
        "weight",
    )

    def __init__(
        self,
        source: Source,
        attributes: Attributes,
        *,
        path_id: int = 0,
        epoch: int = 0,
        refused: str = "",
        cost: int = 0,
        local_pref: int = 100,
    ) -> None:
        self.source = source
        self.attributes = attributes
        self.path_id = path_id
        self.epoch = epoch
        self.refused = refused
        self.alone: Entry = (self,)
        weight = size(attributes)
        self.weight = weight if weight > LONG else 0
        self.told: dict[object, Judgement] = {}
        preference = local_pref if attributes.local_pref is None else attributes.local_pref
        self.tier = (
            bool(refused),
            source.address is not None,
            -preference,
            path_length(attributes.as_path),
            attributes.origin,
        )
        self.neighbour = neighbour(source, attributes)
        self.med = attributes.med or 0  # RFC 4271 s9.1.2.2 c: without one it has the lowest value possible
        identifier = int(attributes.originator_id or source.identifier)  # RFC 4456 s9
        clusters = len(attributes.cluster_list)
        self.rest = (not source.external, cost, identifier, clusters, source.place, path_id)

    @property
    def believed(self) -> bool:
        """Whether it may be chosen."""
        return not self.refused

    def replaces(self, other: Path) -> bool:
        """Whether both are the same source's word on a prefix, so that only one of them can stand."""
        return other.source is self.source and other.path_id == self.path_id

    def __repr__(self) -> str:
        return f"<path of {self.source}: {self.refused or self.attributes}>"


def neighbour(source: Source, attributes: Attributes) -> int:
    """Return the AS that the path came into ours from (RFC 4271 s9.1.2.2 c); 0: it is of ours.

    What begins with an AS_SET was aggregated within our AS, and so counts as ours.
    """
    if source.external:
        return source.asn
    for segment in attributes.as_path:
        if segment.type not in (AS_CONFED_SEQUENCE, AS_CONFED_SET):
            return segment.asns[0] if segment.type == AS_SEQUENCE and segment.asns else 0
    return 0
