"""What an operator can get wrong, what a machine can lack: one clear line, an exit code, nothing half done."""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from containernet.errors import ContainernetError
from containernet.lab import build, daemons, namespaces, whole
from containernet.lab.cluster import HOME, Lab
from containernet.lab.topology import Topology

from . import labs

pytestmark = pytest.mark.kernel

CONFIG = """
[node]
name = "host1"
interface = "eth0"
[network]
pool = "10.4.0.0/16"
[store.sqlite]
path = "{home}/store.db"
[daemon]
state_dir = "{home}/state"
run_dir = "{home}/run"
"""


@pytest.fixture(scope="module")
def built() -> Iterator[Lab]:
    """One host with a daemon and a container, and room beside them."""
    with labs.lab(hosts=1, containers=1) as built:
        yield built


@attrs.frozen
class Ended:
    """How a program ended, and what it said."""

    code: int
    said: str


def run(built: Lab, module: str, config: str, *words: str, prefix: tuple[str, ...] = ()) -> Ended:
    """Run a program of ours in host1 with that config file, and wait for its end."""
    return built.call(functools.partial(_run, module, config, words, prefix))


def _run(module: str, config: str, words: tuple[str, ...], prefix: tuple[str, ...]) -> Ended:
    path = HOME / "bad.toml"
    path.write_text(config)
    command = [*prefix, sys.executable, "-m", module, "--config", str(path), *words]
    with namespaces.network(build.path("host1")):
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    lines = [line for line in ended.stderr.splitlines() if not line.startswith(("time=", "level="))]
    assert len(lines) == 1, ended.stderr
    return Ended(ended.returncode, lines[0])


def daemon(built: Lab, config: str, *, home: str = "/run/lab/bad", prefix: tuple[str, ...] = ()) -> Ended:
    """Run containernetd with that config file until it gives up."""
    before = labs.items(built, "host1")
    ended = run(built, "containernet.daemon", config.format(home=home), prefix=prefix)
    assert labs.items(built, "host1") == before
    return ended


@pytest.mark.parametrize(
    ("old", "new", "code", "words"),
    [
        ("10.4.0.0/16", "10.4.0.0", 2, ["pool", "10.4.0.0"]),
        ("10.4.0.0/16", "10.4.0.1/16", 2, ["pool", "10.4.0.1/16", "host bits"]),
        ("10.4.0.0/16", "192.0.0.0/16", 2, ["192.0.0.0/16", "overlaps the underlay 192.0.2.0/24 of eth0"]),
        ("[network]", "[network]\nsubnet_length = 8", 2, ["subnet_length 8", "10.4.0.0/16"]),
        ("[network]", "[network]\nsubnet_lenght = 24", 2, ["subnet_lenght", "did you mean 'subnet_length'"]),
        ("[network]", "[netwrok]", 2, ["netwrok"]),
        ('"eth0"', '"eth7"', 2, ["eth7", "eth0"]),
        ("[store.sqlite]", '[dataplane]\nremote = "warp"\n[store.sqlite]', 2, ["warp", "vxlan", "host-gw"]),
        ("[store.sqlite]", "[dataplane.vxlan]\nvni = 0\n[store.sqlite]", 2, ["vni = 0", "1 to 16777215"]),
        ("[store.sqlite]", '[dataplane]\nlocal = "vxlan"\n[store.sqlite]', 2, ["vxlan", "endpoint()"]),
        (
            "[store.sqlite]",
            '[dataplane.bridge]\nuplink = "eth0"\n[store.sqlite]',
            2,
            ["uplink eth0", "host1", "NIC of its own"],
        ),
        ("[network]", "[network", 2, ["not TOML"]),
    ],
)
def test_a_wrong_config_file_is_one_line_and_exit_code_2(
    built: Lab, old: str, new: str, code: int, words: list[str]
) -> None:
    """The line holds the value and what was expected, or the next step."""
    assert old in CONFIG
    ended = daemon(built, CONFIG.replace(old, new, 1))
    assert ended.code == code, ended
    for word in words:
        assert word in ended.said


def test_a_second_daemon_on_one_host_is_refused_with_the_first_ones_pid(built: Lab) -> None:
    """The host's lock is held: exit code 7, and the first goes on."""
    config = built.call(lambda: daemons.config_file("host1").read_text())
    ended = run(built, "containernet.daemon", config)
    assert ended.code == 7
    assert str(built.call(lambda: daemons.pid("host1"))) in ended.said
    assert labs.status(built, "host1")["ready"]


def test_two_networks_in_one_store_contradict_each_other(built: Lab) -> None:
    """The store holds the network of the first host: another pool is refused, with both."""
    config = built.call(lambda: daemons.config_file("host1").read_text())
    other = config.replace("10.4.0.0/16", "10.9.0.0/16").replace("/run/lab/host1", "/run/lab/bad")
    ended = run(built, "containernet.daemon", other)
    assert ended.code == 2
    assert "10.9.0.0/16" in ended.said
    assert "10.4.0.0/16" in ended.said


def test_without_the_right_to_program_the_kernel_it_says_which_right_it_needs(built: Lab) -> None:
    """CAP_NET_ADMIN is named; exit code 3."""
    prefix = ("setpriv", "--bounding-set", "-net_admin", "--inh-caps", "-net_admin")
    ended = daemon(built, CONFIG, home="/run/lab/unable", prefix=prefix)
    assert ended.code == 3
    assert "CAP_NET_ADMIN" in ended.said


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(os.urandom(8192)), ["not", "database"]),
        (lambda path: path.write_bytes(b"SQLite format 3\0" + bytes(100)), []),
        (lambda path: path.mkdir(), ["directory"]),
    ],
    ids=["noise", "cut short", "a directory"],
)
def test_a_store_that_is_none_is_named_and_left_as_it_is(
    built: Lab, spoil: Callable[[Path], object], words: list[str]
) -> None:
    """A corrupt file is somebody's data: the daemon names it, says what to do, and touches nothing."""
    home = f"/run/lab/corrupt-{abs(hash(tuple(words)))}"

    def make() -> None:
        Path(home).mkdir()
        spoil(Path(home) / "store.db")

    built.call(make)
    before = built.call(lambda: _content(Path(home) / "store.db"))
    ended = daemon(built, CONFIG, home=home)
    assert ended.code in {2, 4}
    assert f"{home}/store.db" in ended.said
    for word in words:
        assert word in ended.said
    assert built.call(lambda: _content(Path(home) / "store.db")) == before


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def test_a_pool_without_a_free_subnet_is_said_with_its_numbers(built: Lab) -> None:
    """Every subnet is reserved: the daemon says so, and goes on asking, since a lease may end."""
    config = CONFIG.format(home="/run/lab/full").replace(
        "[store.sqlite]", 'reserved = ["10.4.0.0/16"]\n[store.sqlite]'
    )
    said = built.call(functools.partial(_first_complaint, config))
    assert "10.4.0.0/16" in said
    assert "no subnet left" in said


def _first_complaint(config: str) -> str:
    path = HOME / "full.toml"
    path.write_text(config)
    with namespaces.network(build.path("host1")):
        process = subprocess.Popen(
            [sys.executable, "-m", "containernet.daemon", "--config", str(path)],
            stderr=subprocess.PIPE,
            text=True,
        )
    assert process.stderr is not None
    with process:
        for line in process.stderr:
            if "level=warning" in line or "level=error" in line:
                process.terminate()
                return line
    return "it ended without a complaint"


class TestAttaching:
    """The container's side of it."""

    def attach(self, built: Lab, *words: str) -> Ended:
        """Ask host1's daemon to attach, and expect a refusal."""
        config = built.call(lambda: daemons.config_file("host1").read_text())
        before = labs.status(built, "host1")["endpoints"], labs.items(built, "host1")
        ended = run(built, "containernet.cli.main", config, "attach", *words)
        assert (labs.status(built, "host1")["endpoints"], labs.items(built, "host1")) == before
        return ended

    def test_a_namespace_that_is_not_there(self, built: Lab) -> None:
        """The path is named, and no address is spent."""
        ended = self.attach(built, "ghost", "--netns", "ghost")
        assert ended.code == 6
        assert "/run/netns/ghost" in ended.said

    def test_a_file_that_is_no_namespace(self, built: Lab) -> None:
        """Nor is any other file a namespace."""
        ended = self.attach(built, "ghost", "--netns", "/etc/hostname")
        assert ended.code == 6
        assert "/etc/hostname" in ended.said

    def test_a_container_id_that_cannot_be_one(self, built: Lab) -> None:
        """What cannot be a name is refused with what can."""
        ended = self.attach(built, "a b/c", "--netns", "host1-c1")
        assert ended.code == 2
        assert "'a b/c'" in ended.said

    def test_an_interface_that_the_container_has_already(self, built: Lab) -> None:
        """Somebody else's eth0 in the container is not taken over."""
        ended = self.attach(built, "rival", "--netns", "host1-c1")
        assert ended.code == 6
        assert "eth0" in ended.said

    def test_no_daemon(self, built: Lab) -> None:
        """Nobody answers: exit code 8, and where it was asked."""
        config = CONFIG.format(home="/run/lab/nobody")
        ended = run(built, "containernet.cli.main", config, "attach", "c", "--netns", "host1-c1")
        assert ended.code == 8
        assert "/run/lab/nobody/run/containernet.sock" in ended.said


def test_a_container_whose_namespace_vanishes_is_shown_and_harms_nobody(built: Lab) -> None:
    """Its cable is gone with it; the daemon stays ready, says so, and detaching frees the address."""
    from containernet.lab.namespaces import create_network

    def vanish() -> None:
        create_network(build.path("brief"))
        daemons.attach("brief", "host1")
        _remove(build.path("brief"))

    built.call(vanish)
    labs.seconds_until(
        lambda: any("brief" in warning for warning in labs.status(built, "host1")["warnings"]), at_most=5.0
    )
    assert labs.status(built, "host1")["ready"]
    built.call(lambda: daemons.ask(daemons.directory("host1"), "detach", container="brief"))
    names = [endpoint["container"] for endpoint in labs.status(built, "host1")["endpoints"]]
    assert names == ["host1-c1"]
    assert all(result.reached for result in whole.ping(built, ("host1", "host1-c1")))


def _remove(path: Path) -> None:
    subprocess.run(["umount", str(path)], check=True)
    path.unlink()


def test_a_full_disk_refuses_a_container_and_keeps_the_others() -> None:
    """No address can be remembered, so none is given; what runs goes on, and room on the disk mends it."""
    with labs.bare(hosts=1, containers=2) as built:
        built.call(functools.partial(_start_on_small_disk, built.topology))
        built.call(_fill_disk)
        said = built.call(_attach_second)
        assert said.startswith("StateUnavailable: ")
        assert "make room on the disk" in said
        results = whole.ping(built, ("host1", "host1-c1"))
        assert [str(result.answer) for result in results if not result.reached] == []
        assert [each["container"] for each in labs.status(built, "host1")["endpoints"]] == ["host1-c1"]
        built.call(lambda: (daemons.directory("host1") / "filler").unlink())
        assert built.call(_attach_second) == "attached"


def _start_on_small_disk(topology: Topology) -> None:
    disk = daemons.directory("host1")
    disk.mkdir()
    namespaces.mount("tmpfs", str(disk), "tmpfs", options="size=1m")
    daemons.start_ready(topology, topology.members)
    daemons.attach("host1-c1", "host1")


def _fill_disk() -> None:
    with (
        contextlib.suppress(OSError),
        (daemons.directory("host1") / "filler").open("wb", buffering=0) as filler,
    ):
        while True:
            filler.write(bytes(4096))


def _attach_second() -> str:
    try:
        daemons.attach("host1-c2", "host1")
    except ContainernetError as error:
        return f"{type(error).__name__}: {error}"
    return "attached"
