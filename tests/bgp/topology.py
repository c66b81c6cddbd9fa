"""Hosts on one wire: network namespaces, each with a veth to a bridge in one more.

A host can be cut off without a word: its port of the bridge stops forwarding, its link stays up, nobody is
told, and packets vanish. What listens there runs into its timers, as when a switch dies.

Duplicate address detection is off, or every IPv6 address would be of no use for two seconds.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from ipaddress import ip_interface
from pathlib import Path
from typing import Self

from containernet.lab import namespaces
from containernet.model import Address, Interface
from tests.kernel.conftest import Netns

NIC = "eth0"


class Host:
    """A namespace with one link, eth0, which has the given addresses.

    Args:
        name: its port of the bridge; at most 15 characters.
        netns: its namespace.
        addresses: of eth0, each with the prefix length of the wire.
    """

    def __init__(self, name: str, netns: Netns, addresses: tuple[Interface, ...]) -> None:
        self.name, self.netns, self.addresses = name, netns, addresses

    @property
    def path(self) -> Path:
        """Where the namespace is, for those who enter it."""
        return Path(self.netns.path)

    def address(self, version: int = 4) -> Address:
        """Return the first address of a family."""
        return next(each.ip for each in self.addresses if each.version == version)

    @property
    def mac(self) -> str:
        """The link-layer address of eth0."""
        return str(json.loads(self.netns.ip(f"-json link show {NIC}"))[0]["address"])

    def __repr__(self) -> str:
        return f"<{self.name}>"


class Segment:
    """A wire and the hosts on it; needs the right to make namespaces. The caller closes it."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._switch = self._namespace()
        self._switch.run("ip", "-batch", "-", stdin="link add name switch type bridge\nlink set switch up\n")

    def host(self, name: str, *addresses: str, link_local: bool = True) -> Host:
        """Plug a new host in.

        Args:
            name: of the host. addresses: with prefix lengths, of either family.
            link_local: False: without an IPv6 link-local address (addr_gen_mode, ip-link(8)).
        """
        made = Host(name, self._namespace(), tuple(ip_interface(each) for each in addresses))
        with namespaces.network(made.path):
            Path("/proc/sys/net/ipv6/conf/default/accept_dad").write_text("0")
        plug = f"link add name {name} type veth peer name {NIC} netns {made.path}"
        self._switch.run("ip", "-batch", "-", stdin=f"{plug}\nlink set {name} master switch up\n")
        lines = [f"address add {each} dev {NIC}" for each in made.addresses]
        if not link_local:
            lines.append(f"link set {NIC} addrgenmode none")
        made.netns.run("ip", "-batch", "-", stdin="\n".join((*lines, f"link set {NIC} up\n")))
        return made

    def _namespace(self) -> Netns:
        made = Netns()
        self._stack.callback(made.close)
        return made

    def cut(self, host: Host) -> None:
        """Let no packet from or to that host pass; may be called twice."""
        self._switch.bridge(f"link set dev {host.name} state disabled")

    def mend(self, host: Host) -> None:
        """Let packets pass again; may be called twice."""
        self._switch.bridge(f"link set dev {host.name} state forwarding")

    def close(self) -> None:
        """Let the namespaces go; they end with the last process in them."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
