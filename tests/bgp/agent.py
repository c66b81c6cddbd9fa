"""Our whole daemon on a host of the wire, as a user runs it: leases, routes by BGP, a kernel to fill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

from containernet.control import ask
from containernet.errors import DaemonUnavailable
from containernet.model import Address
from tests.kernel.conftest import Netns
from tests.waiting import wait_until

from .topology import Host

SUBNET = "10.1.0.64/26"
PATIENCE = 60.0  # seconds; user-mode-linux is ten times slower

# Without what takes nftables: user-mode-linux has none.
_CONFIG = """
[node]
name = "{name}"
interface = "eth0"
[network]
pool = "10.0.0.0/8"
subnet_length = 26
[store]
leases = "{leases}"
routes = "bgp"
[store.{leases}]
{options}
[store.bgp]
{bgp}
[dataplane]
local = "bridge"
remote = "{dataplane}"
masquerade = false
masquerade6 = false
guard = false
[daemon]
state_dir = "{home}"
run_dir = "{home}"
"""


class Agent:
    """containernetd on a host; the caller closes it.

    Args:
        host: where it runs. home: where its files are, empty.
        bgp: the lines of [store.bgp]. dataplane: the remote one.
        leases: the lease store, with its options; by default one that knows one subnet, `SUBNET`.
    """

    def __init__(
        self,
        host: Host,
        home: Path,
        *,
        bgp: str,
        dataplane: str,
        leases: tuple[str, str] = ("static", f'subnets = ["{SUBNET}"]'),
    ) -> None:
        self._host, self._home = host, home
        self._config, self._log = home / "config", home / "log"
        kind, options = leases
        self._config.write_text(
            _CONFIG.format(
                name=host.name, leases=kind, options=options, bgp=bgp, dataplane=dataplane, home=home
            )
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Self:
        """Start it; unless `wait` is the caller's, it is ready then."""
        daemon = [sys.executable, "-m", "containernet.daemon", "--config", str(self._config)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self._host.path}", *daemon],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until it is ready."""
        try:
            wait_until(self._is_ready, what="our daemon is ready", patience=PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}: {self._command('status').stdout}{self._log.read_text()}") from None

    def _is_ready(self) -> bool:
        assert self._process
        assert self._process.poll() is None, self._log.read_text()
        try:  # not by the program: an interpreter for each look is a processor for as long as we wait
            return bool(ask(self._home / "containernet.sock", "status")["ready"])
        except DaemonUnavailable:
            return False

    def kill(self) -> None:
        """End it as a crash does."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """End it in order; may be called twice."""
        self._end(signal.SIGTERM)

    def _end(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)  # our own child, whose number is ours until we wait for it
            self._process.wait(PATIENCE)
            self._process = None

    def ask(self, *words: str) -> dict[str, Any]:
        """Run the command line; return what it prints as JSON."""
        done = self._command(*words, "--json")
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    def attach(self, container: Netns) -> Address:
        """Give a namespace an interface; return its address."""
        attached = self.ask("attach", "c1", "--netns", container.path)
        return ip_address(attached["addresses"][0].partition("/")[0])

    def _command(self, *words: str) -> subprocess.CompletedProcess[str]:
        asked = [sys.executable, "-m", "containernet.cli.main", "--config", str(self._config), *words]
        return subprocess.run(asked, capture_output=True, text=True, check=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
