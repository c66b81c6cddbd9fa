"""How long a runtime waits for a container's network: our plugin and its daemon, beside the reference plugins.

    scripts/in-namespaces python benchmarks/cni.py [--containers 20] [--cases plain port]

Each side is a host in a namespace of its own, and a runtime that executes plugins as libcni does: one process
for each, the configuration on its stdin, the next one's with the result of the one before. Ours is one plugin,
which asks a daemon that runs; theirs is a chain of bridge, which executes host-local, and of portmap. A round
adds all containers, one behind the other, and deletes them.

    plain      an interface, an address, a route
    port       and a port of the host
    masquerade and the world behind the host (ours has it for all containers of a host, from its start)
    both

    ADD, DEL   of one container, the mean of a round

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs

from benchmarks import frame
from benchmarks.namespaces import enter
from tests.cni import hosts
from tests.kernel.conftest import Netns

TINY = ("--containers", "1", "--rounds", "1", "--cases", "plain")
QUANTITIES = (frame.less("ADD", "ms"), frame.less("DEL", "ms"))
REFERENCE = frame.Program("/usr/lib/cni/bridge", "containernetworking-plugins")
CASES = {"plain": (), "port": ("port",), "masquerade": ("masquerade",), "both": ("port", "masquerade")}
FIRST_PORT = 20000

Plugins = Sequence[tuple[Path, Mapping[str, Any]]]


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--containers", type=int, default=20, help="in each round")
    parser.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    options = parser.parse_args(argv)
    with ExitStack() as stack:
        containers = [stack.enter_context(closing(Netns())) for _ in range(options.containers)]
        cases = [stack.enter_context(case(name, CASES[name], containers)) for name in options.cases]
        frame.run(options, QUANTITIES, cases)


@contextmanager
def case(name: str, wants: Sequence[str], containers: Sequence[Netns]) -> Iterator[frame.Case]:
    """Have both sides' hosts while the case is played."""
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ours = stack.enter_context(hosts.host(home))
        theirs = stack.enter_context(closing(Netns()))
        own = Runtime(host=ours.netns.path, plugins=our_plugins(ours, wants))
        other = Runtime(host=theirs.path, plugins=reference(home, wants))
        yield frame.Case(
            name=name,
            sides=[
                frame.Side(name="ours", play=partial(own.play, containers)),
                frame.Side(name="reference", play=partial(other.play, containers), needs=(REFERENCE,)),
            ],
        )


def our_plugins(host: hosts.Host, wants: Sequence[str]) -> Plugins:
    return [(host.places.executable, {**host.runtime.config, **({"port": True} if "port" in wants else {})})]


def reference(home: Path, wants: Sequence[str]) -> Plugins:
    ipam: dict[str, Any] = {
        "type": "host-local",
        "ranges": [[{"subnet": "10.22.0.0/16"}], [{"subnet": "fd00:22::/64"}]],
    }
    ipam |= {"dataDir": str(home / "host-local"), "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    directory = Path(REFERENCE.command).parent
    chain: list[tuple[Path, dict[str, Any]]] = [
        (directory / "bridge", {**bridge, "ipMasq": "masquerade" in wants})
    ]
    if "port" in wants:
        chain.append((directory / "portmap", {"type": "portmap", "snat": True, "port": True}))
    return chain


@attrs.frozen(kw_only=True)
class Runtime:
    """One that executes a chain of plugins on one host.

    Args:
        host: the path of its namespace.
        plugins: each with its part of the configuration; `port` stands for a port of the host.
    """

    host: str
    plugins: Plugins

    def play(self, containers: Sequence[Netns]) -> frame.Values:
        # A namespace is a thread's, and whatever it starts.
        with ThreadPoolExecutor(1, initializer=enter, initargs=(self.host,)) as thread:
            return thread.submit(self._round, containers).result()

    def _round(self, containers: Sequence[Netns]) -> frame.Values:
        results: dict[int, Any] = {}

        def add(number: int) -> None:
            results[number] = None
            for plugin in self.plugins:
                results[number] = self._execute("ADD", number, containers[number], plugin, results[number])

        def delete(number: int) -> None:
            for plugin in reversed(self.plugins):
                self._execute("DEL", number, containers[number], plugin, results[number])

        return {"ADD": mean(add, len(containers)), "DEL": mean(delete, len(containers))}

    def _execute(
        self, command: str, number: int, container: Netns, plugin: tuple[Path, Mapping[str, Any]], before: Any
    ) -> Any:
        path, own = plugin
        config = {"cniVersion": "1.0.0", "name": "bench", **own, **({"prevResult": before} if before else {})}
        if config.pop("port", False):
            port = {"hostPort": FIRST_PORT + number, "containerPort": 80, "protocol": "tcp"}
            config["runtimeConfig"] = {"portMappings": [port]}
        environment = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": f"c{number}",
            "CNI_NETNS": container.path,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(path.parent),
            "PATH": os.environ["PATH"],
        }
        done = subprocess.run(
            [path], input=json.dumps(config), env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{path} {command}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout) if done.stdout else None


def mean(function: Callable[[int], None], count: int) -> float:
    """Return how many ms each of `count` calls takes."""
    began = time.perf_counter()
    for number in range(count):
        function(number)
    return (time.perf_counter() - began) / count * 1000


if __name__ == "__main__":
    main()
