"""Whether the link to the other hosts is still what it was when the node was described.

A node is described once, at the start: its address is in what it announced, and its MTU is in every container.
What an operator changes about the link afterwards is not followed, which would take every container's link and
every peer's route along; it is said, with what to do about it.
"""

from __future__ import annotations

import attrs

from .contracts import Kernel, Underlay
from .errors import ConfigError, KernelError, PermissionRefused
from .model import Node
from .values import shown


@attrs.frozen(kw_only=True)
class Changes:
    """What is different, one line each; empty: nothing.

    Args:
        broken: the peers cannot reach this node any more, or some of them.
        mtu: packets may be too big for the link, or smaller than need be.
    """

    broken: str = ""
    mtu: str = ""
    __repr__ = shown


def changes(kernel: Kernel, node: Node) -> Changes:
    """Return what is different about the underlay of `node`; nothing where the kernel cannot tell."""
    if not isinstance(kernel, Underlay):
        return Changes()
    try:
        link = kernel.underlay(node.interface)
    except ConfigError as error:
        cure = "bring it back, or name another one under [node] and start containernetd again"
        return Changes(broken=f"the underlay {node.interface} is gone: {error}; {cure}")
    except (KernelError, PermissionRefused):
        return Changes()  # whoever reads the kernel's items says it
    lost = ", ".join(str(own) for own in node.addresses if own not in link.addresses)
    there = ", ".join(map(str, link.addresses)) or "no address"
    broken = f"the underlay {link.name} has lost {lost}, where the peers send to, and has {there}"
    mtu = f"the underlay {link.name} has MTU {link.mtu}, and the containers' is made for {node.mtu}"
    cure = "put it back, or start containernetd again"
    return Changes(
        broken=f"{broken}: {cure}" if lost else "",
        mtu=f"{mtu}: {cure}" if link.mtu != node.mtu else "",
    )
