"""flannel's subnet.env: its lines, and that a reader never sees half of them."""

from __future__ import annotations

from ipaddress import ip_interface, ip_network
from pathlib import Path

import pytest

from containernet import subnet_file
from containernet.model import NetworkConfig, Node, Pool

FOUR = Pool(prefix=ip_network("10.5.0.0/16"), subnet_length=24)
SIX = Pool(prefix=ip_network("fd00:5::/48"), subnet_length=64)


def node(*subnets: str) -> Node:
    """Return a node that holds those subnets."""
    return Node(
        name="a",
        interface="eth0",
        addresses=(ip_interface("192.0.2.1/24"),),
        overhead=50,
        subnets=tuple(map(ip_network, subnets)),
    )


@pytest.mark.parametrize(
    ("subnets", "pools", "expected"),
    [
        (("10.5.52.0/24",), (FOUR,), "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\n"),
        (
            ("fd00:5:0:1::/64",),
            (SIX,),
            "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n",
        ),
        (
            ("10.5.52.0/24", "fd00:5:0:1::/64"),
            (FOUR, SIX),
            "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.52.1/24\n"
            "FLANNEL_IPV6_NETWORK=fd00:5::/48\nFLANNEL_IPV6_SUBNET=fd00:5:0:1::1/64\n",
        ),
    ],
)
def test_flannels_lines(subnets: tuple[str, ...], pools: tuple[Pool, ...], expected: str) -> None:
    """The bridge's address, not the subnet's; the MTU is the containers'."""
    for masquerade, said in ((True, "true"), (False, "false")):
        content = subnet_file.content(node(*subnets), NetworkConfig(pools=pools), masquerade=masquerade)
        assert content == f"{expected}FLANNEL_MTU=1450\nFLANNEL_IPMASQ={said}\n"


def test_the_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Its directory is made; nothing else is left beside it."""
    path = tmp_path / "flannel" / "subnet.env"
    network = NetworkConfig(pools=(FOUR,))
    for subnet in ("10.5.1.0/24", "10.5.2.0/24"):
        subnet_file.write(path, node(subnet), network, masquerade=True)
        assert f"FLANNEL_SUBNET={subnet.replace('0/24', '1/24')}\n" in path.read_text()
    assert [each.name for each in path.parent.iterdir()] == ["subnet.env"]


def test_what_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    """The daemon logs it and goes on."""
    (tmp_path / "file").write_text("")
    network = NetworkConfig(pools=(FOUR,))
    with pytest.raises(OSError, match="file"):
        subnet_file.write(tmp_path / "file" / "subnet.env", node("10.5.1.0/24"), network, masquerade=False)
