"""Making, changing and removing links and bridge ports: few and many-sided, one request after the other.

A link gets its MAC at birth, so that no packet leaves with another. Its mark, the ifalias, comes in the last
of three requests, when everything else is right: who sees the mark sees a finished link.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Container

import attrs

from containernet.errors import ContainernetError, KernelError, PermissionRefused
from containernet.items import BridgePort, Link, Veth, Vxlan
from containernet.planning import Create, Delete, Operation

from . import constants as c
from .frames import Refusal, attribute
from .namespaces import Namespace
from .new_links import new_link
from .ownership import ALIAS
from .refusals import GONE, Refused, explain, occupied, only_once
from .removal import Removals
from .socket import NetlinkSocket
from .wire import NO_STATISTICS, LinkRecord, decode_link, link_body


def read_links(socket: NetlinkSocket) -> dict[int, LinkRecord]:
    """Return every link of the namespace by index, whoever's it is."""
    bodies = socket.dump(c.RTM_GETLINK, link_body(attributes=NO_STATISTICS))
    return {record.index: record for record in map(decode_link, bodies)}


def find_link(socket: NetlinkSocket, name: str) -> LinkRecord | None:
    """Return the link of that name, or None."""
    if not name:
        return None
    found = socket.get(c.RTM_GETLINK, link_body(name=name, attributes=NO_STATISTICS))
    return decode_link(found) if isinstance(found, bytes) else None


def change_link(socket: NetlinkSocket, operation: Operation, removals: Removals) -> None:
    """Carry out an operation on a link. Raises Refused."""
    link = operation.item
    assert isinstance(link, Link)
    present = find_link(socket, link.name)
    if isinstance(operation, Delete):
        if present and (present.ours or present.half_made):
            _delete(socket, operation, present, removals)
    elif present and present.half_made:
        _delete(socket, operation, present, removals)
        _create(socket, operation, link)
    elif isinstance(operation, Create) and present is None:
        _create(socket, operation, link)
    else:
        _adopt(socket, operation, link, present)


def _delete(socket: NetlinkSocket, operation: Operation, present: LinkRecord, removals: Removals) -> None:
    if present.kind == Veth.kind:
        refused = removals.remove(socket, present.index)
    else:
        refused = socket.request(c.RTM_DELLINK, 0, link_body(index=present.index))
    _require(operation, refused, forgive=GONE)


def _adopt(socket: NetlinkSocket, operation: Operation, link: Link, present: LinkRecord | None) -> None:
    """Put right in place what can be changed on a link that stands."""
    if present is None:
        raise Refused(errno.ENODEV, f"link {link.name} is gone: the next reconciliation makes it anew")
    if not present.ours:
        kind = present.kind or "hardware"
        raise Refused(
            errno.EEXIST,
            f"a link {link.name} ({kind}) exists, not ours: `ip link del {link.name}`, or choose another name",
        )
    names = {index: record.name for index, record in read_links(socket).items()}
    if present.type(names) != link.type:
        raise Refused(
            errno.EEXIST,
            f"our link {link.name} is {present.type(names)}: it has to be deleted before it is made anew",
        )
    if link.mac and link.mac != present.mac:
        # Only then: Linux takes even the same MAC as a new one, and drops every neighbour of the link.
        mac = attribute(c.IFLA_ADDRESS, bytes.fromhex(link.mac.replace(":", "")))
        _require(operation, socket.request(c.RTM_SETLINK, 0, link_body(index=present.index, attributes=mac)))
    _settle(socket, operation, link)


def _create(socket: NetlinkSocket, operation: Operation, link: Link) -> None:
    far = link.type if isinstance(link.type, Veth) and link.type.peer else None
    namespace = _enter(far.peer_netns) if far else Namespace()
    try:
        netns = namespace.descriptor if namespace.path else None
        body = new_link(link, lower=_lower(socket, link), netns=netns)
        answer = socket.request(c.RTM_NEWLINK, c.NLM_F_CREATE | c.NLM_F_EXCL, body)
        if answer is not None and answer.errno == errno.EEXIST and (rival := _rival(socket, link)):
            raise Refused(errno.EEXIST, occupied(link, rival))
        _require(operation, answer)
        try:
            if far:
                end = attrs.evolve(link, name=far.peer, mac=far.peer_mac)
                namespace.run(lambda: _settle_far_end(operation, end))
            _settle(socket, operation, link)  # last: nobody looks at the far end of a link that has our mark
        except (Refused, ContainernetError):
            # Half a link helps nobody, and would stand in the way of the next attempt.
            socket.request(c.RTM_DELLINK, 0, link_body(name=link.name))
            raise
    finally:
        namespace.close()


def _rival(socket: NetlinkSocket, link: Link) -> str:
    """Return the name of the device that has what the kernel gives to one device only, or nothing."""
    wanted = only_once(link.type)
    records = read_links(socket) if wanted else {}
    names = {index: record.name for index, record in records.items()}
    return next((record.name for record in records.values() if only_once(record.type(names)) == wanted), "")


def _enter(path: str) -> Namespace:
    try:
        return Namespace(path)
    except PermissionRefused as error:
        raise Refused(errno.EPERM, str(error)) from error
    except KernelError as error:
        raise Refused(errno.ENOENT, str(error)) from error


def _settle(socket: NetlinkSocket, operation: Operation, link: Link) -> None:
    """Give a link its MTU and state, and then our mark."""
    mtu = attribute(c.IFLA_MTU, struct.pack("=I", link.mtu))
    mark = attribute(c.IFLA_GROUP, bytes(4)) + attribute(c.IFLA_IFALIAS, ALIAS.encode())
    for body in (
        link_body(name=link.name, up=link.up, attributes=mtu),
        link_body(name=link.name, attributes=mark),
    ):
        _require(operation, socket.request(c.RTM_SETLINK, 0, body))


def _settle_far_end(operation: Operation, link: Link) -> None:
    socket = NetlinkSocket()
    try:
        _settle(socket, operation, link)
    finally:
        socket.close()


def _lower(socket: NetlinkSocket, link: Link) -> int:
    """Return the index of the link that it sends through; 0: its kind has none."""
    if not isinstance(link.type, Vxlan):
        return 0
    lower = find_link(socket, link.type.dev)
    if lower is None:
        raise Refused(errno.ENODEV, f"there is no link {link.type.dev}, which {link.name} is to send through")
    return lower.index


def change_port(socket: NetlinkSocket, operation: Operation) -> None:
    """Carry out an operation on a link's membership in a bridge. Raises Refused."""
    port = operation.item
    assert isinstance(port, BridgePort)
    link, bridge = find_link(socket, port.link), find_link(socket, port.bridge)
    if isinstance(operation, Delete):
        if link and bridge and link.master == bridge.index:
            _require(operation, _enslave(socket, link, 0), forgive=GONE)
        return
    if link is None or bridge is None:
        raise Refused(
            errno.ENODEV, f"there is no link {port.bridge if link else port.link}: it has to be made first"
        )
    if not bridge.ours:
        raise Refused(errno.EBUSY, f"bridge {bridge.name} is not ours: we put no port into it")
    if link.master not in (0, bridge.index):
        master = read_links(socket).get(link.master)
        if master and not master.ours:
            raise Refused(
                errno.EEXIST,
                f"link {link.name} is in {master.name}: `ip link set {link.name} nomaster`, or leave it out",
            )
    if link.master != bridge.index:
        _require(operation, _enslave(socket, link, bridge.index))
    mode = attribute(c.IFLA_PROTINFO | c.NLA_F_NESTED, attribute(c.IFLA_BRPORT_MODE, bytes((port.hairpin,))))
    body = link_body(index=link.index, family=c.AF_BRIDGE, attributes=mode)
    _require(operation, socket.request(c.RTM_SETLINK, 0, body))


def _enslave(socket: NetlinkSocket, link: LinkRecord, master: int) -> Refusal | None:
    wanted = attribute(c.IFLA_MASTER, struct.pack("=I", master))
    return socket.request(c.RTM_SETLINK, 0, link_body(index=link.index, attributes=wanted))


def _require(operation: Operation, refused: Refusal | None, *, forgive: Container[int] = ()) -> None:
    if refused is not None and refused.errno not in forgive:
        raise Refused(refused.errno, explain(operation, refused))
