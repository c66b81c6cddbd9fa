"""The table: what every peer said, the best path of each prefix, and who has to hear of what changed.

One dictionary per address family: from a prefix (an `Nlri`) to its Entry, the paths to it with the best
first. That is the Adj-RIBs-In and the Loc-RIB of RFC 4271 s3.2 in one. Paths and entries are shared: the
thousand prefixes of an UPDATE point at one entry. So what an UPDATE does is worked out once for each *distinct*
entry that it meets, which are few, and applied to all prefixes by calls that loop in C.

- A path that may not be chosen (see `refusal`, and the import policies) is kept, and stands behind all others.
- Of one source and path identifier there is one path to a prefix; the later one replaces the earlier.
- Nothing here is long: what concerns the whole table (a peer has left) is cut into steps of some ms, `work`.
  Until they are done, what a peer that has left had said is still there.
- Readers are not called. Each has a Watch, which remembers what an entry was when the reader last looked.
"""

from __future__ import annotations

import contextlib
import struct
from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import islice, repeat
from operator import attrgetter
from typing import cast

from .arrival import Arrival, Judge
from .attributes import Attributes, is_long
from .crowd import Crowd
from .decision import Ranked, explain, multipath, order
from .families import FAMILIES, IPV4, Family
from .nlri import Nlri, firsts as first_octets, octets
from .notification import CEASE, MAXIMUM_PREFIXES, OUT_OF_RESOURCES, Violation
from .paths import Entry, Path, Source
from .peering import Negotiated
from .refusal import suspicious
from .update import Reading

_PATHS_OF_ONE = 32  # of a prefix, from one peer, by ADD-PATH: more are not looked at
_REMEMBERED = 1 << 14  # sets of attributes, and merged entries, that are kept to be shared
_STEP = 4096  # prefixes that `work` looks at in one step: 1 ms
_HEAVIEST = 1 << 24  # numbers in the long attributes of one peer's prefixes: half a gigabyte


_Changes = dict[Entry | None, Entry | None]  # what each entry becomes; None: there is none


class Watch:
    """A reader's share of the table's changes, in one family.

    Args:
        pending: prefixes whose entry may have changed since the reader last looked, the longest waiting first,
            each with the entry as it was then (None: there was none).

    Attributes:
        ignored: what this source says of a prefix that nobody else speaks of is nothing to the reader; that is
            not noted. None: everything is.
        missed: something was not noted, so `pending` is not all for a reader that ignores nobody.
    """

    def __init__(self, family: Family, pending: dict[Nlri, Entry | None]) -> None:
        self.family = family
        self.pending = pending
        self.ignored: Source | None = None
        self.missed = False

    def note(self, nlris: Iterable[Nlri], before: Iterable[Entry | None]) -> None:
        """Remember that these entries are about to change."""
        deque(map(self.pending.setdefault, nlris, before), 0)

    def take(self, most: int) -> tuple[list[Nlri], list[Entry | None]]:
        """Return up to `most` prefixes, and their entries as they were: the reader looks at them now."""
        nlris = list(islice(self.pending, most))
        return nlris, list(map(self.pending.pop, nlris))


class Table:
    """All paths of all peers. Not thread-safe: one thread owns it.

    Args:
        judge: what paths are judged by.
        step: how many prefixes `work` looks at in one go.
    """

    def __init__(self, judge: Judge, *, step: int = _STEP) -> None:
        self._step = step
        self.judge = judge
        local = judge.ourselves.local
        self.own = Source(address=None, asn=local.asn, identifier=local.router_id, external=False)
        self.routes: dict[Family, dict[Nlri, Entry]] = {family: {} for family in FAMILIES}
        self._watches: dict[Family, list[Watch]] = {family: [] for family in FAMILIES}
        self._known: dict[Source, dict[tuple[Family, Attributes], Arrival]] = {}
        self._alone: dict[Source, dict[bytes, Entry]] = {}  # by the octets of attributes, see `_entries`
        self._merged: dict[tuple[Entry, Path], Entry] = {}
        self._sweeps: dict[Family, Iterator[int]] = {}
        self._sweep_again: set[Family] = set()

    # What peers do

    def join(self, source: Source, negotiated: Negotiated) -> None:
        """A session with `source` came up.

        RFC 4724 s4.2: what is kept from before its restart stays until it has told everything, but only in
        families in which it has kept its forwarding, too.
        """
        for family in FAMILIES:
            if family not in negotiated.families or family not in negotiated.forwarding:
                self.end_of_rib(source, family)
        source.awaited = set() if negotiated.restart_time is None else set(negotiated.families)

    def learn(self, source: Source, reading: Reading) -> None:
        """Take what an UPDATE of `source` says.

        Raises:
            Violation: these are more prefixes than it may announce, or more than we can keep is said of them
                (RFC 4486 s4); the session has to end.
        """
        for withdrawal in reading.withdrawn:  # before what is announced: RFC 4271 s4.3
            for path_id, nlris in _by_path_id(withdrawal.path_ids, withdrawal.nlri):
                self._remove(source, withdrawal.family, path_id, nlris)
        for family, attributes, nlri, path_ids, firsts in reading.announced:
            closely = suspicious(family, first_octets(octets(nlri)) if firsts is None else firsts)
            for path_id, nlris in _by_path_id(path_ids, nlri):
                self._learn(source, family, attributes, path_id, nlris, closely=closely)
            _check_share(source, family)
        if reading.end_of_rib:
            source.awaited.discard(reading.end_of_rib)
            self.end_of_rib(source, reading.end_of_rib)

    def learn_together(self, source: Source, crowd: Crowd) -> bool:
        """Take what many UPDATEs announce, at once.

        Returns:
            Whether it was done: not where they name a prefix twice, for then their order matters.

        Raises:
            Violation: as in `learn`.
        """
        routes, nlris, closely = self.routes[IPV4], crowd.nlris, suspicious(IPV4, crowd.firsts)
        entries = self._entries(source, crowd)
        if all(entries) and not closely and nlris[0] not in routes:  # most probably all are new
            known = len(routes)
            deque(map(routes.setdefault, nlris, entries), 0)
            count = len(routes) - known
            if count == len(nlris):
                self._appeared(source, IPV4, nlris)
                _check_share(source, IPV4)
                return True
            for _ in range(count):
                routes.popitem()
        if len(set(nlris)) != len(nlris):
            return False
        for raw, some in crowd.groups.items():
            self._learn(source, IPV4, crowd.known[raw].attributes, 0, some, closely=closely)
        _check_share(source, IPV4)
        return True

    def _entries(self, source: Source, crowd: Crowd) -> list[Entry]:
        """Return the entry of each prefix of a crowd if nobody else speaks of it; empty: it takes more."""
        alone = self._alone.setdefault(source, {})
        with contextlib.suppress(KeyError):
            return list(map(alone.__getitem__, crowd.raws))
        if len(alone) >= _REMEMBERED:
            alone.clear()
        for raw in set(crowd.raws).difference(alone):
            path = self._arrival(source, IPV4, crowd.known[raw].attributes).plain
            alone[raw] = path.alone if path and not (path.refused or path.weight) else ()
        return list(map(alone.__getitem__, crowd.raws))

    def leave(self, source: Source, keep: Iterable[Family] = ()) -> None:
        """The session with `source` is over.

        In the families `keep` its paths stay, as stale ones (RFC 4724 s4.2). The others go, as `work` is done.
        """
        kept = set(keep)
        for family in FAMILIES:
            # RFC 4724 s4.2: what was kept once already is removed; a refresh that is not over is no restart
            self._forget(source, family, source.since[family])
            self._new_epoch(source, family)
            source.since[family] = source.epoch[family]
            source.held[family] = source.weight[family] = 0
            if family not in kept:
                self.end_of_rib(source, family)

    def begin_refresh(self, source: Source, family: Family) -> None:
        """`source` begins to tell all of its routes again (RFC 7313 s4, BoRR)."""
        if family not in source.awaited:  # RFC 7313 s4: before the End-of-RIB it MUST be ignored
            self._new_epoch(source, family)

    def end_refresh(self, source: Source, family: Family) -> None:
        """`source` has told all of its routes again (RFC 7313 s4, EoRR): what it has not goes."""
        if family not in source.awaited:  # nor does this end what End-of-RIB is to end
            self.end_of_rib(source, family)

    def end_of_rib(self, source: Source, family: Family) -> None:
        """`source` has told all of its routes (RFC 4724 s2): what is stale goes.

        Also what to do when the time for that is over (RFC 4724 s4.2).
        """
        self._forget(source, family, source.epoch[family])

    def originate(self, family: Family, nlri: Nlri, attributes: Attributes | None) -> None:
        """Take a route of our own, or take it back (None). It wins over what others say of its prefix."""
        if attributes is None:
            self._remove(self.own, family, 0, [nlri])
        else:
            self._put(family, Path(self.own, attributes, local_pref=self.judge.local_pref), [nlri])

    # What readers ask

    def entry(self, family: Family, nlri: Nlri) -> Entry:
        """Return all paths to a prefix, the best first; empty: there is none."""
        return self.routes[family].get(nlri, ())

    def best(self, family: Family, nlri: Nlri) -> Path | None:
        """Return the best path to a prefix; None: there is none that may be chosen."""
        return chosen(self.routes[family].get(nlri))

    def multipath(self, family: Family, nlri: Nlri, limit: int) -> Entry:
        """Return the paths that may carry traffic to a prefix side by side, the best first."""
        entry = self.routes[family].get(nlri)
        return multipath(entry, limit) if entry else ()

    def explain(self, family: Family, nlri: Nlri, *, limit: int = 1) -> Sequence[Ranked]:
        """Return all paths to a prefix, the best first, each with the rule that decided."""
        entry = self.routes[family].get(nlri)
        return explain(entry, limit=limit) if entry else ()

    def watch(self, family: Family, *, known: Watch | None = None) -> Watch:
        """Return a new reader's share in what changes; it knows nothing yet, or what another one knows."""
        pending = dict.fromkeys(self.routes[family]) if known is None else dict(known.pending)
        watch = Watch(family, pending)
        self._watches[family].append(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Forget a reader."""
        self._watches[watch.family].remove(watch)

    # What takes long

    def work(self) -> bool:
        """Do a step of what there is to be done, some ms long; return whether there is more."""
        for family, sweep in list(self._sweeps.items()):
            if next(sweep, None) is None:
                del self._sweeps[family]
                if family in self._sweep_again:
                    self._sweep_again.remove(family)
                    self._sweep(family)
            return bool(self._sweeps)
        return False

    def _forget(self, source: Source, family: Family, floor: int) -> None:
        if source.floor[family] < floor:
            source.floor[family] = floor
            self._sweep(family)

    def _new_epoch(self, source: Source, family: Family) -> None:
        source.epoch[family] += 1
        self._known.pop(source, None)
        self._alone.pop(source, None)
        self._merged.clear()

    def _sweep(self, family: Family) -> None:
        if family in self._sweeps:
            self._sweep_again.add(family)  # it may have passed by already
        else:
            self._sweeps[family] = self._swept(family)

    def _swept(self, family: Family) -> Iterator[int]:
        """Take out what is not believed any more; yields how many prefixes each step has looked at."""
        routes = self.routes[family]
        keys = iter(list(routes))
        while nlris := list(islice(keys, self._step)):
            before = list(map(routes.get, nlris))
            after: _Changes = {}
            for entry, count in Counter(before).items():
                gone = [path for path in entry or () if path.epoch < path.source.floor[family]]
                after[entry] = _without(entry, gone)
                _account(family, -count, gone)
            self._apply(family, nlris, before, after)
            yield len(nlris)

    # How a batch of prefixes goes in and out

    def _learn(
        self,
        source: Source,
        family: Family,
        attributes: Attributes,
        path_id: int,
        nlris: list[Nlri],
        *,
        closely: bool,
    ) -> None:
        arrival = self._arrival(source, family, attributes)
        if not path_id and arrival.plain is not None and not closely:
            self._put(family, arrival.plain, nlris)
        else:
            for path, some in arrival.split(nlris, path_id, closely=closely):
                self._put(family, path, some)

    def _arrival(self, source: Source, family: Family, attributes: Attributes) -> Arrival:
        known = self._known.setdefault(source, {})
        arrival = known.get((family, attributes))
        if arrival is None:
            arrival = self.judge.arrival(source, family, attributes)
            if not is_long(attributes):
                if len(known) >= _REMEMBERED:
                    known.clear()
                known[family, attributes] = arrival
        return arrival

    def _appeared(self, source: Source, family: Family, fresh: Collection[Nlri]) -> None:
        """Note prefixes of which `source` alone speaks, and nobody did before."""
        source.held[family] += len(fresh)
        for watch in self._watches[family]:
            if watch.ignored is source:
                watch.missed = True
            else:
                watch.note(fresh, repeat(None))

    def _put(self, family: Family, path: Path, nlris: list[Nlri]) -> None:
        source, routes = path.source, self.routes[family]
        if path.refused:
            source.refused[path.refused] += len(nlris)
        if nlris and nlris[0] not in routes:  # most probably all are new
            known = len(routes)
            deque(map(routes.setdefault, nlris, repeat(path.alone)), 0)
            count = len(routes) - known
            source.weight[family] += count * path.weight
            fresh = nlris if count == len(nlris) else list(islice(reversed(routes), count))
            self._appeared(source, family, fresh)
            if fresh is nlris:
                return
            among = set(fresh)
            nlris = [nlri for nlri in nlris if nlri not in among]
        nlris = list(dict.fromkeys(nlris))  # named twice in one message, it is announced once
        before = list(map(routes.get, nlris))
        kinds = Counter(before)
        after: _Changes = {entry: self._with(entry, path) if entry else path.alone for entry in kinds}
        for entry, count in kinds.items():
            if (now := after[entry]) is not entry:
                _account(family, count, now or ())
                _account(family, -count, entry or ())
        self._apply(family, nlris, before, after)

    def _remove(self, source: Source, family: Family, path_id: int, nlris: list[Nlri]) -> None:
        nlris = list(dict.fromkeys(nlris))
        before = list(map(self.routes[family].get, nlris))
        kinds = Counter(before)
        after: _Changes = {None: None}
        for entry, count in kinds.items():
            if entry:
                gone = [path for path in entry if path.source is source and path.path_id == path_id]
                after[entry] = _without(entry, gone)
                _account(family, -count, gone)
        self._apply(family, nlris, before, after)

    def _apply(
        self,
        family: Family,
        nlris: list[Nlri],
        before: list[Entry | None],
        after: _Changes,
    ) -> None:
        """Put in the place of each entry what it becomes; None: it goes."""
        same = {old for old, new in after.items() if new is old}
        if len(same) == len(after):
            return
        if same:
            moved = [(nlri, old) for nlri, old in zip(nlris, before, strict=True) if old not in same]
            nlris, before = [nlri for nlri, _ in moved], [old for _, old in moved]
        routes = self.routes[family]
        for watch in self._watches[family]:
            watch.note(nlris, before)
        entries = list(map(after.__getitem__, before))
        if all(entries):
            routes.update(cast(Iterable[tuple[Nlri, Entry]], zip(nlris, entries, strict=True)))
        else:
            for nlri, entry in zip(nlris, entries, strict=True):
                if entry:
                    routes[nlri] = entry
                else:
                    del routes[nlri]

    def _with(self, entry: Entry, path: Path) -> Entry:
        """Return what an entry becomes when a path is added to it."""
        merged = self._merged.get((entry, path))
        if merged is None:
            merged = _merge(entry, path)
            if not any(each.weight for each in (path, *entry)):
                if len(self._merged) >= _REMEMBERED:
                    self._merged.clear()
                self._merged[entry, path] = merged
        return merged


def chosen(entry: Entry | None) -> Path | None:
    """Return the best path of an entry; None: there is none that may be chosen."""
    return entry[0] if entry and not entry[0].refused else None


def _merge(entry: Entry, path: Path) -> Entry:
    if path in entry:
        return entry
    others = [other for other in entry if not path.replaces(other)]
    its = [other for other in others if other.source is path.source]
    if len(its) >= _PATHS_OF_ONE:
        # RFC 7911 s5: after a restart its identifiers may be others; what it says now counts
        oldest = min(its, key=attrgetter("epoch"))
        if oldest.epoch == path.epoch:
            return entry
        others.remove(oldest)
    return order([*others, path])


def _without(entry: Entry | None, gone: Sequence[Path]) -> Entry | None:
    """Return what an entry becomes without those paths; None: nothing is left."""
    if entry is None or not gone:
        return entry
    rest = [path for path in entry if path not in gone]
    return order(rest) if rest else None


def _account(family: Family, count: int, paths: Iterable[Path]) -> None:
    """Note that so many prefixes more have these paths, each with whom it is from."""
    for path in paths:
        if _counts(path, family):
            path.source.held[family] += count
            path.source.weight[family] += count * path.weight


def _counts(path: Path, family: Family) -> bool:
    """Return whether a path is of its source's current session, and so one of those that `max_prefixes` limits.

    All of them are, also over refreshes: a peer that begins one again and again gets no second share.
    """
    return path.epoch >= path.source.since[family]


def _by_path_id(path_ids: list[int] | None, nlris: list[Nlri]) -> Iterable[tuple[int, list[Nlri]]]:
    if path_ids is None:
        return ((0, nlris),)
    groups: dict[int, list[Nlri]] = {}
    for path_id, nlri in zip(path_ids, nlris, strict=True):
        groups.setdefault(path_id, []).append(nlri)
    return groups.items()


def _check_share(source: Source, family: Family) -> None:
    """Raise the Violation for a source that tells more than it may."""
    if source.max_prefixes and source.held[family] > source.max_prefixes:
        raise _too_many(source, family)
    if source.weight[family] > _HEAVIEST:
        reason = f"the attributes of its {family} prefixes are too long to be kept"
        raise Violation(CEASE, OUT_OF_RESOURCES, reason=reason)


def _too_many(source: Source, family: Family) -> Violation:
    # RFC 4486 s4: the data are the family and the upper bound.
    data = struct.pack(">HBI", family.afi, family.safi, source.max_prefixes)
    reason = f"{source.held[family]} {family} prefixes, and max_prefixes = {source.max_prefixes} (RFC 4486 s4)"
    return Violation(CEASE, MAXIMUM_PREFIXES, data, reason)
