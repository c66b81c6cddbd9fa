"""`containernet cni`: what container runtimes need from us on a host."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from containernet.cli.operate import load
from containernet.cli.table import show_json


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Add the commands of this module."""
    parser = commands.add_parser("cni", help="the plugin for podman, containerd and the kubelet")
    words = parser.add_subparsers(metavar="COMMAND", required=True)
    for name, run, text in (
        ("install", install, "put the plugin and a network configuration where runtimes look"),
        ("uninstall", uninstall, "take both away again"),
    ):
        word = words.add_parser(name, help=text)
        word.add_argument("--executables", type=Path, metavar="DIRECTORY", help="default: /opt/cni/bin")
        word.add_argument("--configurations", type=Path, metavar="DIRECTORY", help="default: /etc/cni/net.d")
        word.add_argument("--network", metavar="NAME", help="what runtimes call it (default: containernet)")
        if run is install:
            word.add_argument("--python", default="", metavar="PATH", help="default: /usr/bin/python3")
        word.add_argument("--json", action="store_true")
        word.set_defaults(run=run)


def install(arguments: argparse.Namespace) -> int:
    """Write what is not there yet."""
    from containernet.cni import install as cni

    written = cni.install(_places(arguments), load(arguments), interpreter=arguments.python)
    return _show(arguments, "written", written)


def uninstall(arguments: argparse.Namespace) -> int:
    """Remove what is ours."""
    from containernet.cni import install as cni

    return _show(arguments, "removed", cni.uninstall(_places(arguments)))


def _places(arguments: argparse.Namespace) -> Any:
    from containernet.cni.install import Places

    named = ("executables", "configurations", "network")
    return Places(**{name: getattr(arguments, name) for name in named if getattr(arguments, name) is not None})


def _show(arguments: argparse.Namespace, done: str, paths: list[Path]) -> int:
    if arguments.json:
        show_json({done: [str(path) for path in paths]})
    else:
        for path in paths:
            print(f"{path} {done}")
        if not paths:
            print("nothing to do")
    return 0
