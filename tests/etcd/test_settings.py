"""What etcd says to all hosts: who may change it, who follows it, and what a contradiction is."""

from __future__ import annotations

import json
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from containernet import remembered
from containernet.assembly import assembled
from containernet.cli.main import main
from containernet.config import Config, parse
from containernet.contracts import Settings
from containernet.errors import ConfigError
from containernet.model import NetworkConfig, Pool
from containernet.testing import FakeKernel
from containernet_backends.etcd import EtcdStore
from containernet_backends.host_gw import HostGateway
from containernet_backends.vxlan import Vxlan

from .raw import Raw
from .server import Cluster

pytestmark = pytest.mark.etcd

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
FLANNELS = '{"Network":"10.4.0.0/16","SubnetMin":"10.4.0.0","Backend":{"Type":"vxlan","VNI":7,"MTU":1400}}'


def document(etcd: Cluster, prefix: str, directory: Path, **tables: Any) -> dict[str, Any]:
    """Return a config file's tables."""
    store = {"leases": "etcd", "routes": "etcd", "etcd": {**etcd.options(), "prefix": prefix}}
    daemon = {"state_dir": str(directory), "run_dir": str(directory)}
    return {"store": store, "daemon": daemon, **tables}


def run(directory: Path, tables: dict[str, Any], *words: str) -> int:
    """Run a command of `containernet` with those tables as its config file."""
    lines = []
    for name, table in tables.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if not isinstance(value, dict)]
        for inner, options in table.items():
            if isinstance(options, dict):
                lines.append(f"[{name}.{inner}]")
                lines += [f"{key} = {json.dumps(value)}" for key, value in options.items()]
    (directory / "containernet.toml").write_text("\n".join(lines))
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(directory / "containernet.toml"), *words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def test_the_file_is_stored_and_shown(
    etcd: Cluster, prefix: str, raw: Raw, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In flannel's words; a second time replaces the first."""
    for vni in (7, 8):
        dataplane = {"remote": "vxlan", "vxlan": {"vni": vni, "direct": True}}
        tables = document(etcd, prefix, tmp_path, network={"pool": "10.4.0.0/16"}, dataplane=dataplane)
        assert run(tmp_path, tables, "network", "set") == 0
    backend = json.loads(raw.get(f"{prefix}/config") or b"")["Backend"]
    assert backend == {"Type": "vxlan", "VNI": 8, "DirectRouting": True}
    capsys.readouterr()
    assert run(tmp_path, tables, "network", "show") == 0
    assert capsys.readouterr().out == (
        "pools      10.4.0.0/16 in /24s from 10.4.0.0/24 to 10.4.255.0/24\ndataplane  vxlan vni=8 direct=True\n"
    )


def test_leases_that_would_not_fit_are_named(
    etcd: Cluster, prefix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their hosts would have to change over; by force they shall."""
    tables = document(etcd, prefix, tmp_path, network={"pool": "10.5.0.0/16"})
    with closing(EtcdStore.from_options(tables["store"]["etcd"])) as store:
        store.claim((ip_network("10.4.1.0/24"),), "host-a", 60)
        assert run(tmp_path, tables, "network", "set") == 2
        assert "10.4.1.0/24 of host-a" in capsys.readouterr().err
        assert store.settings() is None
        assert run(tmp_path, tables, "network", "set", "--force") == 0


def test_two_operators_do_not_overwrite_each_other(etcd: Cluster, prefix: str, tmp_path: Path) -> None:
    """Who changes what somebody has changed since is told what stands."""
    mine, theirs = (Settings(network=NETWORK, dataplane=name) for name in ("vxlan", "host-gw"))
    with closing(EtcdStore.from_options({**etcd.options(), "prefix": prefix})) as store:
        assert store.keep(theirs, over=None) == theirs
        assert store.keep(mine, over=None) == theirs
        assert store.keep(mine, over=theirs) == mine


def parts(config: Config) -> tuple[object, Settings | None]:
    """Return what a host reaches the others by, and what it was told."""
    with assembled(config, kernel=FakeKernel()) as made:
        return made.remote, made.settings


def test_a_host_follows_the_store(etcd: Cluster, prefix: str, raw: Raw, tmp_path: Path) -> None:
    """Where its own file says nothing, or the same."""
    raw.put(f"{prefix}/config", FLANNELS)
    expected = Settings(network=NETWORK, dataplane="vxlan", options={"vni": 7}, mtu=1400)
    for own in ({}, {"dataplane": {"remote": "vxlan", "vxlan": {"vni": 7, "direct": False}}}):
        config = parse(document(etcd, prefix, tmp_path, **own))
        assert parts(config) == (Vxlan(vni=7), expected)


def test_a_contradiction_is_refused(etcd: Cluster, prefix: str, raw: Raw, tmp_path: Path) -> None:
    """Two ways in one network reach nobody: both are named, and what to do."""
    raw.put(f"{prefix}/config", FLANNELS)
    for own in ({"remote": "host-gw"}, {"remote": "vxlan", "vxlan": {"vni": 8}}):
        config = parse(document(etcd, prefix, tmp_path, dataplane=own))
        with pytest.raises(ConfigError, match="the store says vxlan vni=7 to all hosts"):
            parts(config)


def test_a_host_without_its_store_follows_what_it_remembers(etcd: Cluster, prefix: str, tmp_path: Path) -> None:
    """And without a memory, its own file, and in the end vxlan."""
    tables = document(etcd, prefix, tmp_path)
    tables["store"]["etcd"] |= {"endpoints": ["http://127.0.0.1:1"], "timeout": 0.5}
    config = parse(tables)
    assert parts(config) == (Vxlan(), None)
    settings = Settings(network=NETWORK, dataplane="host-gw")
    remembered.save(config.view, remembered.Remembered(network=NETWORK, settings=settings))
    assert parts(config) == (HostGateway(), settings)


def test_what_the_store_says_has_to_go_with_the_local_dataplane(
    etcd: Cluster, prefix: str, tmp_path: Path
) -> None:
    """As what the file says."""
    with closing(EtcdStore.from_options({**etcd.options(), "prefix": prefix})) as store:
        store.keep(Settings(network=NETWORK, dataplane="bridge", options={"uplink": "eth1"}), over=None)
    config = parse(document(etcd, prefix, tmp_path, dataplane={"local": "routed"}))
    with pytest.raises(ConfigError, match="local = 'routed' and remote = 'bridge'"):
        parts(config)
