"""What a store must do that can more than the contracts of stores ask for: a suite for each ability.

A store inherits, beside `RouteStoreContract` or `LeaseStoreContract`, the suites of what it can do; they share
its bed.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_network
from typing import ClassVar, Protocol

from ..contracts import Answers, Confines, Drains, RouteStore
from ..errors import ConfigError
from ..events import Announced, Withdrawn
from ..model import NetworkConfig, Pool
from .bed import Closes, refused
from .faults import SOON
from .readers import MARKS, Reader
from .stores import Contract, listening, route


class AnsweringStore(Answers, Closes, Protocol):
    """A store that answers questions."""


class ConfinedStore(RouteStore, Confines, Protocol):
    """A route store that keeps to the pools."""


class DrainingStore(RouteStore, Drains, Protocol):
    """A route store that asks its peers to go round a node."""


class AnswersContract(Contract[AnsweringStore]):
    """Questions that only the store understands, and answers that anybody can read."""

    fulfils: ClassVar[type | None] = Answers

    def asked(self) -> Iterable[Sequence[str]]:
        """Return questions that a new store of the bed answers, each with its arguments.

        By default the first one, alone. An order that would disturb the other tests is none of them.
        """
        return [[next(iter(self.open().questions()))]]

    def test_questions(self) -> None:
        """Each question is one word that can be typed, and has a line of help; there is at least one."""
        store = self.open()
        assert isinstance(store, Answers)
        questions = store.questions()
        assert questions
        for word, words in questions.items():
            assert [word] == word.split(), word
            assert not word.startswith("-"), f"{word} would be an option"
            assert [words] == words.splitlines(), word

    def test_answers(self) -> None:
        """An answer is an object that JSON can hold, word for word and number for number."""
        store = self.open()
        for question, *arguments in self.asked():
            answer = store.answer(question, arguments)
            assert _through_json(answer) == answer, question

    def test_wrong_arguments(self) -> None:
        """What no question needs is refused by a ConfigError with a reason, and the store goes on."""
        store = self.open()
        for question in store.questions():
            assert str(refused(ConfigError, store.answer, question, ["no-such-thing", "!", ""])), question
        self.test_answers()

    def test_asked_at_once(self) -> None:
        """Many threads may ask at once, and none waits for long."""
        store, asked, together = self.open(), [list(each) for each in self.asked()], threading.Barrier(4)

        def ask(number: int) -> float:
            together.wait(SOON)
            began = time.monotonic()
            for _ in range(5):
                for question, *arguments in asked:
                    store.answer(question, arguments)
            return time.monotonic() - began

        with ThreadPoolExecutor(4) as pool:
            assert max(pool.map(ask, range(4))) < self.soon


def _through_json(answer: Mapping[str, object]) -> object:
    """Return what a reader of the JSON has; None: it cannot be written."""
    try:
        return json.loads(json.dumps(answer, allow_nan=False))
    except (TypeError, ValueError):
        return None


class ConfinesContract(Contract[ConfinedStore]):
    """A route store that was told the pools tells nothing outside of them."""

    fulfils: ClassVar[type | None] = Confines
    # Where readers put their marks: they have to be heard.
    NETWORK = NetworkConfig(
        pools=[
            Pool(prefix=ip_network(f"{MARKS[0].network_address}/24"), subnet_length=28),
            Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64),
        ]
    )
    INSIDE = (route("198.51.100.240/28"), route("fd00:4:0:1::/64", "a", "2001:db8::1"))
    OUTSIDE = (
        route("10.9.1.0/24"),
        route("198.51.0.0/16"),
        route("fd00:5:0:1::/64", "a", "2001:db8::1"),
        route("fd00::/16", "a", "2001:db8::1"),
    )

    def confined(self, network: NetworkConfig) -> ConfinedStore:
        """Return a new handle that was told the pools."""
        store = self.open()
        assert isinstance(store, Confines)
        store.confine(network)
        return store

    def test_confined_from_the_first(self) -> None:
        """A snapshot holds what lies in the pools; nothing outside, nothing wider, no family without a pool."""
        other = self.open()
        for one in (*self.INSIDE, *self.OUTSIDE):
            other.announce(one)
        listening(self, other, *self.INSIDE, *self.OUTSIDE)
        listening(self, self.confined(self.NETWORK), *self.INSIDE)
        only = NetworkConfig(pools=self.NETWORK.pools[:1])
        listening(self, self.confined(only), self.INSIDE[0])

    def test_confined_later(self) -> None:
        """What is announced and withdrawn later is told likewise."""
        other, store = self.open(), self.confined(self.NETWORK)
        reader = listening(self, store)
        for outside, inside in zip(self.OUTSIDE, self.INSIDE, strict=False):
            other.announce(outside)
            other.announce(inside)
            reader.hears(Announced(route=inside))
        other.withdraw(self.OUTSIDE[0])
        other.withdraw(self.INSIDE[0])
        reader.hears(Withdrawn(prefix=self.INSIDE[0].prefix))
        reader.comes_to(self.INSIDE[1])

    def test_confined_again(self) -> None:
        """To be told the pools once more changes nothing, and the others are not confined by it."""
        store = self.confined(self.NETWORK)
        store.announce(self.INSIDE[0])
        reader = listening(self, store, self.INSIDE[0])
        store.confine(self.NETWORK)
        store.announce(self.INSIDE[1])
        reader.comes_to(*self.INSIDE)
        other = self.open()
        other.announce(self.OUTSIDE[0])
        listening(self, other, *self.INSIDE, self.OUTSIDE[0])
        reader.comes_to(*self.INSIDE)


class DrainsContract(Contract[DrainingStore]):
    """A store that is asked to drain makes its peers go round, and takes nothing back."""

    fulfils: ClassVar[type | None] = Drains

    OURS, THEIRS = route("10.4.1.0/24", "a"), route("10.4.1.0/24", "b", "192.0.2.2")

    def draining(self) -> DrainingStore:
        """Return a new handle that announces a route, and drains when its readers know of it."""
        store = self.open()
        assert isinstance(store, Drains)
        store.announce(self.OURS)
        self.reader: Reader = listening(self, self.open(), self.OURS)
        store.drain(0)
        return store

    def test_drained_routes_stay(self) -> None:
        """What is announced stays announced, to old readers and to new ones; to drain again does no harm."""
        store = self.draining()
        self.reader.comes_to(self.OURS)
        store.drain(0)
        listening(self, self.open(), self.OURS)
        self.reader.comes_to(self.OURS)

    def test_another_way(self) -> None:
        """Where two announce a prefix all go round who drains, and come back where the other one is gone."""
        one, other = self.open(), self.open()
        one.announce(self.OURS)
        other.announce(self.THEIRS)  # where the store is shared, it is the only route from now on
        reader = listening(self, self.open(), self.OURS, self.THEIRS)
        used = reader.known[self.OURS.prefix]
        leaving, staying, way = (one, other, self.THEIRS)
        if used.next_hop == self.THEIRS.next_hop:
            leaving, staying, way = (other, one, self.OURS)
        leaving.drain(0)
        if self.can("shared"):
            reader.comes_to(used)
            return
        reader.hears(Announced(route=way))
        listening(self, self.open(), way)
        staying.withdraw(way)
        reader.comes_to(self.OURS if way is self.THEIRS else self.THEIRS)

    def test_drained_withdraws(self) -> None:
        """What is announced and withdrawn later is told as ever."""
        store, new = self.draining(), route("10.4.2.0/24", "a")
        store.announce(new)
        self.reader.hears(Announced(route=new))
        store.withdraw(self.OURS)
        self.reader.hears(Withdrawn(prefix=self.OURS.prefix))
        self.reader.comes_to(new)

    def test_no_longer_than_that(self) -> None:
        """It waits as long as it may, and no longer."""
        store = self.draining()
        for timeout in (0.0, 0.2):
            began = time.monotonic()
            store.drain(timeout)
            assert time.monotonic() - began < timeout + self.soon / 2
