"""netlink: what operators look up, as an independent decoder (pyroute2) reads it, and what they are told."""

from __future__ import annotations

import errno
import struct
from ipaddress import IPv4Address, ip_address, ip_interface, ip_network
from typing import Any

import pytest
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
from pyroute2.netlink.rtnl.ndmsg import ndmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from containernet.items import (
    Bridge,
    ExternalTunnel,
    FdbEntry,
    InterfaceAddress,
    IpTunnel,
    Item,
    KernelRoute,
    Link,
    Neighbour,
    Sysctl,
    Vxlan,
    by_key,
)
from containernet.planning import Create, Delete, Replace
from containernet_backends.netlink import constants as c
from containernet_backends.netlink.encoding import Encoder, sort
from containernet_backends.netlink.frames import Malformed, Message, Refusal, attribute, messages
from containernet_backends.netlink.nexthops import Nexthops
from containernet_backends.netlink.ownership import ALIAS, PROTOCOL, keeps_address_protocol, protocol_name
from containernet_backends.netlink.refusals import explain
from containernet_backends.netlink.view import View
from containernet_backends.netlink.wire import LinkRecord, decode_link

ROUTE = KernelRoute(destination=ip_network("10.4.1.0/24"), link="eth0", gateway=ip_address("192.0.2.2"))


def encoded(item: Item, *, index: int, first: int = 1) -> bytes:
    """Return the message that creates an item on the link of that index."""
    ((only,), _) = sort([Create(item)], lambda _: index)
    return Encoder().encode(only, first).messages


def read(item: Item, decoder: type[Any]) -> dict[str, Any]:
    """Return the fields and attributes that pyroute2 finds in the creation of an item on link 7."""
    wire = decoder(encoded(item, index=7, first=42))
    wire.decode()
    assert wire["header"]["sequence_number"] == 42
    return {**{name: wire[name] for name in wire if name not in ("attrs", "header")}, **dict(wire["attrs"])}


def test_a_route_as_another_implementation_reads_it() -> None:
    """`ip route add 10.4.1.0/24 via 192.0.2.2 dev eth0 onlink table 1000 metric 7 proto 77`."""
    route = KernelRoute(
        destination=ROUTE.destination, link="eth0", gateway=ROUTE.gateway, onlink=True, table=1000, metric=7
    )
    found = read(route, rtmsg)
    assert (found["RTA_DST"], found["dst_len"], found["RTA_GATEWAY"]) == ("10.4.1.0", 24, "192.0.2.2")
    assert (found["RTA_OIF"], found["RTA_TABLE"], found["RTA_PRIORITY"]) == (7, 1000, 7)
    assert (found["proto"], found["type"], found["scope"], found["flags"]) == (PROTOCOL, 1, 0, 4)


def test_a_route_without_a_gateway_is_of_scope_link() -> None:
    """`ip -6 route add fd00:4::/64 dev eth0`; the metric that Linux would choose is said aloud."""
    found = read(KernelRoute(destination=ip_network("fd00:4::/64"), link="eth0"), rtmsg)
    assert (found["family"], found["RTA_DST"], found["dst_len"], found["scope"]) == (10, "fd00:4::", 64, 253)
    assert found["RTA_PRIORITY"] == 1024
    assert "RTA_GATEWAY" not in found


def test_a_neighbour_as_another_implementation_reads_it() -> None:
    """`ip neigh add fd00::2 lladdr 02:00:00:00:00:aa dev eth0 nud permanent proto 77`."""
    found = read(Neighbour(link="eth0", address=ip_address("fd00::2"), mac="02:00:00:00:00:aa"), ndmsg)
    assert (found["NDA_DST"], found["NDA_LLADDR"], found["ifindex"]) == ("fd00::2", "02:00:00:00:00:aa", 7)
    assert (found["NDA_PROTOCOL"], found["state"], found["flags"]) == (PROTOCOL, c.NUD_PERMANENT, 0)


def test_an_fdb_entry_as_another_implementation_reads_it() -> None:
    """`bridge fdb add 02:00:00:00:00:aa dev vx0 dst 192.0.2.2 self permanent`."""
    found = read(FdbEntry(link="vx0", mac="02:00:00:00:00:aa", destination=ip_address("192.0.2.2")), ndmsg)
    assert (found["family"], found["NDA_DST"], found["NDA_LLADDR"]) == (7, "192.0.2.2", "02:00:00:00:00:aa")
    assert (found["state"], found["flags"]) == (c.NUD_PERMANENT, c.NTF_SELF)


def test_an_address_as_another_implementation_reads_it() -> None:
    """`ip address add fd00::1/64 dev eth0 nodad proto 77`."""
    found = read(InterfaceAddress(link="eth0", address=ip_interface("fd00::1/64")), ifaddrmsg)
    assert (found["IFA_ADDRESS"], found["prefixlen"], found["index"]) == ("fd00::1", 64, 7)
    assert (found["IFA_PROTO"], found["flags"]) == (PROTOCOL, c.IFA_F_NODAD)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"\x10", "expected a netlink header of 16"),
        (struct.pack("=IHHII", 15, 2, 0, 0, 0), "message of 15 octets where 16 are left"),
        (struct.pack("=IHHII", 17, 2, 0, 0, 0), "message of 17 octets where 16 are left"),
    ],
)
def test_a_broken_frame_says_what_was_expected(data: bytes, words: str) -> None:
    """A length of zero must not be an endless loop."""
    with pytest.raises(Malformed, match=words):
        list(messages(data))


VXLAN = Link(name="vx0", type=Vxlan(vni=1, local=ip_address("192.0.2.1"), port=8472, dev="eth0"), mtu=1450)


@pytest.mark.parametrize(
    ("item", "code", "sentence"),
    [
        (ROUTE, errno.EPERM, "needs CAP_NET_ADMIN in this network namespace: run as root"),
        (ROUTE, errno.ENETUNREACH, "gateway 192.0.2.2 is not on link at eth0: add an address, or route onlink"),
        (ROUTE, errno.ENETDOWN, "link eth0 is down: ip link set eth0 up"),
        (
            Link(name="tun0", type=IpTunnel(local=IPv4Address("192.0.2.1")), mtu=1480), errno.EOPNOTSUPP,
            "this kernel has no ipip driver: modprobe ipip",
        ),
        (
            Link(name="tun0", type=ExternalTunnel(), mtu=1460), errno.EOPNOTSUPP,
            "this kernel has no ip6tnl driver: modprobe ip6_tunnel",
        ),
        (
            VXLAN, errno.EEXIST,
            "another device has VNI 1 at port 8472 over IPv4: `ip -d link` shows it; delete it or choose other "
            "values",
        ),
        (Sysctl(name="net/x", value="1"), errno.EROFS,
         "/proc/sys is mounted read-only here: mount it writable, or set it outside"),
        (Sysctl(name="net/x", value="1"), errno.EACCES, "/proc/sys/net/x: Permission denied: run as root"),
        (Link(name="br0", type=Bridge(), mtu=1450), errno.EIO, "Input/output error"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_to_do(item: Item, code: int, sentence: str) -> None:
    """The whole sentence, since it is what an operator acts on."""
    assert explain(Create(item), Refusal(code)) == sentence
    assert explain(Replace(item, item), Refusal(code, "Nope")) == f"{sentence} (kernel: Nope)"


def test_owners_have_names() -> None:
    """Those of rt_protos, where it knows one."""
    assert [protocol_name(number) for number in (12, 80)] == ["bird (12)", "80"]


@pytest.mark.parametrize(
    ("release", "keeps"),
    [("5.17.99", False), ("5.18.0-rc1", True), ("6.1.0-18-amd64", True), ("4.19.0", False), ("odd", False)],
)
def test_addresses_have_a_protocol_since_5_18(release: str, keeps: bool) -> None:
    """Before, each global address on a link of ours is ours."""
    assert keeps_address_protocol(release) is keeps


def bridge_record() -> LinkRecord:
    """Return a bridge of ours, number 5, as the kernel tells of it."""
    head = struct.pack("=BxHiII", 0, 1, 5, 1, 0)
    kind = attribute(c.IFLA_LINKINFO, attribute(c.IFLA_INFO_KIND, b"bridge\0"))
    name = attribute(c.IFLA_IFNAME, b"br0\0") + attribute(c.IFLA_MTU, struct.pack("=I", 1400))
    return decode_link(head + name + kind + attribute(c.IFLA_IFALIAS, ALIAS.encode()))


class TestViewOnAnOldKernel:
    """Where addresses carry no number, the link decides."""

    @staticmethod
    def heard(type: int, item: InterfaceAddress, index: int) -> Message:
        """Return what a kernel without IFA_PROTO reports."""
        (found,) = messages(encoded(item, index=index))
        return found._replace(type=type, body=found.body.replace(attribute(c.IFA_PROTO, b"\x4d"), b""))

    def test_the_link_decides(self) -> None:
        """A rival's address on our link is a change; on another link it is not."""
        record = bridge_record()
        link = record.item({})
        assert link is not None
        own = InterfaceAddress(link="br0", address=ip_interface("10.4.0.1/24"))
        view = View(address_protocol=False, nexthops=Nexthops())
        view.reset({5: record}, {link.key: link, own.key: own})
        assert not view.differs([self.heard(c.RTM_NEWADDR, own, 5)])
        assert view.differs([self.heard(c.RTM_DELADDR, own, 5)])
        rival = InterfaceAddress(link="br0", address=ip_interface("10.4.0.9/24"))
        assert view.differs([self.heard(c.RTM_NEWADDR, rival, 5)])
        assert not view.differs([self.heard(c.RTM_NEWADDR, rival, 6)])
        view.expect([Delete(own)])
        assert not view.differs([self.heard(c.RTM_DELADDR, own, 5)])

    def test_the_last_word_about_a_key_counts(self) -> None:
        """What went and came again, in whatever words in between, is as it was."""
        own = InterfaceAddress(link="br0", address=ip_interface("10.4.0.1/24"))
        view = View(address_protocol=False, nexthops=Nexthops())
        view.reset({5: bridge_record()}, by_key([item for item in (bridge_record().item({}), own) if item]))
        made, gone = (self.heard(kind, own, 5) for kind in (c.RTM_NEWADDR, c.RTM_DELADDR))
        assert view.differs([made, gone])
        assert not view.differs([made, gone, made])
