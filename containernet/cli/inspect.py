"""Commands that only look: status, routes, leases, plan, explain, backends."""

from __future__ import annotations

import argparse
from contextlib import closing
from typing import TYPE_CHECKING, Any

from containernet import jsonform, loading
from containernet.cli.operate import load
from containernet.cli.table import show_json, show_line, show_table
from containernet.control import ask

if TYPE_CHECKING:
    from containernet.explaining import Explanation
    from containernet.model import Lease

NOT_READY = 9


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands of this module."""
    for function, words in (
        (status, "how the daemon stands: ready, or why not"),
        (routes, "who can reach what, as the route store tells it"),
        (leases, "who holds which subnet"),
        (plan, "what would be changed in the kernel, changing nothing"),
        (backends, "which backends are installed, and by which distribution"),
    ):
        parser = commands.add_parser(function.__name__, help=words)
        parser.add_argument("--json", action="store_true")
        parser.set_defaults(run=function)
    parser = commands.add_parser("explain", help="why a packet gets there or not, as far as this host sees it")
    parser.add_argument("source", nargs="?", default="", metavar="SRC", help="a container; default: this host")
    parser.add_argument("destination", metavar="DST", help="an address, or a container of this host")
    parser.add_argument("--family", type=int, choices=(4, 6), default=0, help="where DST is a container")
    parser.add_argument("--port", default="", help="of DST, such as 8080 or udp/53; default: an echo request")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=explain)


def status(arguments: argparse.Namespace) -> int:
    """Show the daemon's status; exit code 9 while it is not ready."""
    answer = ask(load(arguments).socket, "status")
    if arguments.json:
        show_json(answer)
        return 0 if answer["ready"] else NOT_READY
    lease = answer["lease_seconds"]
    print(f"{answer['node']} is {'ready' if answer['ready'] else 'not ready'}")
    for reason in answer["reasons"]:
        show_line(f"  because {reason}")
    print(f"underlay    {answer['interface']} {' '.join(answer['addresses'])}")
    print(
        f"subnets     {' '.join(answer['subnets']) or 'none'}"
        + (f", for {lease:.0f} s more" if lease is not None and lease > 0 else "")
    )
    print(f"kernel      {answer['programmed']} items, {answer['repairs']} repaired since the start")
    print(
        f"routes      {len(answer['routes'])} known, {len(answer['refused'])} refused"
        + (f", {len(answer['quarantined'])} records set aside" if answer["quarantined"] else "")
    )
    print(f"containers  {len(answer['endpoints'])}, MTU {answer['container_mtu']}")
    for endpoint in answer["endpoints"]:
        print(f"  {endpoint['container']} {endpoint['interface']} {' '.join(endpoint['addresses'])}")
        for port in endpoint["ports"]:
            print(f"    port {jsonform.port_from_json(port)}")
    for warning in answer["warnings"]:
        show_line(f"warning: {warning}")
    return 0 if answer["ready"] else NOT_READY


def routes(arguments: argparse.Namespace) -> int:
    """Show what the route store holds, asking it directly; or the daemon, where only that may ask it."""
    from containernet.listen import snapshot_beside

    config = load(arguments)
    with closing(loading.route_store(config.routes.name, config.routes.options)) as store:
        told = snapshot_beside(store, config.socket)
    if arguments.json:
        show_json(
            {
                "routes": [jsonform.route_to_json(route) for route in told.routes],
                "quarantined": {record.key: record.reason for record in told.quarantined},
            }
        )
        return 0
    ordered = sorted(told.routes, key=lambda route: (route.prefix.version, route.prefix))
    show_table(
        ("PREFIX", "NODE", "NEXT HOP", "TUNNEL"),
        (
            (
                path.prefix,
                path.node,
                path.next_hop,
                " ".join((path.tunnel.type, *(f"{key}={value}" for key, value in path.tunnel.data))),
            )
            for route in ordered
            for path in route.paths
        ),
    )
    for record in told.quarantined:
        show_line(f"set aside: {record.key}: {record.reason}")
    return 0


def leases(arguments: argparse.Namespace) -> int:
    """Show what the lease store holds, asking it directly."""
    config = load(arguments)
    with closing(loading.lease_store(config.leases.name, config.leases.options)) as store:
        held = sorted(store.leases(), key=lambda lease: str(lease.subnets))
    if arguments.json:
        show_json({"leases": [jsonform.lease_to_json(lease) for lease in held]})
        return 0
    show_table(
        ("SUBNETS", "NODE", "ENDS"),
        (
            (
                " ".join(map(str, lease.subnets)),
                lease.node or "(reserved)",
                end(lease),
            )
            for lease in held
        ),
    )
    return 0


def end(lease: Lease) -> str:
    """Return in words when a lease ends."""
    if lease.expires is not None:
        return f"in {lease.expires:.0f} s"
    return "not told" if lease.node else "never"


def plan(arguments: argparse.Namespace) -> int:
    """Show what a daemon with this config would do to the kernel now."""
    from containernet.preview import preview

    due = preview(load(arguments))
    if arguments.json:
        show_json({"operations": [str(each) for each in due.operations], "notes": list(due.notes)})
        return 0
    for operation in due.operations:
        print(operation)
    for note in due.notes:
        show_line(f"note: {note}")
    if not due.operations:
        print("nothing to do: the kernel holds what is desired")
    return 0


def explain(arguments: argparse.Namespace) -> int:
    """Show a packet's way; 1 if something is wrong with it."""
    from containernet.sight import explain_here, port

    config = load(arguments)
    with closing(loading.kernel(config.kernel.name, config.kernel.options)) as kernel:
        way = explain_here(
            config,
            kernel,
            arguments.destination,
            source=arguments.source,
            version=arguments.family,
            port=port(arguments.port),
        )
    return show_way(way, json=arguments.json)


def show_way(way: Explanation, *, json: bool) -> int:
    """Print an explanation; return the exit code."""
    if json:
        show_json(way.to_json())
    else:
        for line in way.lines():
            show_line(line)
    return 1 if way.first_fault else 0


def backends(arguments: argparse.Namespace) -> int:
    """Show every installed backend; reads metadata only."""
    found = [backend for group in loading.GROUPS for backend in loading.installed(group)]
    if arguments.json:
        show_json(
            [
                {
                    "kind": backend.group.partition(".")[2],
                    "name": backend.name,
                    "distribution": backend.distribution,
                    "version": backend.version,
                    "target": backend.target,
                }
                for backend in found
            ]
        )
        return 0
    show_table(
        ("KIND", "NAME", "DISTRIBUTION", "VERSION", "TARGET"),
        ((b.group.partition(".")[2], b.name, b.distribution, b.version, b.target) for b in found),
    )
    return 0
