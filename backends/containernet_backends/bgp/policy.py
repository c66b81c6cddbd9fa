"""What is taken from a peer and what is told to it: ordered rules, of which the first that matches decides.

    [[store.bgp.policy]]
    name = "from-fabric"
    default = "reject"                            # what no rule matches; "reject" where it is not said

    [[store.bgp.policy.rule]]
    match = {prefixes = ["10.4.0.0/16 ge 24 le 26"], communities = ["64512:100"]}
    set = {local_pref = 200, add = ["no-export"]}
    action = "accept"

Conditions of one rule all have to hold; where one lists several values, any of them will do, but every one of
the communities has to be there. A rule without `match` matches everything.

Everything but `prefixes` is a question about attributes, which many prefixes share. So a policy is asked once
per set of attributes, and answers with a Judgement: the rules that depend on the prefix, if any, and what holds
otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress
from operator import not_
from typing import Any

import attrs

from containernet.errors import ConfigError
from containernet.model import Address, Prefix
from containernet.options import build

from .attributes import AS_SEQUENCE, Attributes, Segment
from .communities import Community, parse
from .nlri import Nlri
from .prefixes import Match, Range, matching

_32_BITS = 0xFFFFFFFF
_ACTIONS = ("accept", "reject")
_TABLE = "store.bgp.policy"


@attrs.frozen
class Outcome:
    """What becomes of a path.

    Args:
        attributes: with what the rule sets; None: rejected.
        why: the policy and the rule, for people.
        next_hop_self: the rule asks for our address as the next hop.
        explicit: the rule names the prefixes that it is for.
    """

    attributes: Attributes | None
    why: str = ""
    next_hop_self: bool = False
    explicit: bool = False


@attrs.frozen
class Judgement:
    """What a policy says of one set of attributes: by prefix the first case that matches, or `otherwise`."""

    cases: tuple[tuple[Match, Outcome], ...]
    otherwise: Outcome

    def of(self, nlri: Nlri) -> Outcome:
        """Return what becomes of the path to one prefix."""
        return next((outcome for match, outcome in self.cases if match(nlri)), self.otherwise)

    def split(self, nlris: list[Nlri]) -> Iterator[tuple[Outcome, list[Nlri]]]:
        """Yield the outcomes, each with the prefixes that have it."""
        for match, outcome in self.cases:
            matches = match.each(nlris)
            if matched := list(compress(nlris, matches)):
                yield outcome, matched
                nlris = list(compress(nlris, map(not_, matches)))
        if nlris:
            yield self.otherwise, nlris


def _texts(values: Iterable[str]) -> tuple[str, ...]:
    texts = tuple(values)
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{text!r}: expected text")
    return texts


def _asns(values: Iterable[int]) -> tuple[int, ...]:
    asns = tuple(values)
    for asn in asns:
        if not isinstance(asn, int) or not 1 <= asn <= _32_BITS:
            raise ConfigError(f"{asn!r}: expected an AS number, 1 to {_32_BITS}")
    return asns


@attrs.frozen(kw_only=True)
class Condition:
    """The `match` of a rule. What is empty holds.

    Args:
        prefixes: with `ge` and `le`, as `Range.parse` reads them.
        communities: standard, large or extended ones, all of which have to be there.
        as_path: AS numbers, one of which is in the AS_PATH.
        originates: AS numbers, one of which is the last of the AS_PATH.
        neighbours: AS numbers, one of which is that of the peer that told the path.
        next_hops: prefixes, one of which holds the next hop.
    """

    prefixes: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    communities: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    as_path: tuple[int, ...] = attrs.field(default=(), converter=_asns)
    originates: tuple[int, ...] = attrs.field(default=(), converter=_asns)
    neighbours: tuple[int, ...] = attrs.field(default=(), converter=_asns)
    next_hops: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    ranges: tuple[Range, ...] = attrs.field(init=False)
    _communities: frozenset[Community] = attrs.field(init=False)
    _networks: tuple[Prefix, ...] = attrs.field(init=False)

    @ranges.default
    def _parse_ranges(self) -> tuple[Range, ...]:
        return tuple(map(Range.parse, self.prefixes))

    @_communities.default
    def _parse_communities(self) -> frozenset[Community]:
        return frozenset(map(parse, self.communities))

    @_networks.default
    def _parse_networks(self) -> tuple[Prefix, ...]:
        return tuple(Range.parse(each).prefix for each in self.next_hops)

    def holds(self, attributes: Attributes, neighbour: int) -> bool:
        """Return whether all but `prefixes` hold."""
        asns = [asn for segment in attributes.as_path for asn in segment.asns]
        return (
            self._communities <= {*attributes.communities, *attributes.extended, *attributes.large}
            and (not self.as_path or not set(asns).isdisjoint(self.as_path))
            and (not self.originates or (bool(asns) and asns[-1] in self.originates))
            and (not self.neighbours or neighbour in self.neighbours)
            and (not self._networks or any(_is_in(attributes.next_hop, each) for each in self._networks))
        )


def _is_in(address: Address | None, prefix: Prefix) -> bool:
    return address is not None and address.version == prefix.version and address in prefix


@attrs.frozen(kw_only=True)
class Change:
    """The `set` of a rule.

    Args:
        local_pref, med: 0 to 4294967295; -1: as it is.
        add, remove: communities of any kind.
        prepend: AS numbers put before the AS_PATH, the nearest first; towards an external peer our own still
            comes before them.
        next_hop_self: tell the way through us; in an export policy only.
    """

    local_pref: int = -1
    med: int = -1
    add: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    remove: tuple[str, ...] = attrs.field(default=(), converter=_texts)
    prepend: tuple[int, ...] = attrs.field(default=(), converter=_asns)
    next_hop_self: bool = False
    _added: frozenset[Community] = attrs.field(init=False)
    _removed: frozenset[Community] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        for name, value in (("local_pref", self.local_pref), ("med", self.med)):
            if not -1 <= value <= _32_BITS:
                raise ConfigError(f"{name} = {value}: expected 0 to {_32_BITS}")

    @_added.default
    def _parse_added(self) -> frozenset[Community]:
        return frozenset(map(parse, self.add))

    @_removed.default
    def _parse_removed(self) -> frozenset[Community]:
        return frozenset(map(parse, self.remove))

    def apply(self, attributes: Attributes) -> Attributes:
        """Return what `attributes` become."""
        changes: dict[str, Any] = {}
        if self.local_pref != -1:
            changes["local_pref"] = self.local_pref
        if self.med != -1:
            changes["med"] = self.med
        if self.add or self.remove:
            changes |= _changed_communities(attributes, self._added, self._removed)
        if self.prepend:
            changes["as_path"] = prepend(attributes.as_path, self.prepend)
        return attrs.evolve(attributes, **changes) if changes else attributes


def _changed_communities(
    attributes: Attributes, added: frozenset[Community], removed: frozenset[Community]
) -> dict[str, Any]:
    kinds: dict[str, type] = {"communities": int, "extended": bytes, "large": tuple}
    return {
        name: tuple(
            sorted({each for each in added if isinstance(each, kind)} | {*getattr(attributes, name)} - removed)
        )
        for name, kind in kinds.items()
    }


def prepend(as_path: tuple[Segment, ...], asns: Sequence[int]) -> tuple[Segment, ...]:
    """Return the path with `asns` before it.

    RFC 4271 s5.1.2: into the first segment if that is a sequence, and it has room (255), else as a new one.
    """
    first = as_path[0] if as_path else None
    if first and first.type == AS_SEQUENCE and len(first.asns) + len(asns) <= 255:
        return (Segment(AS_SEQUENCE, (*asns, *first.asns)), *as_path[1:])
    return (Segment(AS_SEQUENCE, tuple(asns)), *as_path)


@attrs.frozen
class Rule:
    """One rule: where the condition holds, the path is rejected, or accepted with the change."""

    condition: Condition
    change: Change
    accept: bool


@attrs.frozen
class Policy:
    """Rules in their order, and what becomes of the rest.

    Args:
        name: what config files and explanations call it.
        accept: what becomes of what no rule matches.
        why: what people are told of that.
    """

    name: str
    rules: tuple[Rule, ...] = ()
    accept: bool = False
    why: str = ""

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Policy:
        """Return the policy that a [[store.bgp.policy]] says.

        Raises:
            ConfigError: an unknown key, or a value of the wrong type or range.
        """
        table = build(_Table, options, table=_TABLE)
        rules = [_rule(each, f"{_TABLE} {table.name}, rule {at}") for at, each in enumerate(table.rule, 1)]
        return cls(table.name, tuple(rules), table.default == "accept", f"policy {table.name}: no rule matches")

    def judge(
        self, attributes: Attributes, *, neighbour: int, version: int, onto: Attributes | None = None
    ) -> Judgement:
        """Return what becomes of a path with these attributes.

        Args:
            neighbour: the AS of the peer that told it; ours where it is our own.
            version: of the address family, 4 or 6, that its prefixes are of.
            onto: what accepting rules change; None: `attributes`.
        """
        onto = onto or attributes
        cases: list[tuple[Match, Outcome]] = []
        for at, rule in enumerate(self.rules, 1):
            if rule.condition.holds(attributes, neighbour):
                outcome = self._outcome(at, rule, onto)
                if not rule.condition.ranges:
                    return Judgement(tuple(cases), outcome)
                cases.append((matching(rule.condition.ranges, version), outcome))
        return Judgement(tuple(cases), Outcome(onto if self.accept else None, self.why))

    def _outcome(self, at: int, rule: Rule, onto: Attributes) -> Outcome:
        explicit = bool(rule.condition.ranges)
        if not rule.accept:
            return Outcome(None, f"policy {self.name}: rule {at} rejects", explicit=explicit)
        return Outcome(
            rule.change.apply(onto), f"policy {self.name}: rule {at}", rule.change.next_hop_self, explicit
        )


@attrs.frozen(kw_only=True)
class _Table:
    name: str
    default: str = "reject"
    rule: list[Mapping[str, object]] = attrs.Factory(list)

    def __attrs_post_init__(self) -> None:
        _check_action("default", self.default)


@attrs.frozen(kw_only=True)
class _RuleTable:
    match: Mapping[str, object] = attrs.Factory(dict)
    set: Mapping[str, object] = attrs.Factory(dict)
    action: str = "accept"

    def __attrs_post_init__(self) -> None:
        _check_action("action", self.action)
        if self.set and self.action == "reject":
            raise ConfigError("a rule that rejects sets nothing")


def _rule(options: Mapping[str, object], table: str) -> Rule:
    raw = build(_RuleTable, options, table=table)
    condition = build(Condition, raw.match, table=f"{table}, match")
    return Rule(condition, build(Change, raw.set, table=f"{table}, set"), raw.action == "accept")


def _check_action(name: str, value: str) -> None:
    if value not in _ACTIONS:
        raise ConfigError(f"{name} = {value!r}: expected accept or reject")


def within(prefixes: Iterable[Prefix], *, name: str = "pools") -> Policy:
    """Return the policy that accepts these prefixes and all longer ones in them, and nothing else."""
    inside = Condition(prefixes=[f"{each} le {each.max_prefixlen}" for each in prefixes])
    return Policy(name, (Rule(inside, Change(), True),), accept=False, why=f"outside of the {name}")


EVERYTHING = Policy("", accept=True)
# RFC 8212 s2: without a policy an external peer is told nothing, and not believed.
NOTHING = Policy(
    "", accept=False, why="an external peer without a policy (RFC 8212): name one at its [[store.bgp.peer]]"
)


def default(*, external: bool) -> Policy:
    """Return the policy of a peer that has none."""
    return NOTHING if external else EVERYTHING
