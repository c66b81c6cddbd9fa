"""Rules of policies, as operators write them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, ip_network
from typing import Any

import attrs
import pytest
from hypothesis import given, strategies as st

from containernet.errors import ConfigError
from containernet_backends.bgp import nlri
from containernet_backends.bgp.attributes import AS_SEQUENCE, AS_SET, Attributes, Segment
from containernet_backends.bgp.families import IPV4, IPV6
from containernet_backends.bgp.policy import EVERYTHING, NOTHING, Policy, default, prepend, within
from containernet_backends.bgp.prefixes import Range, matching

SAID = Attributes(
    as_path=(Segment(AS_SEQUENCE, (65001, 65002)),),
    next_hop=IPv4Address("192.0.2.7"),
    communities=(65001 << 16 | 7,),
    large=((1, 2, 3),),
    extended=(bytes.fromhex("0002fde900000001"),),
)
SOME = nlri.encode(ip_network("10.4.7.0/24"))


def policy(*rules: Mapping[str, object], **changes: object) -> Policy:
    """Return a policy from its table."""
    return Policy.from_options({"name": "test", "rule": list(rules), **changes})


def outcome(rules: Policy, raw: nlri.Nlri = SOME, **said: Any) -> Attributes | None:
    """Return what becomes of a path to a prefix."""
    return rules.judge(attrs.evolve(SAID, **said), neighbour=65001, version=4).of(raw).attributes


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("10.4.0.0/16", ["10.4.0.0/16"], ["10.4.0.0/17", "10.4.0.0/15", "10.5.0.0/16"]),
        ("10.4.0.0/16 ge 24", ["10.4.255.0/24", "10.4.1.1/32"], ["10.4.0.0/23", "10.5.0.0/24"]),
        ("10.4.0.0/16 le 24", ["10.4.0.0/16", "10.4.8.0/24"], ["10.4.8.0/25"]),
        (
            "10.4.0.0/14 ge 24 le 26",
            ["10.7.0.0/24", "10.4.0.64/26"],
            ["10.8.0.0/24", "10.3.0.0/24", "10.4.0.0/27"],
        ),
        ("0.0.0.0/0 le 32", ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.1/32"], []),
        ("2001:db8::/33 le 64", ["2001:db8:7fff::/48"], ["2001:db8:8000::/48", "2001:db8::/65"]),
    ],
)
def test_a_range_of_prefixes(text: str, inside: list[str], outside: list[str]) -> None:
    """`ge` and `le` bound the length; without them it is that prefix alone."""
    version = ip_network(text.split()[0]).version
    match = matching([Range.parse(text)], version)
    for prefix in inside:
        assert match(nlri.encode(ip_network(prefix))), prefix
    for prefix in outside:
        assert not match(nlri.encode(ip_network(prefix))), prefix


@given(st.data())
def test_ranges_are_what_their_words_say(data: st.DataObject) -> None:
    """The compiled expression and arithmetic on addresses agree, in both families."""
    version = data.draw(st.sampled_from([4, 6]))
    network, bits = data.draw(_prefixes(version)), {4: 32, 6: 128}[version]
    shortest = data.draw(st.integers(network.prefixlen, bits))
    longest = data.draw(st.integers(shortest, bits))
    match = matching([Range(network, shortest, longest)], version)
    other = data.draw(_prefixes(version))
    near = data.draw(st.integers(0, bits)).__rsub__(bits)
    for prefix in (other, _cut(network, near), network):
        expected = shortest <= prefix.prefixlen <= longest and (
            _cut(prefix, min(prefix.prefixlen, network.prefixlen)) == network
        )
        assert bool(match(nlri.encode(prefix))) == expected


def _cut(prefix: Any, length: int) -> Any:
    return ip_network((prefix.network_address, length), strict=False)


def _prefixes(version: int) -> st.SearchStrategy[Any]:
    bits = {4: 32, 6: 128}[version]
    return st.tuples(st.ip_addresses(v=version), st.integers(0, bits)).map(  # type: ignore[arg-type]
        lambda pair: ip_network(pair, strict=False)
    )


@pytest.mark.parametrize(
    "match",
    [
        {},
        {"prefixes": ["10.4.0.0/16 le 32"]},
        {"communities": ["65001:7"]},
        {"communities": ["65001:7", "1:2:3", "rt:65001:1"]},
        {"as_path": [9, 65001]},
        {"originates": [65002]},
        {"neighbours": [65001, 65009]},
        {"next_hops": ["2001:db8::/32", "192.0.2.0/24"]},
        {"communities": ["65001:7"], "originates": [65002], "prefixes": ["10.4.7.0/24"]},
    ],
)
def test_conditions_that_hold(match: Mapping[str, object]) -> None:
    """All conditions of a rule have to hold."""
    assert outcome(policy({"match": match})) == SAID


@pytest.mark.parametrize(
    "match",
    [
        {"prefixes": ["10.5.0.0/16 le 32", "2001:db8::/32"]},
        {"communities": ["65001:7", "65001:8"]},
        {"as_path": [65003]},
        {"originates": [65001]},
        {"neighbours": [65002]},
        {"next_hops": ["198.51.100.0/24"]},
        {"communities": ["65001:7"], "originates": [65001]},
    ],
)
def test_conditions_that_do_not_hold(match: Mapping[str, object]) -> None:
    """What no rule matches has the policy's default, which is to reject."""
    assert outcome(policy({"match": match})) is None
    assert outcome(policy({"match": match}, default="accept")) == SAID


def test_the_first_rule_that_matches_decides() -> None:
    """Rules with prefixes and without, in their order."""
    rules = policy(
        {"match": {"prefixes": ["10.4.7.0/24"], "as_path": [1]}, "action": "reject"},
        {"match": {"prefixes": ["10.4.6.0/24"]}, "action": "reject"},
        {"match": {"prefixes": ["10.4.0.0/16 le 24"]}, "set": {"local_pref": 300}},
        {"set": {"local_pref": 50}},
        {"action": "reject"},
    )
    judgement = rules.judge(SAID, neighbour=65001, version=4)
    prefixes = ["10.4.7.0/24", "10.4.6.0/24", "10.9.0.0/16"]
    found = [judgement.of(nlri.encode(ip_network(each))) for each in prefixes]
    assert [each.attributes and each.attributes.local_pref for each in found] == [300, None, 50]
    assert [each.why for each in found] == [
        f"policy test: rule {at}{more}" for at, more in ((3, ""), (2, " rejects"), (4, ""))
    ]
    raw = [nlri.encode(ip_network(each)) for each in prefixes]
    assert {one: each for each, those in judgement.split(raw) for one in those} == dict(
        zip(raw, found, strict=True)
    )


def test_what_a_rule_sets() -> None:
    """Each change once; communities of all kinds stay in rising order."""
    change = {
        "local_pref": 300,
        "med": 0,
        "add": ["no-export", "0:1", "9:9:9"],
        "remove": ["65001:7", "1:2:3"],
        "prepend": [64512, 64512],
    }
    assert outcome(policy({"set": change})) == attrs.evolve(
        SAID,
        local_pref=300,
        med=0,
        communities=(1, 0xFFFFFF01),
        large=((9, 9, 9),),
        as_path=(Segment(AS_SEQUENCE, (64512, 64512, 65001, 65002)),),
    )


def test_prepending_begins_a_segment_where_there_is_none_to_go_into() -> None:
    """RFC 4271 s5.1.2: before a set, and before a sequence that is full."""
    full, group = Segment(AS_SEQUENCE, (1,) * 255), Segment(AS_SET, (2, 3))
    mine = Segment(AS_SEQUENCE, (9,))
    assert prepend((), [9]) == (mine,)
    assert prepend((group,), [9]) == (mine, group)
    assert prepend((full,), [9]) == (mine, full)


def test_an_external_peer_without_a_policy_is_neither_believed_nor_told() -> None:
    """RFC 8212; an internal one is."""
    assert default(external=True) is NOTHING
    assert default(external=False) is EVERYTHING
    judged = NOTHING.judge(SAID, neighbour=1, version=4).of(SOME)
    assert judged.attributes is None
    assert "RFC 8212" in judged.why
    assert outcome(EVERYTHING) == SAID


def test_pools_as_a_policy() -> None:
    """What lies in one of them is accepted, whatever its length, and nothing else."""
    pools = within([ip_network("10.4.0.0/16"), ip_network("fd00:4::/48")])
    assert outcome(pools, SOME) == SAID
    assert outcome(pools, nlri.encode(ip_network("10.5.0.0/24"))) is None
    six = pools.judge(SAID, neighbour=1, version=6)
    assert six.of(nlri.encode(ip_network("fd00:4:0:1::/64"))).attributes
    assert six.of(SOME).why == "outside of the pools"
    assert (IPV4.version, IPV6.version) == (4, 6)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"name": "p", "rules": []}, "'rules' is not an option; did you mean 'rule'?"),
        ({"rule": []}, "name is missing"),
        ({"name": "p", "default": "drop"}, "default = 'drop': expected accept or reject"),
        ({"name": "p", "rule": [{"action": "deny"}]}, "[store.bgp.policy p, rule 1] action = 'deny'"),
        ({"name": "p", "rule": [{"match": {"prefix": []}}]}, "did you mean 'prefixes'?"),
        ({"name": "p", "rule": [{"match": {"prefixes": ["10.4.0.0/16 ge 8"]}}]}, "lengths have to rise"),
        ({"name": "p", "rule": [{"match": {"prefixes": ["10.4.0.1/16"]}}]}, "has host bits set"),
        ({"name": "p", "rule": [{"match": {"prefixes": ["10.4.0.0/16 gt 24"]}}]}, "'10.4.0.0/16 gt 24'"),
        ({"name": "p", "rule": [{"match": {"prefixes": [""]}}]}, "expected a prefix"),
        ({"name": "p", "rule": [{"match": {"prefixes": [10]}}]}, "10: expected text"),
        ({"name": "p", "rule": [{"match": {"as_path": [0]}}]}, "0: expected an AS number"),
        ({"name": "p", "rule": [{"set": {"local_pref": 1 << 32}}]}, "local_pref = 4294967296"),
        ({"name": "p", "rule": [{"set": {"add": ["x"]}}]}, "x"),
        ({"name": "p", "rule": [{"set": {"med": 1}, "action": "reject"}]}, "a rule that rejects sets nothing"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_its_place(table: Mapping[str, object], words: str) -> None:
    """Mistakes are found before any I/O."""
    with pytest.raises(ConfigError) as caught:
        Policy.from_options(table)
    assert words in str(caught.value)
