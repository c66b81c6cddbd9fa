"""`containernet network`, `reserve` and `release`, on a store that needs no server."""

from __future__ import annotations

import json
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest

from containernet.cli.main import main
from containernet.model import NetworkConfig, Pool
from containernet_backends.sqlite import SqliteStore


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A config file, and beside it the file of its store."""
    path = tmp_path / "store.db"
    (tmp_path / "containernet.toml").write_text(f'[store.sqlite]\npath = "{path}"\n')
    return path


def run(store: Path, *words: str) -> int:
    """Run a command; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(store.with_name("containernet.toml")), *words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_reserved_and_released(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One reservation for each subnet; JSON tells them as `leases --json` does."""
    assert run(store, "reserve", "10.4.9.0/24", "10.4.10.0/24") == 0
    assert capsys.readouterr().out == "10.4.9.0/24 reserved\n10.4.10.0/24 reserved\n"
    assert run(store, "release", "10.4.9.0/24", "--json") == 0
    (released,) = json.loads(capsys.readouterr().out)["released"]
    assert (released["subnets"], released["reserved"]) == (["10.4.9.0/24"], True)
    with closing(SqliteStore(store)) as opened:
        assert [lease.subnets for lease in opened.leases()] == [(ip_network("10.4.10.0/24"),)]


@pytest.mark.parametrize(
    ("subnet", "code", "says"),
    [
        ("10.4.9.1/24", 2, "'10.4.9.1/24': expected a subnet such as 10.4.9.0/24"),
        ("10.4.8.0/24", 2, "neither reserved nor leased; see `containernet leases`"),
        ("10.4.1.0/25", 2, "10.4.1.0/25 is neither reserved nor leased; 10.4.1.0/24 is"),
        ("10.4.1.0/24", 2, "leased to host-a, not reserved"),
    ],
)
def test_what_is_not_released(
    store: Path, capsys: pytest.CaptureFixture[str], subnet: str, code: int, says: str
) -> None:
    """With the value, and what to do; nothing is changed."""
    with closing(SqliteStore(store)) as opened:
        opened.claim((ip_network("10.4.1.0/24"),), "host-a", 60)
        assert run(store, "release", subnet) == code
        assert says in capsys.readouterr().err
        assert [lease.node for lease in opened.leases()] == ["host-a"]


def test_the_lease_of_a_host_that_is_gone_is_released_by_force(store: Path) -> None:
    """Both subnets of one lease are one release."""
    both = (ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64"))
    with closing(SqliteStore(store)) as opened:
        opened.claim(both, "host-a", 60)
        assert run(store, "release", "--force", *map(str, both)) == 0
        assert not opened.leases()


def test_what_lies_in_no_pool_is_not_reserved(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It would set nothing aside, and is a slip of the pen; a part of a pool, or more than one, is fine."""
    with closing(SqliteStore(store)) as opened:
        opened.configure(NetworkConfig(pools=[Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)]))
    assert run(store, "reserve", "10.4.9.0/24", "10.5.9.0/24") == 2
    assert "10.5.9.0/24 lies in no pool of 10.4.0.0/16" in capsys.readouterr().err
    with closing(SqliteStore(store)) as opened:
        assert not opened.leases()
    assert run(store, "reserve", "10.4.9.0/25", "10.4.128.0/17") == 0


def test_what_is_held_cannot_be_reserved(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is the store's."""
    assert run(store, "reserve", "10.4.9.0/24") == 0
    assert run(store, "reserve", "10.4.0.0/16") == 4
    assert "10.4.9.0/24 is reserved" in capsys.readouterr().err


def test_the_network_is_shown(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What such a store holds are the pools; how hosts reach each other is each one's own word."""
    assert run(store, "network", "show") == 2
    assert "holds no network yet" in capsys.readouterr().err
    with closing(SqliteStore(store)) as opened:
        opened.configure(NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),)))
    assert run(store, "network", "show") == 0
    assert capsys.readouterr().out == (
        "pools      10.4.0.0/16 in /24s from 10.4.0.0/24 to 10.4.255.0/24\ndataplane  as each host says\n"
    )
    assert run(store, "network", "show", "--json") == 0
    assert json.loads(capsys.readouterr().out)["network"][0]["prefix"] == "10.4.0.0/16"


def test_a_store_that_keeps_no_settings_says_so(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And a file without a pool has nothing to store."""
    assert run(store, "network", "set") == 2
    assert "names no pool" in capsys.readouterr().err
    file = store.with_name("containernet.toml")
    file.write_text('[network]\npool = "10.4.0.0/16"\n' + file.read_text())
    assert run(store, "network", "set") == 2
    assert "keeps no settings" in capsys.readouterr().err
