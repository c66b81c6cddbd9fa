"""podman with runc on a host, with files of its own."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.waiting import wait_until

from . import images
from .hosts import Host

CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[network]
network_backend = "cni"
cni_plugin_dirs = ["{host.places.executables}"]
network_config_dir = "{host.places.configurations}"
default_network = "containernet"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
"""
PARENT = f"/containernet-test-{os.getpid()}"  # of all cgroups


@attrs.frozen(kw_only=True)
class Podman:
    """podman on one host, with files of its own."""

    host: Host

    @property
    def command(self) -> list[str]:
        """The program with what keeps its files apart; it wants no long path for some of them."""
        home, run = self.host.home, f"/run/{self.host.name}"
        files = [f"--root={home}/root", f"--runroot={run}/run", f"--tmpdir={run}/tmp"]
        return ["podman", *files, "--storage-driver=vfs"]

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin to run podman."""
        return subprocess.Popen(
            ["nsenter", f"--net={self.host.netns.path}", *self.command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "CONTAINERS_CONF": str(self.host.home / "containers.conf")},
        )

    def __call__(self, *words: str) -> str:
        """Run podman; return what it prints."""
        with self.start(*words) as process:
            out, err = process.communicate(timeout=120)
        assert process.returncode == 0, f"podman {' '.join(words)}: {err}"
        return out.strip()

    def run(self, name: str, *options: str) -> None:
        """Run a container that serves a page on port 80."""
        httpd = ("busybox", "httpd", "-f", "-p", "80", "-h", "/www")
        self("run", "-d", "--cgroup-parent", PARENT, "--name", name, *options, *httpd)

    def removed_all(self) -> bool:
        """Remove all containers; False: podman, once killed, has left a mount that is in its way now."""
        with self.start("rm", "--all", "--force", "--time=0") as process:
            process.communicate(timeout=60)
        for line in Path("/proc/self/mounts").read_text().splitlines():
            if line.split()[1].startswith(f"{self.host.home}/root/vfs-containers"):
                subprocess.run(["umount", "--lazy", line.split()[1]], check=False, capture_output=True)
        return process.returncode == 0

    def network(self, name: str) -> dict[str, Any]:
        """Return what podman knows of a container's network."""
        [network] = json.loads(self("inspect", name))[0]["NetworkSettings"]["Networks"].values()
        found: dict[str, Any] = network
        return found

    def address(self, name: str) -> str:
        """Return a container's IPv4 address, as podman tells it."""
        return str(self.network(name)["IPAddress"])


@contextmanager
def podmen(hosts: list[Host]) -> Iterator[list[Podman]]:
    """Have podman on those hosts, with an image; all containers and cgroups are gone in the end."""
    if not shutil.which("podman") or not shutil.which("runc"):
        pytest.skip("no podman: install Debian's podman and runc")
    if not os.access("/sys/fs/cgroup/cgroup.procs", os.W_OK) and not os.access("/sys/fs/cgroup/pids", os.W_OK):
        pytest.skip("no cgroups that we may write: run as root")
    made = []
    for host in hosts:
        (host.home / "containers.conf").write_text(CONTAINERS_CONF.format(host=host))
        (host.home / "root.tar").write_bytes(images.root())
        made.append(Podman(host=host))
        made[-1]("import", "--quiet", str(host.home / "root.tar"), "busybox")
    try:
        yield made
    finally:
        for each in made:
            wait_until(each.removed_all, what="no container any more")
        for directory in Path("/sys/fs/cgroup").glob(f"*{PARENT}"):
            wait_until(functools.partial(is_removed, directory), what=f"{directory} removed")


def is_removed(cgroup: Path) -> bool:
    """Remove a cgroup with all in it; what a podman that was killed has left there is killed too."""
    for each in [*sorted(cgroup.glob("*/"), reverse=True), cgroup]:
        for pid in (each / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        with contextlib.suppress(OSError):
            each.rmdir()
    return not cgroup.exists()
