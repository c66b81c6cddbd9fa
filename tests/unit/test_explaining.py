"""An explanation says where a packet goes, what decided, and what is wrong first."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, strategies as st

from containernet import loading
from containernet.contracts import Kernel
from containernet.errors import ConfigError
from containernet.explaining import Explanation, explain
from containernet.hearsay import Hearsay, Leased
from containernet.items import FdbEntry, Item, KernelRoute, Link, Neighbour
from containernet.jsonform import route_to_json
from containernet.lab.topology import Topology
from containernet.model import Lease, NetworkConfig, Pool
from containernet.planning import Delete
from containernet.rendering import own_routes
from containernet.sight import address, cable, tables_of
from containernet.testing import SimulatedKernel, World
from containernet.tracing import Network

POOL = Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)
NETWORK = NetworkConfig(pools=(POOL,))
PEER = ip_address("10.4.2.2")


def world() -> World:
    """Return two hosts with a container each."""
    remote, local = loading.remote_dataplane("vxlan", {}), loading.local_dataplane("bridge", {})
    return World.of(Topology(hosts=2, containers=1, versions=(4,)), NETWORK, remote=remote, local=local)


def status(number: int, **changed: Any) -> dict[str, Any]:
    """Return what the daemon of one of the two hosts says of itself: its own subnet, and the other's route."""
    other = 3 - number
    return {
        "subnets": [f"10.4.{number}.0/24"],
        "routes": [
            {
                "prefix": f"10.4.{other}.0/24",
                "node": f"host{other}",
                "next_hop": f"192.0.2.{other}",
                "store": "sqlite",
                "since": 0.0,
            }
        ],
        "endpoints": [{"container": f"host{number}-c1", "addresses": [f"10.4.{number}.2/24"]}],
        "refused": {},
        "reasons": [],
        "warnings": [],
    } | changed


def lease(subnet: str, node: str) -> Lease:
    """Return a live lease."""
    return Lease(subnets=(ip_network(subnet),), node=node, expires=60.0, revision="1")


LEASES = (lease("10.4.1.0/24", "host1"), lease("10.4.2.0/24", "host2"), lease("10.4.8.0/24", "host8"))


def said(*, leases: tuple[Lease, ...] | None = LEASES, trouble: str = "", **changed: Any) -> Hearsay:
    """Return what both daemons and the lease store say; `changed` is host1's own word."""
    return Hearsay(
        statuses={"host1": status(1, **changed), "host2": status(2)},
        network=NETWORK,
        leased=lambda: Leased(network=NETWORK, leases=leases, trouble=trouble),
    )


def without(where: str, *kinds: type[Item], made: World | None = None) -> World:
    """Return the world after somebody deleted all items of some kinds from a host."""
    made = made or world()
    made.view.enter(where)
    kernel = made.members[where].kernel
    kernel.disturb(*(Delete(item) for item in kernel.read().values() if isinstance(item, kinds)))
    return made


def leaves(document: object) -> Iterator[str]:
    """Yield every text and number in a JSON document."""
    match document:
        case dict():
            for value in document.values():
                yield from leaves(value)
        case list():
            for value in document:
                yield from leaves(value)
        case str() | int() if not isinstance(document, bool):
            yield str(document)


KINDS = st.lists(st.sampled_from([FdbEntry, Neighbour, KernelRoute]), max_size=2, unique=True)
TARGETS = st.sampled_from(
    ["10.4.1.2", "10.4.2.2", "10.4.2.9", "10.4.8.8", "10.4.9.9", "192.0.2.2", "198.51.100.9"]
)


@given(TARGETS, KINDS, st.sampled_from(["host1", "host2"]), st.sampled_from(["host1", "host1-c1"]))
def test_text_and_json_tell_the_same(target: str, kinds: list[type[Item]], where: str, start: str) -> None:
    """Whatever is broken: the same verdict first, every value of one in the other, and a fault has advice."""
    way = explain(without(where, *kinds).view, start, ip_address(target), said=said())
    told = json.loads(json.dumps(way.to_json()))
    lines = list(way.lines())
    assert lines[0] == told["verdict"] == way.verdict
    hidden = {"outcome", "source", "death", "limit", "answer", "node", "store", "since"}
    shown = "\n".join(lines)
    for key in told.keys() - hidden - {"fits", "hops"}:
        assert all(each in shown for each in leaves(told[key])), key
    for hop in told["hops"]:
        assert hop["headers"]
        assert all(f"    {each}" in shown for each in hop["headers"])
        assert all(f"    {each['entry']}" in shown for each in hop["decided"])
        assert f"{hop['where']} sends it by {hop['link']}, mtu {hop['mtu']}" in lines
    fault = told["wrong"] or (told["answer"] or {}).get("wrong")
    assert (fault is None) == (way.first_fault is None)
    if fault:
        assert fault["reason"] in lines[0]
        assert lines[1] == f"what to do: {fault['advice']}"
    assert (told["fits"] > 0) == (told["wrong"] is None)


def fields(document: dict[str, Any]) -> set[str]:
    """Return the names in a document, nested ones with their way."""
    names = set()
    for name, value in document.items():
        names.add(name)
        first = value[0] if isinstance(value, list) and value else value
        if isinstance(first, dict) and name != "answer":
            names |= {f"{name}.{each}" for each in fields(first)}
    return names


FIELDS = {
    "from", "source", "destination", "port", "outcome", "verdict", "arrived", "wrong", "fits", "limit", "notes",
    "hops", "hops.where", "hops.link", "hops.mtu", "hops.headers", "hops.decided", "hops.decided.entry",
    "hops.decided.announced", "hops.switches", "hops.switches.where", "hops.switches.link", "death", "answer",
}  # fmt: skip
OF_FAULTS = {
    "wrong.where", "wrong.reason", "wrong.advice", "death.where", "death.kind", "death.reason", "death.mtu",
    "death.decided", "death.decided.entry", "death.decided.announced",
}  # fmt: skip
OF_ANNOUNCEMENTS = {"node", "store", "since"}


def test_the_names_in_the_json_document_stay() -> None:
    """Programs read them; docs/operate.md has each with its meaning."""
    whole = explain(world().view, "host1-c1", PEER, said=said()).to_json()
    assert fields(whole) == FIELDS
    assert fields(whole["answer"]) == FIELDS
    broken = explain(without("host1", FdbEntry).view, "host1-c1", PEER, said=said()).to_json()
    dies = {f"death.decided.announced.{each}" for each in OF_ANNOUNCEMENTS}
    assert fields(broken) == FIELDS | OF_FAULTS | dies


def test_every_name_is_documented() -> None:
    """Both ways: no field without a word about it, no word about a field that is gone."""
    page = (Path(__file__).parents[2] / "docs/operate.md").read_text()
    table = page.partition("`--json` has these fields")[2]
    named = set(re.findall(r"`([a-z]+)`", table)) - {"null", "arrives", "leaves", "dies"}
    kinds = {"unreachable", "expired", "silent"}
    assert named - kinds == {part for name in FIELDS | OF_FAULTS for part in name.split(".")} | OF_ANNOUNCEMENTS


def test_a_way_that_arrives_is_told_from_end_to_end() -> None:
    """Each wire with its headers, who announced the route, what fits, and whether it is answered."""
    way = explain(world().view, "host1-c1", PEER, said=said())
    lines = list(way.lines())
    assert lines[0] == "host1-c1 > 10.4.2.2 arrives at host2-c1, and its answer comes back"
    assert lines[1] == "at most 1450 octets fit (host1-c1: 1451 octets do not fit eth0, mtu 1450)"
    assert any("(announced by host2, heard from sqlite at 19" in line for line in lines)
    assert "        VXLAN vni 1" in lines
    told = way.to_json()
    assert (told["outcome"], told["arrived"], told["fits"], told["wrong"]) == (
        "arrives",
        "host2-c1",
        1450,
        None,
    )
    assert [hop["where"] for hop in told["hops"]] == ["host1-c1", "host1", "host2"]
    route = told["hops"][1]["decided"][0]
    assert route["announced"] == {"node": "host2", "store": "sqlite", "since": 0.0}


@pytest.mark.parametrize("dataplane", ["bridge", "host-gw", "vxlan", "ipip"])
@pytest.mark.parametrize("version", [4, 6])
def test_nothing_is_wrong_where_everything_stands(dataplane: str, version: int) -> None:
    """On every dataplane, in both families, from container and host: no false alarm."""
    uplink = {"uplink": "eth1"} if dataplane == "bridge" else {}
    remote, local = loading.remote_dataplane(dataplane, uplink), loading.local_dataplane("bridge", uplink)
    pools = (POOL, Pool(prefix=ip_network("fd00:4::/48"), subnet_length=64))
    network = NetworkConfig(pools=pools)
    made = World.of(Topology(hosts=2, containers=1, dataplane=dataplane), network, remote=remote, local=local)
    for host in made.members:
        made.view.enter(host)
    nodes = {name: member.node for name, member in made.members.items()}
    told = Hearsay(
        statuses={
            name: {
                "subnets": [str(each) for each in node.subnets],
                "routes": [
                    {**route_to_json(route), "store": "sqlite", "since": 0.0}
                    for other in nodes.values()
                    if other is not node
                    for route in own_routes(other, remote)
                ],
                "endpoints": [],
            }
            for name, node in nodes.items()
        },
        network=network,
    )
    (target,) = (subnet[2] for subnet in nodes["host2"].subnets if subnet.version == version)
    for start in ("host1", "host1-c1"):
        way = explain(made.view, start, target, said=told)
        assert way.verdict == f"{start} > {target} arrives at host2-c1, and its answer comes back"
        assert any(decision.announced for decisions in way.decided for decision in decisions)


def test_what_only_a_real_packet_has_is_a_star_with_its_meaning() -> None:
    """No port 0 and no MAC of zeros: the one is a hash, the other not known yet."""
    lines = "\n".join(seen_from_host1("10.4.2.2").lines())
    assert "UDP * > 8472, length 130 (*: a hash of the packet inside, 32768 to 60999)" in lines
    assert "> *, ethertype IPv4 (*: not known yet, asked for by ARP before it is sent)" in lines


@pytest.mark.parametrize(
    ("where", "kind", "first"),
    [
        ("host1", FdbEntry, "does not arrive: host1: no fdb entry says behind which host"),
        ("host1", Neighbour, "does not arrive: host1: no neighbour 10.4.2.0 at vxlan.1"),
        (
            "host1",
            KernelRoute,
            "does not arrive: host1: no route to 10.4.2.0/24 in the kernel (announced by host2",
        ),
        ("host1", Link, "does not arrive: host1-c1: no route to 10.4.2.2"),
        ("host2", FdbEntry, "arrives at host2-c1, but no answer comes back: host2: no fdb entry"),
    ],
)
def test_the_first_thing_that_is_wrong_is_named_first(where: str, kind: type[Item], first: str) -> None:
    """In the first line, with its place; what to do is the second."""
    way = explain(without(where, kind).view, "host1-c1", PEER, said=said())
    assert way.verdict.startswith(f"host1-c1 > 10.4.2.2 {first}")
    assert way.first_fault is not None
    assert list(way.lines())[1].startswith("what to do: ")


@pytest.mark.parametrize(
    ("target", "changed", "wrong"),
    [
        ("10.4.9.9", {}, "nobody leases 10.4.9.0/24 of the pool 10.4.0.0/16"),
        ("10.4.8.8", {}, "host8 leases 10.4.8.0/24 and has not announced it"),
        ("10.4.8.8", {"refused": {"10.4.8.0/24": "use vxlan"}}, "use vxlan"),
        ("10.4.8.8", {"leases": None, "trouble": "away"}, "nobody announced 10.4.8.0/24 of the pool"),
        (
            "10.4.8.8",
            {"leases": (lease("10.4.8.0/22", ""),)},
            "10.4.8.0/24 of the pool 10.4.0.0/16 is reserved",
        ),
        ("10.4.2.9", {}, "no container has 10.4.2.9"),
        ("198.51.100.9", {}, "no route to 198.51.100.9"),
    ],
)
def test_an_address_without_a_route_is_explained(target: str, changed: dict[str, Any], wrong: str) -> None:
    """By who leases its subnet, who announced it, and what the daemon refuses; else by the tables alone."""
    way = explain(world().view, "host1-c1", ip_address(target), said=said(**changed))
    assert way.wrong is not None
    assert way.wrong.reason.startswith(wrong)


def test_a_route_to_the_wrong_host_is_found_without_seeing_that_host() -> None:
    """The announcement says where the subnet is; the fdb entry says where its packets go."""
    moved = [attributes | {"next_hop": "192.0.2.7"} for attributes in status(1)["routes"]]
    way = seen_from_host1("10.4.2.2", routes=moved)
    assert str(way.wrong) == "host1: 10.4.2.0/24 is sent to 192.0.2.2, and host2 is at 192.0.2.7"


def test_a_daemon_that_is_not_ready_or_silent_is_noted() -> None:
    """Its reasons always; its warnings only where something is wrong; its silence as what is not known."""
    troubled = said(reasons=["no lease: away"], warnings=["slow"])
    assert explain(world().view, "host1-c1", PEER, said=troubled).notes == (
        "host1 is not ready: no lease: away",
    )
    broken = explain(without("host1", FdbEntry).view, "host1-c1", PEER, said=troubled)
    assert broken.notes == (
        "host1 is not ready: no lease: away",
        "host1 warns: slow",
        "10.4.2.2 is the container host2-c1 of host2",
    )
    silent = Hearsay(silent={"host1": "nobody there: start it"}, network=NETWORK)
    unknown = "host1: who announced a route is not known: nobody there: start it"
    assert explain(world().view, "host1-c1", PEER, said=silent).notes == (unknown,)
    lost = explain(without("host1", KernelRoute).view, "host1-c1", PEER, said=silent)
    assert lost.wrong is not None
    assert (lost.wrong.advice, lost.notes) == ("nobody there: start it", ())


def seen_from_host1(target: str, start: str = "host1-c1", **changed: Any) -> Explanation:
    """Return an explanation on a live host, which sees its own containers and no other host."""
    made = world()
    made.view.enter("host1")
    tables = {name: made.fabric.kernels[name].tables for name in ("host1", "host1-c1")}
    view = Network(tables=tables, cables=cable("host1", "host1-c1", "host1-c1"))
    told = said(**changed)
    return explain(
        view,
        start,
        ip_address(target),
        said=Hearsay(statuses={"host1": told.statuses["host1"]}, network=NETWORK, leased=told.leased),
    )


def test_where_the_view_ends_the_way_leaves() -> None:
    """For a host that is named; what stays on this host arrives."""
    way = seen_from_host1("10.4.2.2")
    assert (
        way.verdict == "host1-c1 > 10.4.2.2 leaves host1 by eth0 for host2, 192.0.2.2; the rest is out of sight"
    )
    assert (way.to_json()["outcome"], way.fits) == ("leaves", 1450)
    assert seen_from_host1("10.4.1.2", "host1").way.arrived == "host1-c1"
    assert seen_from_host1("192.0.2.9").notes == (
        "10.4.1.2 goes out as it is (not masqueraded): is there a way back to it?",
    )


def test_a_word_is_an_address_or_a_name() -> None:
    """Or else the names that there are are told; and a kernel that cannot tell says so."""
    names = {"c1": (PEER, ip_address("fd00::2")), "c2": ()}
    assert address("10.4.2.9", {}) == ip_address("10.4.2.9")
    assert (address("c1", names), address("c1", names, 6)) == (PEER, ip_address("fd00::2"))
    with pytest.raises(ConfigError, match=r"'c7' is neither an address nor one of these: c1, c2"):
        address("c7", names)
    with pytest.raises(ConfigError, match="c2 has no IPv6 address: attach it"):
        address("c2", names, 6)
    assert tables_of(SimulatedKernel()).devices == {}
    with pytest.raises(ConfigError, match="object cannot tell what it forwards by"):
        tables_of(cast(Kernel, object()))


@pytest.mark.parametrize(
    "word", ["127.0.0.1", "::1", "224.0.0.1", "ff02::1", "fe80::1%eth0", "0.0.0.0", "255.255.255.255"]
)
def test_what_is_not_one_routed_interface_is_refused(word: str) -> None:
    """The tracer knows routed unicast; a wrong answer would be worse than none."""
    with pytest.raises(ConfigError, match="address: explain follows packets that are routed to one interface"):
        address(word, {})
