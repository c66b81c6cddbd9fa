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
from containernet.errors import AddressesExhausted, ConfigError, StateCorrupt, StateUnavailable
from containernet.model import Interface, Prefix

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
    assert book.assign("c1", "eth0", DUAL, netns="/run/netns/c1") == own("10.4.3.2/24", "fd00:4:0:3::2/64")
    assert book.assign("c1", "eth1", DUAL, netns="/run/netns/c1") == own("10.4.3.3/24", "fd00:4:0:3::3/64")


@pytest.mark.parametrize("subnet", ["10.4.3.0/31", "10.4.3.0/32", "fd00::/127", "255.255.255.255/32"])
def test_a_subnet_without_room_for_a_bridge_and_a_container_has_no_bridge_address(subnet: str) -> None:
    """/30 and /126 are the smallest subnets there are."""
    with pytest.raises(ConfigError, match=f"subnet {subnet} is too small"):
        bridge_address(ip_network(subnet))


def test_the_smallest_subnet_holds_one_container(book: AddressBook) -> None:
    """A /30 gives one address, and says in numbers that this was all."""
    subnets: tuple[Prefix, ...] = (ip_network("10.4.3.0/30"),)
    assert book.assign("c1", "eth0", subnets, netns="") == own("10.4.3.2/30")
    with pytest.raises(AddressesExhausted, match=r"10\.4\.3\.0/30 has no address left: all 1 for containers"):
        book.assign("c2", "eth0", subnets, netns="")


def test_a_failed_assignment_leaves_no_half_behind(book: AddressBook) -> None:
    """When IPv6 has nothing left, the IPv4 address that was already chosen stays free."""
    small: tuple[Prefix, ...] = (*V4, ip_network("fd00::/126"))
    book.assign("c1", "eth0", small, netns="")
    with pytest.raises(AddressesExhausted, match="fd00::/126"):
        book.assign("c2", "eth0", small, netns="")
    assert book.assign("c3", "eth0", V4, netns="") == own("10.4.3.3/24")
    assert [endpoint.container for endpoint in book.assigned()] == ["c1", "c3"]


def test_an_address_that_becomes_the_networks_or_the_bridges_is_not_kept(book: AddressBook) -> None:
    """Where the node's subnet shrinks to its upper half, .128 and .129 have another meaning than before."""
    for number in range(2, 131):
        book.assign(f"c{number}", "eth0", V4, netns="")
    upper: tuple[Prefix, ...] = (ip_network("10.4.3.128/25"),)
    assert book.assign("c128", "eth0", upper, netns="") == own("10.4.3.131/25")
    assert book.assign("c129", "eth0", upper, netns="") == own("10.4.3.132/25")
    assert book.assign("c130", "eth0", upper, netns="") == own("10.4.3.130/25")


def test_asking_again_moves_the_endpoint_to_its_new_namespace(book: AddressBook) -> None:
    """A container that was started again has its old address in a new namespace."""
    before = book.assign("c1", "eth0", V4, netns="/proc/1/ns/net")
    assert book.assign("c1", "eth0", V4, netns="/proc/2/ns/net") == before
    [endpoint] = book.assigned()
    assert endpoint.netns == "/proc/2/ns/net"


@pytest.mark.parametrize(
    ("container", "interface", "subnets"),
    [("", "eth0", V4), ("c/1", "eth0", V4), ("c1", "e" * 16, V4), ("c1", "eth0", ()), ("c1", "eth0", V4 * 2)],
)
def test_what_cannot_be_an_endpoint_is_refused_before_anything_is_written(
    book: AddressBook, container: str, interface: str, subnets: tuple[Prefix, ...]
) -> None:
    """Names that no container or interface has, no subnet, two of one family."""
    with pytest.raises(ConfigError):
        book.assign(container, interface, subnets, netns="")
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
        later.execute("PRAGMA user_version = 2")
    with pytest.raises(StateCorrupt, match="version 2"):
        AddressBook(path)


def test_a_damaged_book_says_so(path: Path) -> None:
    """Pages of zeros inside the file are found when they are read."""
    with closing(AddressBook(path)) as book:
        for number in range(200):
            book.assign(f"c{number}", "eth0", V4, netns="")
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
book = AddressBook(Path(sys.argv[1]))
subnets = (ip_network("10.4.0.0/16"),)
resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, resource.RLIM_INFINITY))
done = 0
try:
    for number in range(10_000):
        book.assign(f"c{number}", "eth0", subnets, netns="")
        done += 1
except StateUnavailable as error:
    assert len(book.assigned()) == done, (len(book.assigned()), done)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    print(done, book.assign(f"c{done}", "eth0", subnets, netns="")[0])
"""


def test_a_disk_that_takes_no_more_costs_one_answer_and_nothing_else(path: Path) -> None:
    """The call that found no room changed nothing; when there is room again, the same call succeeds."""
    ran = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=False)
    assert ran.stderr == ""
    done, address = ran.stdout.split()
    assert ip_interface(address).ip == V4[0].network_address - 3 * 256 + 2 + int(done)
