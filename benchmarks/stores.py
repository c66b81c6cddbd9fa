"""How fast the stores without a server are, and how soon another process hears of a change.

    python benchmarks/stores.py [--directory DIR] [--leases N] [--routes N] [--wakings N] [--json]

Claims and announces are one transaction each, from one process. `claim_when_full` is the same with `--leases`
others in the store: it shows whether the price depends on their number. The latency is from the call of
`announce` in one process to the event in another, which sleeps before each.
"""

from __future__ import annotations

import argparse
import json
import platform
import select
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from containernet.contracts import LeaseStore, RouteStore
from containernet.events import Announced
from containernet.model import Prefix, Route
from containernet_backends.leasing import boot_clock
from containernet_backends.memory import MemoryStore
from containernet_backends.sqlite import SqliteStore


def subnets() -> Iterator[Prefix]:
    return ip_network("10.0.0.0/8").subnets(new_prefix=28)


def route(prefix: Prefix, vni: int = 1) -> Route:
    return Route(prefix=prefix, node="a", next_hop=ip_address(f"192.0.2.{vni}"))


def per_second(count: int, work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return round(count / (time.perf_counter() - began))


def claims(store: LeaseStore, count: int) -> dict[str, float]:
    free = subnets()

    def claim(name: str, times: int) -> None:
        for number in range(times):
            store.claim((next(free),), f"{name}{number}", 3600)

    few = max(1, count // 10)
    return {
        "claims_per_second": per_second(few, lambda: claim("first", few)),
        "fill_per_second": per_second(count, lambda: claim("n", count)),
        "claims_when_full_per_second": per_second(few, lambda: claim("last", few)),
    }


def announces(store: RouteStore, count: int) -> dict[str, float]:
    def announce(vni: int) -> None:
        for _, prefix in zip(range(count), subnets(), strict=False):
            store.announce(route(prefix, vni))

    result = {
        "announces_per_second": per_second(count, lambda: announce(1)),
        "unchanged_announces_per_second": per_second(count, lambda: announce(1)),
    }
    subscription = store.subscribe()
    result["snapshot_routes_per_second"] = per_second(count, lambda: subscription.next_event(0))
    announce(2)
    began, heard = time.perf_counter(), 0
    while isinstance(subscription.next_event(0), Announced):
        heard += 1
    result["catching_up_events_per_second"] = round(heard / (time.perf_counter() - began))
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
    return {"wake_p50_ms": round(ranked[49], 3), "wake_p99_ms": round(ranked[98], 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--directory", help="where the files are made; the disk under it is part of the result")
    parser.add_argument("--leases", type=int, default=2000)
    parser.add_argument("--routes", type=int, default=2000)
    parser.add_argument("--wakings", type=int, default=500)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--listen", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.listen:
        listen(asked.listen, asked.wakings)
        return
    with tempfile.TemporaryDirectory(dir=asked.directory) as directory:
        sqlite = SqliteStore(Path(directory) / "store.db")
        routes = SqliteStore(Path(directory) / "routes.db")
        memory = MemoryStore()
        result = {
            "memory": claims(memory, asked.leases) | announces(MemoryStore(), asked.routes),
            "sqlite": claims(sqlite, asked.leases)
            | announces(routes, asked.routes)
            | latencies(Path(directory) / "wake.db", asked.wakings),
        }
        for store in (sqlite, routes):
            store.close()
    conditions = {
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        **{name: getattr(asked, name) for name in ("directory", "leases", "routes", "wakings")},
    }
    if asked.json:
        print(json.dumps({"conditions": conditions, **result}, indent=2))
        return
    print(" ".join(f"{name}={value}" for name, value in conditions.items()))
    for store_name, figures in result.items():
        for name, value in figures.items():
            print(f"{store_name:8} {name:34} {value:>10,}")


if __name__ == "__main__":
    main()
