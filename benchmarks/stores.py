"""How fast the stores without a server are, and how soon another process hears of a change.

    python benchmarks/stores.py [--directory DIR] [--leases 2000] [--routes 2000] [--wakings 500]

Claims and announces are one transaction each, from one process. A claim of a full store is the same with
`--leases` others in it: it shows whether the price depends on their number. A waking is from the call of
`announce` in one process to the event in another, which sleeps before each.
"""

from __future__ import annotations

import argparse
import select
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from ipaddress import ip_address, ip_network
from pathlib import Path

from benchmarks import frame
from containernet.contracts import LeaseStore, RouteStore
from containernet.events import Announced
from containernet.model import Prefix, Route
from containernet_backends.leasing import boot_clock
from containernet_backends.memory import MemoryStore
from containernet_backends.sqlite import SqliteStore

TINY = ("--leases", "20", "--routes", "20", "--wakings", "2", "--rounds", "1")
QUANTITIES = (
    frame.more("claim", "1/s"),
    frame.more("claim, filling", "1/s"),
    frame.more("claim, full", "1/s"),
    frame.more("announce", "1/s"),
    frame.more("announce, unchanged", "1/s"),
    frame.more("snapshot", "routes/s"),
    frame.more("catch up", "events/s"),
    frame.less("wake", "ms"),
    frame.less("wake, 99 of 100", "ms"),
)


def subnets() -> Iterator[Prefix]:
    return ip_network("10.0.0.0/8").subnets(new_prefix=28)


def route(prefix: Prefix, vni: int = 1) -> Route:
    return Route(prefix=prefix, node="a", next_hop=ip_address(f"192.0.2.{vni}"))


def per_second(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def claims(store: LeaseStore, count: int) -> dict[str, float]:
    free = subnets()

    def claim(name: str, times: int) -> None:
        for number in range(times):
            store.claim((next(free),), f"{name}{number}", 3600)

    few = max(1, count // 10)
    return {
        "claim": per_second(few, lambda: claim("first", few)),
        "claim, filling": per_second(count, lambda: claim("n", count)),
        "claim, full": per_second(few, lambda: claim("last", few)),
    }


def announces(store: RouteStore, count: int) -> dict[str, float]:
    def announce(vni: int) -> None:
        for _, prefix in zip(range(count), subnets(), strict=False):
            store.announce(route(prefix, vni))

    result = {
        "announce": per_second(count, lambda: announce(1)),
        "announce, unchanged": per_second(count, lambda: announce(1)),
    }
    subscription = store.subscribe()
    result["snapshot"] = per_second(count, lambda: subscription.next_event(0))
    announce(2)
    began, heard = time.perf_counter(), 0
    while isinstance(subscription.next_event(0), Announced):
        heard += 1
    result["catch up"] = heard / (time.perf_counter() - began)
    return result


def listen(path: Path, count: int) -> None:
    """Say when each event came; the other process of `latencies`."""
    store = SqliteStore(path)
    subscription = store.subscribe()
    subscription.next_event(0)
    print("ready", flush=True)
    for _ in range(count):
        subscription.next_event(60)
        print(boot_clock(), flush=True)
    store.close()


def latencies(path: Path, count: int) -> dict[str, float]:
    command = [sys.executable, __file__, "--listen", str(path), "--wakings", str(count)]
    store = SqliteStore(path)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        delays = []
        for _, prefix in zip(range(count), subnets(), strict=False):
            began = boot_clock()
            store.announce(route(prefix))
            delays.append((float(child.stdout.readline()) - began) * 1000)
            select.select([child.stdout], [], [], 0.002)  # let it fall asleep
    store.close()
    ranked = statistics.quantiles(delays, n=100)
    return {"wake": ranked[49], "wake, 99 of 100": ranked[98]}


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=3)
    parser.add_argument("--directory", help="where the files are made; the disk under it is part of the result")
    parser.add_argument("--leases", type=int, default=2000)
    parser.add_argument("--routes", type=int, default=2000)
    parser.add_argument("--wakings", type=int, default=500)
    parser.add_argument("--listen", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.listen:
        listen(options.listen, options.wakings)
        return
    sides = {"memory": lambda: of_memory(options), "sqlite": lambda: of_sqlite(options)}
    cases = [frame.Case(name=name, sides=(frame.Side(name="ours", play=play),)) for name, play in sides.items()]
    frame.run(options, QUANTITIES, cases, warm_up=False, conditions={"sqlite": sqlite3.sqlite_version})


def of_memory(options: argparse.Namespace) -> frame.Values:
    return claims(MemoryStore(), options.leases) | announces(MemoryStore(), options.routes)


def of_sqlite(options: argparse.Namespace) -> frame.Values:
    with tempfile.TemporaryDirectory(dir=options.directory) as directory, ExitStack() as stack:
        leases, routes = (
            stack.enter_context(closing(SqliteStore(Path(directory) / name))) for name in ("leases", "routes")
        )
        return (
            claims(leases, options.leases)
            | announces(routes, options.routes)
            | latencies(Path(directory) / "wake", options.wakings)
        )


if __name__ == "__main__":
    main()
