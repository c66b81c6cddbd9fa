"""A host of flannel's, without flannel: what it writes, what it reads, and what it puts in its kernel.

Keys and values, and every command, are those of flannel's source (v0.20 to v0.28; pkg/lease, pkg/subnet/etcd
and pkg/backend), told here once more and independently of the backend under test: `ip` and `bridge` make the
kernel state, etcdctl makes and reads the records. Nothing of ours has a hand in it.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import attrs

from containernet.lab.cluster import Lab
from tests.kernel.labs import SUBNETS, ctl, told

TTL = 86400  # seconds; subnet.subnetTTL
MTU = 1500  # of the underlay
BRIDGE = "cni0"
# subnet.ParseSubnetKey: what flannel takes for a record's key.
KEY = re.compile(r"(\d+\.\d+.\d+.\d+)-(\d+)(?:&([a-f\d:]+)-(\d+))?$")


@attrs.frozen(kw_only=True)
class Peer:
    """A record as flannel reads it: lease.Lease."""

    subnet: IPv4Network
    subnet6: IPv6Network | None
    public: IPv4Address
    public6: IPv6Address | None
    backend: str
    data: Mapping[str, Any]
    data6: Mapping[str, Any]

    @classmethod
    def read(cls, key: str, value: str) -> Peer:
        """Read a record strictly: whatever flannel v0.20 would trip over fails here."""
        match = KEY.match(key)
        assert match, key
        document = json.loads(value)
        assert set(document) <= {"PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data"}
        public6 = document["PublicIPv6"]
        data, data6 = document.get("BackendData", {}), document.get("BackendV6Data", {})
        for each in (data, data6):
            assert 0 <= each.get("VNI", 0) <= 65535, each  # v0.20: uint16
        return cls(
            subnet=IPv4Network(f"{match[1]}/{match[2]}"),
            subnet6=IPv6Network(f"{match[3]}/{match[4]}") if match[3] else None,
            public=IPv4Address(document["PublicIP"]),
            public6=IPv6Address(public6) if public6 else None,
            backend=document.get("BackendType", ""),
            data=data,
            data6=data6,
        )


@attrs.frozen(kw_only=True)
class Flannel:
    """A host of a lab that flannel runs on.

    Args:
        lab: with a store. host: one without containernetd.
        backend: `vxlan`, `host-gw` or `ipip`.
        subnet, subnet6: what it has leased; subnet6 is None in a network of IPv4 alone.
        mac: of its VTEPs. vni, port, direct, mtu: the options VNI, Port, DirectRouting and MTU of vxlan.
    """

    lab: Lab
    host: str
    backend: str
    subnet: IPv4Network
    subnet6: IPv6Network | None = None
    mac: str = "c6:d2:32:6f:8f:44"
    vni: int = 1
    port: int = 8472
    direct: bool = False
    mtu: int = MTU

    @property
    def public(self) -> IPv4Address:
        """Its underlay address."""
        return IPv4Address(next(own.ip for own in self._addresses if own.version == 4))

    @property
    def public6(self) -> IPv6Address:
        """The same, for IPv6."""
        return IPv6Address(next(own.ip for own in self._addresses if own.version == 6))

    @property
    def key(self) -> str:
        """The name of its record: subnet.MakeSubnetKey."""
        four = str(self.subnet).replace("/", "-")
        return f"{four}&{str(self.subnet6).replace('/', '-')}" if self.subnet6 else four

    @property
    def _addresses(self) -> Any:
        return next(host.addresses for host in self.lab.topology.members if host.name == self.host)

    def run(self, line: str, *, where: str = "") -> None:
        """Run a command on the host, or in one of its containers."""
        assert self.lab.run(where or self.host, shlex.split(line)) == 0, line

    def start(self) -> None:
        """Make the devices, as flanneld does before it writes its record, and write it."""
        self.run("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
        if self.backend == "vxlan":
            device = f"flannel.{self.vni}"
            self._add_vxlan(device, local=self.public, mtu=self.mtu - 50, own=f"{self.subnet[0]}/32")
            if self.subnet6:
                own6 = f"{self.subnet6[0]}/128"
                self._add_vxlan(f"flannel-v6.{self.vni}", local=self.public6, mtu=self.mtu - 70, own=own6)
        elif self.backend == "ipip":
            self.run(f"ip link add flannel.ipip type ipip local {self.public} ttl inherit nopmtudisc")
            self.run(f"ip link set flannel.ipip mtu {MTU - 20}")
            self.run(f"ip address add {self.subnet[0]}/32 dev flannel.ipip")
            self.run("ip link set flannel.ipip up")
        self.announce()

    def _add_vxlan(self, name: str, *, local: object, mtu: int, own: str) -> None:
        self.run(
            f"ip link add {name} address {self.mac} mtu {mtu} type vxlan id {self.vni} dev eth0 "
            f"local {local} dstport {self.port} nolearning"
        )
        self.run(f"sysctl -qw net/ipv6/conf/{name}/accept_ra=0")
        self.run(f"ip address add {own} dev {name}" + (" nodad" if ":" in own else ""))
        self.run(f"ip link set {name} up")

    def announce(self) -> None:
        """Write the record, or write it over what the host has, under a new lease: registry.updateSubnet."""
        data = {"VNI": self.vni, "VtepMAC": self.mac} if self.backend == "vxlan" else None
        document: dict[str, Any] = {
            "PublicIP": str(self.public),
            "PublicIPv6": str(self.public6) if self.subnet6 else None,
            "BackendType": self.backend,
        }
        if data:
            document["BackendData"] = data
        if data and self.subnet6:
            document["BackendV6Data"] = data
        lease = ctl(self.lab, "lease", "grant", str(TTL)).split()[1]
        ctl(
            self.lab, "put", f"--lease={lease}", SUBNETS + self.key, json.dumps(document, separators=(",", ":"))
        )

    def attach(self, container: str) -> None:
        """Give a container its interface, as the CNI plugins flannel and bridge do."""
        addresses = [(self.subnet, "24")] + ([(self.subnet6, "64")] if self.subnet6 else [])
        self.run(f"ip link add {BRIDGE} type bridge")
        self.run(f"ip link set {BRIDGE} up")
        self.run(f"ip link add veth1 type veth peer name eth0 netns /run/netns/{container}")
        self.run(f"ip link set veth1 master {BRIDGE} up")
        self.run("ip link set eth0 up", where=container)
        for subnet, length in addresses:
            nodad = " nodad" if subnet.version == 6 else ""
            self.run(f"ip address add {subnet[1]}/{length} dev {BRIDGE}{nodad}")
            self.run(f"ip address add {subnet[2]}/{length} dev eth0{nodad}", where=container)
            self.run(f"ip -{subnet.version} route add default via {subnet[1]}", where=container)

    def follow(self) -> list[Peer]:
        """Read every record and program what it takes to reach the others; return them."""
        found = [Peer.read(key, value) for key, value in told(self.lab).items()]
        peers = [each for each in found if each.backend == self.backend and each.public != self.public]
        for peer in peers:
            self._program(peer)
        return peers

    def _program(self, peer: Peer) -> None:
        on_link = any(own.version == 4 and peer.public in own.network for own in self._addresses)
        if self.backend == "host-gw" or (self.direct and on_link):
            self.run(f"ip route replace {peer.subnet} via {peer.public} dev eth0")
        elif self.backend == "ipip":
            self.run(f"ip route replace {peer.subnet} via {peer.public} dev flannel.ipip onlink")
        else:
            self._program_vxlan(f"flannel.{self.vni}", peer.subnet, peer.public, peer.data["VtepMAC"])
        if peer.subnet6 and self.subnet6 and self.backend == "host-gw":
            self.run(f"ip route replace {peer.subnet6} via {peer.public6} dev eth0")
        elif peer.subnet6 and self.subnet6:
            self._program_vxlan(f"flannel-v6.{self.vni}", peer.subnet6, peer.public6, peer.data6["VtepMAC"])

    def _program_vxlan(self, device: str, subnet: IPv4Network | IPv6Network, hop: object, mac: str) -> None:
        self.run(f"ip neighbour replace {subnet[0]} lladdr {mac} dev {device} nud permanent")
        self.run(f"bridge fdb replace {mac} dev {device} dst {hop} self permanent")
        self.run(f"ip route replace {subnet} via {subnet[0]} dev {device} onlink")
