"""containernetd and containernet as processes: exit codes, messages, sockets. No kernel is programmed here.

What needs a network namespace is shown by the laboratory's tests.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import attrs
import pytest

from containernet.config import DEFAULT_PATH, Config, DaemonTable
from containernet.control import ControlServer
from containernet.errors import AlreadyRunning, DaemonUnavailable, KernelError, PermissionRefused
from containernet.serving import arguments, host_lock, notify
from containernet.testing import SOON
from containernet_backends.sqlite import SqliteStore
from tests.fakes import READY


@attrs.define(kw_only=True)
class Site:
    """A config file in a directory of its own, and the programs run with it."""

    directory: Path

    @property
    def config(self) -> Path:
        """The config file."""
        return self.directory / "containernet.toml"

    @property
    def store(self) -> Path:
        """The file of the sqlite store."""
        return self.directory / "store.db"

    def write(self, more: str = "", *, pool: str = 'pool = "10.4.0.0/16"') -> None:
        """Write the config file."""
        self.config.write_text(
            f'[network]\n{pool}\n[store.sqlite]\npath = "{self.store}"\n'
            f'[daemon]\nstate_dir = "{self.directory}/state"\nrun_dir = "{self.directory}/run"\n{more}'
        )

    def run(self, program: str, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program of ours to its end."""
        module = {"containernet": "containernet.cli.main", "containernetd": "containernet.daemon"}[program]
        return subprocess.run(
            [sys.executable, "-m", module, "--config", str(self.config), *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            **more,
        )


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A site with a config file that is right."""
    site = Site(directory=tmp_path)
    site.write()
    (tmp_path / "run").mkdir()
    return site


@pytest.fixture
def daemon(site: Site) -> Iterator[dict[str, Any]]:
    """What a daemon answers, by command: values, or errors to be raised."""
    answers: dict[str, Any] = {"status": READY.to_json()}

    def answer(request: Mapping[str, Any]) -> Any:
        result = answers[str(request["command"])]
        if isinstance(result, Exception):
            raise result
        return result

    commands = dict.fromkeys(("status", "attach", "detach"), answer)
    with closing(ControlServer(site.directory / "run" / "containernet.sock", commands)):
        yield answers


# Exit codes, as `containernet --help` tells them.


@pytest.mark.parametrize("program", ["containernet", "containernetd"])
def test_a_config_file_that_is_not_there(site: Site, program: str) -> None:
    """Exit code 2, one line, and the option that names another."""
    site.config.unlink()
    done = site.run(program, *(["status"] if program == "containernet" else []))
    assert done.returncode == 2
    assert done.stderr == (
        f"{program}: config file {site.config}: No such file or directory; name another one with --config\n"
    )


def test_a_config_file_that_is_wrong(site: Site) -> None:
    """The daemon has started nothing, and says which key it was."""
    site.write("log = 'loud'")
    done = site.run("containernetd")
    assert (done.returncode, done.stdout) == (2, "")
    assert "log = 'loud': expected debug, info, warning or error" in done.stderr
    assert not (site.directory / "state").exists()


def test_a_backend_that_nobody_has(site: Site) -> None:
    """The installed ones are named."""
    site.write("[dataplane]\nremote = 'wireguard'\n[kernel]\nbackend = 'xyz'")
    done = site.run("containernetd")
    assert done.returncode == 2
    assert "no kernel 'xyz' is installed; installed are: netlink" in done.stderr


def test_no_daemon(site: Site) -> None:
    """Exit code 8."""
    done = site.run("containernet", "status")
    assert done.returncode == 8
    assert "no containernetd answers on" in done.stderr


def test_a_second_daemon_on_one_host(site: Site) -> None:
    """Exit code 7, with the pid of the first."""
    with host_lock(Config(daemon=DaemonTable(run_dir=f"{site.directory}/run"))):
        done = site.run("containernetd")
    assert done.returncode == 7
    assert f"another containernetd (pid {os.getpid()}) runs on this host" in done.stderr


def test_a_store_that_is_none(site: Site) -> None:
    """Exit code 4."""
    site.store.write_bytes(b"not a database, but as long as the header of one would have to be" * 20)
    done = site.run("containernet", "leases")
    assert done.returncode == 4, done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [(KernelError("no such namespace"), 6), (DaemonUnavailable("busy"), 8), (OSError("?"), 1)],
)
def test_what_the_daemon_raised_is_how_the_client_ends(
    site: Site, daemon: dict[str, Any], error: Exception, code: int
) -> None:
    """The same class, so the same exit code; JSON where it was asked for."""
    daemon["attach"] = error
    done = site.run("containernet", "attach", "c1", "--netns", "c1", "--json")
    assert done.returncode == code
    assert str(error) in json.loads(done.stdout)["error"]["message"]
    assert done.stderr.startswith("containernet: ")


def test_not_ready(site: Site, daemon: dict[str, Any]) -> None:
    """Exit code 9, which no error has; ready is 0."""
    assert site.run("containernet", "status").returncode == 0
    daemon["status"] = attrs.evolve(READY, synced=False).to_json()
    done = site.run("containernet", "status")
    assert done.returncode == 9
    assert "a is not ready\n  because the route store has not told its routes: waiting\n" in done.stdout
    assert site.run("containernet", "status", "--json").returncode == 9


def test_arguments_that_nobody_understands(site: Site) -> None:
    """Exit code 2, as for the config."""
    assert site.run("containernet", "atach").returncode == 2
    assert site.run("containernet").returncode == 2
    assert site.run("containernet", "attach", "c1").returncode == 2


# What the commands print.


def test_attach_and_detach(site: Site, daemon: dict[str, Any]) -> None:
    """One line each, for people."""
    daemon["attach"] = {"container": "c1", "interface": "eth0", "addresses": ["10.4.1.2/24"], "netns": "x"}
    daemon["detach"] = {"detached": False}
    assert site.run("containernet", "attach", "c1", "--netns", "c1").stdout == "c1 eth0 10.4.1.2/24\n"
    assert site.run("containernet", "detach", "c1").stdout == "c1 was not attached\n"


def test_leases_and_routes(site: Site) -> None:
    """Asked of the store itself, without a daemon; as a table and as JSON."""
    with closing(SqliteStore(path=site.store)) as store:
        store.claim((ip_network("10.4.7.0/24"),), "a", 3600)
        store.reserve((ip_network("10.4.8.0/24"),))
    table = site.run("containernet", "leases").stdout
    assert [line.split()[:2] for line in table.splitlines() if line.startswith("10.")] == [
        ["10.4.7.0/24", "a"],
        ["10.4.8.0/24", "(reserved)"],
    ]
    leases = json.loads(site.run("containernet", "leases", "--json").stdout)["leases"]
    assert [lease["subnets"] for lease in leases] == [["10.4.7.0/24"], ["10.4.8.0/24"]]
    assert json.loads(site.run("containernet", "routes", "--json").stdout) == {"routes": [], "quarantined": {}}


def test_backends(site: Site) -> None:
    """Needs no config file at all."""
    site.config.unlink()
    found = json.loads(site.run("containernet", "backends", "--json").stdout)
    assert {"kind": "dataplanes", "name": "vxlan", "distribution": "containernet"}.items() <= next(
        each for each in found if each["name"] == "vxlan"
    ).items()


def test_a_reader_that_has_seen_enough(site: Site) -> None:
    """`containernet backends | head -0` is no error, and says nothing on stderr."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "containernet.cli.main", "--config", str(site.config), "backends"],
            stdout=writing,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# The daemon's own small parts.


def test_arguments_read_without_argparse_are_those_that_it_would_read() -> None:
    """A service has the first form; all others are argparse's, and its help is as ever."""
    assert arguments(["--config", "a.toml"]) == arguments(["--config=a.toml"]) == (Path("a.toml"), False)
    assert arguments([]) == (DEFAULT_PATH, False)
    assert arguments(["--leave", "--config", "a"]) == (Path("a"), True)
    with pytest.raises(SystemExit):
        arguments(["--config", "--leave"])


def test_the_lock_is_free_when_its_holder_has_gone(tmp_path: Path) -> None:
    """Also when it was killed: the kernel lets go, and the file may stay."""
    config = Config(daemon=DaemonTable(run_dir=str(tmp_path)))
    script = (
        "import sys\nfrom containernet.config import Config, DaemonTable\n"
        "from containernet.serving import host_lock\n"
        "with host_lock(Config(daemon=DaemonTable(run_dir=sys.argv[1]))):\n"
        "    print('held', flush=True)\n    sys.stdin.read()\n"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid}"), host_lock(config):
            pass
        holder.send_signal(signal.SIGKILL)
    with host_lock(config):
        assert (tmp_path / "containernetd.lock").read_text() == f"{os.getpid()}\n"


def test_a_lock_that_cannot_be_opened(tmp_path: Path) -> None:
    """The operator is told what to set."""
    config = Config(daemon=DaemonTable(run_dir=str(tmp_path / "none")))
    with pytest.raises(PermissionRefused, match="set run_dir"), host_lock(config):
        pass


@pytest.mark.parametrize("abstract", [False, True])
def test_the_service_manager_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    """As sd_notify(3) says, by path or by abstract name; without one nothing happens."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")
    name = f"@{tmp_path}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{tmp_path}" if abstract else name)
        manager.settimeout(SOON)
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("READY=1")
        assert manager.recv(100) == b"READY=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    notify("STOPPING=1")
    assert threading.main_thread().is_alive()


def test_a_daemon_has_as_many_descriptors_as_it_may() -> None:
    """The usual soft limit is too low for a route reflector with a thousand clients."""
    code = (
        "import resource; from containernet.serving import allow_descriptors\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)); allow_descriptors()\n"
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "200 200\n"


def test_blocks_that_are_freed_go_back_to_the_kernel() -> None:
    """Those of a start, and from between others that stay: the C library by itself keeps them."""
    script = (
        "import re, pathlib; from containernet.serving import give_memory_back\n"
        "def resident():\n"
        "    return int(re.search(r'VmRSS:\\s+(\\d+)', pathlib.Path('/proc/self/status').read_text())[1])\n"
        "give_memory_back()\n"
        "before = resident()\n"
        "blocks = [bytes([1]) * (100_000 if n % 2 else 1_000) for n in range(400)]\n"
        "held = resident()\n"
        "del blocks[1::2]\n"
        "print(held - before, resident() - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    held, kept = map(int, done.stdout.split())  # KiB
    assert held > 19_000
    assert kept < 2_000
