"""What a path becomes when it is told to a peer: RFC 4271 s5 and s9.2, RFC 4456, and the export policy."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs

from containernet.model import Address

from . import update
from .as_paths import CONFEDERATION
from .attributes import Attributes, is_long
from .communities import GRACEFUL_SHUTDOWN, NO_ADVERTISE, NO_EXPORT, NO_EXPORT_SUBCONFED
from .families import Family
from .nlri import Nlri
from .paths import Path
from .peering import Negotiated
from .policy import EVERYTHING, Judgement, Outcome, Policy, prepend
from .refusal import Ourselves

_FEW = 8
_KEPT = 1 << 13
_NON_TRANSITIVE = 0x40  # RFC 4360 s2, in the first octet of an extended community


@attrs.frozen(kw_only=True)
class Terms:
    """All that what is told to a peer depends on. Peers with equal terms are told the same octets.

    Args:
        external: of another AS. client: of this route reflector.
        next_hop_self: tell the way through us, where the route is not reflected.
        addresses: ours, to be a next hop: at most one of each family.
        policy: what is told to it.
        tunnels: how packets are to be encapsulated is told.
        families: those of the session. extended_next_hop: see `Negotiated`.
        as4, extended_messages: how messages are written, see `Negotiated`.
    """

    external: bool
    client: bool = False
    next_hop_self: bool = False
    addresses: tuple[Address, ...] = ()
    policy: Policy = EVERYTHING
    tunnels: bool = True
    families: tuple[Family, ...] = ()
    extended_next_hop: tuple[Family, ...] = ()
    as4: bool = True
    extended_messages: bool = False

    @classmethod
    def of(
        cls,
        negotiated: Negotiated,
        *,
        addresses: tuple[Address, ...],
        policy: Policy,
        client: bool = False,
        next_hop_self: bool = False,
    ) -> Terms:
        """Return the terms of a session."""
        return cls(
            external=negotiated.external,
            client=client,
            next_hop_self=next_hop_self,
            addresses=addresses,
            policy=policy,
            tunnels=negotiated.tunnels,
            families=negotiated.families,
            extended_next_hop=negotiated.extended_next_hop,
            as4=negotiated.as4,
            extended_messages=negotiated.extended_messages,
        )


@attrs.frozen(kw_only=True, eq=False)
class Telling:
    """How paths of one family are told on some terms. Pure: a path is always told in the same way.

    Args:
        local_pref: of paths that have none, towards our own AS.
        draining: we are about to leave: everybody is asked to take another way (RFC 8326).
    """

    ourselves: Ourselves
    terms: Terms
    family: Family
    local_pref: int = 100
    draining: bool = False
    _written: dict[tuple[Attributes, tuple[Nlri, ...]], tuple[bytes, ...]] = attrs.field(
        factory=dict, init=False, repr=False
    )

    def write(self, attributes: Attributes, nlris: list[Nlri], negotiated: Negotiated) -> Iterable[bytes]:
        """Return messages that announce `nlris`.

        Few prefixes with attributes of their own are what hosts announce. Each host that joins is told all of
        them, so their messages are kept.
        """
        if len(nlris) > _FEW or is_long(attributes):
            return update.pack(self.family, attributes, nlris, negotiated)
        key = (attributes, tuple(nlris))
        if key not in self._written:
            if len(self._written) >= _KEPT:
                self._written.clear()
            self._written[key] = tuple(update.pack(self.family, attributes, nlris, negotiated))
        return self._written[key]

    def judge(self, path: Path) -> Judgement:
        """Return what the path becomes, by prefix where the policy asks for it. Worked out once for a path."""
        judgement = path.told.get(self)
        if judgement is None:
            judgement = path.told[self] = self._judge(path)
        return judgement

    def _judge(self, path: Path) -> Judgement:
        if why := self._kept_back(path):
            return Judgement((), Outcome(None, why))
        judgement = self.terms.policy.judge(
            path.attributes,
            neighbour=path.source.asn,
            version=self.family.version,
            onto=self._before_policy(path),
        )
        return Judgement(
            tuple((match, self._after_policy(path, outcome)) for match, outcome in judgement.cases),
            self._after_policy(path, judgement.otherwise),
        )

    def _kept_back(self, path: Path) -> str:
        source, communities = path.source, path.attributes.communities
        if path.refused:
            return path.refused
        if NO_ADVERTISE in communities:
            return "NO_ADVERTISE (RFC 1997)"
        if self.terms.external:
            outside = {NO_EXPORT, NO_EXPORT_SUBCONFED}.intersection(communities)
            return "NO_EXPORT (RFC 1997)" if outside else ""
        if _is_internal(path) and not (source.client or self.terms.client):
            # RFC 4271 s9.2; RFC 4456 s6: what a non-client says is told to clients only.
            return "from an internal peer to an internal peer, and neither is a client (RFC 4456 s6)"
        return ""

    def _before_policy(self, path: Path) -> Attributes:
        attributes, own = path.attributes, path.source.address is None
        if self.terms.external:
            return attrs.evolve(
                attributes,
                local_pref=None,  # RFC 4271 s5.1.5
                med=attributes.med if own else None,  # RFC 4271 s5.1.4: not to other neighbouring ASes
                originator_id=None,  # RFC 4456 s8: non-transitive
                cluster_list=(),
                extended=tuple(each for each in attributes.extended if not each[0] & _NON_TRANSITIVE),
                link_local=None,
                encapsulations=attributes.encapsulations if self.terms.tunnels else (),  # RFC 9012 s11
            )
        reflected: dict[str, Any] = {}
        if _is_internal(path):  # RFC 4456 s8
            reflected["originator_id"] = attributes.originator_id or path.source.identifier
            reflected["cluster_list"] = (self.ourselves.cluster_id, *attributes.cluster_list)
        return attrs.evolve(
            attributes,
            local_pref=self.local_pref if attributes.local_pref is None else attributes.local_pref,
            link_local=None,  # RFC 2545 s3: it means something on the link alone that it was told on
            **reflected,
        )

    def _after_policy(self, path: Path, outcome: Outcome) -> Outcome:
        attributes = outcome.attributes
        if attributes is None:
            return outcome
        if self.draining:  # RFC 8326 s4.1
            communities = tuple(sorted({*attributes.communities, GRACEFUL_SHUTDOWN}))
            attributes = attrs.evolve(attributes, communities=communities)
            if not self.terms.external:
                attributes = attrs.evolve(attributes, local_pref=0)
        if self.terms.external:  # RFC 4271 s5.1.2 b
            # RFC 5065 s4.1 c: a confederation that we know nothing of ends here, at the latest
            known = tuple(each for each in attributes.as_path if each.type not in CONFEDERATION)
            attributes = attrs.evolve(attributes, as_path=prepend(known, [self.ourselves.local.asn]))
        next_hop = self._next_hop(path, outcome)
        if next_hop is None:
            return Outcome(None, f"no next hop that the peer takes for {self.family} (RFC 8950)")
        return attrs.evolve(outcome, attributes=attrs.evolve(attributes, next_hop=next_hop))

    def _next_hop(self, path: Path, outcome: Outcome) -> Address | None:
        theirs = path.attributes.next_hop
        # RFC 4271 s5.1.3: ours towards another AS; our own have ours already. RFC 4456 s10: not of what is
        # reflected.
        own = path.source.address is None
        through_us = not own and (self.terms.external or (self.terms.next_hop_self and not _is_internal(path)))
        if theirs is not None and not through_us and not outcome.next_hop_self:
            return theirs if self._takes(theirs) else None
        version = self.family.version
        usable = sorted(filter(self._takes, self.terms.addresses), key=lambda own: own.version != version)
        return next(iter(usable), None)

    def _takes(self, next_hop: Address) -> bool:
        return next_hop.version == self.family.version or self.family in self.terms.extended_next_hop


def _is_internal(path: Path) -> bool:
    return path.source.address is not None and not path.source.external
