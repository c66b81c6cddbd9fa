"""The lab for an ordinary user: the same commands, in a user namespace, without any privilege.

Root plays the ordinary user here: uid 65534, no group, no capability. He cannot read all that root can, such
as an interpreter below /root, so what is needed is mounted where he can, for his processes only.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containernet.errors import PermissionRefused

pytestmark = [pytest.mark.kernel, pytest.mark.untraced]

NOBODY = 65534
NAME = f"test-{os.getpid()}-user"
PLACES = {
    "python": sys.base_prefix,
    "source": Path(__file__).parents[2],
    "packages": sysconfig.get_path("purelib"),
}

Command = Callable[..., subprocess.CompletedProcess[str]]


def may_become_nobody() -> bool:
    """Return whether we are root with other users to become; in a user namespace there is nobody else."""
    if os.geteuid() != 0:
        return False
    ranges = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= NOBODY < first + count for first, _, count in ranges)


@pytest.fixture(scope="module")
def readable() -> Iterator[Path]:
    """Make a directory with one empty directory for each thing to be mounted; others may read it."""
    home = Path(tempfile.mkdtemp(prefix="containernet-"))
    home.chmod(0o755)
    for place in PLACES:
        Path(home, place).mkdir()
    yield home
    for place in PLACES:
        Path(home, place).rmdir()  # never rmtree: where something is mounted after all, this fails
    home.rmdir()


@pytest.fixture(scope="module")
def containernet(readable: Path) -> Command:
    """Run `containernet` as an ordinary user."""
    start, python, environment = [], sys.executable, dict(os.environ)
    if may_become_nobody():
        start = ["sh", "-c", _AS_NOBODY, "sh", str(readable), *map(str, PLACES.values())]
        python = str(readable / "python" / "bin" / Path(sys.executable).resolve().name)
        paths = [readable / "source", readable / "source" / "backends", readable / "packages"]
        environment["PYTHONPATH"] = os.pathsep.join(map(str, paths))
        environment["LD_LIBRARY_PATH"] = str(readable / "python" / "lib")  # where libpython is a shared one

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*start, python, "-m", "containernet.cli.main", "lab", *words]
        return subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment, cwd="/", timeout=60
        )

    return run


_AS_NOBODY = f"""
home=$1 python=$2 source=$3 packages=$4; shift 4
exec unshare --mount --propagation private -- sh -c '
    mount --bind "$2" "$1/python" && mount --bind "$3" "$1/source" && mount --bind "$4" "$1/packages" || exit 99
    shift 4
    exec setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --inh-caps=-all -- "$@"
' sh "$home" "$python" "$source" "$packages" "$@"
"""


@pytest.fixture(scope="module")
def lab(containernet: Command) -> Iterator[None]:
    """A whole lab, made by the command line."""
    made = containernet("up", "--hosts", "2", "--containers", "1", "--underlay", "routed", "--name", NAME)
    assert made.returncode == 0, made.stderr
    assert "is up: host1, host2, host1-c1, host2-c1" in made.stdout
    yield
    down = containernet("down", "--name", NAME)
    assert down.returncode == 0, down.stderr
    assert f"/{NAME}" not in Path("/proc/net/unix").read_text()


def test_an_ordinary_user_has_a_lab_in_which_every_pair_is_reached(containernet: Command, lab: None) -> None:
    """Daemons, VXLAN, routes and containers: all of it in a user namespace."""
    answer = containernet("ping", "--json", "--name", NAME)
    results = json.loads(answer.stdout)
    assert answer.returncode == 0, results
    assert [each["reached"] for each in results] == [True] * 4


def test_an_ordinary_user_has_a_lab_with_a_cluster_of_etcd(containernet: Command) -> None:
    """Three servers and gRPC in a user namespace; and a log of each."""
    name = f"{NAME}-etcd"
    store = ("--store", "etcd", "--members", "3")
    made = containernet("up", "--hosts", "2", "--containers", "1", *store, "--name", name)
    try:
        assert made.returncode == 0, made.stderr
        assert "is up: host1, host2, store1, store2, store3, host1-c1, host2-c1" in made.stdout
        answer = containernet("ping", "--json", "--name", name)
        assert [each["reached"] for each in json.loads(answer.stdout)] == [True] * 4, answer
        assert '"caller":"etcdserver/' in containernet("logs", "store3", "--name", name).stdout
    finally:
        containernet("down", "--name", name)


def test_an_ordinary_user_is_root_inside_and_only_there(containernet: Command, lab: None) -> None:
    """The uid is 0 inside, his own outside, and nobody else's is mapped."""
    answer = containernet("exec", "--name", NAME, "host1", "--", "cat", "/proc/self/uid_map")
    inside, outside, count = answer.stdout.split()
    assert (inside, count) == ("0", "1")
    if may_become_nobody():
        assert int(outside) == NOBODY


def test_a_machine_that_gives_no_namespaces_is_named_with_the_setting(containernet: Command, lab: None) -> None:
    """A limit of the user namespace that the lab is in stops a lab inside of it; the message says which."""
    again = f"{sys.executable if not may_become_nobody() else '$PYTHON'} -m containernet.cli.main lab up --bare"
    script = f"echo 0 >/proc/sys/user/max_net_namespaces; PYTHON=$(readlink /proc/1/exe); {again}"
    try:
        answer = containernet("exec", "--name", NAME, "host1", "--", "sh", "-c", script)
    finally:
        reset = "echo 1000 >/proc/sys/user/max_net_namespaces"
        assert containernet("exec", "--name", NAME, "host1", "--", "sh", "-c", reset).returncode == 0
    assert answer.returncode == PermissionRefused.exit_code, answer
    assert "sysctl -w user.max_net_namespaces=10000" in answer.stderr


def test_a_lab_of_root_and_one_of_a_user_do_not_see_each_other(containernet: Command, lab: None) -> None:
    """Names belong to users: who asks for a name gets his own lab or none."""
    listed = containernet("list", "--json")
    assert [row["name"] for row in json.loads(listed.stdout)] == [NAME]
    if may_become_nobody():
        mine = [sys.executable, "-m", "containernet.cli.main", "lab", "ping", "--name", NAME]
        assert "no lab named" in subprocess.run(mine, check=False, capture_output=True, text=True).stderr
