"""From an operation and the kernel's errno to a sentence: what it means here, and what to do about it.

Pure. The kernel's own explanation (NLMSGERR_ATTR_MSG) follows in brackets where there is one.
"""

from __future__ import annotations

import errno
import os

from containernet.items import (
    ExternalTunnel,
    FdbEntry,
    IpTunnel,
    KernelRoute,
    Link,
    LinkType,
    Sysctl,
    Veth,
    Vxlan,
)
from containernet.planning import Operation

from .frames import Refusal

# What a deletion may be told about something that is gone already.
GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO})
FORBIDDEN = frozenset({errno.EPERM, errno.EACCES})


class Refused(Exception):
    """One operation cannot be carried out; `reason` is complete."""

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(reason)
        self.errno = errno
        self.reason = reason


def explain(operation: Operation, refused: Refusal) -> str:
    """Return why the kernel refused an operation, and the way out."""
    said = f" (kernel: {refused.text})" if refused.text else ""
    return _reason(operation, refused.errno) + said


def _reason(operation: Operation, code: int) -> str:
    item = operation.item
    match code:
        case errno.EPERM | errno.EACCES if isinstance(item, Sysctl):
            return f"/proc/sys/{item.name}: {os.strerror(code)}: run as root"
        case errno.EPERM | errno.EACCES:
            return "needs CAP_NET_ADMIN in this network namespace: run as root"
        case errno.EOPNOTSUPP if isinstance(item, Link):
            kind = item.type.kind
            driver = "ip6_tunnel" if kind == "ip6tnl" else kind
            return f"this kernel has no {kind} driver: modprobe {driver}"
        case errno.EROFS if isinstance(item, Sysctl):
            return "/proc/sys is mounted read-only here: mount it writable, or set it outside"
        case errno.ENOENT if isinstance(item, Sysctl):
            return f"this kernel has no /proc/sys/{item.name}: is the link there, is the module loaded?"
        case errno.EINVAL if isinstance(item, Sysctl):
            return f"/proc/sys/{item.name} does not take {item.value!r}"
        case errno.EBUSY if isinstance(item, FdbEntry):
            return f"link {item.link} is not ours: its forwarding table stays as it is"
        case errno.EOPNOTSUPP if isinstance(item, FdbEntry):
            return f"link {item.link} is not a vxlan device: only such a one knows destinations"
        case errno.ENODEV | errno.ENXIO:
            return f"there is no link {item.link}: it has to be made first"
        case errno.ENETDOWN:
            return f"link {item.link} is down: ip link set {item.link} up"
        case errno.ENETUNREACH | errno.EHOSTUNREACH | errno.EINVAL if (
            isinstance(item, KernelRoute) and item.gateway
        ):
            gateways = " or ".join(str(path.gateway) for path in item.paths)
            return f"gateway {gateways} is not on link at {item.link}: add an address, or route onlink"
        case errno.ERANGE | errno.EINVAL if isinstance(item, Link):
            return f"{item.name} does not take mtu {item.mtu}{f' and address {item.mac}' if item.mac else ''}"
        case errno.EEXIST if isinstance(item, Link):
            return _taken(item)
        case errno.ENOSPC | errno.ENOMEM | errno.ENOBUFS:
            return f"{os.strerror(code)}: a table of the kernel is full (net.ipv6.route.max_size, memory)"
        case _:
            return os.strerror(code)


def _taken(link: Link) -> str:
    if isinstance(link.type, Veth):
        where = link.type.peer_netns or "this namespace"
        return f"the far end's name {link.type.peer} is taken in {where}: remove what has it"
    if only_once(link.type):
        return occupied(link, "another device")
    return f"the name {link.name} is taken"


def only_once(type: LinkType | None) -> str:
    """Return what the kernel gives to one device of a namespace only; empty: there is no such thing."""
    match type:
        case IpTunnel(local=local):
            return f"local {local}"
        case ExternalTunnel():
            return "external mode"
        case Vxlan(vni=vni, port=port, local=local):
            return f"VNI {vni} at port {port} over IPv{local.version}"
        case _:
            return ""


def occupied(link: Link, rival: str) -> str:
    """Return what to do about a device that has what `link` needs alone."""
    return f"{rival} has {only_once(link.type)}: `ip -d link` shows it; delete it or choose other values"
