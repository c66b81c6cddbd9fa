"""How fast routes get into the kernel: ours beside `ip -batch`, in one run, in turns.

    python benchmarks/kernel_routes.py [--routes 10000] [--rounds 7] [--json]

Each side has a network namespace of its own with one bridge and one address, and adds, reads back and deletes
the same IPv4 /24 routes, round after round in turns: a noisy machine disturbs both alike. Ours starts from
item objects and includes everything that `execute` and `read` do. `ip` starts from a file and includes its
start-up, about two milliseconds. Needs root, or `unshare --user --map-root-user --net`.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from ipaddress import IPv4Address, IPv4Network
from threading import Thread

from containernet.items import KernelRoute
from containernet.planning import Create, Delete
from containernet_backends.netlink import NetlinkKernel
from containernet_backends.netlink.constants import CLONE_NEWNET

GATEWAY = IPv4Address("192.0.2.2")
SETUP = "link add b0 type bridge\nlink set b0 up\naddress add 192.0.2.1/24 dev b0\n"
WHAT = ("add", "read", "delete")
Work = Mapping[str, Callable[[], object]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--routes", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = measure(routes(options.routes), options.rounds)
    result = {what: compare(options.routes, seconds["ours", what], seconds["ip", what]) for what in WHAT}
    if options.json:
        print(json.dumps({"routes": options.routes, "rounds": options.rounds, **result}, indent=2))
        return
    print(
        f"{options.routes} routes, {options.rounds} rounds; thousand routes a second: median (lowest-highest)"
    )
    for what, numbers in result.items():
        print(
            f"{what:7} ours {numbers['ours']:7.1f} ({numbers['ours_low']:.1f}-{numbers['ours_high']:.1f})"
            f"   ip -batch {numbers['ip']:7.1f} ({numbers['ip_low']:.1f}-{numbers['ip_high']:.1f})"
            f"   ratio {numbers['ratio']:.2f}"
        )


def routes(count: int) -> list[KernelRoute]:
    base = int(IPv4Address("16.0.0.0"))
    return [
        KernelRoute(destination=IPv4Network((base + (nth << 8), 24)), link="b0", gateway=GATEWAY)
        for nth in range(count)
    ]


def measure(items: Sequence[KernelRoute], rounds: int) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of every round by side and by what was done."""
    seconds: dict[tuple[str, str], list[float]] = {(side, what): [] for side in ("ours", "ip") for what in WHAT}
    here, there = namespace(), namespace()
    with closing(NetlinkKernel(netns=here)) as kernel, tempfile.TemporaryDirectory() as scratch:
        sides = {"ours": ours(kernel, items), "ip": by_ip(there, scratch, items)}
        for nth in range(rounds + 1):  # the first warms up
            for side in sorted(sides, reverse=bool(nth % 2)):
                for what in WHAT:
                    started = time.perf_counter()
                    sides[side][what]()
                    if nth:
                        seconds[side, what].append(time.perf_counter() - started)
    return seconds


def ours(kernel: NetlinkKernel, items: Sequence[KernelRoute]) -> Work:
    create, delete = [Create(item) for item in items], [Delete(item) for item in items]

    def read() -> None:
        assert len(kernel.read()) == len(items)

    return {
        "add": lambda: succeed(kernel.execute(create)),
        "read": read,
        "delete": lambda: succeed(kernel.execute(delete)),
    }


def by_ip(netns: str, scratch: str, items: Sequence[KernelRoute]) -> Work:
    files = {}
    for verb in ("add", "del"):
        files[verb] = os.path.join(scratch, verb)  # noqa: PTH118
        with open(files[verb], "w") as file:  # noqa: PTH123
            file.writelines(f"route {verb} {str(item)[6:]} proto 77\n" for item in items)
    return {
        "add": lambda: run(netns, "ip", "-batch", files["add"]),
        "read": lambda: run(netns, "ip", "route", "show", "table", "all", "proto", "77"),
        "delete": lambda: run(netns, "ip", "-batch", files["del"]),
    }


def succeed(failures: Sequence[object]) -> None:
    assert not failures, failures[0]


def run(netns: str, *command: str, stdin: str = "") -> None:
    subprocess.run(
        ["nsenter", f"--net={netns}", *command], input=stdin, text=True, check=True, stdout=subprocess.DEVNULL
    )


def namespace() -> str:
    """Return the path of a new namespace, which lives as long as this process."""
    made: list[int] = []

    def make() -> None:
        if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0:
            made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))

    thread = Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise SystemExit("no network namespaces: run as root, or under `unshare --user --map-root-user --net`")
    path = f"/proc/{os.getpid()}/fd/{made[0]}"
    run(path, "ip", "-batch", "-", stdin=SETUP)
    return path


def compare(count: int, ours: Sequence[float], other: Sequence[float]) -> dict[str, float]:
    """Return thousands a second, and the ratio of the medians."""

    def rate(seconds: float) -> float:
        return round(count / seconds / 1000, 1)

    return {
        "ours": rate(statistics.median(ours)), "ours_low": rate(max(ours)), "ours_high": rate(min(ours)),
        "ip": rate(statistics.median(other)), "ip_low": rate(max(other)), "ip_high": rate(min(other)),
        "ratio": round(statistics.median(other) / statistics.median(ours), 2),
    }  # fmt: skip


if __name__ == "__main__":
    main()
