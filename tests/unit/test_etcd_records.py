"""flannel's records in etcd, to the letter: what its hosts write, what they can read, what would break them."""

from __future__ import annotations

import math
from ipaddress import IPv6Address, ip_address, ip_network

import attrs
import pytest

from containernet.errors import ConfigError
from containernet.model import Prefix, Route, Scalar, Tunnel
from containernet_backends.etcd import records
from containernet_backends.etcd.records import BadRecord, Record

FOUR, SIX = ip_network("10.5.52.0/24"), ip_network("fd00:1:2:3::/64")
KEY, DUAL_KEY = "10.5.52.0-24", "10.5.52.0-24&fd00:1:2:3::-64"
HOP, HOP6 = ip_address("192.168.64.3"), ip_address("2001:db8::3")
MAC, MAC6 = "c6:d2:32:6f:8f:44", "c6:d2:32:6f:8f:46"
VXLAN = Record(
    subnets=[FOUR], next_hops=[HOP], type="vxlan", data={4: {"VNI": 1, "VtepMAC": MAC}}, node="host-3"
)
DATA: dict[int, dict[str, Scalar]] = {4: {"VNI": 1, "VtepMAC": MAC}, 6: {"VNI": 1, "VtepMAC": MAC6}}
DUAL = attrs.evolve(
    VXLAN,
    subnets=[SIX, FOUR],
    next_hops=[HOP6, HOP],
    data=DATA,
)

# What flannel itself writes, and what it means to us.
FLANNELS = [
    (
        KEY,
        b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
        attrs.evolve(VXLAN, node=""),
    ),
    (
        DUAL_KEY,
        b'{"PublicIP":"192.168.64.3","PublicIPv6":"2001:db8::3","BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"},'
        b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:46"}}',
        attrs.evolve(DUAL, node=""),
    ),
    (
        "0.0.0.0-0&fd00:1:2:3::-64",
        b'{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::3","BackendType":"vxlan",'
        b'"BackendV6Data":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:46"}}',
        Record(subnets=[SIX], next_hops=[HOP6], type="vxlan", data={6: {"VNI": 1, "VtepMAC": MAC6}}),
    ),
    (
        KEY,
        b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"host-gw"}',
        Record(subnets=[FOUR], next_hops=[HOP], type="host-gw"),
    ),
    (
        DUAL_KEY,
        b'{"PublicIP":"192.168.64.3","PublicIPv6":"2001:db8::3","BackendType":"host-gw"}',
        Record(subnets=[FOUR, SIX], next_hops=[HOP, HOP6], type="host-gw"),
    ),
    (
        KEY,
        b'{"PublicIP":"1.2.3.4","PublicIPv6":null}',
        Record(subnets=[FOUR], next_hops=[ip_address("1.2.3.4")]),
    ),
    (KEY, b'{"PublicIP":"0.0.0.0","PublicIPv6":null}', Record(subnets=[FOUR])),
]


@pytest.mark.parametrize(("key", "value", "record"), FLANNELS, ids=lambda each: str(each)[:40])
def test_flannels_records_both_ways(key: str, value: bytes, record: Record) -> None:
    """Octet for octet: a host's record is the same whichever of the two programs wrote it."""
    assert records.decode(key, value) == record
    assert (records.key_of(record.subnets), records.encode(record)) == (key, value)


@pytest.mark.parametrize(
    ("record", "value"),
    [
        (
            VXLAN,
            b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"vxlan",'
            b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44","Node":"host-3"}}',
        ),
        (
            Record(subnets=[FOUR], node="host-3"),
            b'{"PublicIP":"0.0.0.0","PublicIPv6":null,"BackendData":{"Node":"host-3"}}',
        ),
        (
            Record(subnets=[SIX], node="host-3", next_hops=[HOP6], type="vxlan", data={6: {"VNI": 1}}),
            b'{"PublicIP":"0.0.0.0","PublicIPv6":"2001:db8::3","BackendType":"vxlan",'
            b'"BackendV6Data":{"VNI":1,"Node":"host-3"}}',
        ),
        (
            Record(subnets=[FOUR], node='<a&b>\u2028ä\x01\x7f"\n'),
            b'{"PublicIP":"0.0.0.0","PublicIPv6":null,"BackendData":'
            b'{"Node":"\\u003ca\\u0026b\\u003e\\u2028\xc3\xa4\\u0001\x7f\\"\\n"}}',
        ),
    ],
    ids=["announced", "claimed", "IPv6 alone", "escaped"],
)
def test_our_records_both_ways(record: Record, value: bytes) -> None:
    """The node's name is inside the data; where that is IPv6's alone, no BackendData misleads flannel."""
    assert records.encode(record) == value
    assert records.decode(records.key_of(record.subnets), value) == record


def test_whose_a_record_is() -> None:
    """The name that it bears; flannel's bear none, so the text of the first address."""
    assert DUAL.owner == "host-3"
    assert attrs.evolve(DUAL, node="").owner == "192.168.64.3"
    assert Record(subnets=[SIX], next_hops=[HOP6]).owner == "2001:db8::3"
    assert Record(subnets=[SIX]).owner == ""


def test_routes() -> None:
    """One for each subnet, with the data of its family."""
    assert records.routes(DUAL) == tuple(
        Route(
            prefix=subnet,
            node="host-3",
            next_hop=hop,
            tunnel=Tunnel(type="vxlan", data=DATA[subnet.version]),
        )
        for subnet, hop in ((FOUR, HOP), (SIX, HOP6))
    )
    assert records.routes(records.silent(DUAL)) == ()


def test_a_subnet_without_an_address_has_no_route() -> None:
    """The ipip of flannel knows no IPv6, yet leases it: its record is read, and never written by us."""
    value = b'{"PublicIP":"192.168.64.3","PublicIPv6":null,"BackendType":"ipip"}'
    record = records.decode(DUAL_KEY, value)
    assert [route.prefix for route in records.routes(record)] == [FOUR]
    with pytest.raises(BadRecord, match="no next hop for fd00:1:2:3::/64"):
        records.encode(record)


@pytest.mark.parametrize(
    "key",
    [
        # What flannel cannot read.
        "",
        "10",
        "10.12.13.0",
        "10.12.13-24",
        "10.12.13.300-24",
        "10.12.13.0-24hi",
        "&2001::-56",
        "10.12.13.0-24&:12:13:-56",
        "10.12.13.0-24&20011::-56",
        "10.12.13.0-24&2001-56",
        "10.12.13.0-24&2001::",
        "10.12.13.0-24&2001::-56hi",
        "10.12.13.1-32",
        "10.12.13.0-24&fd00::1-128",
        # What flannel reads, but as another key's subnets or as none.
        "x10.12.13.0-24",
        "10.12.13.0-24\n",
        "10.12.13.0-024",
        "10.12.13.7-24",
        "10a12b13c0-24",
        "0.0.0.0-0",
        "10.12.13.0-24&::-0",
        "10.12.13.0-24&fd00:0::-64",
        "10.12.13.0-24&fd00::1-64",
        "10.12.13.0-24&::ffff:a00:0-104",
        "\uff11\uff10.12.13.0-24",
        "9" * 5000 + "-24",
    ],
)
def test_no_key(key: str) -> None:
    """A key is the one text for its subnets: of two for one subnet, compare-and-swap would guard neither."""
    with pytest.raises(BadRecord):
        records.subnets_of(key)


@pytest.mark.parametrize(
    "subnets",
    [(), ("10.0.0.0/9", "10.128.0.0/9"), ("10.4.1.1/32",), ("0.0.0.0/0",), ("::/0",), ("::ffff:a00:0/104",)],
)
def test_subnets_without_a_key(subnets: tuple[str, ...]) -> None:
    """One key that flannel cannot read makes it drop every route: it is never written."""
    with pytest.raises(ConfigError):
        records.key_of(map(ip_network, subnets))


def test_low_ipv6_subnets_are_written_without_dots() -> None:
    """Go would write ::10.4.1.0 like an IPv4 address, which flannel's pattern does not find in its place."""
    assert records.key_of([ip_network("::10.4.1.0/120")]) == "0.0.0.0-0&::a04:100-120"


GOOD = b'{"PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":{"VNI":1}}'


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", "not a record's JSON"),
        (b"\xff\xfe", "not a record's JSON"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (GOOD.decode().encode("utf-16"), "not a record's JSON"),
        (b"null", "expected a JSON object"),
        (b"[]", "expected a JSON object"),
        (GOOD + b"x", "Extra data"),
        (b'{"VNI":NaN}', "NaN"),
        (b'{"VNI":-Infinity}', "Infinity"),
        (b'{"VNI":1e999}', "beyond"),
        (b'{"VNI":' + b"1" * 5000 + b"}", "digits"),
        (b'{"x":' + b"[" * 20000 + b"]" * 20000 + b"}", "nested too deeply"),
        (b'{"x":"' + b"x" * 70000 + b'"}', "at most 65536"),
        (b'{"PublicIP":"fd00::1"}', "PublicIP 'fd00::1', expected an IPv4"),
        (b'{"PublicIP":""}', "expected an IPv4"),
        (b'{"PublicIP":3232252931}', "expected an IPv4"),
        (b'{"PublicIP":"192.168.064.003"}', "expected an IPv4"),
        (b'{"PublicIPv6":"192.168.64.3"}', "expected an IPv6"),
        (b'{"PublicIPv6":"fe80::1%eth0"}', "without a zone"),
        (b'{"PublicIPv6":"::ffff:192.0.2.1"}', "no IPv4 inside"),
        (b'{"BackendType":1}', "expected text"),
        (b'{"BackendType":{"a":1}}', "expected text"),
        (b'{"PublicIP":"0.0.0.0","BackendType":"vxlan"}', "without an address"),
        (b'{"BackendType":"vxlan","PublicIPv6":"fd00::1"}', "without an address of the subnet's family"),
        (b'{"PublicIP":"1.2.3.4","BackendType":"vxlan","backendtype":7}', "expected text"),
    ],
)
def test_no_record(value: bytes, says: str) -> None:
    """Refused in one line that holds the key, the value, and what was expected."""
    with pytest.raises(BadRecord) as refused:
        records.decode(KEY, value)
    assert says in str(refused.value)
    assert str(refused.value).startswith(KEY)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(
    "value",
    [
        b'{"publicip":"192.168.64.3","BACKENDTYPE":"vxlan","backendData":{"vni":1,"VTEPMAC":"c6:d2:32:6f:8f:44"}}',
        b'{"PublicIP":"1.1.1.1","PublicIP":"192.168.64.3","BackendType":"vxlan","BackendData":'
        b'{"VNI":7,"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
        b'{"publicip":"1.1.1.1","PublicIP":"2.2.2.2","publicip":"192.168.64.3","BackendType":"vxlan",'
        b'"BackendData":{"VNI":1,"VtepMAC":"c6:d2:32:6f:8f:44"}}',
        b'{"PublicIP":"192.168.64.3","BackendType":"vxlan","Future":[{}],"BackendData":{"VNI":1,"List":[1],'
        b'"Object":{"a":{}},"Node":7,"VtepMAC":"c6:d2:32:6f:8f:44"},"BackendV6Data":"junk"}',
        b'\t{"PublicIP":"192.168.64.3","x\xff":"\xff","BackendType":"vxlan","BackendData":{"VNI":1,'
        b'"VtepMAC":"c6:d2:32:6f:8f:44"}}\r\n ',
    ],
    ids=["any case", "the last wins", "in any case", "more than we know", "not UTF-8"],
)
def test_read_as_go_does(value: bytes) -> None:
    """What flannel looks past is no reason to lose a host."""
    assert records.decode(KEY, value) == attrs.evolve(VXLAN, node="")


@pytest.mark.parametrize("data", [b"null", b'"text"', b"[1]", b"7", b"{}"])
def test_backend_data_that_is_no_object(data: bytes) -> None:
    """The extension backends of flannel may have any; whether it suffices is for the dataplane to say."""
    value = b'{"PublicIP":"192.168.64.3","BackendType":"extension","BackendData":' + data + b"}"
    (route,) = records.routes(records.decode(KEY, value))
    assert route.tunnel == Tunnel(type="extension")


@pytest.mark.parametrize(
    "facts",
    [
        {"subnets": []},
        {"subnets": [FOUR, ip_network("10.5.53.0/24")]},
        {"next_hops": [HOP, ip_address("192.168.64.4")]},
        {"next_hops": [ip_address("0.0.0.0")]},
        {"next_hops": [IPv6Address("fe80::1%eth0")]},
        {"next_hops": [IPv6Address("::ffff:192.0.2.1")]},
        {"data": {5: {"a": 1}}},
        {"data": {4: {"Node": "another"}}},
    ],
)
def test_nonsense_is_refused_at_birth(facts: dict[str, object]) -> None:
    """A value that no key or record could hold does not come to be."""
    with pytest.raises(BadRecord):
        Record(**{"subnets": [FOUR], **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "scalar", [math.nan, math.inf, 10**5000, "x" * 70000], ids=["NaN", "infinity", "many digits", "long"]
)
def test_what_json_has_no_room_for(scalar: float | str) -> None:
    """It is refused where it is written, rather than set aside by everybody who reads it."""
    with pytest.raises(BadRecord):
        records.encode(attrs.evolve(VXLAN, data={4: {"a": scalar}}))
    with pytest.raises(BadRecord):
        records.encode_route(Route(prefix=FOUR, node="a", next_hop=HOP, tunnel=Tunnel(data={"a": scalar})))


def told(*routes: Route) -> dict[Prefix, Route]:
    """Return routes by their prefix."""
    return {route.prefix: route for route in routes}


def test_telling() -> None:
    """A record tells of all its subnets or of none: told half, flannel's hosts would send to 0.0.0.0."""
    claimed = Record(subnets=[FOUR, SIX], node="host-3")
    four, six = records.routes(DUAL)
    assert records.telling(claimed, told(four, six)) == DUAL
    assert records.telling(claimed, told(four)) is None
    assert records.telling(claimed, told(four, attrs.evolve(six, tunnel=Tunnel(type="ipip")))) is None
    assert records.telling(claimed, told(four, attrs.evolve(six, node="host-4"))) is None
    assert records.telling(claimed, told(four, attrs.evolve(six, tunnel=Tunnel(data={"Node": "x"})))) is None
    untyped = told(*(attrs.evolve(route, tunnel=Tunnel()) for route in (four, six)))
    assert records.telling(claimed, untyped) is None


def test_a_route_of_its_own() -> None:
    """Ours alone: the names of the model, under the prefix as flannel would write it."""
    route = Route(prefix=SIX, node="a", next_hop=HOP6, tunnel=Tunnel(type="vxlan", data={"VNI": 1, "up": True}))
    value = (
        b'{"prefix":"fd00:1:2:3::/64","node":"a","next_hop":"2001:db8::3",'
        b'"tunnel":{"type":"vxlan","data":{"VNI":1,"up":true}}}'
    )
    assert (records.route_key(SIX), records.encode_route(route)) == ("fd00:1:2:3::-64", value)
    assert records.decode_route("fd00:1:2:3::-64", value) == route
    assert records.decode_route("fd00:1:2:3::-64", value[:-1] + b',"later":[1]}') == route


@pytest.mark.parametrize(
    "value",
    [
        b"{}",
        b'{"prefix":"10.5.53.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":{}}}',
        b'{"prefix":true,"node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":{}}}',
        b'{"prefix":168113152,"node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":{}}}',
        b'{"prefix":"10.5.52.0/24","node":7,"next_hop":"192.0.2.1","tunnel":{"type":"","data":{}}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":3221225985,"tunnel":{"type":"","data":{}}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":[]}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":null,"data":{}}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":[["a",1]]}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":[[[],1]]}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":{"a":[1]}}}',
        b'{"prefix":"10.5.52.0/24","node":"a","next_hop":"192.0.2.1","tunnel":{"type":"","data":{"a":{}}}}',
    ],
)
def test_no_route(value: bytes) -> None:
    """Wrong types are refused, not made into text that somebody then believes."""
    with pytest.raises(BadRecord):
        records.decode_route(KEY, value)


@pytest.mark.parametrize(
    "key", ["", "10.5.52.1-24", "10.5.52.0/24", "10.5.52.0", "fd00:0::-64", "10.5.52.0-24-"]
)
def test_no_route_key(key: str) -> None:
    """One text for each prefix."""
    with pytest.raises(BadRecord):
        records.prefix_of(key)
