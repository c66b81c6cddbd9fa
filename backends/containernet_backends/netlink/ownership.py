"""What is ours in a kernel that many programs share, and who the others are.

Every item of ours carries a mark that the kernel keeps and shows, so that a restarted process knows its own
work, and an operator sees it in `ip`'s output (`proto 77`, `alias containernet`):

- routes and neighbours: the protocol number `PROTOCOL`;
- addresses: the same number in IFA_PROTO, which Linux has since 5.18; before, each global address on a link
  of ours is ours;
- links: the ifalias `ALIAS`. It can only be set on a link that exists, so a link is also born in the group
  `PROTOCOL`, and stays recognisable should this process die before the alias is on it;
- bridge ports and fdb entries have no room for a mark: they are ours where the bridge or the device is.
"""

from __future__ import annotations

import re

from containernet.items import KernelRoute

from .constants import RT_TABLE_MAIN

# RTPROT_* above 4 are for user space to share out (rtnetlink(7), /etc/iproute2/rt_protos). Taken, among others:
# 8-18 (zebra 11, bird 12, dhcp 16, keepalived 18), 42 babel, 80 calico's vxlan, 84 ovn, 99 openr, 186-192 frr.
PROTOCOL = 77
ALIAS = "containernet"

_NAMES = {
    0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 8: "gated", 9: "ra", 10: "mrt",
    11: "zebra", 12: "bird", 13: "dnrouted", 14: "xorp", 15: "ntk", 16: "dhcp", 17: "mrouted",
    18: "keepalived", 42: "babel", PROTOCOL: "containernet", 84: "ovn", 99: "openr", 186: "bgp",
    187: "isis", 188: "ospf", 189: "rip", 192: "eigrp",
}  # fmt: skip


def protocol_name(protocol: int) -> str:
    """Return a protocol number with its usual name, such as `bird (12)`."""
    return f"{_NAMES[protocol]} ({protocol})" if protocol in _NAMES else str(protocol)


def removal(route: KernelRoute, protocol: int) -> str:
    """Return the command that removes a route of that protocol number, and none of anybody else's."""
    metric = f" metric {route.metric}" if route.metric else ""
    table = f" table {route.table}" if route.table != RT_TABLE_MAIN else ""
    return f"ip route del {route.destination} proto {protocol}{metric}{table}"


def keeps_address_protocol(release: str) -> bool:
    """Return whether a kernel of that release (`uname -r`) stores IFA_PROTO: Linux 5.18 and later."""
    numbers = re.match(r"(\d+)\.(\d+)", release)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (5, 18)
