"""What people look up about the address book, and every way in which a disk can fail it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from containernet.addresses import AddressBook, bridge_address
from containernet.errors import (
    AddressesExhausted,
    AddressTaken,
    ConfigError,
    StateCorrupt,
    StateUnavailable,
)
from containernet.model import Endpoint, Interface, PortMapping, Prefix
from tests.books import assign

V4: tuple[Prefix, ...] = (ip_network("10.4.3.0/24"),)
DUAL: tuple[Prefix, ...] = (*V4, ip_network("fd00:4:0:3::/64"))


def own(*texts: str) -> tuple[Interface, ...]:
    """Return addresses with their lengths from texts."""
    return tuple(map(ip_interface, texts))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a book that is not there yet."""
    return tmp_path / "addresses.db"


@pytest.fixture
def book(path: Path) -> Iterator[AddressBook]:
    """Return a new book."""
    with closing(AddressBook(path)) as book:
        yield book


def test_the_bridge_has_the_first_address_and_containers_the_next(book: AddressBook) -> None:
    """In each family .1 is the bridge's, .2 the first container's."""
    assert tuple(map(bridge_address, DUAL)) == own("10.4.3.1/24", "fd00:4:0:3::1/64")
    assert assign(book, "c1", "eth0", DUAL, netns="/run/netns/c1") == own("10.4.3.2/24", "fd00:4:0:3::2/64")
    assert assign(book, "c1", "eth1", DUAL, netns="/run/netns/c1") == own("10.4.3.3/24", "fd00:4:0:3::3/64")


@pytest.mark.parametrize("subnet", ["10.4.3.0/31", "10.4.3.0/32", "fd00::/127", "255.255.255.255/32"])
def test_a_subnet_without_room_for_a_bridge_and_a_container_has_no_bridge_address(subnet: str) -> None:
    """/30 and /126 are the smallest subnets there are."""
    with pytest.raises(ConfigError, match=f"subnet {subnet} is too small"):
        bridge_address(ip_network(subnet))


def test_the_smallest_subnet_holds_one_container(book: AddressBook) -> None:
    """A /30 gives one address, and says in numbers that this was all."""
    subnets: tuple[Prefix, ...] = (ip_network("10.4.3.0/30"),)
    assert assign(book, "c1", "eth0", subnets) == own("10.4.3.2/30")
    with pytest.raises(AddressesExhausted, match=r"10\.4\.3\.0/30 has no address left: all 1 for containers"):
        assign(book, "c2", "eth0", subnets)


def test_a_failed_assignment_leaves_no_half_behind(book: AddressBook) -> None:
    """When IPv6 has nothing left, the IPv4 address that was already chosen stays free."""
    small: tuple[Prefix, ...] = (*V4, ip_network("fd00::/126"))
    assign(book, "c1", "eth0", small)
    with pytest.raises(AddressesExhausted, match="fd00::/126"):
        assign(book, "c2", "eth0", small)
    assert assign(book, "c3", "eth0", V4) == own("10.4.3.3/24")
    assert [endpoint.container for endpoint in book.assigned()] == ["c1", "c3"]


def test_an_address_that_becomes_the_networks_or_the_bridges_is_not_kept(book: AddressBook) -> None:
    """Where the node's subnet shrinks to its upper half, .128 and .129 have another meaning than before."""
    for number in range(2, 131):
        assign(book, f"c{number}", "eth0", V4)
    upper: tuple[Prefix, ...] = (ip_network("10.4.3.128/25"),)
    assert assign(book, "c128", "eth0", upper) == own("10.4.3.131/25")
    assert assign(book, "c129", "eth0", upper) == own("10.4.3.132/25")
    assert assign(book, "c130", "eth0", upper) == own("10.4.3.130/25")


def test_asking_again_moves_the_endpoint_to_its_new_namespace(book: AddressBook) -> None:
    """A container that was started again has its old address in a new namespace."""
    before = assign(book, "c1", "eth0", V4, netns="/proc/1/ns/net")
    assert assign(book, "c1", "eth0", V4, netns="/proc/2/ns/net") == before
    [endpoint] = book.assigned()
    assert endpoint.netns == "/proc/2/ns/net"


def test_a_container_has_the_address_that_it_asks_for(book: AddressBook) -> None:
    """Of either family; what it does not ask for it gets as ever."""
    assert assign(book, "c1", "eth0", DUAL, wishes=own("10.4.3.9/32")) == own("10.4.3.9/24", "fd00:4:0:3::2/64")
    assert assign(book, "c2", "eth0", DUAL, wishes=own("fd00:4:0:3::9/128")) == own(
        "10.4.3.2/24", "fd00:4:0:3::9/64"
    )
    assert assign(book, "c1", "eth0", DUAL) == own("10.4.3.9/24", "fd00:4:0:3::2/64")
    assert assign(book, "c1", "eth0", DUAL, wishes=own("10.4.3.3/24")) == own("10.4.3.3/24", "fd00:4:0:3::2/64")
    assert assign(book, "c3", "eth0", V4, wishes=own("10.4.3.9/24")) == own("10.4.3.9/24")


def test_an_address_that_another_holds_is_refused_with_its_name(book: AddressBook) -> None:
    """And nothing was changed: neither family's address moved."""
    assign(book, "c1", "eth0", DUAL)
    with pytest.raises(AddressTaken, match=r"10\.4\.3\.2 is held by c1 \(eth0\)"):
        assign(book, "c2", "eth0", DUAL, wishes=own("fd00:4:0:3::7/64", "10.4.3.2/24"))
    assert assign(book, "c3", "eth0", DUAL, wishes=own("fd00:4:0:3::7/64"))[1:] == own("fd00:4:0:3::7/64")


@pytest.mark.parametrize(
    "wishes",
    [
        ("10.4.4.2/24",),
        ("10.4.3.0/24",),
        ("10.4.3.1/24",),
        ("10.4.3.255/24",),
        ("fd00:4:0:3::1/64",),
        ("10.4.3.7/24", "10.4.3.8/24"),
    ],
)
def test_what_no_container_can_have_here_is_refused(book: AddressBook, wishes: tuple[str, ...]) -> None:
    """Another node's, the network's, the bridge's, the broadcast address, and two of one subnet."""
    with pytest.raises(
        ConfigError, match=r"c1 asks for .*: expected one address at most in each of 10\.4\.3\.0/24"
    ):
        assign(book, "c1", "eth0", DUAL, wishes=own(*wishes))
    assert book.assigned() == ()


def test_a_container_that_comes_back_has_the_address_that_it_had(book: AddressBook) -> None:
    """Unless somebody was given it meanwhile."""
    for name in ("c1", "c2"):
        assign(book, name, "eth0", V4)
        assert book.release(name, "eth0")
    assert assign(book, "c3", "eth0", V4) == own("10.4.3.4/24")
    assert assign(book, "c2", "eth0", V4) == own("10.4.3.3/24")
    assign(book, "c4", "eth0", V4, wishes=own("10.4.3.2/24"))
    assert assign(book, "c1", "eth0", V4) == own("10.4.3.5/24")


def test_all_of_an_endpoint_is_remembered(path: Path) -> None:
    """What a runtime asked for is there after a restart of the daemon."""
    wished = Endpoint(
        container="c1",
        netns="/run/netns/c1",
        addresses=(),
        ports=(PortMapping(protocol="udp", host_port=53, container_port=5353),),
        mac="02:00:5e:10:00:01",
        network="podman",
        aliases=("db", "primary"),
        addresses_only=True,
    )
    with closing(AddressBook(path)) as book:
        endpoint = book.assign(wished, DUAL)
    with closing(AddressBook(path)) as book:
        assert book.assigned() == (endpoint,)


VERSION_1 = """
CREATE TABLE fresh (last BLOB PRIMARY KEY, first BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE endpoint (container TEXT, interface TEXT, netns TEXT NOT NULL, addresses TEXT NOT NULL,
    PRIMARY KEY (container, interface)) WITHOUT ROWID;
CREATE TABLE released (age INTEGER PRIMARY KEY, subnet TEXT NOT NULL, address BLOB NOT NULL UNIQUE);
CREATE INDEX released_by_subnet ON released (subnet);
PRAGMA application_id = 1668179316;
PRAGMA user_version = 1;
INSERT INTO fresh VALUES (x'040000000000000000000000000a0403ff', x'040000000000000000000000000a040304');
INSERT INTO endpoint VALUES ('c1', 'eth0', '/run/netns/c1', '10.4.3.2/24');
INSERT INTO released VALUES (1, '10.4.3.0/24', x'040000000000000000000000000a040303');
"""


def test_a_book_of_version_1_is_taken_over(path: Path) -> None:
    """Its containers keep their addresses; what it had released is given out last."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
    for _ in range(2):
        with closing(AddressBook(path)) as book:
            assert book.assigned() == (
                Endpoint(container="c1", netns="/run/netns/c1", addresses=own("10.4.3.2/24")),
            )
    with closing(AddressBook(path)) as book:
        assert assign(book, "c2", "eth0", V4) == own("10.4.3.4/24")
        assert assign(book, "c3", "eth0", V4, wishes=own("10.4.3.3/24")) == own("10.4.3.3/24")


@pytest.mark.parametrize("column", ["addresses", "rest"])
@pytest.mark.parametrize("text", ["{", "[]", '{"ports": 7}', "10.4.3.300/24"])
def test_an_entry_that_is_none_says_so(path: Path, column: str, text: str) -> None:
    """Somebody has edited the file."""
    with closing(AddressBook(path)) as book:
        assign(book, "c1", "eth0", V4)
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE endpoint SET {column} = ?", (text,))
        db.commit()
    with (
        closing(AddressBook(path)) as book,
        pytest.raises(StateCorrupt, match=r"holds of c1 .* what is no"),
    ):
        book.assigned()


@pytest.mark.parametrize(
    ("container", "interface", "subnets"),
    [("", "eth0", V4), ("c/1", "eth0", V4), ("c1", "e" * 16, V4), ("c1", "eth0", ()), ("c1", "eth0", V4 * 2)],
)
def test_what_cannot_be_an_endpoint_is_refused_before_anything_is_written(
    book: AddressBook, container: str, interface: str, subnets: tuple[Prefix, ...]
) -> None:
    """Names that no container or interface has, no subnet, two of one family."""
    with pytest.raises(ConfigError):
        assign(book, container, interface, subnets)
    assert book.assigned() == ()


def test_a_file_that_is_no_book_is_left_alone_and_named(path: Path) -> None:
    """Garbage, another program's database and a book of a later version are refused as they are."""
    path.write_bytes(b"#!/bin/sh\n" * 100)
    with pytest.raises(StateCorrupt, match=str(path)):
        AddressBook(path)
    assert path.read_bytes() == b"#!/bin/sh\n" * 100
    path.unlink()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE theirs (x)")
    with pytest.raises(StateCorrupt, match="not an address book"):
        AddressBook(path)
    path.unlink()
    AddressBook(path).close()
    with closing(sqlite3.connect(path)) as later:
        later.execute("PRAGMA user_version = 3")
    with pytest.raises(StateCorrupt, match="version 3"):
        AddressBook(path)


def test_a_damaged_book_says_so(path: Path) -> None:
    """Pages of zeros inside the file are found when they are read."""
    with closing(AddressBook(path)) as book:
        for number in range(200):
            assign(book, f"c{number}", "eth0", V4)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + bytes(len(content) - 4096))
    with closing(AddressBook(path)) as book, pytest.raises(StateCorrupt, match="move the file away"):
        book.assigned()


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message holds the path and asks after the directory."""
    with pytest.raises(StateUnavailable, match=r"missing/a\.db.*is its directory there"):
        AddressBook(tmp_path / "missing" / "a.db")


def test_a_closed_book_says_that_it_is_closed(book: AddressBook) -> None:
    """Closing twice is harmless; asking afterwards is not."""
    book.close()
    book.close()
    with pytest.raises(StateUnavailable, match="closed"):
        book.assigned()


FULL = """
import resource, sys
from ipaddress import ip_network
from pathlib import Path
from containernet.addresses import AddressBook
from containernet.errors import StateUnavailable
from containernet.model import Endpoint
book = AddressBook(Path(sys.argv[1]))
subnets = (ip_network("10.4.0.0/16"),)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
done = 0
try:
    for number in range(10_000):
        book.assign(Endpoint(container=f"c{number}", netns="", addresses=()), subnets)
        done += 1
except StateUnavailable as error:
    assert len(book.assigned()) == done, (len(book.assigned()), done)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(done, book.assign(Endpoint(container=f"c{done}", netns="", addresses=()), subnets).addresses[0])
"""


def test_a_disk_that_takes_no_more_costs_one_answer_and_nothing_else(path: Path) -> None:
    """The call that found no room changed nothing; when there is room again, the same call succeeds."""
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    done, address = ran.stdout.split()
    assert ip_interface(address).ip == V4[0].network_address - 3 * 256 + 2 + int(done)
