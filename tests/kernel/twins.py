"""A laboratory and a simulated world that hold the same, and what both answer.

The world is the wish: whatever it holds, rightly or wrongly, the real kernels are brought to by plan, from
whatever they hold. So one laboratory serves any number of worlds of its shape, one after the other, and nothing
has to be put back. What a kernel has learned meanwhile (neighbours, path MTUs) it is made to forget, because
the simulation learns nothing.
"""

from __future__ import annotations

import fcntl
import functools
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path

import attrs

from containernet.items import Bridge, InterfaceAddress, Item, Link, Neighbour, Sysctl
from containernet.lab import build, namespaces, ping
from containernet.lab.cluster import Lab
from containernet.lab.topology import Topology
from containernet.model import Address
from containernet.planning import Delete, Operation, plan
from containernet.tables import Device
from containernet.testing.simulated_kernel import SimulatedKernel
from containernet.testing.simulation import Answer, Reply, Silence, Told, World
from containernet_backends.netlink import NetlinkKernel, constants as c
from containernet_backends.netlink.socket import NetlinkSocket

SIZES = (100, 1600)  # octets; between them, those on both sides of every change
PATIENCE = 4.0  # seconds until both must agree
SILENCE = 0.1  # seconds without any answer, after which none is expected

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_NOARP = 0x8913, 0x8914, 0x80  # netdevice(7)
_ROUTE_REQUEST = struct.Struct("=8BI")

Way = tuple[str, Address, int]  # the namespace that sends, the destination, octets


@attrs.frozen(kw_only=True)
class State:
    """What one namespace holds: items of ours, and devices that are not ours."""

    items: tuple[Item, ...]
    devices: tuple[Device, ...]


@attrs.frozen(kw_only=True)
class Wish:
    """What a laboratory is to hold, and what it must answer then.

    Args:
        whole, broken: by namespace, before and after somebody did something wrong; hosts first, because their
            containers' interfaces are born with theirs.
        expected: by way, what both may say.
        owners: whose an address is.
    """

    topology: Topology
    whole: dict[str, State]
    broken: dict[str, State]
    expected: dict[Way, tuple[Answer, ...]]
    owners: dict[Address, str]


def wish(
    world: World, topology: Topology, *, fault: Callable[[World], object], nobody: Iterable[Address] = ()
) -> Wish:
    """Return what a world holds before and after a fault, and answers then.

    On all ways between the world's containers and hosts, wherever they are now, and from one to `nobody`.
    """
    names = (*world.members, *(name for member in world.members.values() for name in member.endpoints))
    targets = {name: world.addresses(name) for name in names}
    whole = _states(world, names)
    fault(world)
    broken = _states(world, names)
    kernels = world.fabric.kernels
    everybody = [name for name in ("router", *names) if name in kernels]
    return Wish(
        topology=topology,
        whole=whole,
        broken=broken,
        expected=dict(_rationed(world, _answers(world, targets, nobody))),
        owners={address: name for name in everybody for address in kernels[name].tables.addresses},
    )


def _states(world: World, names: Iterable[str]) -> dict[str, State]:
    for name in world.members:
        world.settle(name)
    return {name: _state(world.fabric.kernels[name]) for name in names}


def _state(kernel: SimulatedKernel) -> State:
    held = kernel.read()
    foreign = (each for each in kernel.tables.devices.values() if ("link", each.name) not in held)
    return State(items=tuple(held.values()), devices=tuple(foreign))


def _answers(
    world: World, targets: Mapping[str, Iterable[Address]], nobody: Iterable[Address]
) -> Iterator[tuple[Way, Answer]]:
    """Yield what to try, and what comes of it.

    Where a small packet does not come back, large ones are not tried: Linux tells a sender only so often that
    something is unreachable, but always what is too big.
    """
    smallest, largest = SIZES
    for source in targets:
        for other in targets:
            if source == other or not (source.endswith("c1") or other.endswith("c1")):
                continue
            for target in targets[other]:
                answer = functools.cache(functools.partial(world.ping, source, target))
                sizes = {smallest}
                if answer(smallest) == Reply():
                    sizes |= {largest, *_edges(answer, smallest, largest)}
                yield from (((source, target, size), _blurred(answer(size))) for size in sorted(sizes))
    for target in nobody:
        yield ("host1-c1", target, smallest), _blurred(world.ping("host1-c1", target, smallest))


def _rationed(world: World, answers: Iterable[tuple[Way, Answer]]) -> Iterator[tuple[Way, tuple[Answer, ...]]]:
    """Yield what both may say: a router tells one sender of no route in IPv4 once a second (ip_error)."""
    told = set()
    for way, answer in answers:
        source, target, size = way
        if isinstance(answer, Told) and answer.kind == "unreachable":
            again = target.version == 4 and (source, answer.where) in told
            told.add((source, answer.where))
            if again or (answer.where == source and _ambiguous(world, source, target, size)):
                yield way, (answer, Silence())
                continue
        yield way, (answer,)


def _ambiguous(world: World, source: str, target: Address, size: int) -> bool:
    """Return whether a namespace sends from an address that is its own both as unicast and as anycast.

    So is a tunnel's address where the bridge has the subnet. Which of the two Linux finds, and so whether it
    tells itself of an error, depends on which came first.
    """
    used = world.trace(source, target, size).source
    own = world.fabric.kernels[source].tables.addresses.values()
    networks = [each.address.network for held in own for each in held if each.address.version == 6]
    return any(used == each.network_address for each in networks if each.prefixlen < 127)


def _edges(answer: Callable[[int], Answer], low: int, high: int) -> Iterator[int]:
    """Yield the sizes on both sides of each change of the answer."""
    if answer(low) == answer(high):
        return
    if high - low == 1:
        yield from (low, high)
    else:
        middle = (low + high) // 2
        yield from _edges(answer, low, middle)
        yield from _edges(answer, middle, high)


def disagreements(built: Lab, wanted: Wish) -> list[tuple[Way, tuple[Answer, ...], Answer]]:
    """Bring a laboratory to what is wanted; return where it answers otherwise: way, simulated, real."""
    return built.call(functools.partial(_disagreements, wanted))


def _disagreements(wanted: Wish) -> list[tuple[Way, tuple[Answer, ...], Answer]]:
    """Ask until both agree or the deadline.

    What differs is asked again: a bridge needs a moment until its first port carries, and before Linux 6.12 the
    whole machine has one budget of ICMP errors (icmp_msgs_per_sec).
    """
    hold(wanted)
    # Whoever is told by another what would have fitted remembers it, and fragments his replies too: those last.
    teaches = {way: isinstance(it, Told) and it.kind == "too-big" for way, (it, *_) in wanted.expected.items()}
    return [
        found
        for last in (False, True)
        for found in _differing(wanted, [w for w in teaches if teaches[w] is last])
    ]


def _differing(wanted: Wish, due: list[Way]) -> list[tuple[Way, tuple[Answer, ...], Answer]]:
    deadline = time.monotonic() + PATIENCE
    found = []
    while due and time.monotonic() < deadline:
        told = {way: _seen(way[0], answer, wanted.owners) for way, answer in _asked(due)}
        found = [(way, wanted.expected[way], told[way]) for way in due if told[way] not in wanted.expected[way]]
        due = [way for way, _, _ in found]
    return found


def _asked(ways: list[Way]) -> Iterator[tuple[Way, ping.Answer]]:
    """Send everything at once; silence is what has not come when nothing more comes."""
    with ping.Pinger() as pinger:
        tickets = {}
        for way in ways:
            source, target, size = way
            tickets[way] = pinger.send(ping.Probe(netns=build.path(source), target=target, size=size))
            pinger.receive(0)
        before = -1
        while len(pinger.answers) not in (before, len(ways)):
            before = len(pinger.answers)
            _receive_for(pinger, SILENCE)
        yield from ((way, pinger.answers.get(ticket, ping.Silence())) for way, ticket in tickets.items())


def _receive_for(pinger: ping.Pinger, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while pinger.waiting and (left := deadline - time.monotonic()) > 0:
        pinger.receive(left)


def hold(wanted: Wish) -> None:
    """Put the real kernels in order, do to them what was done wrong, and let them forget; called inside."""
    for name, state in wanted.whole.items():
        _bring(name, state, wanted.topology, tidy=True)
    for name, state in wanted.broken.items():
        if state != wanted.whole[name]:
            _bring(name, state, wanted.topology, tidy=False)
    for name, state in wanted.broken.items():
        bridges = (
            item.name for item in state.items if isinstance(item, Link) and isinstance(item.type, Bridge)
        )
        links = [*bridges, *(own.name for own in state.devices)]
        _forget(name, links)
        if any(isinstance(item, Neighbour) and item.link in links for item in state.items):
            _bring(name, state, wanted.topology, tidy=False)  # which it was told, it forgot as well
    if wanted.topology.router:
        _forget(build.ROUTER, build.NICS)


def _bring(name: str, state: State, topology: Topology, *, tidy: bool) -> None:
    with closing(NetlinkKernel(netns=str(build.path(name)))) as kernel:
        real = kernel.show_tables().devices
        changed = [each for each in state.devices if each.name in real and _differ(each, real[each.name])]
        for each in changed:
            _set(name, each.name, "mtu", str(each.mtu), "up")
        if any(not real[each.name].up for each in changed):
            build.start_host(next(host for host in topology.members if host.name == name))
        operations = _pending(kernel, state)
        if tidy and any(_is_address6(each.item) for each in operations):
            # A device may keep the anycast addresses that came with addresses which it had; a new one does not.
            foreign = {each.name for each in state.devices}
            ours = [
                each for each in kernel.read().values() if isinstance(each, Link) and each.name not in foreign
            ]
            _execute(kernel, [Delete(each) for each in ours])
            with namespaces.network(build.path(name)):
                Path("/proc/sys/net/ipv6/conf/all/forwarding").write_text("0")
            operations = _pending(kernel, state)
        _execute(kernel, operations)
        for each in changed:
            if not each.up:
                _set(name, each.name, "down")


def _differ(wanted: Device, real: Device) -> bool:
    return (wanted.mtu, wanted.up) != (real.mtu, real.up)


def _is_address6(item: Item) -> bool:
    return isinstance(item, InterfaceAddress) and item.address.version == 6


def _pending(kernel: NetlinkKernel, state: State) -> tuple[Operation, ...]:
    settings = kernel.sysctls(item for item in state.items if isinstance(item, Sysctl))
    actual = {**kernel.read(), **{each.key: each for each in settings}}
    for device in state.devices:
        actual.pop(("link", device.name), None)  # a container's end of its veth looks like ours
    return plan({item.key: item for item in state.items}, actual)


def _execute(kernel: NetlinkKernel, operations: Sequence[Operation]) -> None:
    failures = kernel.execute(operations)
    assert not failures, [str(each) for each in failures]


def _set(name: str, link: str, *words: str) -> None:
    with namespaces.network(build.path(name)):
        subprocess.run(["ip", "link", "set", link, *words], check=True)


def _forget(name: str, links: Iterable[str]) -> None:
    """Let a namespace forget neighbours and path MTUs, never give up asking, and answer without a limit."""
    with namespaces.network(build.path(name)):
        for link in links:
            _flush_neighbours(link)
        with closing(NetlinkSocket()) as netlink:
            _flush_path_mtus(netlink)
        net = Path("/proc/sys/net")
        settings = {"ipv4/icmp_ratelimit": 0, "ipv6/icmp/ratelimit": 0, "ipv4/route/flush": 1}
        # Of the whole machine before Linux 6.12, and then not ours to change.
        settings |= {f"ipv4/icmp_msgs_{each}": 10000 for each in ("per_sec", "burst")}
        for directory in (*net.glob("ipv4/neigh/*"), *net.glob("ipv6/neigh/*")):
            # Somebody who is asked for in vain is asked for as long as a test takes, and found at once.
            settings[str(directory / "mcast_solicit")] = 1000
            settings[str(directory / "retrans_time_ms")] = 50
        for setting, value in settings.items():
            if (net / setting).exists():
                (net / setting).write_text(str(value))


def _flush_neighbours(link: str) -> None:
    """Switch ARP and neighbour discovery off and on: who has neither has no neighbours (neigh_changeaddr)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", link.encode(), 0)
        try:
            (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request), 16)
        except OSError:  # no such device
            return
        for changed in (flags | _IFF_NOARP, flags & ~_IFF_NOARP):
            fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", link.encode(), changed))


def _flush_path_mtus(netlink: NetlinkSocket) -> None:
    """Delete the exceptions of IPv6, as `ip -6 route flush cache` does; those of IPv4 have a file for it."""
    everything = _ROUTE_REQUEST.pack(socket.AF_INET6, 0, 0, 0, 0, 0, 0, 0, c.RTM_F_CLONED)
    for body in netlink.dump(c.RTM_GETROUTE, everything):
        netlink.request(c.RTM_DELROUTE, 0, body)


def _seen(source: str, answer: ping.Answer, owners: dict[Address, str]) -> Answer:
    """Return a real answer in the simulation's words."""
    match answer:
        case ping.Reply():
            return Reply()
        case ping.TooBig(mtu=mtu, reporter=reporter):
            return Told(kind="too-big", where=owners[reporter] if reporter else source, mtu=mtu)
        case ping.Unreachable(reporter=reporter):
            return Told(kind="unreachable", where=owners[reporter] if reporter else source)
        case _:
            return Silence()


def _blurred(answer: Answer) -> Answer:
    """Return the answer without the difference that errno does not tell: expired, or unreachable."""
    if isinstance(answer, Told) and answer.kind == "expired":
        return attrs.evolve(answer, kind="unreachable")
    return answer
