"""The reference of docs/operate.md says what the code says: every key, every default, every exit code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import attrs
import pytest

from containernet import errors
from containernet.config import DEFAULT_PATH, REMOTE, Config, DaemonTable, NetworkTable, NodeTable, parse
from containernet.errors import ContainernetError
from containernet_backends.bgp.options import BgpOptions, Neighbour
from containernet_backends.bgp.policy import Change, Condition
from containernet_backends.bridge import Bridge
from containernet_backends.etcd import EtcdOptions
from containernet_backends.host_gw import HostGateway
from containernet_backends.ipip import Ipip
from containernet_backends.memory import MemoryOptions
from containernet_backends.netlink.kernel import NetlinkOptions
from containernet_backends.routed import Routed
from containernet_backends.sqlite.store import SqliteOptions
from containernet_backends.static import StaticOptions
from containernet_backends.vxlan import Vxlan
from tests.docs.pages import TOP, blocks

PAGE = (TOP / "docs/operate.md").read_text()
TABLES: dict[str, type[attrs.AttrsInstance]] = {
    "node": NodeTable,
    "network": NetworkTable,
    "daemon": DaemonTable,
    "store.sqlite": SqliteOptions,
    "store.memory": MemoryOptions,
    "store.etcd": EtcdOptions,
    "store.static": StaticOptions,
    "dataplane.bridge": Bridge,
    "dataplane.routed": Routed,
    "dataplane.host-gw": HostGateway,
    "dataplane.vxlan": Vxlan,
    "dataplane.ipip": Ipip,
    "kernel.netlink": NetlinkOptions,
}


# Of the speaker, which has a page of its own: headings, what stands there, and a key that is needed, if any is.
BGP_PAGE = (TOP / "docs/bgp.md").read_text()
BGP = [
    ("[store.bgp]", BgpOptions(asn=64512), "asn"),
    ("[[store.bgp.peer]]", Neighbour(address="192.0.2.1"), "address"),
    ("match", Condition(), ""),
    ("set", Change(), ""),
]


def documented(table: str) -> dict[str, object]:
    """Return the keys of a table of the config file with their defaults, as the page has them."""
    return defaults(PAGE, f"[{table}]")


def defaults(page: str, heading: str) -> dict[str, object]:
    """Return the keys of the table under a heading, each with its default."""
    section = page.partition(f"### {heading}\n")[2].partition("\n#")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \|", section, re.MULTILINE)
    return tomllib.loads("\n".join(f"{key} = {default}" for key, default in rows))


def as_written(made: attrs.AttrsInstance) -> dict[str, object]:
    """Return the options of a class as TOML has them."""
    held = attrs.asdict(made, filter=lambda field, _: field.init)
    return {key: list(value) if isinstance(value, tuple) else value for key, value in held.items()}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_documented_with_its_default(table: str) -> None:
    """Both ways: no key without a line, no line without a key."""
    made = TABLES[table]()
    assert documented(table) == attrs.asdict(made)


@pytest.mark.parametrize(("heading", "made", "needed"), BGP)
def test_every_key_of_the_speaker_is_documented_with_its_default(
    heading: str, made: attrs.AttrsInstance, needed: str
) -> None:
    """Both ways, too; what has to be said has none."""
    shown, held = defaults(BGP_PAGE, heading), as_written(made)
    assert not needed or f"| `{needed}` | " in BGP_PAGE
    assert shown | {needed: ""} == held | {needed: ""}


def test_the_shown_configs_of_the_speaker_are_some() -> None:
    """A reader copies them."""
    made = [BgpOptions(**tomllib.loads(each.text)["store"]["bgp"]) for each in blocks("docs/bgp.md", "toml")]
    assert any(each.policies for each in made)
    assert {each.profile for each in made} == {"", "calico"}


def test_the_words_for_backends_are_documented_with_their_defaults() -> None:
    """Those keys choose, and are in no class of their own."""
    config = Config()
    assert documented("store") == {"leases": config.leases.name, "routes": config.routes.name}
    names = {"local": config.local.name, "remote": REMOTE}
    assert documented("dataplane") == names | as_written(config.edge)
    assert documented("kernel") == {"backend": config.kernel.name}


def test_no_table_of_the_config_file_is_forgotten() -> None:
    """Every heading is a table that the file may have, and the other way round."""
    headings = re.findall(r"^### \[(.+)\]$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted([*TABLES, "store", "store.bgp", "dataplane", "kernel"])
    with pytest.raises(errors.ConfigError, match=r"node, network, store, dataplane, kernel, daemon$"):
        parse({"nonsense": {}})


def test_the_shown_configs_are_some() -> None:
    """A reader copies them; one leaves the network to the store."""
    shown = [parse(tomllib.loads(each.text)) for each in blocks("docs/operate.md", "toml")]
    assert [each.network is None for each in shown] == [False, True, True]
    EtcdOptions.read(shown[1].leases.options)
    assert shown[2].edge.accept_in


def test_every_error_is_documented_with_its_exit_code() -> None:
    """A script that calls us decides by these numbers."""
    section = PAGE.partition("## Exit codes\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (\d+) \| .+? \| (.*) \|$", section, re.MULTILINE)
    shown = {name: int(code) for code, names in rows for name in re.findall(r"`(\w+)`", names)}
    every = [each for each in vars(errors).values() if isinstance(each, type)]
    leaves = {
        each.__name__: each.exit_code
        for each in every
        if issubclass(each, ContainernetError) and (each.__module__ == errors.__name__)
    }
    abstract = {"StoreError", "ExhaustedError", "StateError"}
    assert shown == {name: code for name, code in leaves.items() if name not in abstract}


def test_every_error_is_in_the_table_of_the_library_page() -> None:
    """With the right word on whether trying again helps."""
    section = (TOP / "docs/library.md").read_text().partition("## Errors\n")[2]
    shown = {
        name: words == "yes"
        for names, words in re.findall(r"^\| (`.*?`) \| .*? \| (yes|no) \|$", section, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", names)
    }
    abstract = {"ContainernetError", "StoreError", "ExhaustedError", "StateError"}
    every = {
        name: each for name, each in vars(errors).items() if isinstance(each, type) and name not in abstract
    }
    assert shown == {name: each.retryable for name, each in every.items() if hasattr(each, "retryable")}


def test_the_unit_says_what_the_page_says() -> None:
    """The example is copied as it is."""
    unit = (TOP / "docs/containernetd.service").read_text().splitlines()
    assert "Type=notify" in unit
    assert "CapabilityBoundingSet=CAP_NET_ADMIN CAP_SYS_ADMIN" in unit
    assert f"ExecStart=/usr/local/bin/containernetd --config {DEFAULT_PATH}" in unit


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """It only warns of an unknown key, so silence is demanded; without systemd nobody says anything."""
    unit = (TOP / "docs/containernetd.service").read_text()
    copy = tmp_path / "containernetd.service"
    copy.write_text(unit.replace("/usr/local/bin", str(Path(sys.executable).parent)))
    command = [shutil.which("systemd-analyze") or "true", "verify", "--man=no", str(copy)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
