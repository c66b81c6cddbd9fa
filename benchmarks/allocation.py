"""How long choosing and claiming take, beside the enumeration that one would write first.

    python benchmarks/allocation.py [--json]

Each number is the best of several runs: the machine can only make it worse.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from random import Random

from containernet.addresses import AddressBook
from containernet.allocation import choose_subnet, claim_subnet
from containernet.model import NetworkConfig, Pool, Prefix
from containernet_backends.memory import MemoryStore


def best(call: Callable[[], object], *, runs: int) -> float:
    """Return the shortest of several durations, milliseconds."""
    durations = []
    for _ in range(runs):
        began = time.perf_counter()
        call()
        durations.append((time.perf_counter() - began) * 1e3)
    return min(durations)


def leases(prefix: str, length: int, count: int) -> tuple[Pool, list[Prefix]]:
    """Return a pool and `count` of its subnets, taken at random."""
    pool = Pool(prefix=ip_network(prefix), subnet_length=length)
    step = 1 << (32 - length)
    slots = Random(0).sample(range(1 << (length - pool.prefix.prefixlen)), count)
    return pool, [IPv4Network((int(pool.prefix[0]) + slot * step, length)) for slot in slots]


def enumerate_slots(pool: Pool, taken: list[Prefix]) -> Prefix:
    """Walk over all subnets of the pool until one is not taken; knows exact subnets only."""
    held = set(taken)
    return next(subnet for subnet in pool.prefix.subnets(new_prefix=pool.subnet_length) if subnet not in held)


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
            book.assign(f"c{number}", "eth0", subnets, netns="/run/netns/c")
        duration = time.perf_counter() - began
        book.close()
    return count / duration


def measure() -> dict[str, float]:
    """Return every number under its name."""
    pool, taken = leases("10.0.0.0/8", 24, 60_000)
    large, many = leases("10.0.0.0/8", 28, 500_000)
    v4, v6 = ip_network("10.0.0.0/12"), ip_network("fd00::/64")
    chosen = best(lambda: choose_subnet(pool, taken, name="host-a"), runs=7)
    # The walk that one would write stops at once where the first slots are free, so it gets a full beginning.
    every: list[Prefix] = [*pool.prefix.subnets(new_prefix=24)]
    naive = best(lambda: enumerate_slots(pool, every[:60_000]), runs=3)
    return {
        "choose 65,536 subnets, 60,000 leases, ms": chosen,
        "enumerate the same, ms": naive,
        "enumeration / choose": naive / chosen,
        "choose 1,048,576 subnets, 500,000 leases, ms": best(
            lambda: choose_subnet(large, many, name="host-a"), runs=3
        ),
        "claims of 1,000 nodes, memory store, s": best(lambda: claims(1000), runs=1) / 1e3,
        "assign one family, 1/s": max(assignments(10_000, (v4,)) for _ in range(3)),
        "assign two families, 1/s": max(assignments(10_000, (v4, v6)) for _ in range(3)),
    }


def main() -> None:
    """Print the numbers for a reader, or as one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    as_json = parser.parse_args().json
    numbers = measure()
    if as_json:
        print(json.dumps(numbers, indent=2))
    else:
        for name, number in numbers.items():
            print(f"{number:12,.2f}  {name}")


if __name__ == "__main__":
    main()
