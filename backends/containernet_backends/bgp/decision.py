"""Which of several paths is best, and why: the decision process of RFC 4271 s9.1.2.2, with RFC 4456 s9.

In this order, the first difference decides:

    believed; our own; LOCAL_PREF; (a) AS_PATH length; (b) ORIGIN         `Path.tier`
    (c) MULTI_EXIT_DISC, among paths from one neighbour AS                 `Path.med`, by `Path.neighbour`
    (d) external; (e) cost of the way to the next hop; (f) identifier;
    CLUSTER_LIST length; (g) peer address; path identifier                 `Path.rest`

MED is what makes this no plain comparison: a path that loses (c) to a neighbour AS's better one is out even
where it would beat all others. So the least MED of each neighbour AS is found first, among the paths that are
equal up to there; the outcome does not depend on the order of arrival. Age is no criterion, so that two hosts
which know the same choose the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from .paths import Entry, Path

_TIER = (
    "refused",
    "this speaker originates the prefix",
    "LOCAL_PREF {mine} < {best} (RFC 4271 s9.1.1)",
    "AS_PATH length {mine} > {best} (RFC 4271 s9.1.2.2 a)",
    "ORIGIN {mine} > {best} (RFC 4271 s9.1.2.2 b)",
)
_REST = (
    "internal, the best is external (RFC 4271 s9.1.2.2 d)",
    "cost of the next hop {mine} > {best} (RFC 4271 s9.1.2.2 e)",
    "BGP identifier is higher (RFC 4271 s9.1.2.2 f)",
    "CLUSTER_LIST length {mine} > {best} (RFC 4456 s9)",
    "peer address is higher (RFC 4271 s9.1.2.2 g)",
    "path identifier {mine} > {best} (RFC 7911)",
)
BEST = "best"
EQUAL = "best as well: equal cost (multipath)"


@attrs.frozen
class Ranked:
    """A path and the rule by which it stands where it does."""

    path: Path
    rule: str


def order(paths: Sequence[Path]) -> Entry:
    """Return the paths, the best first. The order in which they are given does not matter."""
    if len(paths) == 1:
        return paths[0].alone
    least = _least_med(paths)

    def rank(path: Path) -> tuple[object, ...]:
        return (path.tier, path.med > least[path.tier, path.neighbour], path.rest)

    return tuple(sorted(paths, key=rank))


def multipath(entry: Entry, limit: int) -> Entry:
    """Return the paths that may carry traffic side by side, the best first; at most `limit`, none if none may.

    Equal up to the cost of the next hop, and each through another next hop. AS_PATHs have to be equally long,
    not equal, as data centres want it (RFC 7938 s5.2.1).
    """
    best = entry[0]
    if best.refused:
        return ()
    least = _least_med(entry)
    chosen: list[Path] = []
    next_hops = set()
    for path in entry:
        equal = path.tier == best.tier and path.rest[:2] == best.rest[:2]
        if not equal or path.med > least[path.tier, path.neighbour] or len(chosen) == limit:
            break
        if path.attributes.next_hop not in next_hops:
            next_hops.add(path.attributes.next_hop)
            chosen.append(path)
    return tuple(chosen)


def explain(entry: Entry, *, limit: int = 1) -> list[Ranked]:
    """Return each path, the best first, with the first rule that decided between it and the best.

    Args:
        limit: how many paths may carry traffic side by side.
    """
    side_by_side = multipath(entry, limit)
    least = _least_med(entry)
    return [Ranked(path, _rule(path, entry[0], side_by_side, least)) for path in entry]


_Least = dict[tuple[object, int], int]


def _least_med(paths: Iterable[Path]) -> _Least:
    """Return the least MED of each neighbour AS, among paths that are equal up to there."""
    least: _Least = {}
    for path in paths:
        group = (path.tier, path.neighbour)
        least[group] = min(least.get(group, path.med), path.med)
    return least


def _rule(path: Path, best: Path, side_by_side: Entry, least: _Least) -> str:
    if path.refused:
        return f"refused: {path.refused}"
    if path is best:
        return BEST
    if path in side_by_side:
        return EQUAL
    if path.tier != best.tier:
        return _first_difference(_TIER, path.tier, best.tier)
    if path.med > (lowest := least[path.tier, path.neighbour]):
        return f"MULTI_EXIT_DISC {path.med} > {lowest} from AS {path.neighbour} (RFC 4271 s9.1.2.2 c)"
    return _first_difference(_REST, path.rest, best.rest)


def _first_difference(rules: Sequence[str], path: Sequence[Any], best: Sequence[Any]) -> str:
    for rule, mine, other in zip(rules, path, best, strict=True):
        if mine != other:
            # LOCAL_PREF, the only one that may be negative here, is ranked by its negative.
            return rule.format(mine=abs(mine), best=abs(other)) if "{" in rule else rule
    raise AssertionError("two paths of one source with one path identifier")
