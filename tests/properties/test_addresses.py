"""AddressBook: equal to a model of lists and sets, through restarts, kills, and others that write too."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from containernet.addresses import AddressBook
from containernet.errors import AddressesExhausted, AddressTaken
from containernet.model import Endpoint, Interface, Prefix
from tests.books import assign

V4 = tuple(map(ip_network, ("10.4.1.0/29", "10.4.1.8/29", "10.4.1.0/28", "10.4.2.0/30", "10.4.3.0/31")))
V6 = tuple(map(ip_network, ("fd00::/125", "fd00::8/125", "fd00::/124", "fd00:0:0:1::/64")))
SUBNETS = [(one,) for one in V4 + V6] + [(one, other) for one in V4[:4] for other in V6]
KEYS = st.tuples(st.sampled_from("abcdefgh"), st.sampled_from(("eth0", "eth1")))


class Model:
    """The rules of the book, each said once, by looking at every address."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, str], tuple[str, tuple[Interface, ...]]] = {}
        self.seen: set[Interface] = set()  # as /32 or /128, so that an address counts once
        self.released: list[Interface] = []
        self.had: dict[Interface, tuple[str, str]] = {}  # what is released, by whom

    def assign(
        self, key: tuple[str, str], subnets: tuple[Prefix, ...], netns: str, wishes: tuple[Interface, ...] = ()
    ) -> tuple[Interface, ...] | type[Exception]:
        """Return the addresses, or why there are none; then nothing was changed."""
        before = self.seen.copy(), self.released.copy()
        _, old = self.held.get(key, ("", ()))
        new = []
        for subnet in subnets:
            hosts = list(map(bare, usable(subnet)))
            free = [
                *([own for own in self.released[::-1] if self.had[bare(own)] == key and bare(own) in hosts]),
                *([own for own in hosts if own not in self.seen]),
                *([own for own in self.released if own.network == subnet]),
                *([own for own in self.released if bare(own) in hosts]),
            ]
            wished = [own for own in wishes if bare(own) in hosts]
            stays = [own for own in old if bare(own) in hosts]
            chosen = (wished or stays or free)[:1]
            if not chosen:
                self.seen, self.released = before
                return AddressesExhausted
            others = {bare(own) for name, (_, held) in self.held.items() if name != key for own in held}
            if bare(chosen[0]) in others:
                self.seen, self.released = before
                return AddressTaken
            self.released = [own for own in self.released if bare(own) != bare(chosen[0])]
            own = ip_interface(f"{chosen[0].ip}/{subnet.prefixlen}")
            self.seen.add(bare(own))
            new.append(own)
        self._give_back(key, [own for own in old if bare(own) not in map(bare, new)])
        self.held[key] = (netns, tuple(new))
        return tuple(new)

    def _give_back(self, key: tuple[str, str], addresses: Iterable[Interface]) -> None:
        for own in addresses:
            self.released.append(own)
            self.had[bare(own)] = key

    def release(self, key: tuple[str, str]) -> bool:
        """Return whether there was something to give back."""
        _, old = self.held.pop(key, ("", ()))
        self._give_back(key, old)
        return bool(old)


def bare(own: Interface) -> Interface:
    """Return the address without what is on link."""
    return ip_interface(own.ip)


def usable(subnet: Prefix) -> Iterator[Interface]:
    """Return what a container may have, lowest first; of a large subnet the beginning."""
    for number in range(2, min(subnet.num_addresses - 1, 50)):
        yield ip_interface(f"{subnet[number]}/{subnet.prefixlen}")


class Book(RuleBasedStateMachine):
    """A book and its model, asked the same."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.path = Path(self.directory.name) / "addresses.db"
        self.book = AddressBook(self.path)
        self.model = Model()

    @rule(
        key=KEYS,
        subnets=st.sampled_from(SUBNETS),
        netns=st.sampled_from(("/run/netns/a", "/proc/7/ns/net")),
        wishes=st.integers(0, 3),
    )
    def ask(self, key: tuple[str, str], subnets: tuple[Prefix, ...], netns: str, wishes: int) -> None:
        """A container comes, or asks again, perhaps for certain addresses; subnets may have changed."""
        hosts = [list(usable(subnet)) for subnet in subnets]
        wished = tuple(each[wishes % len(each)] for each in hosts if each and wishes)
        expected = self.model.assign(key, subnets, netns, wished)
        if isinstance(expected, type):
            with pytest.raises(expected):
                assign(self.book, *key, subnets, netns=netns, wishes=wished)
        else:
            assert assign(self.book, *key, subnets, netns=netns, wishes=wished) == expected
            assert assign(self.book, *key, subnets, netns=netns) == expected

    @rule(key=KEYS)
    def release(self, key: tuple[str, str]) -> None:
        """A container goes."""
        assert self.book.release(*key) is self.model.release(key)
        assert self.book.release(*key) is False

    @rule()
    def restart(self) -> None:
        """The agent ends and starts again."""
        self.book.close()
        self.book = AddressBook(self.path)

    @invariant()
    def holds_the_same(self) -> None:
        """What is assigned is what the model holds, and no address is held twice."""
        expected = tuple(
            Endpoint(container=container, interface=interface, netns=netns, addresses=addresses)
            for (container, interface), (netns, addresses) in sorted(self.model.held.items())
        )
        assert self.book.assigned() == expected
        held = [own.ip for endpoint in expected for own in endpoint.addresses]
        assert len(set(held)) == len(held)

    def teardown(self) -> None:
        """Leave no file behind."""
        self.book.close()
        self.directory.cleanup()


TestBook = Book.TestCase
TestBook.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)


WRITER = """
import sys
from ipaddress import ip_network
from pathlib import Path
from containernet.addresses import AddressBook
from containernet.model import Endpoint
path, who, count = sys.argv[1:]
sys.stdin.readline()  # the start
book = AddressBook(Path(path))
subnets = (ip_network("10.4.0.0/16"), ip_network("fd00::/64"))
for number in range(int(count)):
    name = f"{who}-{number}"
    wished = Endpoint(container=name, netns=f"/run/netns/{name}", addresses=())
    print(name, *book.assign(wished, subnets).addresses, flush=True)
    if number % 3 == 0:
        book.release(name, "eth0")
        print("-", name, flush=True)
"""


def test_a_killed_process_loses_nothing_that_it_was_told(tmp_path: Path) -> None:
    """After kill -9 while it writes, the book holds what was answered, and perhaps the call cut off."""
    path, told = tmp_path / "addresses.db", dict[str, list[str]]()
    for life, lines in enumerate((1, 40, 200)):
        with writer(path, f"life{life}", 10**9) as living:
            assert living.stdin is not None
            assert living.stdout is not None
            living.stdin.write("go\n")
            living.stdin.flush()
            for _ in range(lines):
                note(told, living.stdout.readline())
            living.kill()
            for line in living.stdout:  # what it still said before it died
                note(told, line)
        book = AddressBook(path)
        found = {endpoint.container: list(map(str, endpoint.addresses)) for endpoint in book.assigned()}
        differing = {name for name in found.keys() | told.keys() if found.get(name) != told.get(name)}
        assert len(differing) <= 1
        held = [address for addresses in found.values() for address in addresses]
        assert len(set(held)) == len(held)
        book.close()
        told = found


def note(told: dict[str, list[str]], line: str) -> None:
    """Remember one line of the writer's; the last may be cut short."""
    if not line.endswith("\n"):
        return
    if line.startswith("-"):
        del told[line.split()[1]]
    else:
        name, *addresses = line.split()
        told[name] = addresses


def writer(path: Path, who: str, count: int) -> subprocess.Popen[str]:
    """Start a process that will write to the book when it is told a line."""
    command = [sys.executable, "-c", WRITER, str(path), who, str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_that_open_one_new_book_at_once_never_share_an_address(tmp_path: Path) -> None:
    """Six processes create the file together and write it together; what they were told is what it holds."""
    path, told = tmp_path / "addresses.db", dict[str, list[str]]()
    writers = [writer(path, f"p{number}", 40) for number in range(6)]
    for each in writers:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    for each in writers:
        for line in each.communicate(timeout=30)[0].splitlines(keepends=True):
            note(told, line)
        assert each.returncode == 0
    book = AddressBook(path)
    assert told == {endpoint.container: list(map(str, endpoint.addresses)) for endpoint in book.assigned()}
    held = [address for addresses in told.values() for address in addresses]
    assert len(set(held)) == len(held) == 6 * 26 * 2
    book.close()


def test_threads_that_share_a_book_never_share_an_address(tmp_path: Path) -> None:
    """Sixteen threads ask one object for the last addresses of a subnet; one goes away empty-handed."""
    book = AddressBook(tmp_path / "addresses.db")

    def ask(number: int) -> Interface | None:
        try:
            [own] = assign(book, f"c{number}", "eth0", (ip_network("10.4.0.0/24"),))
        except AddressesExhausted:
            return None
        return own

    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(ask, range(254)))
    assert answers.count(None) == 1
    assert len(set(answers)) == 254
    book.close()
