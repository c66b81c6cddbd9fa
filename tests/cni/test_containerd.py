"""containerd asked as the kubelet asks it, over CRI: pods come, are reached, and go."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import grpc
import pytest
from cri_api.v1 import api_pb2 as cri, api_pb2_grpc

from tests.waiting import wait_until

from . import hosts, images
from .hosts import Host

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

LOOPBACK = Path("/usr/lib/cni/loopback")  # which containerd asks in any case
IMAGE = "docker.io/library/box:1"
CONFIG = """
version = 2
root = "{home}/root"
state = "{run}/state"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs"]
[grpc]
address = "{run}/socket"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
disable_cgroup = true
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{places.executables}"
conf_dir = "{places.configurations}"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
"""


@attrs.define(kw_only=True)
class Containerd:
    """containerd on one host."""

    host: Host
    process: subprocess.Popen[bytes] | None = None

    @property
    def run(self) -> Path:
        """Where its sockets are; it wants no long path there."""
        return Path("/run", self.host.name)

    def start(self) -> None:
        """Start it, and wait until it says that its network is ready."""
        file = self.host.home / "containerd.toml"
        self.run.mkdir(exist_ok=True)
        file.write_text(CONFIG.format(home=self.host.home, run=self.run, image=IMAGE, places=self.host.places))
        command = ["nsenter", f"--net={self.host.netns.path}", "containerd", "--config", str(file)]
        with (self.host.home / "containerd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=log)
        wait_until(self.is_ready, what="containerd is ready")

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal; its pods go on."""
        if self.process:
            self.process.send_signal(number)
            self.process.wait(30)
            self.process = None

    def is_ready(self) -> bool:
        """Return whether the runtime and its network are ready."""
        try:
            conditions = self.ask("Status", cri.StatusRequest()).status.conditions
        except grpc.RpcError:
            return False
        return all(each.status for each in conditions)

    def ask(self, call: str, request: Any) -> Any:
        """Make one call of the runtime service."""
        with grpc.insecure_channel(f"unix://{self.run}/socket") as channel:
            service = api_pb2_grpc.RuntimeServiceStub(channel)  # type: ignore[no-untyped-call]
            return getattr(service, call)(request, timeout=60)

    def pod(self, name: str, *ports: Any) -> str:
        """Run a pod; return its id."""
        config = cri.PodSandboxConfig(
            metadata=cri.PodSandboxMetadata(name=name, uid=name, namespace="default"),
            log_directory=str(self.host.home),
            linux=cri.LinuxPodSandboxConfig(),
            port_mappings=ports,
        )
        made: str = self.ask("RunPodSandbox", cri.RunPodSandboxRequest(config=config)).pod_sandbox_id
        return made

    def addresses(self, pod: str) -> list[str]:
        """Return a pod's addresses, the first one first."""
        network = self.ask("PodSandboxStatus", cri.PodSandboxStatusRequest(pod_sandbox_id=pod)).status.network
        return [network.ip, *(each.ip for each in network.additional_ips)]

    def remove(self, pod: str) -> None:
        """Stop a pod, twice as the kubelet may, and remove it."""
        for _ in range(2):
            self.ask("StopPodSandbox", cri.StopPodSandboxRequest(pod_sandbox_id=pod))
        self.ask("RemovePodSandbox", cri.RemovePodSandboxRequest(pod_sandbox_id=pod))


@contextmanager
def containerd(host: Host) -> Iterator[Containerd]:
    """Run containerd with an image; end it and all of its pods in the end."""
    made = Containerd(host=host)
    (host.places.executables / LOOPBACK.name).symlink_to(LOOPBACK)
    try:
        made.start()
        archive = images.image(host.home / "image.tar", IMAGE)
        ctr = ("ctr", "--address", f"{made.run}/socket", "--namespace", "k8s.io")
        host.netns.run(*ctr, "images", "import", "--snapshotter", "native", str(archive))
        yield made
        for pod in made.ask("ListPodSandbox", cri.ListPodSandboxRequest()).items:
            made.remove(pod.id)
    finally:
        made.stop()


@pytest.fixture(scope="module")
def runtimes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Containerd]]:
    """Containerd on the first of two hosts."""
    if not shutil.which("containerd") or not shutil.which("runc"):
        pytest.skip("no containerd: install Debian's containerd and runc")
    if os.geteuid() or Path("/proc/self/uid_map").read_text().split()[2] == "1":
        pytest.skip("no second user to map: run as root")
    home = tmp_path_factory.mktemp("containerd")
    with hosts.cluster(home, 2) as members, containerd(members[0]) as made:
        yield [made]


@pytest.fixture
def runtime(runtimes: list[Containerd]) -> Iterator[Containerd]:
    """The same; the test fails if anything of its pods is left."""
    [made] = runtimes
    before = made.host.holds()
    yield made
    for pod in made.ask("ListPodSandbox", cri.ListPodSandboxRequest()).items:
        made.remove(pod.id)
    made.host.wait_for(before)


def test_a_pod_has_addresses_and_is_reached(runtime: Containerd) -> None:
    """CRI tells those of the daemon's list; pods reach each other, and their host reaches them."""
    pods = [runtime.pod(name) for name in ("one", "two")]
    for pod in pods:
        own = runtime.host.endpoints()[pod]["addresses"]
        assert runtime.addresses(pod) == [each.partition("/")[0] for each in own]
        runtime.host.netns.run("ping", "-c1", "-W2", runtime.addresses(pod)[0])
        runtime.remove(pod)
    assert runtime.host.endpoints() == {}


def test_many_pods_at_once(runtime: Containerd) -> None:
    """As on a node that starts again; and all go at once."""
    with ThreadPoolExecutor(12) as threads:
        pods = list(threads.map(runtime.pod, (f"pod{number}" for number in range(12))))
        given = [own for pod in pods for own in runtime.addresses(pod)]
        assert (len(given), len(set(given))) == (24, 24)
        list(threads.map(runtime.remove, pods))


def test_a_pod_outlives_both_daemons(runtime: Containerd) -> None:
    """Killed and started again, they find it, and let it go when it is to go."""
    pod = runtime.pod("one")
    before = runtime.addresses(pod)
    runtime.stop(signal.SIGKILL)
    runtime.host.stop(signal.SIGKILL)
    runtime.host.netns.run("ping", "-c1", "-W2", before[0])
    runtime.host.start()
    runtime.start()
    assert runtime.addresses(pod) == before
    runtime.host.netns.run("ping", "-c1", "-W2", before[0])
    runtime.remove(pod)
    assert runtime.host.endpoints() == {}


def test_a_pod_waits_for_the_daemon_and_goes_without_it(runtime: Containerd) -> None:
    """Code 11 reaches the kubelet, which tries again; removing a pod succeeds, and is done afterwards."""
    pod = runtime.pod("one")
    runtime.host.stop()
    with pytest.raises(grpc.RpcError, match="containernetd does not answer"):
        runtime.pod("two")
    runtime.remove(pod)
    runtime.host.start()
    assert runtime.host.endpoints() == {}
    runtime.remove(runtime.pod("two"))
