"""The node's subnet as a file of shell variables, as flannel leaves it at /run/flannel/subnet.env.

flannel's CNI plugin and many scripts read that file; with it they find on a node of ours what they found
before.
"""

from __future__ import annotations

from pathlib import Path

from .addresses import bridge_address
from .model import NetworkConfig, Node
from .replacing import replace


def content(node: Node, network: NetworkConfig, *, masquerade: bool) -> str:
    """Return the file of a node that holds its subnets.

    FLANNEL_SUBNET is the bridge's address, the first of the subnet, and not the subnet itself. FLANNEL_IPMASQ
    says that masquerading is done, so that flannel's CNI plugin has no other plugin do it again.
    """
    lines = []
    for subnet in node.subnets:
        pool = network.pool(subnet.version)
        family = "" if subnet.version == 4 else "IPV6_"
        lines += [f"FLANNEL_{family}NETWORK={pool.prefix}"] if pool else []
        lines += [f"FLANNEL_{family}SUBNET={bridge_address(subnet)}"]
    return "\n".join(
        [*lines, f"FLANNEL_MTU={node.container_mtu}", f"FLANNEL_IPMASQ={str(masquerade).lower()}", ""]
    )


def write(path: Path, node: Node, network: NetworkConfig, *, masquerade: bool) -> None:
    """Replace the file at `path` in one step; makes its directory.

    Raises:
        OSError: it cannot be written; what was there is still there.
    """
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    replace(path, [content(node, network, masquerade=masquerade)])
