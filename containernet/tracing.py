"""A packet's way through namespaces, hop by hop: which entry decided, and how it looks on each wire.

Pure, and never wrong by chance: it reads `Tables` and cables, sends nothing and asks nobody. The same walk
serves a simulated cluster, a laboratory and a live host; where the view ends, the way ends with `left`.

What a namespace does with a packet of its own, or with one that it forwards:

    does a port lead it elsewhere?  ->  route  ->  is it masqueraded?  ->  does it fit the device?  ->
        what is the device?  tunnel: one more header, and again from the route
                             else:   neighbour, Ethernet header, wire

Of translation it knows ours, and what conntrack remembers of that: an answer is traced as one (`answering`).

A wire is a cable, or a switch with cables: every bridge is one, a host's and the underlay's. Who has a MAC is
found by looking at everybody on the wire, as a switch finds it that has learned nothing yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from . import packet
from .items import Bridge, ExternalTunnel, FdbEntry, IpTunnel, KernelRoute, Neighbour, Vxlan
from .model import Address
from .packet import Ethernet, Ipv4, Ipv6, Layer, Payload, Tcp, Udp
from .tables import Device, Tables
from .translation import PROTOCOL_NUMBERS, Flow, Rule, Translated

End = tuple[str, str]  # a namespace, and a device in it
Port = tuple[str, int]  # tcp or udp, and the number

TTL = 64
SOME_PORT = 49152  # that a sender may choose for its own (RFC 6335 s6)
UNKNOWN = "00:00:00:00:00:00"  # the MAC of somebody who was not asked yet
_VLAN_HEADER = 4  # octets that Linux lets a frame be longer than the MTU says (is_skb_forwardable)
_MOST_HOPS = 2 * TTL
_ETHERTYPE = {4: 0x0800, 6: 0x86DD}
_ICMP = {4: 1, 6: 58}
_IN_IP = {4: 4, 6: 41}
_IP_HEADER = {4: 20, 6: 40}


@attrs.frozen(kw_only=True)
class Network:
    """Namespaces by name, and what is plugged into what; a cable is in `cables` from both its ends.

    A device without a cable that is no bridge and no tunnel leads out of what is known.

    Args:
        enter: called with a namespace's name before a packet is looked at there: the latest moment to fill in
            what only a packet would meet.
    """

    tables: Mapping[str, Tables]
    cables: Mapping[End, End]
    enter: Callable[[str], object] = str


@attrs.frozen(kw_only=True)
class Answered:
    """A neighbour that no entry names: somebody on the wire says that the address is his (ARP, RFC 4861)."""

    address: Address
    link: str
    mac: str
    where: str = ""

    def __str__(self) -> str:
        who = f"answers from {self.where}" if self.where else "has answered"
        return f"neighbour {self.address} lladdr {self.mac} dev {self.link} {who}"


Entry = KernelRoute | Neighbour | FdbEntry | Answered | Translated


@attrs.frozen(kw_only=True)
class Hop:
    """One wire.

    Args:
        where: the namespace that the packet leaves.
        link: the device that it leaves by.
        mtu: of that device, octets.
        entries: what decided, in the order of the decisions.
        headers: as they stand on the wire, outermost first.
        switches: the bridges that the frame crosses, each as (namespace, device).
    """

    where: str
    link: str
    mtu: int
    entries: tuple[Entry, ...]
    headers: tuple[Layer, ...]
    switches: tuple[End, ...] = ()


@attrs.frozen(kw_only=True)
class Death:
    """Where and why a packet goes no further.

    Args:
        where: the namespace.
        kind: `unreachable`, `too-big`, `expired` or `silent`: the first three are told to the sender.
        reason: one line: the first thing that is wrong.
        advice: what to do about it.
        mtu: of `too-big`: what would have fitted.
        entries: what had been decided on the way there.
        teller: the namespace that tells the sender; empty: `where`.
    """

    where: str
    kind: str
    reason: str
    advice: str
    mtu: int = 0
    entries: tuple[Entry, ...] = ()
    teller: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.reason}"


@attrs.frozen(kw_only=True)
class Trace:
    """A packet's way.

    Args:
        source, destination: the packet's addresses; no source: it could not even be made.
        hops: every wire that it crossed.
        arrived: the namespace that took it in; empty: none did.
        death: why not.
        left: the packet went out of what is known, by the last hop.
        ways: the most next hops of equal cost that a route on the way could choose from.
        seen: addresses and ports as they are at the end; None: it could not even be made.
        translated: what was made of them on the way.
    """

    source: Address | None
    destination: Address
    hops: tuple[Hop, ...]
    arrived: str = ""
    death: Death | None = None
    left: bool = False
    ways: int = 1
    seen: Flow | None = None
    translated: tuple[Translated, ...] = ()

    @property
    def encapsulations(self) -> int:
        """The most headers of IP around the packet's own, on any wire of its way."""
        return max(
            (sum(isinstance(layer, Ipv4 | Ipv6) for layer in hop.headers) - 1 for hop in self.hops), default=0
        )


class _Dies(Exception):
    def __init__(self, death: Death) -> None:
        self.death = death


@attrs.frozen(kw_only=True)
class _Packet:
    """An IP packet: its headers, and how long it is with them."""

    layers: tuple[Layer, ...]
    octets: int

    @property
    def flow(self) -> Flow:
        ip, transport = self.ip, self.layers[1] if len(self.layers) > 1 else None
        ports = (transport.source, transport.destination) if isinstance(transport, Tcp | Udp) else (0, 0)
        protocol = ip.protocol if isinstance(ip, Ipv4) else ip.next_header
        return Flow(source=ip.source, destination=ip.destination, protocol=protocol, ports=ports)

    def as_flow(self, flow: Flow) -> _Packet:
        """Return the same packet with other addresses and ports."""
        addresses: dict[str, Any] = {"source": flow.source, "destination": flow.destination}
        rest = list(self.layers[1:])
        if rest and isinstance(rest[0], Tcp | Udp):
            rest[0] = attrs.evolve(rest[0], source=flow.ports[0], destination=flow.ports[1])
        return attrs.evolve(self, layers=(attrs.evolve(self.ip, **addresses), *rest))

    @property
    def ip(self) -> Ipv4 | Ipv6:
        ip = self.layers[0]
        assert isinstance(ip, Ipv4 | Ipv6)
        return ip

    @property
    def whole(self) -> bool:
        """It may not be fragmented."""
        return isinstance(self.ip, Ipv6) or self.ip.dont_fragment


def trace(
    network: Network,
    where: str,
    destination: Address,
    *,
    size: int = 100,
    source: Address | None = None,
    whole: bool = True,
    turn: int = 0,
    port: Port | None = None,
    answering: Trace | None = None,
) -> Trace:
    """Return the way of an echo request, or of a packet to a port.

    Args:
        where: the namespace that sends it.
        size: of its IP packet, octets.
        source: its source address; None: as the kernel chooses.
        whole: it may not be fragmented; of IPv6, a packet on its way never is.
        turn: the next hop that is chosen where a route has several of equal cost, counted from 0 and round
            again. (A kernel goes by a hash with a secret in it, so that nobody can tell.)
        port: what it goes to; None: an echo request.
        answering: the way of what this packet answers, which arrived.
    """
    walk = _Walk(network, whole=whole, turn=turn, answering=answering)
    network.enter(where)
    try:
        if answering is not None and answering.seen is not None:
            return walk.run(where, _request(answering.seen.answer, size, whole=whole))
        source = source or _source(network.tables[where], where, destination, turn=turn)
        return walk.run(where, _request(_flow(source, destination, port), size, whole=whole))
    except _Dies as dies:
        return walk.told(source, destination, death=dies.death)


def _flow(source: Address, destination: Address, port: Port | None) -> Flow:
    if port is None:
        return Flow(source=source, destination=destination, protocol=_ICMP[destination.version])
    protocol, number = port
    return Flow(
        source=source,
        destination=destination,
        protocol=PROTOCOL_NUMBERS[protocol],
        ports=(SOME_PORT, number),
    )


def _request(flow: Flow, size: int, *, whole: bool) -> _Packet:
    version = flow.destination.version
    ip = packet.header(source=flow.source, destination=flow.destination, protocol=flow.protocol)
    room = max(0, size - _IP_HEADER[version])
    match flow.protocol:
        case 6:
            transport: Layer = Tcp(source=flow.ports[0], destination=flow.ports[1], sequence=0, flags=2)  # SYN
            octets = 20
        case 17:
            transport = Udp(source=flow.ports[0], destination=flow.ports[1], length=max(8, room))
            octets = 8
        case _:
            transport = packet.echo_request(version=version, identifier=0, sequence=0)
            octets = 8
    filling = max(0, room - octets)
    layers = (_sized(ip, size, whole=whole), transport, *([Payload(data=bytes(filling))] if filling else []))
    return _Packet(layers=layers, octets=size)


def _sized(ip: Ipv4 | Ipv6, octets: int, *, whole: bool, ttl: int = TTL) -> Ipv4 | Ipv6:
    if isinstance(ip, Ipv4):
        return attrs.evolve(ip, length=octets, dont_fragment=whole, ttl=ttl)
    return attrs.evolve(ip, length=octets - _IP_HEADER[6], hop_limit=ttl)


def _ttl(ip: Ipv4 | Ipv6) -> int:
    return ip.ttl if isinstance(ip, Ipv4) else ip.hop_limit


def _source(tables: Tables, where: str, destination: Address, *, turn: int) -> Address:
    """Return the source address that the kernel chooses: best one on link with the next hop."""
    if tables.own(destination):
        return destination
    route = tables.route(destination)
    if route is None:
        raise _Dies(_no_route(where, destination, ()))
    if route.blackhole:
        raise _Dies(_swallowed(where, destination, route, (route,), told=True))
    route = route.paths[turn % len(route.paths)]
    own = _own_towards(tables, route.link, route.gateway or destination, destination)
    if own is None:
        reason = f"no IPv{destination.version} address to send from"
        advice = "give the device an address; a container gets one by `containernet attach`"
        raise _Dies(Death(where=where, kind="unreachable", reason=reason, advice=advice, entries=(route,)))
    return own


def _own_towards(tables: Tables, link: str, hop: Address, destination: Address) -> Address | None:
    """Return the address that the kernel chooses to send from; None: it has none of that family."""
    version = destination.version
    if own := [each.address for each in tables.on(link, version)]:
        return next((each for each in own if hop in each.network), own[0]).ip
    others = [each.address.ip for device in tables.devices for each in tables.on(device, version)]
    if version == 4 or not others:
        return others[0] if others else None
    # RFC 6724 s5 rule 8: the one that has most in common with the destination.
    return min(others, key=lambda other: int(other) ^ int(destination))


def _no_route(where: str, destination: Address, entries: tuple[Entry, ...]) -> Death:
    return Death(
        where=where,
        kind="unreachable",
        reason=f"no route to {destination}",
        advice="is a link down (`ip link`), or a default route missing (`ip route`)?",
        entries=entries,
    )


def _swallowed(
    where: str, destination: Address, route: KernelRoute, entries: tuple[Entry, ...], *, told: bool
) -> Death:
    return Death(
        where=where,
        kind="unreachable" if told else "silent",
        reason=f"{destination} falls into {str(route).removeprefix('route ')}",
        advice="the route that should be before it is missing: is a link down (`ip link`), or gone?",
        entries=entries,
    )


class _Walk:
    """One packet, from namespace to namespace."""

    def __init__(self, network: Network, *, whole: bool, turn: int, answering: Trace | None = None) -> None:
        self._network = network
        self._translated: list[Translated] = []
        self._known = answering.translated if answering else ()
        self._tracked = {hop.where for hop in answering.hops} if answering else set[str]()
        self._seen: Flow | None = None
        self._shown = 0
        self._whole = whole
        self._turn = turn
        self._ways = 1
        self.hops: list[Hop] = []

    def run(self, where: str, sent: _Packet) -> Trace:
        source, destination = sent.ip.source, sent.ip.destination
        sent = self._led(where, sent)
        while len(self.hops) < _MOST_HOPS:
            tables = self._network.tables[where]
            self._seen = sent.flow
            if tables.own(sent.ip.destination):
                inner = self._opened(tables, where, sent)
                if inner is None:
                    return self.told(source, destination, arrived=where)
                sent = self._forwarded(tables, where, self._led(where, inner))
                continue
            end = self._send(where, sent)
            if end is None:
                return self.told(source, destination, left=True)
            where, sent = end
            self._network.enter(where)
            tables = self._network.tables[where]
            sent = self._led(where, sent)
            if not tables.own(sent.ip.destination):
                sent = self._forwarded(tables, where, sent)
        raise _Dies(_expired(where))

    def told(
        self,
        source: Address | None,
        destination: Address,
        *,
        arrived: str = "",
        death: Death | None = None,
        left: bool = False,
    ) -> Trace:
        """Return the way as far as it went, and how it ended."""
        return Trace(
            source=source,
            destination=destination,
            hops=tuple(self.hops),
            arrived=arrived,
            death=death,
            left=left,
            ways=self._ways,
            seen=self._seen,
            translated=tuple(self._translated),
        )

    def _led(self, where: str, sent: _Packet) -> _Packet:
        """Return a packet that comes in, or is made here, as a port or conntrack has it: before any routing."""
        flow = sent.flow
        for first in self._known:
            if first.where == where:
                last = [each for each in self._known if each.where == where][-1]
                if flow == last.after.answer:
                    return self._translate(where, None, sent, first.before.answer)
        tables = self._network.tables[where]
        port = None if where in self._tracked else tables.translations.led(flow, tables.own)
        if port is None:
            return sent
        led = attrs.evolve(flow, destination=port.address, ports=(flow.ports[0], port.port))
        return self._translate(where, port, sent, led)

    def _masked(self, where: str, sent: _Packet, route: KernelRoute, hop: Address) -> _Packet:
        """Return a packet that goes out, with the host's own address for its source where a rule says so."""
        tables, flow = self._network.tables[where], sent.flow
        led = any(each.where == where and each.rule is not None for each in self._translated)
        rule = None if where in self._tracked else tables.translations.masks(flow, led=led)
        own = _own_towards(tables, route.link, hop, flow.destination) if rule else None
        if rule is None or own is None:
            return sent
        return self._translate(where, rule, sent, attrs.evolve(flow, source=own))

    def _just_translated(self) -> list[Entry]:
        """Return what was translated since the last call."""
        new: list[Entry] = list(self._translated[self._shown :])
        self._shown = len(self._translated)
        return new

    def _translate(self, where: str, rule: Rule | None, sent: _Packet, flow: Flow) -> _Packet:
        self._translated.append(Translated(where=where, rule=rule, before=sent.flow, after=flow))
        return sent.as_flow(flow)

    def _opened(self, tables: Tables, where: str, received: _Packet) -> _Packet | None:
        """Return the packet inside one that is at home here; None: there is none, it has arrived."""
        try:
            return _opened(tables, where, received)
        except _Dies as dies:
            # Who lacks the device of a tunnel says so to the tunnel's other end (port unreachable, tunnel4_rcv,
            # tunnel6_rcv, RFC 7348 has UDP's). Only ip6tnl passes it on to the sender inside (ip6ip6_err,
            # RFC 2473 s8.2); ipip_err takes it for impossible, and vxlan does not listen.
            if not isinstance(received.layers[1], Ipv4 | Ipv6) or isinstance(received.ip, Ipv4):
                raise
            ends = (hop.where for hop in self.hops if self._network.tables[hop.where].own(received.ip.source))
            raise _Dies(attrs.evolve(dies.death, kind="unreachable", teller=next(ends, ""))) from None

    def _forwarded(self, tables: Tables, where: str, sent: _Packet) -> _Packet:
        """Return the packet as it is to be sent on, or the same where it is at home."""
        version = _version(sent.ip)
        if tables.own(sent.ip.destination):
            return sent
        if version not in tables.forwarding:
            raise _Dies(
                Death(
                    where=where,
                    kind="silent",
                    reason=f"{sent.ip.destination} is not here, and IPv{version} is not forwarded",
                    advice="containernetd switches forwarding on (`containernet status`); who switched it off?",
                )
            )
        if _ttl(sent.ip) <= 1:
            raise _Dies(_expired(where))
        ip = _sized(sent.ip, sent.octets, whole=sent.whole, ttl=_ttl(sent.ip) - 1)
        return attrs.evolve(sent, layers=(ip, *sent.layers[1:]))

    def _send(self, where: str, sent: _Packet) -> tuple[str, _Packet] | None:
        """Put a packet on the wire; return who takes it in and what is left of it there, None: nobody known."""
        tables = self._network.tables[where]
        entries: list[Entry] = self._just_translated()
        tunnels: list[Device] = []
        inside, link = sent.octets, ""
        while True:
            destination = sent.ip.destination
            route = tables.route(destination, link=link)
            if route is None:
                death = _no_route(where, destination, tuple(entries))
                # A tunnel that cannot send drops the packet and counts it; only ip6tnl tells the sender.
                untold = tunnels and not isinstance(tunnels[-1].type, ExternalTunnel)
                raise _Dies(attrs.evolve(death, kind="silent") if untold else death)
            if route.equal_cost:
                self._ways = max(self._ways, len(route.paths))
                route = route.paths[self._turn % len(route.paths)]
            entries.append(route)
            if route.blackhole:
                told = not self.hops and not tunnels  # a sender on this host gets EINVAL
                raise _Dies(_swallowed(where, destination, route, tuple(entries), told=told))
            device = tables.devices[route.link]
            if not tunnels:
                sent = self._masked(where, sent, route, route.gateway or destination)
                entries += self._just_translated()
            if device in tunnels:
                reason = f"the way to {destination} leads through {device.name} itself"
                advice = "the hosts' own network must not lie in the containers' pool: see `ip route`"
                raise _Dies(
                    Death(where=where, kind="unreachable", reason=reason, advice=advice, entries=tuple(entries))
                )
            sent = self._fitting(where, device, sent, tunnels, entries, added=sent.octets - inside)
            if isinstance(device.type, Vxlan | IpTunnel | ExternalTunnel):
                tunnels.append(device)
                sent = _encapsulated(tables, where, device, route, sent, entries)
                link = device.type.dev if isinstance(device.type, Vxlan) else ""
                continue
            return self._on_the_wire(where, device, route, sent, entries)

    def _fitting(
        self,
        where: str,
        device: Device,
        sent: _Packet,
        tunnels: list[Device],
        entries: list[Entry],
        *,
        added: int,
    ) -> _Packet:
        """Return what of the packet goes through the device at once: all of it, or a fragment."""
        if sent.octets <= device.mtu:
            return sent
        if not sent.whole or not (self.hops or self._whole):
            return sent if tunnels else attrs.evolve(sent, octets=device.mtu)
        # A tunnel loses the first packet and remembers what would have fitted: the next is told. Only vxlan
        # over IPv6 does not tell the host itself.
        lost = bool(tunnels) and isinstance(tunnels[-1].type, Vxlan) and not self.hops
        kind = "silent" if lost else "too-big"
        reason = f"{sent.octets} octets do not fit {device.name}, mtu {device.mtu}"
        advice = "the sender is told, and sends less (path MTU discovery); `ip link` shows the MTUs"
        if tunnels:
            advice = f"the MTU of {tunnels[-1].name} is too large for {device.name}: start containernetd again"
        mtu = device.mtu - added
        raise _Dies(
            Death(where=where, kind=kind, reason=reason, advice=advice, mtu=mtu, entries=tuple(entries))
        )

    def _on_the_wire(
        self, where: str, device: Device, route: KernelRoute, sent: _Packet, entries: list[Entry]
    ) -> tuple[str, _Packet] | None:
        tables = self._network.tables[where]
        hop = route.gateway or sent.ip.destination
        outside = self._leads_out(where, device)
        found = tables.neighbours.get((device.name, hop)) or self._asked(where, device, hop)
        if found is None and (learned := tables.learned.get((device.name, hop))) and outside:
            found = Answered(address=hop, link=device.name, mac=learned)
        if found is None and not outside:
            raise _Dies(
                Death(
                    where=where,
                    kind="silent",
                    reason=f"nobody answers for {hop} at {device.name}",
                    advice=f"is the host or container of {hop} up, and its link (`ip link`)?",
                    entries=tuple(entries),
                )
            )
        mac = found.mac if found else UNKNOWN
        entries += [found] if found else []
        frame = Ethernet(destination=mac, source=device.mac, ethertype=_ETHERTYPE[_version(sent.ip)])
        octets = min(sent.octets, device.mtu)
        station = self._carried(where, device, mac, octets, outside=outside)
        switches = station[1] if station else ()
        self.hops.append(
            Hop(
                where=where,
                link=device.name,
                mtu=device.mtu,
                entries=tuple(entries),
                headers=(frame, *sent.layers),
                switches=switches,
            )
        )
        return (station[0], sent) if station else None

    def _leads_out(self, where: str, device: Device) -> bool:
        """Return whether somebody may hear a frame of whom nothing is known."""
        devices = self._network.tables[where].devices
        if not isinstance(device.type, Bridge):
            return (where, device.name) not in self._network.cables
        ports = self._network.tables[where].ports.get(device.name, ())
        return any(devices[port].up and (where, port) not in self._network.cables for port in ports)

    def _asked(self, where: str, device: Device, address: Address) -> Answered | None:
        """Return who on the wire says that the address is his."""
        for (other, link), _, _ in self._stations(where, device):
            tables = self._network.tables[other]
            # A host answers ARP for any of its addresses at any device; of IPv6 it joins the solicited-node
            # group at the device that has the address (RFC 4861 s7.2.1).
            if tables.own(address) and (
                address.version == 4 or any(own.link == link for own in tables.addresses[address])
            ):
                return Answered(address=address, link=device.name, mac=tables.devices[link].mac, where=other)
        return None

    def _carried(
        self, where: str, device: Device, mac: str, octets: int, *, outside: bool
    ) -> tuple[str, tuple[End, ...]] | None:
        """Return the namespace that a frame to `mac` gets to, and the bridges on its way; None: it leaves."""
        for (other, link), switches, narrowest in self._stations(where, device):
            if self._network.tables[other].devices[link].mac != mac:
                continue
            if octets > narrowest + _VLAN_HEADER:
                reason = f"a packet of {octets} octets is lost on the wire, which carries {narrowest}"
                advice = "one MTU for all links of a wire: routers cannot tell a sender what a switch drops"
                raise _Dies(Death(where=other, kind="silent", reason=reason, advice=advice))
            return other, switches
        if outside:
            return None
        reason = f"nobody at {device.name} has the MAC {mac}"
        advice = "an old neighbour entry: `ip neighbour` shows it, and a repair or `ip neighbour del` ends it"
        raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice))

    def _stations(self, where: str, device: Device) -> Iterator[tuple[End, tuple[End, ...], int]]:
        """Yield everybody who hears a frame, with the bridges on its way and the narrowest MTU of it."""
        if isinstance(device.type, Bridge):
            yield from self._flooded(
                where, device.name, came_by="", crossed=((where, device.name),), narrowest=1 << 16
            )
        else:
            yield from self._crossed(where, device.name, crossed=(), narrowest=1 << 16)

    def _crossed(
        self, where: str, link: str, *, crossed: tuple[End, ...], narrowest: int
    ) -> Iterator[tuple[End, tuple[End, ...], int]]:
        end = self._network.cables.get((where, link))
        if end is None or end[0] not in self._network.tables:
            return
        far, link = end
        tables = self._network.tables[far]
        device = tables.devices.get(link)
        if device is None or not device.up:
            return
        narrowest = min(narrowest, device.mtu)
        if not device.master:
            yield (far, link), crossed, narrowest
            return
        bridge = tables.devices[device.master]
        if not bridge.up or (far, bridge.name) in crossed:  # a ring of switches
            return
        if bridge.mac:
            yield (far, bridge.name), (*crossed, (far, bridge.name)), narrowest
        yield from self._flooded(
            far, bridge.name, came_by=link, crossed=(*crossed, (far, bridge.name)), narrowest=narrowest
        )

    def _flooded(
        self, where: str, bridge: str, *, came_by: str, crossed: tuple[End, ...], narrowest: int
    ) -> Iterator[tuple[End, tuple[End, ...], int]]:
        tables = self._network.tables[where]
        for name in tables.ports.get(bridge, ()):
            port = tables.devices[name]
            if port.up and (name != came_by or port.hairpin):
                yield from self._crossed(where, name, crossed=crossed, narrowest=min(narrowest, port.mtu))


def _expired(where: str) -> Death:
    reason = "the packet has been forwarded too often: it goes in circles"
    advice = "two hosts each hold the other for the next hop: compare `ip route get` on the last two hops"
    return Death(where=where, kind="expired", reason=reason, advice=advice)


def _encapsulated(
    tables: Tables, where: str, device: Device, route: KernelRoute, sent: _Packet, entries: list[Entry]
) -> _Packet:
    """Return the packet that a tunnel makes of a packet."""
    match device.type:
        case IpTunnel(local=local):
            # The devices inherit TTL and DF, as RFC 2003 s3.1 has it for DF.
            return _in_ip(sent, local, route.gateway or sent.ip.destination)
        case ExternalTunnel():
            if route.encap is None:
                reason = f"the route into {device.name} brings no outer header"
                advice = "external mode needs `encap ip6` in every route: a repair puts it back"
                raise _Dies(
                    Death(where=where, kind="silent", reason=reason, advice=advice, entries=tuple(entries))
                )
            return _in_ip(sent, route.encap.source, route.encap.destination)
        case Vxlan() as vxlan:
            return _in_vxlan(tables, where, device, vxlan, route, sent, entries)
    raise AssertionError(device.type)


def _in_ip(sent: _Packet, source: Address, destination: Address) -> _Packet:
    octets = sent.octets + _IP_HEADER[source.version]
    ip = packet.header(source=source, destination=destination, protocol=_IN_IP[_version(sent.ip)])
    outer = _sized(ip, octets, whole=sent.whole, ttl=_ttl(sent.ip))
    return _Packet(layers=(outer, *sent.layers), octets=octets)


def _in_vxlan(
    tables: Tables,
    where: str,
    device: Device,
    vxlan: Vxlan,
    route: KernelRoute,
    sent: _Packet,
    entries: list[Entry],
) -> _Packet:
    hop = route.gateway or sent.ip.destination
    neighbour = tables.neighbours.get((device.name, hop))
    if neighbour is None:
        reason = f"no neighbour {hop} at {device.name}, and nobody can be asked in a tunnel that floods nothing"
        advice = "the daemon makes one for each peer: `containernet plan` shows what is missing"
        raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice, entries=tuple(entries)))
    entries.append(neighbour)
    entry = tables.fdb.get((device.name, neighbour.mac))
    if entry is None:
        reason = f"no fdb entry says behind which host {neighbour.mac} lives at {device.name}"
        advice = "the daemon makes one for each peer: `containernet plan` shows what is missing"
        raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice, entries=tuple(entries)))
    entries.append(entry)
    frame = Ethernet(destination=neighbour.mac, source=device.mac, ethertype=_ETHERTYPE[_version(sent.ip)])
    version = entry.destination.version
    datagram = sent.octets + packet.ETHERNET_HEADER + 8 + 8
    octets = datagram + _IP_HEADER[version]
    udp = Udp(
        source=0, destination=vxlan.port, length=datagram
    )  # the real source port is a hash of the inner packet
    ip = packet.header(source=vxlan.local, destination=entry.destination, protocol=17)
    layers = (_sized(ip, octets, whole=False), udp, packet.Vxlan(vni=vxlan.vni), frame, *sent.layers)
    return _Packet(layers=layers, octets=octets)


def _opened(tables: Tables, where: str, received: _Packet) -> _Packet | None:
    """Return the packet inside one that is at home here; None: there is none, it has arrived."""
    match received.layers:
        case [Ipv4() | Ipv6() as ip, Udp() as udp, packet.Vxlan() as header, Ethernet() as frame, *inner]:
            device = _device(tables, lambda kind: _takes_vxlan(kind, ip, udp, header))
            if device is None:
                reason = f"no vxlan device takes VNI {header.vni} at port {udp.destination}"
                advice = "the same vni and port under [dataplane.vxlan] on all hosts; is the daemon up here?"
                raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice))
            if device.mac != frame.destination:
                reason = f"the frame inside is for {frame.destination}, and {device.name} is {device.mac}"
                advice = (
                    "the sender has an old MAC of this host: what does it announce (`containernet routes`)?"
                )
                raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice))
            outer = _IP_HEADER[_version(ip)] + 8 + 8 + packet.ETHERNET_HEADER
            return _Packet(layers=tuple(inner), octets=received.octets - outer)
        case [Ipv4() | Ipv6() as ip, (Ipv4() | Ipv6()) as first, *inner]:
            if _device(tables, lambda kind: _takes_ip(kind, ip)) is None:
                reason = "no device takes IP in IP"
                advice = "the same remote dataplane on all hosts; is the daemon up here?"
                raise _Dies(Death(where=where, kind="silent", reason=reason, advice=advice))
            return _Packet(layers=(first, *inner), octets=received.octets - _IP_HEADER[_version(ip)])
    return None


def _takes_vxlan(kind: object, ip: Ipv4 | Ipv6, udp: Udp, header: packet.Vxlan) -> bool:
    # The device's own address need not be the packet's: the socket takes in what comes to the port.
    return isinstance(kind, Vxlan) and (kind.local.version, kind.port, kind.vni) == (
        _version(ip),
        udp.destination,
        header.vni,
    )


def _takes_ip(kind: object, ip: Ipv4 | Ipv6) -> bool:
    if isinstance(ip, Ipv4):
        return isinstance(kind, IpTunnel) and kind.local == ip.destination
    return isinstance(kind, ExternalTunnel)


def _device(tables: Tables, fits: Callable[[object], bool]) -> Device | None:
    return next((each for each in tables.devices.values() if each.up and fits(each.type)), None)


def _version(ip: Ipv4 | Ipv6) -> int:
    return ip.source.version
