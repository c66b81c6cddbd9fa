"""Commands that change something: attach, detach, gc, cleanup."""

from __future__ import annotations

import argparse
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

from containernet import config as configuration, loading
from containernet.cli.table import show_json
from containernet.config import Config
from containernet.control import ask
from containernet.errors import KernelError


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("attach", help="give a container's network namespace an interface")
    parser.add_argument("container", metavar="CONTAINER-ID")
    parser.add_argument("--netns", required=True, metavar="PATH|NAME", help="the container's network namespace")
    parser.add_argument("--interface", default="eth0", metavar="NAME", help="its name inside (default: eth0)")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=attach)

    parser = commands.add_parser("detach", help="take a container's interface away and free its addresses")
    parser.add_argument("container", metavar="CONTAINER-ID")
    parser.add_argument("--interface", default="eth0", metavar="NAME")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=detach)

    parser = commands.add_parser("gc", help="detach the containers whose network namespace is gone")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=collect)

    parser = commands.add_parser(
        "cleanup", help="take everything of ours out of the kernel; the daemon must not be running"
    )
    parser.add_argument("--dry-run", action="store_true", help="show it and change nothing")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=cleanup)


def attach(arguments: argparse.Namespace) -> int:
    """Ask the daemon to attach; a bare name is one of `ip netns`."""
    config = load(arguments)
    netns = arguments.netns if "/" in arguments.netns else f"/run/netns/{arguments.netns}"
    endpoint = ask(
        config.socket,
        "attach",
        container=arguments.container,
        netns=str(Path(netns).absolute()),
        interface=arguments.interface,
    )
    if arguments.json:
        show_json(endpoint)
    else:
        print(f"{endpoint['container']} {endpoint['interface']} {' '.join(endpoint['addresses'])}")
    return 0


def detach(arguments: argparse.Namespace) -> int:
    """Ask the daemon to detach; what was not attached is detached."""
    answer = ask(load(arguments).socket, "detach", container=arguments.container, interface=arguments.interface)
    if arguments.json:
        show_json(answer)
    else:
        print(f"{arguments.container} {'detached' if answer['detached'] else 'was not attached'}")
    return 0


def collect(arguments: argparse.Namespace) -> int:
    """Ask the daemon to detach whoever is gone, and show them."""
    answer = ask(load(arguments).socket, "gc")
    if arguments.json:
        show_json(answer)
    else:
        for endpoint in answer["collected"]:
            print(f"{endpoint['container']} {endpoint['interface']} {' '.join(endpoint['addresses'])}")
    return 0


def cleanup(arguments: argparse.Namespace) -> int:
    """Delete every item of ours; leases, addresses and files stay as they are."""
    from containernet.planning import plan
    from containernet.serving import host_lock

    config = load(arguments)
    lock = nullcontext() if arguments.dry_run else host_lock(config)
    with lock, closing(loading.kernel(config.kernel.name, config.kernel.options)) as kernel:
        operations = plan({}, kernel.read())
        failures = () if arguments.dry_run else kernel.execute(operations)
    if arguments.json:
        show_json(
            {"operations": [str(each) for each in operations], "failures": [str(each) for each in failures]}
        )
    else:
        for operation in operations:
            print(operation)
    if failures:
        raise KernelError(f"{len(failures)} of {len(operations)} operations failed, first: {failures[0]}")
    return 0


def load(arguments: argparse.Namespace) -> Config:
    """Return the config file that the command line names."""
    return configuration.load(arguments.config or configuration.DEFAULT_PATH)
