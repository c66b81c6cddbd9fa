"""A host with its edge, two containers, and somebody outside."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from ipaddress import ip_address, ip_interface, ip_network

import attrs

from containernet import derive
from containernet.contracts import LocalDelivery
from containernet.edge import Edge, EdgeOptions
from containernet.items import Item, by_key
from containernet.model import Address, Endpoint, Node, PortMapping
from containernet.planning import plan
from containernet.sight import cable
from containernet.tracing import Network
from containernet_backends.netlink import NetlinkKernel
from containernet_backends.netlink.namespaces import Namespace

from .conftest import Netns

SUBNETS = (ip_network("10.4.1.0/24"), ip_network("fd00:4:0:1::/64"))
NODE = Node(
    name="host",
    interface="eth0",
    addresses=[ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64")],
    subnets=SUBNETS,
    pools=[ip_network("10.4.0.0/16"), ip_network("fd00:4::/48")],
)
HOST = {4: "192.0.2.1", 6: "2001:db8::1"}
OUTSIDE = {4: "192.0.2.9", 6: "2001:db8::9"}
Socket = socket.socket  # also where a method of that name stands before it
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
SOON = 5.0  # seconds
NEVER = 0.3  # seconds, after which nothing comes any more

# Everybody knows everybody's MAC by asking; nobody waits for duplicate address detection.
CABLE = """\
link add eth0 type veth peer name eth0 netns {outside}
link set eth0 up
address add 192.0.2.1/24 dev eth0
address add 2001:db8::1/64 dev eth0 nodad
"""
FAR_END = """\
link set eth0 up
address add 192.0.2.9/24 dev eth0
address add 2001:db8::9/64 dev eth0 nodad
address add 10.4.9.9/32 dev lo
address add fd00:4:0:9::9/128 dev lo nodad
route add 10.4.1.0/24 via 192.0.2.1
route add fd00:4:0:1::/64 via 2001:db8::1
"""


class Place:
    """A host at its edge.

    Args:
        local: how containers hang on it.
        options: of the edge.
        ports: by container.
    """

    def __init__(
        self,
        *,
        local: LocalDelivery,
        options: EdgeOptions | None = None,
        ports: dict[str, Iterable[PortMapping]] | None = None,
    ) -> None:
        self._stack = ExitStack()
        self.node = NODE
        self.edge = Edge(local, options or EdgeOptions(masquerade6=True))
        self.spaces = {name: self._space() for name in ("host", "outside", "a", "b")}
        self.endpoints = {
            name: Endpoint(
                container=name,
                netns=self.spaces[name].path,
                addresses=[ip_interface((subnet[number], subnet.prefixlen)) for subnet in SUBNETS],
                ports=tuple((ports or {}).get(name, ())),
            )
            for number, name in ((2, "a"), (3, "b"))
        }
        host = self.spaces["host"]
        host.run("ip", "-batch", "-", stdin=CABLE.format(outside=self.spaces["outside"].path))
        self.spaces["outside"].run("ip", "-batch", "-", stdin=FAR_END)
        self.kernel = self._stack.enter_context(closing(host.kernel()))
        self.settle()

    def _space(self) -> Netns:
        space = Netns()
        self._stack.callback(space.close)
        return space

    def settle(self) -> None:
        """Bring the host and the containers to what is wanted of them."""
        parts = {name: self.edge.endpoint(NODE, each) for name, each in self.endpoints.items()}
        wanted = [*self.edge.host(NODE), *(item for each in parts.values() for item in each.host)]
        _become(self.kernel, wanted)
        for name, each in parts.items():
            with closing(self.kernel.inside(self.spaces[name].path)) as inside:
                _become(inside, [*each.container, *(i for i in inside.read().values() if i.key[0] == "link")])

    def address(self, name: str, version: int) -> str:
        """Return an address of a container, of the host or of the outside."""
        if name in self.endpoints:
            return next(str(own.ip) for own in self.endpoints[name].addresses if own.version == version)
        return {"host": HOST, "outside": OUTSIDE}[name][version]

    def socket(self, name: str, version: int, kind: int, protocol: int = 0) -> Socket:
        """Return a socket of somebody's."""
        with closing(Namespace(self.spaces[name].path)) as space:
            made = space.run(lambda: socket.socket(FAMILY[version], kind, protocol))
        made.settimeout(SOON)
        return made

    def packet_socket(self, name: str) -> Socket:
        """Return a socket for whole frames in somebody's namespace."""
        with closing(Namespace(self.spaces[name].path)) as space:
            return space.run(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))

    def gateway_mac(self) -> str:
        """Return the MAC by which `a` reaches its host."""
        bridge = self.spaces["host"].ip("-o link show type bridge")
        veth = f"-o link show {derive.interface_name('veth', 'a', 'eth0')}"
        line = bridge or self.spaces["host"].ip(veth)
        return line.split("link/ether ")[1].split()[0]

    def link_local_of_bridge(self) -> Address:
        """Return the link-local address that containers see of their host."""
        line = self.spaces["host"].ip("-6 -o address show dev cn0 scope link")
        return ip_interface(line.split()[3]).ip

    def network(self) -> Network:
        """Return all that a packet can meet here, for the tracer."""
        tables = {}
        for name, space in self.spaces.items():
            with closing(space.kernel()) as kernel:
                tables[name] = kernel.show_tables()
        ends = ("host", "eth0"), ("outside", "eth0")
        cables = {ends[0]: ends[1], ends[1]: ends[0]}
        for name in self.endpoints:
            cables |= cable("host", name, name)
        return Network(tables=tables, cables=cables)

    @contextmanager
    def server(self, name: str, port: int, *, version: int, protocol: str) -> Iterator[None]:
        """Answer everybody who comes to a port with the address that he is seen from."""
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
        with self.socket(name, version, kind) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("::" if version == 6 else "0.0.0.0", port))
            if kind == socket.SOCK_STREAM:
                listener.listen()
            thread = threading.Thread(target=_serve, args=(listener, kind))
            thread.start()
            try:
                yield
            finally:
                listener.shutdown(socket.SHUT_RDWR) if kind == socket.SOCK_STREAM else self._wake(
                    name, port, version
                )
                thread.join()

    def _wake(self, name: str, port: int, version: int) -> None:
        with self.socket(name, version, socket.SOCK_DGRAM) as last:
            last.sendto(b"end", ("::1" if version == 6 else "127.0.0.1", port))

    def seen_from(self, name: str, to: str, port: int, *, protocol: str, patience: float = SOON) -> Address:
        """Return from which address a server sees a client; raises OSError where it does not answer."""
        version = ip_address(to).version
        kind = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}[protocol]
        with self.socket(name, version, kind) as client:
            client.settimeout(patience)
            client.connect((to, port))
            client.sendall(b"?")
            return ip_address(client.recv(100).decode())

    def close(self) -> None:
        """Let go of all of it."""
        self._stack.close()


def _serve(listener: socket.socket, kind: int) -> None:
    while True:
        try:
            if kind == socket.SOCK_DGRAM:
                asked, (who, *port) = listener.recvfrom(100)
                if asked == b"end":
                    return
                listener.sendto(who.encode(), (who, *port))
            else:
                client, (who, *_) = listener.accept()
                with client:
                    client.sendall(who.encode())
        except OSError:
            return


def _become(kernel: NetlinkKernel, items: Iterable[Item]) -> None:
    wanted = by_key(items)
    for _ in range(2):  # a device that comes up late
        failures = kernel.execute(plan(wanted, kernel.read()))
        if not failures:
            break
    assert not failures, [str(each) for each in failures]
    assert plan(wanted, kernel.read()) == ()


def port(host_port: int, *, to: int, protocol: str = "tcp", at: str = "") -> PortMapping:
    """Return a port mapping."""
    host_ip = ip_address(at) if at else None
    return PortMapping(protocol=protocol, host_port=host_port, container_port=to, host_ip=host_ip)


def replaced(place: Place, name: str, *ports: PortMapping) -> None:
    """Give a container other ports."""
    place.endpoints[name] = attrs.evolve(place.endpoints[name], ports=ports)
    place.settle()
