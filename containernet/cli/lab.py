"""`containernet lab ...`: a cluster of network namespaces on this machine, to look at and to test on."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from typing import Any

from containernet.cli.inspect import show_way
from containernet.cli.table import show_json, show_table
from containernet.errors import ConfigError

_EPILOG = """\
A lab needs no configuration and no root: an ordinary user gets one in a user namespace. It leaves no file and
touches nothing of the machine's own network.
    containernet lab up --hosts 3 --containers 2 --dataplane vxlan --underlay routed
    containernet lab ping
    containernet lab exec host1 -- ip route
    containernet lab exec host1-c1 -- ping -c 3 10.4.7.2
    containernet lab down
With `up --store etcd --members 3`, hosts find each other by an etcd cluster, which can be hurt:
    containernet lab exec store1 -- etcdctl endpoint status --cluster -w table
    containernet lab exec underlay -- ip link set store1-eth0 down
    containernet lab logs store1
With `up --store bgp`, they tell each other, each by a session with each, or by reflectors (`--mesh reflector`):
    containernet lab up --store bgp --mesh reflector --hosts 4 --dataplane host-gw
    containernet lab exec underlay -- ip link set host1-eth0 down"""

_FAMILIES = {"4": (4,), "6": (6,), "dual": (4, 6)}


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add `lab` and its own commands."""
    parser = commands.add_parser(
        "lab",
        help="a cluster of network namespaces on this machine",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    own = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_up(own)
    _add(own, "down", down, "take it down: processes, networks and files")
    _add(own, "list", show_labs, "show the labs that are up", name=False, json=True)
    ping = _add(own, "ping", ping_all, "ping from every container to every other, all at once", json=True)
    ping.add_argument("--hosts", action="store_true", help="from host to host instead, over the underlay")
    ping.add_argument("--size", type=int, default=100, help="of the IP packet, octets (default: 100)")
    run = _add(own, "exec", execute, "run a command in a host or a container")
    run.add_argument("where", metavar="HOST|CONTAINER", help="host1, host1-c1, router, underlay ...")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND", help="default: a shell")
    way = _add(own, "explain", explain, "why a packet gets there, hop by hop across hosts", json=True)
    way.add_argument("source", metavar="SRC", help="a host or a container")
    way.add_argument("destination", metavar="DST", help="a host, a container or an address")
    way.add_argument("--family", type=int, choices=(4, 6), default=4, help="where DST is a name (default: 4)")
    way.add_argument("--port", default="", help="of DST, such as 8080 or udp/53; default: an echo request")
    logs = _add(
        own, "logs", show_log, "print what a host's containernetd has printed, or a server of the store"
    )
    logs.add_argument("host", metavar="HOST", help="host1 ..., store, store1 ...")
    demo = _add(own, "demo", run_demo, "show every dataplane on every underlay", name=False, json=True)
    demo.add_argument("--dataplane", action="append", metavar="NAME", help="only that one; may be repeated")


def _add(
    commands: argparse._SubParsersAction[Any],
    word: str,
    run: Callable[[argparse.Namespace], int],
    summary: str,
    *,
    name: bool = True,
    json: bool = False,
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(word, help=summary)
    if name:
        parser.add_argument("--name", default="lab", help="which lab, where there are several (default: lab)")
    if json:
        parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)
    return parser


def _add_up(commands: argparse._SubParsersAction[Any]) -> None:
    parser = _add(commands, "up", up, "make a lab: hosts, each with its own containernetd, and containers")
    parser.add_argument("--hosts", type=int, default=3, help="default: 3")
    parser.add_argument("--containers", type=int, default=2, help="on each host (default: 2)")
    parser.add_argument("--dataplane", default="vxlan", help="between hosts (default: vxlan)")
    parser.add_argument("--local", default="bridge", help="how a container hangs on its host (default: bridge)")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the dataplane, such as direct=true",
    )
    parser.add_argument(
        "--store",
        default="sqlite",
        help="for leases and routes: sqlite, etcd, or bgp for routes and sqlite for leases (default: sqlite)",
    )
    parser.add_argument(
        "--store-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the store, such as restart_time=5",
    )
    parser.add_argument(
        "--mesh",
        choices=("full", "reflector"),
        default="full",
        help="of BGP sessions: each host with each, or with host1 and, of four, host2 (default: full)",
    )
    parser.add_argument(
        "--members", type=int, default=1, help="of the store's cluster, each on a host of its own (default: 1)"
    )
    parser.add_argument(
        "--certificates",
        type=os.path.abspath,
        metavar="DIR",
        help="etcd with TLS, by DIR/ca.pem, and NAME.pem and NAME.key of each host and member",
    )
    parser.add_argument(
        "--lease-ttl",
        type=float,
        default=2700.0,
        metavar="SECONDS",
        help="of the hosts' leases (default: 2700)",
    )
    parser.add_argument(
        "--underlay",
        choices=("l2", "routed"),
        default="l2",
        help="all hosts on one switch, or on two with a router between (default: l2)",
    )
    parser.add_argument("--family", choices=tuple(_FAMILIES), default="dual", help="default: dual")
    parser.add_argument("--bare", action="store_true", help="hosts and cables only, no daemon")


def up(arguments: argparse.Namespace) -> int:
    """Make a lab and say what is there."""
    from containernet.lab import cluster, whole
    from containernet.lab.topology import Topology

    topology = Topology(
        hosts=arguments.hosts,
        containers=arguments.containers,
        underlay=arguments.underlay,
        dataplane=arguments.dataplane,
        local=arguments.local,
        options=tuple(arguments.option),
        store=arguments.store,
        store_members=arguments.members,
        certificates=arguments.certificates or "",
        store_options=tuple(arguments.store_option),
        mesh=arguments.mesh,
        lease_ttl=arguments.lease_ttl,
        versions=_FAMILIES[arguments.family],
    )
    make = cluster.up if arguments.bare else functools.partial(whole.up, say=_say)
    with make(arguments.name, topology) as lab:
        option = "" if lab.name == "lab" else f" --name {lab.name}"
        print(f"lab {lab.name!r} is up: {', '.join(topology.names)}")
        print(f"next: containernet lab ping{option}; containernet lab exec{option} host1 -- ip route")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def down(arguments: argparse.Namespace) -> int:
    """Take a lab down."""
    from containernet.lab import cluster

    with cluster.find(arguments.name) as lab:
        lab.down()
    print(f"lab {arguments.name!r} is down")
    return 0


def show_labs(arguments: argparse.Namespace) -> int:
    """Print the labs of this user that are up."""
    from containernet.lab import cluster

    rows = []
    for name in cluster.names():
        with cluster.find(name) as lab:
            rows.append({"name": name, "pid": lab.pid, **lab.topology.to_json()})
    if arguments.json:
        show_json(rows)
    else:
        columns = ("name", "pid", "hosts", "containers", "dataplane", "underlay", "store")
        show_table(columns, [[row[column] for column in columns] for row in rows])
    return 0


def ping_all(arguments: argparse.Namespace) -> int:
    """Ping all pairs and print who reached whom; 1 if somebody did not."""
    from containernet.lab import cluster, whole

    with cluster.find(arguments.name) as lab:
        names = (
            [host.name for host in lab.topology.members] if arguments.hosts else lab.topology.container_names
        )
        results = whole.ping(lab, names, size=arguments.size)
    if arguments.json:
        show_json([result.to_json() for result in results])
    else:
        rows = [(each.source, each.destination, each.target, each.answer) for each in results]
        show_table(("from", "to", "address", "answer"), rows)
    if not results:
        raise ConfigError("nobody to ping: the lab has no two containers with addresses")
    return 0 if all(result.reached for result in results) else 1


def execute(arguments: argparse.Namespace) -> int:
    """Run a command inside; its exit code is ours."""
    from containernet.lab import cluster

    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    with cluster.find(arguments.name) as lab:
        return lab.run(arguments.where, command or ["sh"])


def explain(arguments: argparse.Namespace) -> int:
    """Show a packet's way through the lab; 1 if something is wrong with it."""
    from containernet.lab import cluster, explain as explaining
    from containernet.sight import port

    at = port(arguments.port)
    with cluster.find(arguments.name) as lab:
        way = explaining.explain(
            lab, arguments.source, arguments.destination, version=arguments.family, port=at
        )
    return show_way(way, json=arguments.json)


def show_log(arguments: argparse.Namespace) -> int:
    """Print a host's log."""
    from containernet.lab import cluster, daemons

    with cluster.find(arguments.name) as lab:
        lab.netns(arguments.host)
        path = lab.file(daemons.log_file(arguments.host))
        if not path.exists():
            raise ConfigError(f"{arguments.host} runs no daemon in lab {lab.name!r}")
        sys.stdout.write(path.read_text())
    return 0


def run_demo(arguments: argparse.Namespace) -> int:
    """Show every dataplane on every underlay."""
    from containernet.lab import demo

    return demo.run(arguments.dataplane, as_json=arguments.json)
