"""From what a peer says to paths: what is wrong with it, and what the import policy makes of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

import attrs

from containernet.model import Address

from .attributes import Attributes
from .communities import GRACEFUL_SHUTDOWN
from .families import Family
from .nlri import Nlri
from .paths import Path, Source
from .policy import Judgement, Outcome
from .refusal import Ourselves, wrong_prefix

_FEW = 64  # paths that are kept to be shared: most peers number those of one prefix, some all that they have

Cost = Callable[[Address], int | None]  # of the way to a next hop; None: there is none


def free(next_hop: Address) -> int:
    """Return that every way costs the same."""
    return 0


@attrs.frozen(kw_only=True)
class Judge:
    """What paths are judged by, whoever tells them.

    Args:
        ourselves: what no path may name.
        local_pref: of paths that have none.
        cost: of the way to a next hop (RFC 4271 s9.1.2.2 e).
    """

    ourselves: Ourselves
    local_pref: int = 100
    cost: Cost = free

    def arrival(self, source: Source, family: Family, attributes: Attributes) -> Arrival:
        """Return what these attributes come to."""
        wrong = self.ourselves.refuses(source, attributes)
        cost = None if wrong or attributes.next_hop is None else self.cost(attributes.next_hop)
        if not wrong and cost is None:
            wrong = "there is no way to the next hop (RFC 4271 s9.1.2)"
        judgement = source.policy.judge(attributes, neighbour=source.asn, version=family.version)
        if wrong:
            judgement = Judgement((), Outcome(None, wrong))

        def path(outcome: Outcome, path_id: int) -> Path:
            accepted = outcome.attributes
            if accepted is not None and source.external and GRACEFUL_SHUTDOWN in attributes.communities:
                accepted = attrs.evolve(accepted, local_pref=0)  # RFC 8326 s4.2
            return Path(
                source,
                accepted or attributes,
                path_id=path_id,
                epoch=source.epoch[family],
                refused="" if accepted else outcome.why,
                cost=cost or 0,
                local_pref=self.local_pref,
            )

        return Arrival(family, judgement, path)


class Arrival:
    """What one set of attributes from one source comes to: a path, or several that depend on the prefix.

    Attributes:
        plain: the path without an identifier, where it is the same for every prefix that is not `suspicious`;
            None: it is not.
    """

    __slots__ = ("_family", "_judgement", "_make", "_paths", "plain")

    def __init__(self, family: Family, judgement: Judgement, make: Callable[[Outcome, int], Path]) -> None:
        self._family = family
        self._judgement = judgement
        self._make = make
        self._paths: dict[tuple[Outcome, int], Path] = {}
        self.plain = None if judgement.cases else make(judgement.otherwise, 0)

    def split(self, nlris: list[Nlri], path_id: int, *, closely: bool) -> Iterator[tuple[Path, list[Nlri]]]:
        """Yield paths with that identifier (RFC 7911), each with the prefixes that it is for.

        Args:
            closely: some of them are `suspicious`.
        """
        for outcome, some in self._judgement.split(nlris):
            if not closely:
                yield self._path(outcome, path_id), some
                continue
            by_reason = defaultdict(list)
            for nlri in some:
                by_reason[wrong_prefix(self._family, nlri, named=outcome.explicit)].append(nlri)
            for reason, those in by_reason.items():
                yield self._path(Outcome(None, reason) if reason else outcome, path_id), those

    def _path(self, outcome: Outcome, path_id: int) -> Path:
        path = self._paths.get((outcome, path_id))
        if path is None:
            if len(self._paths) >= _FEW:
                self._paths.clear()
            path = self._paths[outcome, path_id] = self._make(outcome, path_id)
        return path
