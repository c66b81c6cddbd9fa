"""A host with containernetd and its plugin, in a network namespace of its own."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from containernet import config as configuration
from containernet.cni.install import Places, configuration as network, install
from containernet.control import ask
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from .runtime import Runtime

CONFIG = """
[node]
name = "{name}"
interface = "eth0"
[network]
pool = "10.4.0.0/16"
pool6 = "fd00:4::/48"
{network}
[store.sqlite]
path = "{store}"
[daemon]
state_dir = "{home}/state"
run_dir = "{home}/run"
"""


@attrs.define(kw_only=True)
class Host:
    """One host: its namespace, its files, and its daemon while one runs.

    Args:
        home: the directory of all its files.
        number: from 1 on.
        program: what Python is to run as the daemon.
    """

    netns: Netns
    home: Path
    number: int
    program: Sequence[str] = ("-m", "containernet.daemon")
    daemon: subprocess.Popen[str] | None = None

    @property
    def name(self) -> str:
        """What its node is called."""
        return f"host{self.number}"

    @property
    def address(self) -> str:
        """Where the other hosts reach it."""
        return f"192.0.2.{self.number}"

    @property
    def config_file(self) -> Path:
        """The daemon's."""
        return self.home / "containernet.toml"

    @property
    def config(self) -> configuration.Config:
        """What it says."""
        return configuration.load(self.config_file)

    @property
    def places(self) -> Places:
        """Where the plugin and its configuration are."""
        return Places(executables=self.home / "bin", configurations=self.home / "net.d")

    @property
    def runtime(self) -> Runtime:
        """A runtime on this host."""
        return Runtime(host=self.netns, plugin=self.places.executable, config=network("net")["plugins"][0])

    def start(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        """Start the daemon, do something meanwhile, and wait until it is ready."""
        address = str(self.home / "notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            Path(address).unlink(missing_ok=True)
            notify.bind(address)
            notify.settimeout(30)
            with (self.home / "log").open("a") as log:
                self.daemon = subprocess.Popen(
                    [
                        *("nsenter", f"--net={self.netns.path}", sys.executable),
                        *(*self.program, "--config", str(self.config_file)),
                    ],
                    stderr=log,
                    text=True,
                    env={"NOTIFY_SOCKET": address, "PATH": "/usr/bin:/usr/sbin:/bin:/sbin"},
                )
            meanwhile()
            assert b"READY=1" in notify.recv(4096)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End the daemon by a signal."""
        if self.daemon:
            self.daemon.send_signal(number)
            self.daemon.wait(30)
            self.daemon = None

    def asked(self, command: str, **arguments: Any) -> Any:
        """Return what the daemon answers on its socket."""
        return ask(self.config.socket, command, **arguments)

    def run(self, *words: str) -> str:
        """Run `containernet` on this host; return what it prints."""
        program = (sys.executable, "-m", "containernet.cli.main", "--config", str(self.config_file))
        return self.netns.run(*program, *words)

    def log(self) -> str:
        """Return what the daemon has said."""
        return (self.home / "log").read_text()

    def endpoints(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what is attached, by container."""
        return {each["container"]: each for each in self.asked("status")["endpoints"]}

    def cables(self) -> list[str]:
        """Return the names of the host's ends of all containers' cables."""
        lines = self.netns.ip("-brief link show").splitlines()
        return sorted(line.split("@")[0] for line in lines if line.startswith("veth"))

    def wait_for(self, before: object) -> None:
        """Wait until nothing is left that was not there `before`."""
        wait_until(lambda: self.holds() == before, what=f"{before} again, and not {self.holds()}")

    def holds(self) -> object:
        """Return all that an attachment could leave behind: addresses, cables, files, rules."""
        files = sorted(str(path) for path in (self.home / "run").rglob("*"))
        return self.endpoints(), self.cables(), files, self.netns.run("nft", "list", "ruleset")


@contextmanager
def cluster(home: Path, count: int, *, network: str = "", more: str = "") -> Iterator[list[Host]]:
    """Make hosts on one wire, whose daemons are ready and whose plugins are installed; end them in the end.

    Args:
        home: the directory of all their files.
        network: lines of that table of the config file.
        more: lines behind its end.
    """
    with ExitStack() as stack:
        switch = Netns()
        stack.callback(switch.close)
        switch.ip("link add switch type bridge")
        switch.ip("link set switch up")
        made = []
        for number in range(1, count + 1):
            host = Host(netns=Netns(), home=home / f"host{number}", number=number)
            stack.callback(host.netns.close)
            _plug_in(host, switch)
            host.home.mkdir()
            text = CONFIG.format(name=host.name, home=host.home, store=home / "store.db", network=network)
            host.config_file.write_text(text + more)
            install(host.places, host.config)
            stack.callback(host.stop, signal.SIGKILL)
            host.start()
            made.append(host)
        yield made


def _plug_in(host: Host, switch: Netns) -> None:
    host.netns.ip(f"link add eth0 type veth peer name {host.name} netns {switch.path}")
    switch.ip(f"link set {host.name} master switch up")
    host.netns.ip("link set eth0 up")
    host.netns.ip(f"address add 192.0.2.{host.number}/24 dev eth0")
    host.netns.ip(f"address add 2001:db8::{host.number}/64 dev eth0 nodad")


@contextmanager
def host(home: Path, *, network: str = "", more: str = "") -> Iterator[Host]:
    """Make one host; see `cluster`."""
    with cluster(home, 1, network=network, more=more) as [made]:
        yield made


@contextmanager
def small_disk(path: Path, *, octets: int) -> Iterator[Path]:
    """Have a file system of that size; it is gone with what is on it."""
    path = path / "disk"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={octets}", "tmpfs", path], check=True)
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def full(disk: Path) -> Iterator[None]:
    """Leave no room on a disk meanwhile."""
    waste = disk / "waste"
    with waste.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(bytes(4096)):
            pass
    yield
    waste.unlink()
