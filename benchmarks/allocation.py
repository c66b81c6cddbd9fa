"""How long choosing and claiming take, beside the enumeration that one would write first.

python benchmarks/allocation.py [--leases 60000] [--nodes 1000] [--addresses 10000]
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from random import Random

from benchmarks import frame
from containernet.addresses import AddressBook
from containernet.allocation import choose_subnet, claim_subnet
from containernet.model import Endpoint, NetworkConfig, Pool, Prefix
from containernet_backends.memory import MemoryStore

TINY = ("--leases", "100", "--nodes", "3", "--addresses", "10", "--rounds", "1")
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


def assignments(count: int, subnets: tuple[Prefix, ...]) -> float:
    """Return assignments a second on a new book in the temporary directory."""
    with tempfile.TemporaryDirectory() as directory:
        book = AddressBook(Path(directory) / "addresses.db")
        began = time.perf_counter()
        for number in range(count):
            book.assign(Endpoint(container=f"c{number}", netns="/run/netns/c", addresses=()), subnets)
        duration = time.perf_counter() - began
        book.close()
    return count / duration


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--leases", type=int, default=60_000, help="of 65,536 subnets")
    parser.add_argument("--nodes", type=int, default=1000, help="that claim")
    parser.add_argument("--addresses", type=int, default=10_000)
    options = parser.parse_args(argv)
    v4, v6 = ip_network("10.0.0.0/12"), ip_network("fd00::/64")
    cases = [
        choosing(options.leases),
        alone("memory store", lambda: {"claim": options.nodes / frame.seconds(lambda: claims(options.nodes))}),
        alone("one family", lambda: {"assign": assignments(options.addresses, (v4,))}),
        alone("two families", lambda: {"assign": assignments(options.addresses, (v4, v6))}),
    ]
    frame.run(options, QUANTITIES, cases)


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


def alone(name: str, play: Callable[[], frame.Values]) -> frame.Case:
    return frame.Case(name=name, sides=(frame.Side(name="ours", play=play),))


if __name__ == "__main__":
    main()
