"""etcd's keys and values: what is written is read back; what others may have written is read or refused."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from itertools import product
from typing import Any

import attrs
from hypothesis import given, strategies as st

from containernet.contracts import Settings
from containernet.errors import ConfigError
from containernet.model import Address, NetworkConfig, Pool, Prefix, Route, Scalar, Tunnel, contains
from containernet_backends.etcd import gojson, network, records
from containernet_backends.etcd.records import BadRecord, Reading, Record

BITS = {4: 32, 6: 128}


def address_of(version: int, value: int) -> Address:
    """Return an address from its number."""
    return IPv4Address(value) if version == 4 else IPv6Address(value)


def prefix_of(version: int, value: int, length: int) -> Prefix:
    """Return the prefix of that length around an address."""
    kind = IPv4Network if version == 4 else IPv6Network
    return kind((value, length), strict=False)


def is_mapped(prefix: Prefix) -> bool:
    """Return whether it is IPv4 inside IPv6."""
    return contains(ip_network("::ffff:0:0/96"), prefix)


def prefixes(version: int) -> st.SearchStrategy[Prefix]:
    """Return any prefix of a family, those that flannel cannot read included."""
    bits = BITS[version]
    some = st.one_of(st.integers(0, (1 << bits) - 1), st.integers(0, 1 << 32), st.just(0xFFFF << 32))
    return st.builds(
        lambda value, length: prefix_of(version, value % (1 << bits), length), some, st.integers(0, bits)
    )


def hops(version: int) -> st.SearchStrategy[Address]:
    """Return any address of a family but those that flannel has no text for."""
    found = st.integers(1, (1 << BITS[version]) - 1).map(lambda value: address_of(version, value))
    return found.filter(lambda hop: not getattr(hop, "ipv4_mapped", None))


def readable(prefix: Prefix) -> bool:
    """Return whether a flannel host can read it in a key."""
    return 0 < prefix.prefixlen < prefix.max_prefixlen and not is_mapped(prefix)


def leased(version: int) -> st.SearchStrategy[Prefix]:
    """Return any prefix that can be leased."""
    return prefixes(version).filter(readable)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
data = st.dictionaries(st.text().filter(lambda name: name != "Node"), scalars, max_size=4)
families = st.sampled_from([(4,), (6,), (4, 6)])
anything = st.recursive(
    st.one_of(scalars, st.sampled_from(["0.0.0.0", "::", "fd00::1", "192.0.2.1", "vxlan", 2**80])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(["VNI", "Node", "x"]), inner)
    ),
    max_leaves=5,
)


@st.composite
def any_record(draw: st.DrawFn) -> Record:
    """Return any record that can be written, as announced or as not yet."""
    versions = draw(families)
    announced = draw(st.booleans())
    known = versions if announced else draw(st.sampled_from([(), (4,), (6,), (4, 6)]))
    return Record(
        subnets=[draw(leased(version)) for version in versions],
        node=draw(st.text()),
        next_hops=[draw(hops(version)) for version in known],
        # vxlan's VNI and VtepMAC are read in any case, so not every name of its data comes back.
        type=draw(st.text(min_size=1).filter(lambda kind: kind != "vxlan")) if announced else "",
        data={version: draw(data) for version in draw(families)},
    )


def exactly(value: object) -> str:
    """Return text that tells 1 from True and from 1.0."""
    return repr(value)


@given(st.one_of(prefixes(4), prefixes(6)), st.one_of(st.none(), prefixes(6)))
def test_a_key_names_its_subnets_where_flannel_can_read_it(one: Prefix, other: Prefix | None) -> None:
    """And where flannel could not, there is no key: one such key makes it drop every route."""
    subnets = (one,) if other is None or other.version == one.version else (one, other)
    if all(map(readable, subnets)):
        assert records.subnets_of(records.key_of(subnets)) == subnets
    else:
        with suppress(ConfigError):
            raise AssertionError(records.key_of(subnets))


near_keys = st.one_of(st.text(), st.from_regex(r"[0-9.]{7,9}-[0-9]{1,3}(&[0-9a-f:]{2,6}-[0-9]{1,3})?\n?"))


@given(near_keys)
def test_there_is_one_key_for_some_subnets(key: str) -> None:
    """Any text is no key, or the very one that is written for what it means."""
    with suppress(BadRecord):
        assert records.key_of(records.subnets_of(key)) == key
    with suppress(BadRecord):
        assert records.route_key(records.prefix_of(key)) == key


@given(any_record())
def test_a_record_comes_back(record: Record) -> None:
    """With every scalar's type, and the next host that writes it writes the same octets."""
    key, value = records.key_of(record.subnets), records.encode(record)
    back = records.decode(key, value)
    assert exactly(back) == exactly(record)
    assert records.encode(back) == value
    assert b"\n" not in value
    assert not set(b"<>&") & set(value)


@given(any_record(), st.data())
def test_a_record_says_the_same_in_any_case_and_with_more_in_it(
    record: Record, given_data: st.DataObject
) -> None:
    """Go reads names in any case, the last of several, and ignores what it does not know."""
    members = json.loads(records.encode(record))
    odd = {
        given_data.draw(st.sampled_from([name, name.lower(), name.upper()])): v for name, v in members.items()
    }
    more = given_data.draw(st.dictionaries(st.text(max_size=3), anything, max_size=3))
    pairs = [*more.items(), *((name, "before") for name in members), *odd.items()]
    text = ", ".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in pairs)
    back = records.decode(records.key_of(record.subnets), f" {{{text}}}\n".encode())
    assert exactly(back) == exactly(record)


# What makes up a record of IPv4 as flannel and we write it; and what is off by very little, in one place.
USUAL = {
    "key": "10.5.52.0-24",
    "ip": "192.0.2.1",
    "kind": "vxlan",
    "vni": "7",
    "mac": "02:00:00:00:00:01",
    "node": "a",
}
ODD_TEXTS = ("", "a b", '"', "\\", "\\u0041", "\\n", "\n", "\x7f", "é", "}", "<")
ODD = {
    "key": (
        *("10.5.52.1-24", "10.5.52.0-32", "10.5.52.0-024", "10.5.52.0-0", "10.5.052.0-24", "10.5.256.0-24"),
        *("0.0.0.0-8", "0.0.0.0-0", "10.5.52.0-24\n", "10.5.52.0-2٤", "10.5.52.0-24&fd00:1:2:3::-64"),
    ),
    "ip": ("0.0.0.0", "255.255.255.255", "256.0.0.1", "1.2.3.04", "1.2.3", "::1", "1.2.3.4\n", "192.0.2.1 "),
    "kind": (*ODD_TEXTS, "host-gw", "VXLAN"),
    "vni": ("0", "-1", "01", "1.0", "1e3", "true", "16777216", "123456789012345678901"),
    "mac": ODD_TEXTS,
    "node": ODD_TEXTS,
}
LAYOUTS = (
    *('"VNI":{vni},"VtepMAC":"{mac}","Node":"{node}"', '"VNI":{vni},"VtepMAC":"{mac}"', '"Node":"{node}"', ""),
    *('"VNI":{vni},"VtepMAC":"{mac}",', '"VNI":{vni},"VtepMAC":"{mac}""Node":"{node}"', '"Node":"{node}",'),
    *('"VNI":{vni}', '"VNI":{vni},"Node":"{node}"', '"Node":"{node}","VNI":{vni},"VtepMAC":"{mac}"'),
)


def nearly_usual() -> Iterator[tuple[str, str]]:
    """Yield keys and values: usual records, and those that are off in one place."""
    for odd, values in ODD.items():
        for parts, layout in product([USUAL | {odd: value} for value in (USUAL[odd], *values)], LAYOUTS):
            data = f'"BackendData":{{{layout.format(**parts)}}}'
            members = ['"PublicIP":"{ip}","PublicIPv6":null', '"BackendType":"{kind}"']
            for some in ([], [members[1]]):
                head = ",".join([members[0], *some]).format(**parts)
                yield parts["key"], f"{{{head}}}"
                yield parts["key"], f"{{{head},{data}}}"
    text = '{"PublicIP":"1.2.3.4","PublicIPv6":null,"BackendType":"vxlan",'
    text += '"BackendData":{"VNI":1,"VtepMAC":"","Node":""}}'
    for at, cut, more in product(range(len(text)), (0, 1), ("", ",", '"', "}", "0", "x", "\n", "\\")):
        yield USUAL["key"], text[:at] + more + text[at + cut :]
    yield USUAL["key"], text[:-3] + "x" * records.LIMIT + text[-3:]


def outcome(key: str, value: bytes) -> str:
    """Return what a record says, or that it is refused."""
    try:
        return exactly(records.read(key, value))
    except BadRecord:
        return "refused"


def in_full(key: str, value: bytes) -> str:
    """Return the same, read by the code that reads every record."""
    try:
        record = records.decode(key, value)
    except BadRecord:
        return "refused"
    return exactly(Reading(record.subnets, record.node, record.next_hops, records.routes(record)))


def test_what_is_read_at_once_is_read_the_same_in_full() -> None:
    """What is usual and what is nearly so."""
    for key, text in nearly_usual():
        assert outcome(key, text.encode()) == in_full(key, text.encode()), (key, text)


@given(any_record())
def test_every_record_of_ours_is_read_the_same_in_full(record: Record) -> None:
    """Whether it is a usual one or not."""
    key, value = records.key_of(record.subnets), records.encode(record)
    assert outcome(key, value) == in_full(key, value)
    assert exactly(records.decode(key, value)) == exactly(record)


@given(any_record())
def test_routes_are_what_is_announced(record: Record) -> None:
    """One for each subnet, or none; under the node's name, or where it has none under the address's text."""
    routes = records.routes(record)
    assert [route.prefix for route in routes] == [*record.subnets] * bool(record.type)
    for route in routes:
        assert route.node == record.node or (not record.node and ip_address(route.node) in record.next_hops)
        assert route.next_hop.version == route.prefix.version
        assert route.tunnel.type == record.type


@given(any_record(), any_record())
def test_telling(record: Record, other: Record) -> None:
    """A record tells exactly what it was made to tell, and a silent one nothing; both stay the host's."""
    told = {
        route.prefix: attrs.evolve(route, prefix=route.prefix, node=record.node)
        for route in records.routes(attrs.evolve(other, subnets=record.subnets))
    }
    said = records.telling(record, told)
    if said is not None:
        assert {route.prefix: route for route in records.routes(said)} == told
        assert set(told) == set(record.subnets)
    for one in (said or record, records.silent(said or record)):
        back = records.decode(records.key_of(one.subnets), records.encode(one))
        assert (back.subnets, back.node) == (record.subnets, record.node)
    assert not records.routes(records.silent(said or record))


routes = st.builds(
    Route,
    prefix=st.one_of(prefixes(4), prefixes(6)),
    node=st.text(),
    next_hop=st.one_of(hops(4), hops(6)),
    tunnel=st.builds(Tunnel, type=st.text(), data=st.dictionaries(st.text(), scalars, max_size=4)),
)


@given(routes)
def test_a_route_comes_back(route: Route) -> None:
    """Whatever it says; whether it makes sense is for the core to judge."""
    back = records.decode_route(records.route_key(route.prefix), records.encode_route(route))
    assert exactly(back) == exactly(route)


def refusal(error: type[Exception], read: Callable[[], object]) -> str | None:
    """Return why a reader refuses, if it does."""
    try:
        read()
    except error as refused:
        return str(refused)
    return None


def reads(key: str, value: bytes) -> None:
    """Read a value in every way, and check that it is read or refused in one line."""
    readers: list[tuple[type[Exception], Callable[[], object]]] = [
        (BadRecord, lambda: records.encode(attrs.evolve(records.decode(key, value), type=""))),
        (BadRecord, lambda: records.encode_route(records.decode_route(key, value))),
        (ConfigError, lambda: network.encode(Settings(network=network.decode(value).network))),
    ]
    for error, read in readers:
        reason = refusal(error, read)
        assert reason is None or (0 < len(reason) < 700 and reason.isprintable())


@given(near_keys, st.binary(max_size=200))
def test_junk_is_refused(key: str, value: bytes) -> None:
    """Nothing but the error that the readers name comes out, and it is one line."""
    reads(key, value)
    reads("1" * 5000 + key, value)
    reads("10.4.1.0-24", value)


TEMPLATES: tuple[Mapping[str, Any], ...] = (
    {
        "PublicIP": "192.0.2.1",
        "PublicIPv6": "2001:db8::1",
        "BackendType": "vxlan",
        "BackendData": {"VNI": 1, "VtepMAC": "02:00:00:00:00:01", "Node": "a"},
        "BackendV6Data": {"VNI": 1, "VtepMAC": "02:00:00:00:00:01"},
    },
    {
        "prefix": "10.4.1.0/24",
        "node": "a",
        "next_hop": "192.0.2.1",
        "tunnel": {"type": "vxlan", "data": {"VNI": 1}},
    },
    {
        "EnableIPv4": True,
        "EnableIPv6": True,
        "Network": "10.4.0.0/16",
        "IPv6Network": "fd00::/48",
        "SubnetLen": 24,
        "SubnetMin": "10.4.1.0",
        "IPv6SubnetMax": "fd00:0:0:9::",
        "Reserved": ["10.4.9.0/24"],
        "Backend": {"Type": "vxlan", "VNI": 7, "DirectRouting": True},
    },
)


@given(st.sampled_from(TEMPLATES), st.data())
def test_a_changed_value_is_read_or_refused(template: Mapping[str, Any], given_data: st.DataObject) -> None:
    """Any member may be anything, at any depth; and any octet of the text another."""
    changed: dict[str, Any] = dict(template)
    name = given_data.draw(st.sampled_from([*template]))
    inside = changed[name]
    value = given_data.draw(anything)
    if isinstance(inside, dict) and given_data.draw(st.booleans()):
        value = {**inside, given_data.draw(st.sampled_from([*inside])): value}
    changed[name] = value
    text = json.dumps(changed).encode()
    reads("10.4.1.0-24&fd00:0:0:1::-64", text)
    reads("10.4.1.0-24", text)
    cut = given_data.draw(st.integers(0, len(text)))
    reads("10.4.1.0-24", text[:cut] + given_data.draw(st.binary(max_size=2)) + text[cut + 1 :])


@st.composite
def pools(draw: st.DrawFn, version: int) -> Pool:
    """Return any pool, those that flannel cannot read included."""
    prefix = draw(prefixes(version).filter(lambda found: found.prefixlen <= found.max_prefixlen - 2))
    length = draw(
        st.integers(
            prefix.prefixlen, min(prefix.max_prefixlen - 2, prefix.prefixlen + draw(st.integers(0, 40)))
        )
    )
    slots = sorted(draw(st.tuples(*[st.integers(0, (1 << (length - prefix.prefixlen)) - 1)] * 2)))
    size = 1 << (prefix.max_prefixlen - length)
    first, last = (prefix_of(version, int(prefix.network_address) + slot * size, length) for slot in slots)
    reserved = draw(st.lists(prefixes(version), max_size=2))
    return Pool(prefix=prefix, subnet_length=length, first=first, last=last, reserved=reserved)


networks = families.flatmap(
    lambda versions: st.builds(
        lambda *found: NetworkConfig(pools=found), *[pools(version) for version in versions]
    )
)
dataplanes: st.SearchStrategy[tuple[str, Mapping[str, Scalar]]] = st.one_of(
    st.just(("", {})),
    st.just(("host-gw", {})),
    st.tuples(st.just("ipip"), st.fixed_dictionaries({}, optional={"direct": st.booleans()})),
    st.tuples(
        st.just("vxlan"),
        st.fixed_dictionaries(
            {},
            optional={
                "vni": st.integers(1, 2**24 - 1),
                "port": st.integers(1, 65535),
                "direct": st.booleans(),
            },
        ),
    ),
)


def can_read(pool: Pool) -> bool:
    """Return whether flannel can: a network of four subnets or more, and no bound that is written like none."""
    return (
        0 < pool.prefix.prefixlen <= pool.subnet_length - 2
        and not is_mapped(pool.prefix)
        and int(pool.first.network_address) > 0
    )


@given(networks, dataplanes, st.integers(0, 9000))
def test_a_network_comes_back_where_flannel_can_read_it(
    configured: NetworkConfig, dataplane: tuple[str, Mapping[str, Scalar]], mtu: int
) -> None:
    """And where it could not, nothing is written: every flannel host would stop at its next start."""
    name, options = dataplane
    settings = Settings(network=configured, dataplane=name, options=options, mtu=mtu if name == "vxlan" else 0)
    if not all(map(can_read, configured.pools)):
        with suppress(ConfigError):
            raise AssertionError(network.encode(settings))
        return
    stored = network.decode(network.encode(settings))
    assert stored == settings
    assert exactly(sorted(stored.options.items())) == exactly(sorted(options.items()))


@given(families.flatmap(lambda versions: st.tuples(*map(prefixes, versions))))
def test_defaults(given_prefixes: tuple[Prefix, ...]) -> None:
    """Of a network that says no more, the second subnet to the last are leased: /24 and /64, or a quarter."""
    config: dict[str, object] = {"EnableIPv4": False}
    for prefix in given_prefixes:
        config[f"EnableIPv{prefix.version}"] = True
        config["Network" if prefix.version == 4 else "IPv6Network"] = str(prefix)
    try:
        pools = network.decode(json.dumps(config).encode()).network.pools
    except ConfigError:
        assert any(p.prefixlen in (0, *range(p.max_prefixlen - 3, 129)) or is_mapped(p) for p in given_prefixes)
        return
    for prefix, pool in zip(given_prefixes, pools, strict=True):
        assert pool.subnet_length == max({4: 24, 6: 64}[prefix.version], prefix.prefixlen + 2)
        size = pool.first.num_addresses
        assert int(pool.first.network_address) == int(prefix.network_address) + size
        assert int(pool.last.broadcast_address) == int(prefix.broadcast_address)


@given(st.dictionaries(st.text(), anything))
def test_go_json(document: dict[str, Any]) -> None:
    """What is written is read back, exactly."""
    assert exactly(gojson.read(gojson.write(document), limit=1 << 20)) == exactly(document)
