"""How long the programs take before they do anything: the import, a command's help, a daemon that is ready.

    scripts/in-namespaces python benchmarks/start.py [--rounds 9]

    import     `import containernet` in a new interpreter; beside it, an interpreter that does nothing
    help       `containernet --help`
    ready      from before the process exists to its READY=1: it has a lease, has heard its route store, and the
               kernel holds what is desired; the store is a new file of sqlite, and nobody else is in it
    memory     of that daemon, resident

Needs root, or a user namespace, and a network namespace without anything in it: scripts/in-namespaces is both.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import frame

TINY = ("--rounds", "1")
QUANTITIES = (
    frame.less("import", "ms"),
    frame.less("help", "ms"),
    frame.less("ready", "ms"),
    frame.less("memory", "MB"),
)
# Compiled Python, as an installed program is.
ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
PATIENCE = 30  # seconds


def main(argv: Sequence[str] | None = None) -> None:
    options = frame.parser(__doc__, rounds=9).parse_args(argv)
    sides = (
        frame.Side(name="ours", play=lambda: ended() | ready()),
        frame.Side(name="python", play=lambda: {"import": run("-c", "pass")}),
    )
    with underlay():
        frame.run(options, QUANTITIES, [frame.Case(name="start", sides=sides)])


def ended() -> dict[str, float]:
    """Return the milliseconds of what ends by itself."""
    return {
        "import": run("-c", "import containernet"),
        "help": run("-m", "containernet.cli.main", "--help"),
    }


def run(*arguments: str) -> float:
    """Return how long Python takes for it, milliseconds."""
    command = [sys.executable, *arguments]
    return 1e3 * frame.seconds(
        lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    )


@contextmanager
def underlay() -> Iterator[None]:
    """Have a link with an address."""
    _ip("link add underlay type veth peer name away", "address add 192.0.2.1/24 dev underlay")
    _ip("link set underlay up", "link set away up")
    try:
        yield
    finally:
        _ip("link del underlay")


def _ip(*lines: str) -> None:
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


def ready() -> dict[str, float]:
    """Return the milliseconds until a daemon is ready, and its megabytes."""
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(f"{directory}/notify")
        told.settimeout(PATIENCE)
        began = time.perf_counter()
        daemon = subprocess.Popen(
            [sys.executable, "-m", "containernet.daemon", "--config", str(_config(Path(directory)))],
            env={**ENVIRONMENT, "NOTIFY_SOCKET": f"{directory}/notify"},
            stderr=subprocess.DEVNULL,
        )
        try:
            assert told.recv(100) == b"READY=1"
            return {
                "ready": 1e3 * (time.perf_counter() - began),
                "memory": frame.memory(daemon.pid),
            }
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
            _ip("link del cn0", "link del vxlan.1")  # so that the next one is a first start too


def _config(directory: Path) -> Path:
    path = directory / "containernet.toml"
    path.write_text(
        '[node]\nname = "host-a"\ninterface = "underlay"\n[network]\npool = "10.4.0.0/16"\n'
        f'[store]\nleases = "sqlite"\nroutes = "sqlite"\n[store.sqlite]\npath = "{directory}/store.db"\n'
        f'[daemon]\nstate_dir = "{directory}"\nrun_dir = "{directory}"\nsubnet_file = ""\n'
    )
    return path


if __name__ == "__main__":
    main()
