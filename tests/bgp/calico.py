"""BIRD 2 that plays a Calico node: what it says, what it tells its kernel, and what it lets out."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_network

from containernet.model import Address

from .bird import Bird
from .daemons import Daemon, Run
from .topology import Host
from .values import Neighbour, Path, Speaker

AS = 64512
LOCAL_PREF = 2147482623  # 2147483647 less the metric, 1024
POOLS = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))
TUNNEL = "tunl0"
BLOCK = "10.2.0.64/26"


def towards(neighbour: Neighbour) -> Neighbour:
    """Return how a node has a neighbour configured that is not a node: both dial."""
    return Neighbour(
        address=neighbour.address,
        asn=neighbour.asn,
        hold_time=240,
        multihop=2,
        add_paths="both",
        graceful_restart=120,
        families=neighbour.families,
    )


def node_on(there: Host, *, beside: Host, make: Run, kind: type[CalicoNode]) -> Daemon:
    """Return a node that has started, with a block of its own, for a host of ours beside it."""
    us = towards(Neighbour(address=beside.address(), asn=AS, families=(4,)))
    speaker = Speaker(asn=AS, router_id=IPv4Address(str(there.address())), neighbours=(us,))
    node = make(kind, there, speaker).start()
    node.announce(Path(prefix=ip_network(BLOCK)))
    return node


def beside(node: Address) -> str:
    """Return [store.bgp] of a host of ours beside a node."""
    return f"""
asn = {AS}
profile = "calico"
[[store.bgp.peer]]
address = "{node}"
add_paths = true
"""


class CalicoNode(Bird):
    """A node without encapsulation. It tells only what is in a pool, and its kernel what it hears."""

    abilities = Bird.abilities | {"calico"}

    def more(self) -> str:
        """Return the protocols that fill its kernel; its own blocks are blackholes there."""
        return "\n".join(
            f"protocol kernel {{ persist; graceful restart; ipv{version} {{ import none; export all; }}; }}"
            for version in (4, 6)
        )

    def policy(self, neighbour: Neighbour, version: int) -> str:
        """Let everything in, and out what is in a pool, with a preference that beats every default."""
        pool = next(each for each in POOLS if each.version == version)
        export = f"if net ~ [ {pool}+ ] then {{ bgp_local_pref = {LOCAL_PREF}; accept; }} reject;"
        return f"import filter {{ {self.way()} accept; }}; export filter {{ {export} }};"

    def way(self) -> str:
        """Return what is done to a route on its way in; for subclasses."""
        return ""


class CalicoIpipNode(CalicoNode):
    """A node that sends everything through the nameless ipip device, which the test makes."""

    def way(self) -> str:
        """Send it through the tunnel, to the next hop, which is on no wire of the tunnel."""
        return f'onlink = true; ifname = "{TUNNEL}"; gw = bgp_next_hop;'
