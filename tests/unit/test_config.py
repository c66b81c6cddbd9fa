"""The config file: what it means, and every way in which it can be wrong, in the operator's words."""

from __future__ import annotations

import contextlib
from ipaddress import ip_interface, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from containernet.config import Choice, Config, NodeTable, describe_node, load, parse
from containernet.errors import ConfigError
from containernet.model import NetworkConfig, Pool
from containernet.testing import FakeKernel


def written(tmp_path: Path, text: str | bytes) -> Path:
    """Return a config file of that text."""
    path = tmp_path / "containernet.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_an_empty_file_is_a_config() -> None:
    """Everything has a default; the network is then the store's."""
    config = parse({})
    assert config == Config()
    assert config.network is None
    assert config.remote is None, "it is the store's to say, and in the end vxlan"
    names = (config.leases, config.routes, config.local, config.kernel)
    assert [choice.name for choice in names] == ["sqlite", "sqlite", "bridge", "netlink"]
    assert [str(path) for path in (config.socket, config.addresses, config.view)] == [
        "/run/containernet/containernet.sock",
        "/var/lib/containernet/addresses.db",
        "/var/lib/containernet/view.json",
    ]


def test_a_whole_file(tmp_path: Path) -> None:
    """Tables of backends are passed on unread, also those that nobody has chosen."""
    config = load(
        written(
            tmp_path,
            """
            [network]
            pool = "10.4.0.0/16"
            first = "10.4.2.0/24"
            pool6 = "fd00:4::/48"
            reserved = ["10.4.9.0/24", "fd00:4:0:9::/64"]
            [store]
            leases = "etcd"
            [store.etcd]
            anything = [1, 2]
            [store.unused]
            x = 1
            [dataplane]
            remote = "ipip"
            [dataplane.ipip]
            direct = true
            [daemon]
            run_dir = "/tmp/x"
            lease_ttl = 60
            """,
        )
    )
    assert config.network == NetworkConfig(
        pools=(
            Pool(
                prefix=ip_network("10.4.0.0/16"),
                subnet_length=24,
                first=ip_network("10.4.2.0/24"),
                reserved=(ip_network("10.4.9.0/24"),),
            ),
            Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64, reserved=(ip_network("fd00:4:0:9::/64"),)),
        )
    )
    assert (config.leases.name, config.leases.options) == ("etcd", {"anything": [1, 2]})
    assert config.remote == Choice(name="ipip", options={"direct": True})
    assert config.daemon.lease_ttl == 60


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[netwrok]", "[netwrok] is not a table of this file; did you mean [network]?"),
        (
            "[zzz]",
            "[zzz] is not a table of this file; known are: node, network, store, dataplane, kernel, daemon",
        ),
        ("node = 1", "node = 1: expected a table, written [node]"),
        ("[[node]]", "node = [{}]: expected a table, written [node]"),
        ("[node]\nnmae = 'a'", "[node] 'nmae' is not an option; did you mean 'name'?"),
        ("[node]\nname = 5", "[node] name = 5: expected text"),
        ("[network]\npool = '10.4.0.0/33'", "pool = '10.4.0.0/33': expected a prefix such as 10.4.0.0/16"),
        ("[network]\npool = '10.4.0.1/16'", "pool = '10.4.0.1/16': expected a prefix such as 10.4.0.0/16"),
        ("[network]\npool = 'fd00::/48'", "[network] pool = 'fd00::/48' is not an IPv4 prefix"),
        ("[network]\npool6 = '10.0.0.0/8'", "[network] pool6 = '10.0.0.0/8' is not an IPv6 prefix"),
        (
            "[network]\npool = '10.4.0.0/16'\nsubnet_length = 8",
            "subnet_length 8 for pool 10.4.0.0/16: expected 16 to 30",
        ),
        (
            "[network]\npool = '10.4.0.0/16'\nsubnet_length = -1",
            "subnet_length -1 for pool 10.4.0.0/16: expected 16 to 30",
        ),
        (
            "[network]\npool = '10.4.0.0/16'\nfirst = '10.5.0.0/24'",
            "first subnet 10.5.0.0/24: expected a /24 inside",
        ),
        (
            "[network]\npool = '10.4.0.0/16'\nfirst = '10.4.2.0/24'\nlast = '10.4.1.0/24'",
            "first subnet 10.4.2.0/24 lies behind the last one, 10.4.1.0/24",
        ),
        ("[network]\nsubnet_length = 24", "[network] has settings for IPv4, but no pool: add it"),
        (
            "[network]\npool = '10.4.0.0/16'\nlast6 = 'fd00::/64'",
            "[network] has settings for IPv6, but no pool6: add it",
        ),
        (
            "[network]\npool = '10.4.0.0/16'\nreserved = ['fd00::/64']",
            "[network] reserved has fd00::/64, but there is no pool6: add it",
        ),
        ("[network]\npool = '10.4.0.0/16'\nreserved = [5]", "reserved = 5: expected a prefix"),
        (
            "[network]\npool = '10.4.0.0/16'\nreserved = '10.4.1.0/24'",
            "[network] reserved = '10.4.1.0/24': expected",
        ),
        ("[store]\nleases = ''", "[store] leases = '': expected the name of a backend, such as 'sqlite'"),
        ("[store]\nroutes = 5", "[store] routes = 5: expected the name of a backend"),
        ("[store]\nleaes = 'x'", "[store] 'leaes' is not an option; did you mean 'leases'?"),
        ("[store]\nsqlite = 1", "[store] sqlite = 1: expected a table, written [store.sqlite]"),
        (
            "[dataplane]\nlocal = 'routed'\nremote = 'bridge'",
            "[dataplane] local = 'routed' and remote = 'bridge': hosts look for containers on the bridge, "
            "and there is none; choose local = 'bridge', or remote = 'host-gw', 'vxlan' or 'ipip'",
        ),
        ("[dataplane]\nremot = 'x'", "[dataplane] 'remot' is not an option; did you mean 'remote'?"),
        ("[kernel]\nbackend = 1", "[kernel] backend = 1: expected the name of a backend"),
        ("[daemon]\nlease_ttl = 5", "lease_ttl = 5: expected 10 to 100000000 seconds"),
        ("[daemon]\nlease_ttl = nan", "lease_ttl = nan: expected 10 to 100000000 seconds"),
        ("[daemon]\nlease_ttl = true", "[daemon] lease_ttl = True: expected a number"),
        ("[daemon]\nlog = 'loud'", "log = 'loud': expected debug, info, warning or error"),
        ("[daemon]\nstate_dir = ''", "state_dir = '': expected the path of a directory"),
        ('[daemon]\nrun_dir = "a\\u0000b"', "run_dir = 'a\\x00b': expected the path of a directory"),
        ("x = ", "is not TOML: "),
        (b"\xff", "is not UTF-8 text: "),
        ("x = " + "[" * 5000, "is not TOML: "),
        ("x = " + "9" * 5000, "is not TOML: "),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str | bytes, error: str) -> None:
    """The file, the key, the value, and what was expected."""
    path = written(tmp_path, text)
    with pytest.raises(ConfigError) as refusal:
        load(path)
    assert error in str(refusal.value)
    assert str(path) in str(refusal.value)
    assert "\n" not in str(refusal.value).replace("(at end of document)", "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Or is a directory."""
    with pytest.raises(ConfigError, match="No such file or directory; name another one with --config"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="Is a directory"):
        load(tmp_path)


KEYS = (
    *("node", "network", "store", "dataplane", "kernel", "daemon", "name", "address", "pool", "pool6", "first"),
    *(
        "subnet_length",
        "subnet_length6",
        "reserved",
        "leases",
        "routes",
        "sqlite",
        "local",
        "remote",
        "backend",
    ),
    *("state_dir", "lease_ttl", "log", "x"),
)
TEXTS = (
    "",
    "10.4.0.0/16",
    "fd00::/48",
    "10.4.1.0/24",
    "sqlite",
    "local",
    "routes",
    "\x00",
    "info",
    "10.0.0.0/8",
)
scalars = st.one_of(
    st.sampled_from(TEXTS), st.text(max_size=3), st.integers(), st.floats(), st.booleans(), st.dates()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(KEYS), values, max_size=6))
def test_junk_is_a_config_or_a_config_error(document: dict[str, Any]) -> None:
    """Whatever TOML can say."""
    with contextlib.suppress(ConfigError):
        assert isinstance(parse(document), Config)


@given(text=st.text(alphabet="[]{}=\"'.,#\n abc019-:\x00é", max_size=40))
def test_a_file_of_junk_is_a_config_or_a_config_error(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    """Whatever bytes there are."""
    path = written(tmp_path_factory.getbasetemp(), text)
    with contextlib.suppress(ConfigError):
        assert isinstance(load(path), Config)


NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))


def test_a_node_is_what_the_kernel_shows() -> None:
    """Its first addresses are those that peers send to, and the operator may choose others."""
    kernel = FakeKernel(addresses=("192.0.2.1/24", "192.0.2.7/24", "2001:db8::1/64"), mtu=9000)
    node = describe_node(kernel, network=NETWORK, table=NodeTable(name="a", address="192.0.2.7"))
    assert (node.name, node.interface, node.mtu) == ("a", "eth0", 9000)
    assert str(node.address(4)) == "192.0.2.7"
    assert node.addresses == (ip_interface("192.0.2.7/24"), ip_interface("2001:db8::1/64"))


@pytest.mark.parametrize(
    ("kernel", "table", "error"),
    [
        (FakeKernel(addresses=()), NodeTable(), "interface eth0 has no address: give it one, or set interface"),
        (
            FakeKernel(addresses=("10.4.7.7/24",)),
            NodeTable(),
            "pool 10.4.0.0/16 overlaps the underlay 10.4.7.0/24 of eth0",
        ),
        (
            FakeKernel(addresses=("10.1.2.3/8",)),
            NodeTable(),
            "pool 10.4.0.0/16 overlaps the underlay 10.0.0.0/8",
        ),
        (
            FakeKernel(),
            NodeTable(address="192.0.2.9"),
            "[node] address 192.0.2.9 is not on interface eth0, which has 192.0.2.1/24, 2001:db8::1/64",
        ),
        (FakeKernel(), NodeTable(address="x"), "address = 'x': expected an address such as 192.0.2.1"),
        (FakeKernel(), NodeTable(interface="eth7"), "no link 'eth7'; there are: eth0"),
        (FakeKernel(), NodeTable(name="a/b"), "name 'a/b': expected 1 to 253 letters"),
    ],
)
def test_a_node_that_cannot_be(kernel: FakeKernel, table: NodeTable, error: str) -> None:
    """Found before anything is claimed."""
    with pytest.raises(ConfigError) as refusal:
        describe_node(kernel, network=NETWORK, table=table)
    assert error in str(refusal.value)


def test_a_kernel_that_tells_no_links_cannot_describe_a_node() -> None:
    """The backend is named."""
    with pytest.raises(ConfigError, match="kernel backend object cannot describe the host's links"):
        describe_node(object())  # type: ignore[arg-type]
