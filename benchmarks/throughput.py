"""How much gets through between containers of two hosts: what containernetd programs, beside the same by hand.

    scripts/in-namespaces python benchmarks/throughput.py [--dataplanes host-gw vxlan ipip] [--seconds 3]
    tests/uml/run.py python benchmarks/throughput.py --dataplanes ipip      where this kernel has no ipip driver

Each side is a laboratory of two hosts on one switch with a container each. In one containernetd programs the
kernel, in the second `ip` and `bridge` did: a bridge, a veth, the tunnel device of the dataplane with its MTU,
and what it takes to reach the other host. Nobody masquerades or guards there. In the third containernetd does,
as it does by itself; that has its price, for every packet passes conntrack and the rules. All stay up, and are
measured in turns.

    stream     one TCP stream, iperf3
    answers    64 octets there and 64 back, one after the other, over one TCP connection, by the time that both
               ends take of one processor: on two, it would be where the kernel wakes the other end that is
               measured

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
A dataplane that this kernel has no driver for is left out.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager

import attrs

from benchmarks import frame
from containernet.lab import cluster, whole
from containernet.lab.cluster import Lab
from containernet.lab.topology import Topology

TINY = ("--dataplanes", "host-gw", "--seconds", "1", "--rounds", "1")
QUANTITIES = (frame.more("stream", "Gbit/s"), frame.more("answers", "1/s of a processor"))
IPERF = frame.Program("iperf3", "iperf3")
PORT, PATIENCE = 5201, 120  # seconds
PINNED = ("taskset", "-c", str(min(os.sched_getaffinity(0))))
OVERHEAD = {"host-gw": 0, "vxlan": 50, "ipip": 20}


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--dataplanes", nargs="+", default=list(OVERHEAD), choices=list(OVERHEAD))
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        cases = [
            stack.enter_context(case(dataplane, options.seconds))
            for dataplane in options.dataplanes
            if has_driver(dataplane)
        ]
        frame.run(options, QUANTITIES, cases)


def has_driver(dataplane: str) -> bool:
    """Return whether the kernel can make such a device; says so if not."""
    if dataplane != "ipip":
        return True
    command = "ip link add probe0 type ipip local 192.0.2.1 && ip link del probe0"
    found = subprocess.run(command, shell=True, stderr=subprocess.DEVNULL, check=False).returncode == 0
    if not found:
        print(f"left out: {dataplane}: this kernel has no driver for it")
    return found


@contextmanager
def case(dataplane: str, seconds: int) -> Iterator[frame.Case]:
    topology = Topology(hosts=2, containers=1, dataplane=dataplane, versions=(4,), edge=False)
    labs = {
        "ours": (whole.up, topology),
        "by hand": (by_hand, topology),
        "ours, with its edge": (whole.up, attrs.evolve(topology, edge=True)),
    }
    with ExitStack() as stack:
        sides = []
        for number, (side, (make, which)) in enumerate(labs.items()):
            lab = stack.enter_context(closing(make(f"{dataplane}-{number}", which)))
            stack.callback(lab.down)
            sides.append(frame.Side(name=side, play=player(lab, seconds), needs=(IPERF,)))
        yield frame.Case(name=dataplane, sides=sides)


def by_hand(name: str, topology: Topology) -> Lab:
    lab = cluster.up(name, topology)
    lab.call(lambda: program(topology))
    return lab


def program(topology: Topology) -> None:
    """Do by commands what containernetd does."""
    own = {number: str(topology.host(number).addresses[0].ip) for number in (1, 2)}
    for number, peer in ((1, 2), (2, 1)):
        mtu = 1500 - OVERHEAD[topology.dataplane]
        inside(f"host{number}", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        batch(
            f"host{number}",
            f"link add cn0 type bridge\nlink set cn0 mtu {mtu} up\naddress add 10.9.{number}.1/24 dev cn0",
            f"link add c1 type veth peer name eth0 netns /run/netns/host{number}-c1",
            f"link set c1 mtu {mtu} master cn0 up",
            towards(topology.dataplane, number, peer, own),
        )
        batch(
            f"host{number}-c1",
            f"link set eth0 mtu {mtu} up\naddress add 10.9.{number}.2/24 dev eth0",
            f"route add default via 10.9.{number}.1",
        )
        if topology.dataplane == "vxlan":
            entry = ("add", mac(peer), "dev", "vxlan.1", "dst", own[peer], "self", "permanent")
            inside(f"host{number}", "bridge", "fdb", *entry)


def towards(dataplane: str, number: int, peer: int, own: dict[int, str]) -> str:
    """Return what `ip` is told, so that one host reaches the other's containers."""
    match dataplane:
        case "host-gw":
            return f"route add 10.9.{peer}.0/24 via {own[peer]} dev eth0"
        case "vxlan":
            return (
                f"link add vxlan.1 address {mac(number)} type vxlan id 1 local {own[number]} dev eth0 "
                "dstport 8472 nolearning\nlink set vxlan.1 mtu 1450 up\n"
                f"address add 10.9.{number}.0/32 dev vxlan.1\n"
                f"neighbour add 10.9.{peer}.0 lladdr {mac(peer)} dev vxlan.1 nud permanent\n"
                f"route add 10.9.{peer}.0/24 via 10.9.{peer}.0 dev vxlan.1 onlink"
            )
        case _:
            return (
                f"link add cnipip type ipip local {own[number]} nopmtudisc\nlink set cnipip mtu 1480 up\n"
                f"address add 10.9.{number}.0/32 dev cnipip\n"
                f"route add 10.9.{peer}.0/24 via {own[peer]} dev cnipip onlink"
            )


def mac(number: int) -> str:
    return f"02:00:00:00:00:{number:02x}"


def batch(where: str, *lines: str) -> None:
    command = ["ip", "-netns", where, "-batch", "-"]
    subprocess.run(command, input="\n".join(lines), text=True, check=True)


def inside(where: str, *command: str) -> str:
    return subprocess.run(
        ["ip", "netns", "exec", where, *command],
        text=True,
        check=True,
        stdout=subprocess.PIPE,
        timeout=PATIENCE,
    ).stdout


def player(lab: Lab, seconds: int) -> Callable[[], frame.Values]:
    return lambda: lab.call(lambda: {"stream": stream(seconds), "answers": answers(seconds)})


def stream(seconds: int) -> float:
    """Return the gigabits a second that one container gets from the other."""
    # The lab has a /run of its own, and in user-mode-linux TMPDIR is in another.
    iperf3 = ("env", "TMPDIR=/run", "iperf3", "-p", str(PORT))
    with serving(*iperf3, "-s", "-1"):
        told = inside("host1-c1", *iperf3, "-c", address(), "-t", str(seconds), "-J")
    return float(json.loads(told)["end"]["sum_received"]["bits_per_second"]) / 1e9


def answers(seconds: int) -> float:
    """Return how many answers one container gets from the other for a second of the processor."""
    before = _busy()
    with serving(*PINNED, "python3", "-I", "-c", f"{ECHO}\necho({PORT})"):
        told = inside(
            "host1-c1", *PINNED, "python3", "-I", "-c", f"{ECHO}\nask({address()!r}, {PORT}, {seconds})"
        )
    return int(told) / (_busy() - before)


def _busy() -> float:
    """Return the seconds that children have run; what the kernel does to a packet is in them, mostly."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


ECHO = """
import socket, time

def echo(port):
    with socket.create_server(("", port)) as listening:
        connection = listening.accept()[0]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while got := connection.recv(64):
            connection.sendall(got)

def ask(address, port, seconds):
    connection = socket.create_connection((address, port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    end, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < end:
        connection.sendall(bytes(64))
        left = 64
        while left:
            left -= len(connection.recv(left))
        count += 1
    print(count)
"""


@contextmanager
def serving(*command: str) -> Iterator[None]:
    """Run a server in the second container, and wait until it listens."""
    server = subprocess.Popen(["ip", "netns", "exec", "host2-c1", *command], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while not inside("host2-c1", "ss", "-Hltn", f"sport = :{PORT}"):
            if time.monotonic() > deadline:
                raise SystemExit(f"{command[0]} does not listen")
            time.sleep(0.02)
        yield
        server.wait(10)
    finally:
        server.kill()
        server.wait()


def address() -> str:
    """Return the second container's address."""
    (link,) = json.loads(inside("host2-c1", "ip", "-j", "-4", "address", "show", "eth0"))
    return str(link["addr_info"][0]["local"])


if __name__ == "__main__":
    main()
