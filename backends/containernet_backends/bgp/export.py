"""What is told to whom: the Adj-RIBs-Out of RFC 4271 s3.2, without a table of their own.

What a path becomes on its way to a peer is a pure function of the path and of the session's Terms (see
`telling`). So what a peer was told of a prefix need not be kept: it follows from the entry as it was when the
peer was last told, and that is what a Watch remembers, only for as long as the peer is behind. A prefix that
changed ten times since is told once, and only what was told is withdrawn.

    Stream      sessions of equal terms that were told the same: one Watch, and each message is written once
    batch       some thousand prefixes off the watch, sorted by what has to be said of them, as messages

A session that joins is a stream that walks over the table as it was then, with a watch for what changes
meanwhile. One that does not keep up with the rest of its stream parts from it with a copy of what is pending,
so that nobody waits for it and nothing is queued for it. Streams that have told everything are one again.

A peer is not told what came from itself: each message comes with its receivers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, groupby, repeat
from operator import itemgetter

import attrs

from . import update
from .attributes import Attributes
from .families import Family
from .message import RouteRefresh
from .nlri import Nlri
from .paths import Entry, Path, Source
from .peering import Negotiated
from .policy import Outcome
from .rib import Table, Watch, chosen
from .telling import Telling, Terms

_BATCH = 16384  # prefixes


@attrs.define(eq=False, kw_only=True)
class Member:
    """A session that is told routes.

    Args:
        source: whom it is with.
        negotiated: how messages to it are written.
        terms: what is told to it.
    """

    source: Source
    negotiated: Negotiated
    terms: Terms


class Exports:
    """Everybody who is told routes. Not thread-safe: the thread that owns the table owns this.

    Args:
        table: what is told.
        deferred: what the table holds is not everything yet, so End-of-RIB waits for `begin`: a peer that has
            kept what it was told before our restart would drop what we have not told again (RFC 4724 s4.1).
        batch: how many prefixes are looked at in one go, and so told at most to a peer that has just stopped
        reading.
    """

    def __init__(self, table: Table, *, deferred: bool = False, batch: int = _BATCH) -> None:
        self._table = table
        self._size = batch
        self._deferred = deferred
        self._draining = False
        self._tellings: dict[tuple[Terms, Family], Telling] = {}
        self._streams: list[_Stream] = []

    def begin(self) -> None:
        """Say where everything has been told, from the next `produce` on."""
        self._deferred = False

    def join(self, member: Member) -> None:
        """From now on tell everything to `member`, and at the end of each family that this was all.

        RFC 4724 s2: End-of-RIB helps a peer that knows no graceful restart, too.
        """
        for family in member.terms.families:
            telling = self._telling(member.terms, family)
            for stream in self._streams:
                if stream.telling is telling and stream.untouched:
                    stream.seat([*stream.members, member])
                    break
            else:
                watch = self._table.watch(family, known=Watch(family, {}))
                stream = _Stream(telling, watch, [member], behind=[update.end_of_rib(family)])
                stream.walk = self._walk(family, told=False)
                stream.seat([member])
                self._streams.append(stream)

    def leave(self, member: Member) -> None:
        """Tell `member` nothing any more; what `produce` yields from now on is not for it."""
        for stream in list(self._streams):
            if member in stream.members:
                stream.seat([each for each in stream.members if each is not member])
                stream.refreshing = [each for each in stream.refreshing if each is not member]
                if not stream.members:
                    self._drop(stream)

    def refresh(self, member: Member, family: Family) -> None:
        """Tell everything of a family to `member` again (RFC 2918 s4); what was not negotiated is ignored."""
        for stream in self._streams:
            asked = member in stream.refreshing
            if stream.watch.family == family and member in stream.members and not asked:
                stream.refreshing.append(member)

    def drain(self) -> None:
        """Tell everything to everybody again, with the wish to be avoided (RFC 8326 s4.1)."""
        self._draining = True
        self._tellings.clear()
        for stream in self._streams:
            stream.telling = self._telling(stream.telling.terms, stream.watch.family)
            stream.repeat = True

    def produce(self, ready: Callable[[Member], bool]) -> Iterator[tuple[bytes, list[Member]]]:
        """Yield messages, each with its receivers, until everybody who is ready has been told everything.

        The caller may stop at any message and call again later; nothing is lost. It passes on every message
        that it took, also to members that are not ready any more: that is one batch at most.

        Args:
            ready: whether a member takes more messages now.
        """
        idle = 0
        while idle < len(self._streams):
            stream = self._streams.pop(0)
            self._streams.append(stream)  # turn and turn about, wherever the caller stops
            if stream.sending is None:
                idle = 0 if self._open(stream, ready) else idle + 1
            if stream.sending is None:
                continue
            idle = 0
            for message, seat, alone in stream.sending:
                if members := [each for each in stream.members if (each.source is seat) is alone]:
                    yield message, members
            stream.sending = None
            self._reunite(stream)

    def told(self, member: Member, family: Family) -> Iterator[tuple[Nlri, Attributes]]:
        """Yield each prefix that `member` is told, with its attributes, once it has been told everything."""
        telling = self._telling(member.terms, family)
        for nlri, entry in list(self._table.routes[family].items()):
            path = chosen(entry)
            if path and path.source is not member.source:
                attributes = telling.judge(path).of(nlri).attributes
                if attributes:
                    yield nlri, attributes

    def outcome(self, member: Member, family: Family, nlri: Nlri) -> Outcome:
        """Return what `member` is told of a prefix, or why nothing."""
        path = self._table.best(family, nlri)
        if path is None:
            return Outcome(None, "no path may be chosen")
        if family not in member.terms.families:
            return Outcome(None, f"{family} was not negotiated")
        if path.source is member.source:
            return Outcome(None, "it is the peer's own word")
        return self._telling(member.terms, family).judge(path).of(nlri)

    def _telling(self, terms: Terms, family: Family) -> Telling:
        if (terms, family) not in self._tellings:
            judge = self._table.judge
            self._tellings[terms, family] = Telling(
                ourselves=judge.ourselves,
                terms=terms,
                family=family,
                local_pref=judge.local_pref,
                draining=self._draining,
            )
        return self._tellings[terms, family]

    # The life of a stream

    def _open(self, stream: _Stream, ready: Callable[[Member], bool]) -> bool:
        """Begin the next batch, if there is something to say and somebody who takes it.

        Returns:
            Whether anything happened, so that every stream should have its turn once more.
        """
        if stream.walk is None and (stream.repeat or stream.asking):
            self._begin_anew(stream)
            self._reunite(stream)  # there may have been nothing to tell
            return True
        if not (stream.has_news or (stream.behind and not self._deferred)):
            return False
        late = [member for member in stream.members if not ready(member)]
        if len(late) == len(stream.members):
            return False
        if late:
            self._part(stream, late)
        stream.sending = self._batch(stream)
        return True

    def _begin_anew(self, stream: _Stream) -> None:
        """Tell everything again, to all or to those who asked.

        RFC 7313 s4: of these, whoever knows enhanced route refresh is told where it begins and ends.
        """
        if stream.repeat:
            self._tell_again(stream)
            return
        family, asking = stream.watch.family, stream.asking
        stream.refreshing = [member for member in stream.refreshing if member not in asking]
        for enhanced in (True, False):
            some = [member for member in asking if member.negotiated.enhanced_refresh is enhanced]
            if not some or not (enhanced or self._table.routes[family]):
                continue  # nobody asks, or there is nothing to tell
            apart = self._part(stream, some) if len(some) < len(stream.members) else stream
            self._tell_again(apart)
            if enhanced:
                apart.ahead.append(RouteRefresh(family, RouteRefresh.BEGIN).encode())
                apart.behind.append(RouteRefresh(family, RouteRefresh.END).encode())

    def _tell_again(self, stream: _Stream) -> None:
        stream.walk = self._walk(stream.watch.family, told=True)
        stream.again = stream.has_news
        stream.repeat = False

    def _walk(self, family: Family, *, told: bool) -> _Walk | None:
        routes = self._table.routes[family]
        return _Walk(list(routes), list(routes.values()), told) if routes else None

    def _part(self, stream: _Stream, leaving: list[Member]) -> _Stream:
        """Make a stream of its own for some members, which have been told the same so far."""
        apart = attrs.evolve(
            stream,
            watch=self._table.watch(stream.watch.family, known=stream.watch),
            walk=attrs.evolve(stream.walk) if stream.walk else None,
            members=leaving,
            refreshing=[member for member in stream.refreshing if member in leaving],
            ahead=list(stream.ahead),
            behind=list(stream.behind),
        )
        apart.seat(leaving)
        stream.seat([member for member in stream.members if member not in leaving])
        stream.refreshing = [member for member in stream.refreshing if member not in leaving]
        self._streams.insert(0, apart)  # its turn is next: `produce` must not stop before
        return apart

    def _reunite(self, stream: _Stream) -> None:
        """Let a stream that has told everything go on as one with another that has, too."""
        if stream.busy or not stream.members:
            return
        for other in self._streams:
            same = other.telling is stream.telling and other.behind == stream.behind
            if same and other is not stream and not other.busy:
                other.seat([*other.members, *stream.members])
                stream.seat([])
                self._drop(stream)
                return

    def _drop(self, stream: _Stream) -> None:
        self._table.unwatch(stream.watch)
        self._streams.remove(stream)

    # What is said

    def _batch(self, stream: _Stream) -> Iterator[_Message]:
        """Take prefixes off the watch and return messages that say what they have become."""
        family, negotiated = stream.watch.family, stream.members[0].negotiated
        routes = self._table.routes[family]
        seats = {member.source for member in stream.members}
        changes: defaultdict[_Change, list[Nlri]] = defaultdict(list)
        for change, some in groupby(stream.take(self._size, routes), itemgetter(1)):
            changes[change].extend(map(itemgetter(0), some))
        said = _Said(stream.telling, seats, again=stream.again)
        for (old, new), nlris in changes.items():
            said.add(chosen(old), chosen(new), nlris)
        ahead, stream.ahead = stream.ahead, []
        behind: list[bytes] = []
        if not stream.has_news:
            stream.again = False
            if not self._deferred:
                behind, stream.behind = stream.behind, []
        stream.begun = True
        return chain(_to_all(ahead), said.messages(family, negotiated), _to_all(behind))


_Change = tuple[Entry | None, Entry | None]  # what a peer was told, and what there is now

# A message, a source, and whether the message is for that source's members alone or for all others.
_Message = tuple[bytes, Source | None, bool]


def _to_all(messages: list[bytes]) -> Iterator[_Message]:
    return ((message, None, False) for message in messages)


@attrs.define
class _Walk:
    """The table as it was at one moment, being told in pieces.

    Args:
        nlris, entries: what it held.
        told: all of it was told before, and is told again; or else nothing was.
        at: how much has been walked.
    """

    nlris: list[Nlri]
    entries: list[Entry]
    told: bool
    at: int = 0


@attrs.define(eq=False)
class _Stream:
    """Members that have been told the same.

    Args:
        watch: what changed since they were told, or since the walk began.
        walk: what they are told first.
        repeat: a walk with what they were told is to begin when this one is over.
        again: what they were told is told once more.
        begun: they were told something.
        refreshing: those who asked for everything again.
        ahead, behind: messages that come before everything that is pending, and after it.
        sending: the rest of a batch that was begun. Until it is over, members may leave, and nothing else.
    """

    telling: Telling
    watch: Watch
    members: list[Member]
    walk: _Walk | None = None
    repeat: bool = False
    again: bool = False
    begun: bool = False
    refreshing: list[Member] = attrs.Factory(list)
    ahead: list[bytes] = attrs.Factory(list)
    behind: list[bytes] = attrs.Factory(list)
    sending: Iterator[_Message] | None = None

    def seat(self, members: list[Member]) -> None:
        """Have these members from now on. One alone is not told its own word, so nobody needs to note it."""
        self.members = members
        self.watch.ignored = members[0].source if len(members) == 1 else None

    @property
    def has_news(self) -> bool:
        return bool(self.walk or self.watch.pending or self.ahead)

    @property
    def busy(self) -> bool:
        """Whether it has something to tell; that this was all may still be to be said."""
        return self.has_news or bool(self.refreshing or self.repeat) or self.sending is not None

    @property
    def asking(self) -> list[Member]:
        """Those who asked for everything again, and may be told so now.

        RFC 7313 s4: that a refresh begins MUST NOT be said before the End-of-RIB, which is then in `behind`.
        """
        return [each for each in self.refreshing if not (each.negotiated.enhanced_refresh and self.behind)]

    @property
    def untouched(self) -> bool:
        return not (self.begun or self.again or self.refreshing or self.watch.missed)

    def take(self, most: int, routes: dict[Nlri, Entry]) -> Iterable[tuple[Nlri, _Change]]:
        """Return up to `most` prefixes, each with what was told of it and what it is now."""
        pending = self.watch.pending
        if not self.walk:
            nlris, before = self.watch.take(most)
            return zip(nlris, zip(before, map(routes.get, nlris), strict=True), strict=True)
        walk, at = self.walk, self.walk.at
        nlris, now = walk.nlris[at : at + most], walk.entries[at : at + most]
        walk.at += most
        if walk.at >= len(walk.nlris):
            self.walk = None
        if not pending.keys().isdisjoint(nlris):
            # It has changed since the walk began. It is told in its turn; what was told of it is known there.
            changed = pending.keys() & nlris
            if not walk.told:
                pending.update(dict.fromkeys(changed))
            rest = [(nlri, entry) for nlri, entry in zip(nlris, now, strict=True) if nlri not in changed]
            nlris, now = [nlri for nlri, _ in rest], [entry for _, entry in rest]
        return zip(nlris, zip(now if walk.told else repeat(None), now, strict=False), strict=True)


class _Said:
    """What has to be said of prefixes that changed, by what is said and by whose members hear it.

    Args:
        seats: the members' sources. A path from one of them is told to all but its own.
        again: also say what has been said.
    """

    def __init__(self, telling: Telling, seats: set[Source], *, again: bool) -> None:
        self._telling = telling
        self._seats = seats
        self._again = again
        self._announced: defaultdict[tuple[Attributes, Source | None], list[Nlri]] = defaultdict(list)
        self._withdrawn: defaultdict[tuple[Source | None, bool], list[Nlri]] = defaultdict(list)

    def add(self, old: Path | None, new: Path | None, nlris: list[Nlri]) -> None:
        """These prefixes were told as `old` and are now `new`; None: as nothing."""
        if len(self._seats) == 1 and all(path is None or path.source in self._seats for path in (old, new)):
            return  # it is the only member's own word
        moved = old is None or new is None or old.source is not new.source
        for was, some in self._split(old, nlris):
            for now, these in self._split(new, some):
                if now is None or new is None:
                    if was and old:
                        self._withdrawn[self._seat(old), False] += these
                elif moved or self._again or was != now:
                    self._announced[now, self._seat(new)] += these
                    if was and moved and (seat := self._seat(new)):
                        self._withdrawn[seat, True] += these  # it was told the other path, and not its own

    def messages(self, family: Family, negotiated: Negotiated) -> Iterator[_Message]:
        """Yield the messages, as few as can be."""
        for (seat, alone), nlris in self._withdrawn.items():
            for message in update.pack_withdrawals(family, nlris, negotiated):
                yield message, seat, alone
        for (attributes, seat), nlris in self._announced.items():
            for message in self._telling.write(attributes, nlris, negotiated):
                yield message, seat, False

    def _split(self, path: Path | None, nlris: list[Nlri]) -> list[tuple[Attributes | None, list[Nlri]]]:
        if path is None:
            return [(None, nlris)]
        return [(outcome.attributes, some) for outcome, some in self._telling.judge(path).split(nlris)]

    def _seat(self, path: Path) -> Source | None:
        return path.source if path.source in self._seats else None
