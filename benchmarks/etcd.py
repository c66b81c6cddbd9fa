"""How soon a host on etcd has all its peers, how soon it hears of one more, and what it costs at rest.

    scripts/in-namespaces python benchmarks/etcd.py [--peers 100 1000 5000] [--rest 10] [--flanneld PATH]

A real containernetd, started as its service manager would, on a real etcd of one member on the loopback, its
data in memory; an underlay of one veth, and peers that are there as records only. What is timed is what the
kernel tells: each time ends with the notification of a route, and before it counts the kernel's table is read.
Each start is a first one: another etcd, another directory, nothing in the kernel.

    start      from before the process exists to the last peer's route
    ranges     how many lists etcd was asked for until then
    memory     of the process at rest with all peers; PSS counts a shared page by those who share it
    put        from before a put is sent to the route of the peer that it tells of, one at a time
    burst      from the answer to the last of many puts at once to the last route; and how many never came
    at rest    of one processor, while nothing happens

Puts and the burst are measured with the middle number of peers, rest with the largest, of the first dataplane.

flannel is neither on PyPI nor in Debian; who has a flanneld gives its path, and it plays in turns with ours.

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import json
import os
import re
import select
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import attrs

from benchmarks import frame
from containernet import derive
from containernet.model import Scalar
from containernet_backends.etcd import records, requests
from containernet_backends.etcd.client import Client
from containernet_backends.etcd.options import PREFIX, EtcdOptions
from containernet_backends.etcd.records import Record
from containernet_backends.netlink import constants as c
from containernet_backends.netlink.frames import attributes
from containernet_backends.netlink.socket import NetlinkSocket
from containernet_backends.netlink.wire import route_filter

POOL = IPv4Network("10.0.0.0/8")
OWN = IPv4Address("172.16.0.1")
INTERFACE = "underlay"
PATIENCE = 300.0  # seconds; flannel with thousands of host-gw peers needs many
ETCD = (frame.Program("etcd", "etcd-server"),)
WRITERS = 16
AT_ONCE = 100  # puts in one transaction; etcd takes 128
# Seconds for a daemon to come to rest: it writes its view to disk once, a second after the last change.
QUIET = 3.0


TINY = (
    *("--peers", "5", "--dataplanes", "vxlan", "--rounds", "1", "--puts", "3", "--burst", "3", "--rest", "0.1"),
    *("--settle", "0", "--cold"),
)
QUANTITIES = (
    frame.less("start", "s"),
    frame.less("ranges", "calls"),
    frame.less("memory, RSS", "MB"),
    frame.less("memory, PSS", "MB"),
    frame.less("put", "ms"),
    frame.less("put, 99 of 100", "ms"),
    frame.less("burst", "s"),
    frame.less("burst, lost", "routes"),
    frame.less("at rest", "%"),
)


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--peers", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--dataplanes", nargs="+", default=["vxlan", "host-gw"], choices=["vxlan", "host-gw"])
    parser.add_argument("--puts", type=int, default=300, help="one at a time; the burst has --burst")
    parser.add_argument("--burst", type=int, default=1000)
    parser.add_argument("--rest", type=float, default=10.0, help="seconds; above 72, a full read is among them")
    parser.add_argument(
        "--settle", type=float, default=QUIET, help="seconds before that; above 72, the first full read is over"
    )
    parser.add_argument("--flanneld", type=Path, help="the program of a flannel to run beside ours")
    parser.add_argument("--cold", action="store_true", help="without a first round that does not count")
    options = parser.parse_args(argv)
    _check_place()
    programs: dict[str, Program] = {"ours": Containernetd()}
    if options.flanneld:
        programs["flannel"] = Flanneld(options.flanneld)
    cases = [
        frame.Case(
            name=dataplane,
            size=peers,
            sides=[
                frame.Side(name=name, play=partial(play, program, dataplane, peers, options), needs=ETCD)
                for name, program in programs.items()
            ],
        )
        for dataplane in options.dataplanes
        for peers in options.peers
    ]
    frame.run(options, QUANTITIES, cases, warm_up=not options.cold)


def _check_place() -> None:
    links = [name for _, name in socket.if_nameindex()]
    if links != ["lo"]:
        raise SystemExit(f"this namespace has the links {', '.join(links)}: run it by scripts/in-namespaces")


class Etcd:
    """A server of one member, its data in memory, with the network's config and no record."""

    def __init__(self, directory: Path, dataplane: str) -> None:
        client, peer = _free_port(), _free_port()
        self.url, urls = f"http://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(str(directory / "ready"))
        self._process = subprocess.Popen(
            [
                "etcd",
                f"--data-dir={directory / 'etcd'}",
                f"--listen-client-urls={self.url}",
                f"--advertise-client-urls={self.url}",
                f"--listen-peer-urls={urls}",
                f"--initial-advertise-peer-urls={urls}",
                f"--initial-cluster=default={urls}",
                "--logger=zap",
            ],
            stderr=(directory / "etcd.log").open("wb"),
            env={**os.environ, "NOTIFY_SOCKET": str(directory / "ready")},
        )
        with ready:
            ready.settimeout(30)
            ready.recv(100)
        self._client = Client(EtcdOptions(endpoints=[self.url]))
        config = {"Network": str(POOL), "SubnetLen": 24, "Backend": {"Type": dataplane}}
        self.put(f"{PREFIX}/config", json.dumps(config).encode())

    def put(self, key: str, value: bytes) -> None:
        """Write one key."""
        self._client.txn([], [requests.put(key.encode(), value)])

    def fill(self, values: Mapping[str, bytes]) -> None:
        """Write many keys, many at once."""
        puts = [requests.put(key.encode(), value) for key, value in values.items()]
        for start in range(0, len(puts), AT_ONCE):
            self._client.txn([], puts[start : start + AT_ONCE])

    def ranges(self) -> int:
        """Return how many reads of keys it was asked for so far."""
        with urllib.request.urlopen(f"{self.url}/metrics") as answer:
            told = answer.read().decode()
        counted = re.findall(r'grpc_server_started_total\{grpc_method="Range",[^}]*\} (\d+)', told)
        return sum(map(int, counted))

    def close(self) -> None:
        """Kill it."""
        self._client.close()
        self._process.kill()
        self._process.wait()


@contextmanager
def served(dataplane: str) -> Iterator[tuple[Etcd, Path]]:
    """Return an etcd, and its directory; both are gone in the end."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        etcd = Etcd(Path(directory), dataplane)
        try:
            yield etcd, Path(directory)
        finally:
            etcd.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Routes:
    """Which subnets of the pool the kernel has a route to, and since when."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket([c.RTNLGRP_IPV4_ROUTE])
        self._reader = NetlinkSocket()
        self.since: dict[IPv4Network, float] = {}

    def wait_for(self, wanted: Iterable[IPv4Network], daemon: Daemon | None = None) -> float:
        """Return when the last of the routes came; those that never do are missing from `since` in the end."""
        missing = set(wanted) - self.since.keys()
        deadline = time.monotonic() + PATIENCE
        while missing and time.monotonic() < deadline:
            if select.select([self._socket.fileno()], [], [], 1.0)[0]:
                missing -= self._hear()
            elif daemon is not None:
                daemon.check()
        return max(self.since.values(), default=0.0)

    def _hear(self) -> set[IPv4Network]:
        try:
            heard = [each for each in self._socket.notifications() if each.type == c.RTM_NEWROUTE]
            found = set(filter(None, (_subnet(each.body) for each in heard)))
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            found = self.read()  # some were lost, as an ordinary user's small buffer may
        now = time.monotonic()
        for each in found:
            self.since.setdefault(each, now)
        return found

    def read(self) -> set[IPv4Network]:
        """Return what the kernel's table holds now."""
        bodies = self._reader.dump(c.RTM_GETROUTE, route_filter(socket.AF_INET))
        return set(filter(None, map(_subnet, bodies)))

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        self._reader.close()


def _subnet(body: bytes) -> IPv4Network | None:
    # struct rtmsg: family, dst_len, ...; the main table alone has the routes to peers.
    if body[1] != 24 or body[4] != c.RT_TABLE_MAIN:
        return None
    destination = attributes(body, 12).get(c.RTA_DST, b"")
    found = IPv4Network((destination, 24))
    return found if found.subnet_of(POOL) else None


@attrs.frozen
class Containernetd:
    """Ours, as its service runs it."""

    def command(self, etcd: Etcd, directory: Path, dataplane: str) -> list[str]:
        """Return the command that starts it; writes its config."""
        config = directory / "containernet.toml"
        config.write_text(
            f'[node]\nname = "host0"\ninterface = "{INTERFACE}"\n'
            f'[store]\nleases = "etcd"\nroutes = "etcd"\n[store.etcd]\nendpoints = ["{etcd.url}"]\n'
            f'[daemon]\nstate_dir = "{directory}"\nrun_dir = "{directory}"\n'
        )
        return [sys.executable, "-m", "containernet.daemon", "--config", str(config)]


@attrs.frozen
class Flanneld:
    """The program that ours shares a cluster with."""

    path: Path

    def command(self, etcd: Etcd, directory: Path, dataplane: str) -> list[str]:
        """Return the command that starts it."""
        return [
            str(self.path.absolute()),
            f"--etcd-endpoints={etcd.url}",
            f"--iface={INTERFACE}",
            f"--subnet-file={directory / 'subnet.env'}",
            "--ip-masq=false",
        ]


Program = Containernetd | Flanneld


class Daemon:
    """One of the programs, running; `began` is when there was no process yet."""

    def __init__(self, program: Program, etcd: Etcd, directory: Path, dataplane: str) -> None:
        command = program.command(etcd, directory, dataplane)
        self._log = directory / "log"
        # An installed program is compiled; a checkout is by the first run, if nobody forbids it.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        with self._log.open("wb") as log:
            self.began = time.monotonic()
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def check(self) -> None:
        """Stop everything if it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"it has ended: {self._log.read_text()[-2000:]}")

    def memory(self) -> dict[str, float]:
        """Return what it holds, in megabytes."""
        told = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        found = {
            name: int(kilobytes) / 1024
            for name, kilobytes in re.findall(r"^(Rss|Pss): *(\d+)", told, re.MULTILINE)
        }
        return {"memory, RSS": found["Rss"], "memory, PSS": found["Pss"]}

    def busy(self) -> float:
        """Return the seconds that its threads have run; only those that live count."""
        files = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(file.read_text().split()[0]) for file in files) / 1e9

    def close(self) -> None:
        """End it in order, so that it leaves what it would leave."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()


@attrs.frozen(kw_only=True)
class Stage:
    """A daemon that has just been started, the etcd that it talks to, and the kernel under it."""

    etcd: Etcd
    daemon: Daemon
    routes: Routes


@contextmanager
def stage(program: Program, dataplane: str, peers: int) -> Iterator[Stage]:
    """Start a daemon where there is nothing but records of its peers; take everything away in the end."""
    with ExitStack() as stack:
        etcd, directory = stack.enter_context(served(dataplane))
        etcd.fill(dict(record(number, dataplane) for number in range(1, peers + 1)))
        _ip(f"link add {INTERFACE} type veth peer name away", f"address add {OWN}/12 dev {INTERFACE}")
        stack.callback(_clear)
        _ip(f"link set {INTERFACE} up", "link set away up")
        routes = Routes()
        stack.callback(routes.close)
        daemon = Daemon(program, etcd, directory, dataplane)
        stack.callback(daemon.close)
        yield Stage(etcd=etcd, daemon=daemon, routes=routes)


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def _clear() -> None:
    """Delete every link; routes, neighbours and fdb entries go with them."""
    for _, name in socket.if_nameindex():
        if name != "lo":
            with contextlib.suppress(subprocess.CalledProcessError):  # the other end of one that is gone
                subprocess.run(["ip", "link", "del", name], check=True, stderr=subprocess.DEVNULL)


def subnet(number: int) -> IPv4Network:
    """Return a peer's subnet; ours takes one that is free, by its name."""
    return IPv4Network((int(POOL.network_address) + (number << 8), 24))


def record(number: int, dataplane: str) -> tuple[str, bytes]:
    """Return the key and the value of a peer's record."""
    node = f"peer{number}"
    vtep: dict[str, Scalar] = {"VNI": 1, "VtepMAC": derive.mac("vtep", node)}
    told = Record(
        subnets=[subnet(number)],
        node=node,
        next_hops=[OWN + number],
        type=dataplane,
        data={4: vtep} if dataplane == "vxlan" else {},
    )
    return f"{PREFIX}/subnets/{records.key_of(told.subnets)}", records.encode(told)


def subnets(first: int, count: int) -> list[IPv4Network]:
    """Return the subnets of so many peers."""
    return [subnet(number) for number in range(first, first + count)]


def play(program: Program, dataplane: str, peers: int, options: argparse.Namespace) -> frame.Values:
    """Start it once, and measure what is measured at this size."""
    with stage(program, dataplane, peers) as there:
        values = {"start": start(there, peers), "ranges": float(there.etcd.ranges())}
        time.sleep(QUIET)
        values |= there.daemon.memory()
        if peers == sorted(options.peers)[len(options.peers) // 2]:
            values |= puts(there, dataplane, options.puts) | burst(there, dataplane, options.burst)
        if peers == max(options.peers) and dataplane == options.dataplanes[0]:
            time.sleep(options.settle)  # there were puts in between
            values["at rest"] = rest(there, options.rest)
        return values


def start(there: Stage, peers: int) -> float:
    """Return the seconds from before the process to the last peer."""
    wanted = subnets(1, peers)
    last = there.routes.wait_for(wanted, there.daemon)
    missing = set(wanted) - there.routes.read()
    if missing:
        raise SystemExit(f"of {peers} peers {len(missing)} never came, such as {min(missing)}")
    return last - there.daemon.began


def puts(there: Stage, dataplane: str, count: int) -> dict[str, float]:
    """Return how soon a route follows a put, in milliseconds."""
    delays = []
    for number in range(20_001, 20_001 + count):
        key, value = record(number, dataplane)
        began = time.monotonic()
        there.etcd.put(key, value)
        there.routes.wait_for([subnet(number)], there.daemon)
        delays.append((there.routes.since[subnet(number)] - began) * 1e3)
    ranked = statistics.quantiles(delays, n=100)
    return {"put": ranked[49], "put, 99 of 100": ranked[98]}


def burst(there: Stage, dataplane: str, count: int) -> dict[str, float]:
    """Return the seconds from the last of many puts to the last route, and how many routes never came."""
    told = [record(number, dataplane) for number in range(30_001, 30_001 + count)]
    wanted = subnets(30_001, count)
    with ThreadPoolExecutor(WRITERS) as writers:
        list(writers.map(lambda each: there.etcd.put(*each), told))
    put = time.monotonic()
    last = there.routes.wait_for(wanted, there.daemon)
    return {"burst": max(0.0, last - put), "burst, lost": float(len(set(wanted) - there.routes.read()))}


def rest(there: Stage, seconds: float) -> float:
    """Return how busy it is with nothing to do, in percent of a processor."""
    before, began = there.daemon.busy(), time.monotonic()
    time.sleep(seconds)
    return (there.daemon.busy() - before) / (time.monotonic() - began) * 100


if __name__ == "__main__":
    main()
