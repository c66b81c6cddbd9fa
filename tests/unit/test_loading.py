"""loading: from a word to a backend, or to a sentence that says what to install.

Distributions of other people are made here: a directory on the path with a module and its dist-info. Each is
looked at by a fresh interpreter with a home of its own, since metadata is cached, in memory and on disk.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from containernet import loading
from containernet.errors import ConfigError, UnknownBackend
from containernet_backends.memory import MemoryStore

SCRIPT = """
import sys
from containernet import loading
from containernet.errors import ContainernetError
try:
    print(type(loading.backend(sys.argv[1], sys.argv[2], {})).__name__)
except ContainernetError as error:
    print(f"{type(error).__name__}: {error}")
"""


def distribution(directory: Path, name: str, source: str, *, extra: str = "") -> None:
    """Make a distribution that offers the lease store `theirs` from its one module."""
    (directory / f"{name}.py").write_text(source)
    metadata = directory / f"{name}-1.2.dist-info"
    metadata.mkdir()
    provides = f"Provides-Extra: {extra}\n" if extra else ""
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n{provides}")
    (metadata / "entry_points.txt").write_text(f"[containernet.lease_stores]\ntheirs = {name}:Store\n")


def loaded(directory: Path, group: str = loading.LEASE_STORES, name: str = "theirs") -> str:
    """Return what a fresh interpreter says when it loads that backend."""
    environment = {"PYTHONPATH": str(directory), "HOME": str(directory), "XDG_CACHE_HOME": str(directory)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, group, name],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def test_a_backend_of_another_distribution(tmp_path: Path) -> None:
    """It needs nothing but its entry point."""
    distribution(
        tmp_path, "foreign", "class Store:\n    from_options = classmethod(lambda cls, options: cls())\n"
    )
    assert loaded(tmp_path) == "Store"


@pytest.mark.parametrize(
    ("extra", "command"), [("theirs", "pip install 'foreign[theirs]'"), ("", "pip install no_such_package")]
)
def test_a_package_that_is_missing_is_named_with_the_line_that_gets_it(
    tmp_path: Path, extra: str, command: str
) -> None:
    """The distribution's extra where it has one, the package itself otherwise."""
    distribution(tmp_path, "foreign", "import no_such_package.inner\n", extra=extra)
    assert loaded(tmp_path) == (
        f"MissingPackage: backend 'theirs' of foreign needs the Python package 'no_such_package': {command}"
    )


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("Store = 1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def Store(:\n", "SyntaxError: "),
        ("", "AttributeError: "),
        ("from foreign import nothing\n", "ImportError: "),
    ],
)
def test_a_backend_that_does_not_load_says_why(tmp_path: Path, source: str, why: str) -> None:
    """A broken distribution is not an unknown name."""
    distribution(tmp_path, "foreign", source)
    said = loaded(tmp_path)
    assert said.startswith(f"MissingPackage: backend 'theirs' of foreign does not load: {why}")
    assert said.endswith("try pip install --force-reinstall foreign")


def test_two_distributions_that_offer_one_name(tmp_path: Path) -> None:
    """Neither is taken, and both are named."""
    for name in ("one", "two"):
        distribution(tmp_path, name, "class Store:\n    pass\n")
    assert loaded(tmp_path) == (
        "UnknownBackend: 'theirs' in containernet.lease_stores is offered twice, by one and two: "
        "uninstall one of them"
    )


@pytest.mark.parametrize(
    ("group", "what"),
    [
        (loading.LEASE_STORES, "lease store"),
        (loading.ROUTE_STORES, "route store"),
        (loading.DATAPLANES, "dataplane"),
        (loading.KERNELS, "kernel"),
    ],
)
def test_an_unknown_name_lists_what_is_installed(group: str, what: str) -> None:
    """The operator sees the word that was meant."""
    with pytest.raises(UnknownBackend) as refusal:
        loading.backend(group, "nonesuch", {})
    names = sorted(each.name for each in loading.installed(group))
    assert str(refusal.value) == f"no {what} 'nonesuch' is installed; installed are: {', '.join(names)}"


def test_what_is_installed_is_known_without_importing_it() -> None:
    """With the distribution that it belongs to."""
    (memory,) = [each for each in loading.installed(loading.LEASE_STORES) if each.name == "memory"]
    assert (memory.distribution, memory.target) == ("containernet", "containernet_backends.memory:MemoryStore")


def test_options_reach_the_backend() -> None:
    """Unread on the way, and its own refusal comes back."""
    assert isinstance(loading.lease_store("memory", {"name": "x"}), MemoryStore)
    with pytest.raises(ConfigError, match="'nmae' is not an option; did you mean 'name'"):
        loading.route_store("memory", {"nmae": "x"})


def test_a_dataplane_in_a_role_that_it_cannot_play() -> None:
    """The one named vxlan hangs no container on its host."""
    with pytest.raises(ConfigError, match=r"dataplane 'vxlan' cannot be used here: it has no endpoint\(\)"):
        loading.local_dataplane("vxlan", {})
    assert loading.remote_dataplane("vxlan", {"vni": 7}).overhead(4) == 50
    assert loading.local_dataplane("bridge", {})
    assert loading.kernel("netlink", {})


def test_the_collector_is_calm_before_anything_is_imported() -> None:
    """What is imported is no garbage; to look for it again and again would be a twentieth of a start."""
    script = (
        "import sys; there = set(sys.modules)\n"
        "import containernet.daemon\n"
        "print(*sorted(set(sys.modules) - there))"
    )
    done = subprocess.run([sys.executable, "-Ic", script], capture_output=True, text=True, check=True, env={})
    packages = {name.partition(".")[0] for name in done.stdout.split()}
    assert packages <= {"__future__", "containernet", "gc", "importlib", "warnings"}
    assert "containernet.serving" not in done.stdout


def test_a_start_loads_nothing_that_it_can_do_without() -> None:
    """Each of these is megabytes and milliseconds on every host; none is needed where all is as usual."""
    heavy = (
        "stevedore importlib.metadata email zipfile hashlib shutil asyncio pyroute2 ssl rich argparse gettext "
        "locale difflib random concurrent.futures containernet.questions containernet.cni "
        "containernet.status containernet.tables"
    )
    script = (
        "import sys, containernet.serving\n"
        "from containernet import loading\n"
        "loading.lease_store('etcd', {'endpoints': ['http://127.0.0.1:1']}).close()\n"
        "loading.kernel('netlink', {}).close()\n"
        "loading.remote_dataplane('vxlan', {}), loading.local_dataplane('bridge', {})\n"
        f"print(*set({heavy!r}.split()) & sys.modules.keys())"
    )
    alone = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=alone)
    assert done.stdout.strip() == ""
