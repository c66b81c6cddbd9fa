"""How long it takes to choose a subnet, to claim one, and to give a container an address.

python benchmarks/allocation.py [--leases 60000] [--nodes 1000] [--taken 0 1000 10000] [--addresses 2000]

choose     in a pool of 65,536 subnets, most of them leased; beside the enumeration that one would write first
claim      of many nodes, one behind the other, in the memory store
assign     addresses of one node to containers, where so many are taken already: our book, as the daemon has
it open, beside CNI's host-local, which is run for each; the files of both in memory
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from random import Random

from benchmarks import frame
from containernet.addresses import AddressBook
from containernet.allocation import choose_subnet, claim_subnet
from containernet.model import Endpoint, NetworkConfig, Pool, Prefix
from containernet_backends.memory import MemoryStore

TINY = ("--leases", "100", "--nodes", "3", "--taken", "2", "--addresses", "3", "--rounds", "1")
HOST_LOCAL = frame.Program("/usr/lib/cni/host-local", "containernetworking-plugins")
IN_MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
QUANTITIES = (frame.less("choose", "ms"), frame.more("claim", "1/s"), frame.more("assign", "1/s"))


def leases(prefix: str, length: int, count: int) -> tuple[Pool, list[Prefix]]:
    """Return a pool and `count` of its subnets, taken at random."""
    pool = Pool(prefix=ip_network(prefix), subnet_length=length)
    step = 1 << (32 - length)
    found = Random(0).sample(range(1 << (length - pool.prefix.prefixlen)), count)
    return pool, [IPv4Network((int(pool.prefix[0]) + slot * step, length)) for slot in found]


def enumerate_slots(pool: Pool, taken: list[Prefix]) -> Prefix:
    """Walk over all subnets of the pool until one is not taken; knows exact subnets only."""
    held = set(taken)
    return next(subnet for subnet in slots(pool) if subnet not in held)


def slots(pool: Pool) -> Iterator[Prefix]:
    yield from pool.prefix.subnets(new_prefix=pool.subnet_length)


def claims(nodes: int) -> None:
    """Let that many nodes claim from one store, one behind the other."""
    store = MemoryStore(now=lambda: 0.0)
    network = NetworkConfig(pools=(Pool(prefix=ip_network("10.0.0.0/14"), subnet_length=24),))
    for number in range(nodes):
        claim_subnet(store, network, node=f"node-{number}", ttl=60)


class Book:
    """Our addresses of one node, in a file of its own, with so many taken."""

    def __init__(self, directory: Path, subnets: tuple[Prefix, ...], taken: int) -> None:
        self._book = AddressBook(directory / "addresses.db")
        self._subnets = subnets
        self._names = (f"c{number}" for number in itertools.count())
        self.assign(taken)

    def assign(self, count: int) -> None:
        for name in itertools.islice(self._names, count):
            self._book.assign(Endpoint(container=name, netns="/run/netns/c", addresses=()), self._subnets)

    def close(self) -> None:
        self._book.close()


class HostLocal:
    """CNI's allocator, a program that is run for each address, with so many taken: a file is an address."""

    def __init__(self, directory: Path, subnet: Prefix, taken: int) -> None:
        ipam = {"type": "host-local", "dataDir": str(directory), "ranges": [[{"subnet": str(subnet)}]]}
        self._config = json.dumps({"cniVersion": "0.4.0", "name": "bench", "type": "x", "ipam": ipam})
        (directory / "bench").mkdir()
        for number in range(taken):
            (directory / "bench" / str(subnet[2 + number])).write_text(f"c{number}\r\neth0")
        (directory / "bench" / "last_reserved_ip.0").write_text(str(subnet[1 + taken]))
        self._names = (f"n{number}" for number in itertools.count())

    def assign(self, count: int) -> None:
        for name in itertools.islice(self._names, count):
            call = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": name, "CNI_NETNS": "/x", "CNI_IFNAME": "eth0"}
            subprocess.run(
                [HOST_LOCAL.command],
                input=self._config,
                env=call | {"CNI_PATH": "/usr/lib/cni"},
                text=True,
                check=True,
                stdout=subprocess.DEVNULL,
            )


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--leases", type=int, default=60_000, help="of 65,536 subnets")
    parser.add_argument("--nodes", type=int, default=1000, help="that claim")
    parser.add_argument("--taken", type=int, nargs="+", default=[0, 1000, 10_000], help="addresses of a node")
    parser.add_argument("--addresses", type=int, default=2000, help="to be assigned; host-local gets ten")
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        cases = [choosing(options.leases), claiming(options.nodes)]
        cases += [assigning(options.addresses, taken, stack) for taken in options.taken]
        frame.run(options, QUANTITIES, cases)


def claiming(nodes: int) -> frame.Case:
    def play() -> frame.Values:
        return {"claim": nodes / frame.seconds(lambda: claims(nodes))}

    return frame.Case(name="memory store", sides=(frame.Side(name="ours", play=play),))


def assigning(count: int, taken: int, stack: ExitStack) -> frame.Case:
    """Assign with so many taken already: ours in one family and in two, and CNI's allocator."""
    v4, v6 = ip_network("10.0.0.0/12"), ip_network("fd00::/64")
    here, there, both = (
        Path(stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY))) for _ in range(3)
    )
    one = stack.enter_context(closing(Book(here, (v4,), taken)))
    two = stack.enter_context(closing(Book(both, (v4, v6), taken)))
    sides = [frame.Side(name="ours", play=lambda: _rate(one.assign, count))]
    if not HOST_LOCAL.absence():
        peer = HostLocal(there, v4, taken)
        sides.append(frame.Side(name="host-local", play=lambda: _rate(peer.assign, min(count, 10))))
    else:
        sides.append(frame.Side(name="host-local", play=dict, needs=(HOST_LOCAL,)))
    sides.append(frame.Side(name="ours, IPv4 and IPv6", play=lambda: _rate(two.assign, count)))
    return frame.Case(name="addresses", size=taken, sides=sides)


def _rate(assign: Callable[[int], None], count: int) -> frame.Values:
    return {"assign": count / frame.seconds(lambda: assign(count))}


def choosing(count: int) -> frame.Case:
    pool, taken = leases("10.0.0.0/8", 24, count)
    # The walk that one would write stops at once where the first slots are free, so it gets a full beginning.
    every = list(itertools.islice(slots(pool), count))

    def choose() -> frame.Values:
        return {"choose": 1e3 * frame.seconds(lambda: choose_subnet(pool, taken, name="host-a"))}

    def enumerate_all() -> frame.Values:
        return {"choose": 1e3 * frame.seconds(lambda: enumerate_slots(pool, every))}

    sides = (frame.Side(name="ours", play=choose), frame.Side(name="enumeration", play=enumerate_all))
    return frame.Case(name="65,536 subnets", sides=sides)


if __name__ == "__main__":
    main()
