"""What operators ask a speaker, and what they are answered: of peers, of routes, and why one won."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import attrs
import pytest

from containernet.errors import ConfigError
from containernet.model import NetworkConfig, Pool, Route, Scalar, Tunnel
from containernet_backends.bgp import BgpStore, encapsulation, nlri
from containernet_backends.bgp.attributes import AS_SEQUENCE, AS_SET, IGP, Attributes, Segment
from containernet_backends.bgp.communities import NO_EXPORT
from containernet_backends.bgp.families import IPV4, IPV6, Family
from containernet_backends.bgp.peering import Negotiated
from containernet_backends.bgp.questions import QUESTIONS
from containernet_backends.bgp.remote import Remote
from containernet_backends.bgp.update import Announcement, Reading

NEAR, FAR = "127.0.0.9", "127.0.0.10"
ACCEPT = {"name": "all", "default": "accept"}
OPTIONS: dict[str, object] = {
    "asn": 64512,
    "router_id": "192.0.2.1",
    "listen": [],
    "policy": [ACCEPT],
    "peer": [
        {"address": NEAR, "port": 1, "description": "near"},
        {"address": FAR, "port": 1, "asn": 64600, "import_policy": "all", "export_policy": "all"},
    ],
}
PATH = Attributes(origin=IGP, next_hop=IPv4Address("192.0.2.7"), local_pref=100)


@pytest.fixture
def store() -> Iterator[BgpStore]:
    """A speaker whose peers do not listen. It is held still, so nothing happens but what the test does."""
    made = BgpStore.from_options(OPTIONS)
    with made.speaker.lock:
        made.speaker.start()
        yield made
    made.close()


def ask(store: BgpStore, question: str, *arguments: str) -> Mapping[str, Any]:
    """Ask as the daemon does; JSON can hold every answer, or this fails."""
    told = store.answer(question, arguments)
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    return told


def up(store: BgpStore, address: str, **changes: Any) -> Remote:
    """Have a peer's session be up."""
    remote = store.speaker.remotes[ip_address(address)]
    asn = remote.peer.asn
    negotiated = Negotiated(local_asn=64512, peer_asn=asn, peer_id=IPv4Address(address), hold_time=9)
    negotiated = attrs.evolve(negotiated, **changes)
    remote.begin(1, negotiated, now=1_700_000_000.0)
    store.speaker.table.join(remote.source, negotiated)
    return remote


def says(
    store: BgpStore, remote: Remote, attributes: Attributes, *prefixes: str, family: Family = IPV4
) -> None:
    """Have a peer announce prefixes."""
    raw = [nlri.encode(ip_network(each)) for each in prefixes]
    announced = Announcement(family=family, attributes=attributes, nlri=raw, path_ids=None)
    reading = Reading(announced=(announced,), withdrawn=(), end_of_rib=None, faults=())
    store.speaker.table.learn(remote.source, reading)


def test_every_question_is_explained_and_answered(store: BgpStore) -> None:
    """What is listed is understood, and nothing else is."""
    assert store.questions() == QUESTIONS
    up(store, NEAR, route_refresh=False)
    says(store, store.speaker.remotes[ip_address(NEAR)], PATH, "10.4.1.0/24")
    words = {"show": ["10.4.1.0/24"], "shutdown": [NEAR, "bye"], "start": [NEAR], "refresh": []}
    for question in QUESTIONS.keys() - {"refresh"}:
        assert ask(store, question, *words.get(question, []))
    with pytest.raises(ConfigError, match="expected refresh ADDRESS"):
        ask(store, "refresh")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("peers", "x"), "'x': expected the address of a peer"),
        (("peers", "192.0.2.9"), f"192.0.2.9 is no peer; there are: {NEAR}, {FAR}"),
        (("peers", NEAR, NEAR), f"bgp peers {NEAR} {NEAR}: expected peers [ADDRESS]"),
        (("routes", "10.4.1.1/24"), "'10.4.1.1/24': expected a prefix such as 10.4.1.0/24"),
        (("routes", "a", "b"), "expected routes [PREFIX]"),
        (("show",), "expected show PREFIX or ADDRESS"),
        (("show", "ten"), "'ten': expected a prefix or an address"),
        (("show", "10.4.1.0/33"), "'10.4.1.0/33': expected a prefix"),
        (("show", "10.4.1.0/24"), "nobody says anything of 10.4.1.0/24; `containernet bgp routes` has what"),
        (("show", "10.4.1.1"), "no prefix that anybody says something of holds 10.4.1.1"),
        (("shutdown",), "expected shutdown ADDRESS [WORDS]"),
        (("shutdown", "everybody"), "'everybody': expected the address of a peer"),
        (("start",), "expected start ADDRESS"),
        (("refresh", NEAR), f"the session with {NEAR} is not up"),
    ],
)
def test_what_cannot_be_answered_says_what_was_expected(
    store: BgpStore, words: tuple[str, ...], reason: str
) -> None:
    """Nothing is guessed."""
    with pytest.raises(ConfigError, match=re.escape(reason)):
        store.answer(words[0], words[1:])


def test_a_peer_in_a_line(store: BgpStore) -> None:
    """In the order of their addresses: whether its session is up, and how much it says."""
    remote = up(store, FAR)
    says(store, remote, attrs.evolve(PATH, as_path=(Segment(AS_SEQUENCE, (64600,)),)), "10.4.1.0/24")
    says(store, remote, PATH, "10.4.2.0/24", "10.4.3.0/24")  # without its AS
    remote.note_fault("MED of 3 octets")
    near, far = ask(store, "peers")["peers"]
    assert (near["address"], near["state"], near["for"], near["routes"]) == (NEAR, "Connect", "", 0)
    assert near["description"] == "near"
    assert (far["asn"], far["routes"], far["refused"], far["faults"]) == (64600, 3, 2, 1)
    assert re.fullmatch(r"\d+ s", far["for"])


def test_all_about_a_peer(store: BgpStore) -> None:
    """What was agreed on, and each reason for which something was refused."""
    down = ask(store, "peers", NEAR)
    assert down["since"] is None
    assert "capabilities" not in down
    remote = up(store, NEAR, restart_time=120, notification_restart=True, hostname="host2")
    says(store, remote, attrs.evolve(PATH, next_hop=IPv4Address("127.0.0.1")), "10.4.1.0/24")
    told = ask(store, "peers", NEAR)
    assert (told["hold_time"], told["restart_time"], told["hostname"]) == (9, 120, "host2")
    assert told["capabilities"] == ["as4", "refresh", "restart", "notification-restart"]
    assert (told["families"], told["complete"], told["stale"]) == (["ipv4", "ipv6"], False, False)
    assert told["refused"] == {"the next hop is no host's address (RFC 4271 s6.3)": 1}
    assert (told["external"], told["client"], told["sessions"]) == (False, False, 1)


def test_routes_are_the_best_of_each_prefix(store: BgpStore) -> None:
    """IPv4 first, in the order of prefixes, or those in one; what nobody may use is none."""
    near, far = up(store, NEAR), up(store, FAR)
    outside = attrs.evolve(PATH, as_path=(Segment(AS_SEQUENCE, (64600, 1)),))
    says(store, near, PATH, "10.4.10.0/24", "10.4.9.0/24")
    says(store, far, outside, "10.4.9.0/24", "10.5.0.0/16")
    says(store, far, PATH, "10.6.0.0/16")
    six = attrs.evolve(PATH, next_hop=IPv6Address("2001:db8::7"), communities=(NO_EXPORT,))
    says(store, near, six, "fd00:4::/64", family=IPV6)
    routes = ask(store, "routes")["routes"]
    assert [(each["prefix"], each["from"], each["paths"]) for each in routes] == [
        ("10.4.9.0/24", NEAR, 2),
        ("10.4.10.0/24", NEAR, 1),
        ("10.5.0.0/16", FAR, 1),
        ("fd00:4::/64", NEAR, 1),
    ]
    assert routes[2]["as_path"] == "64600 1"
    assert routes[3]["communities"] == ["no-export"]
    inside = ask(store, "routes", "10.4.0.0/16")["routes"]
    assert inside == routes[:2]
    assert ask(store, "routes", "10.4.9.0/24")["routes"] == routes[:1]
    assert ask(store, "routes", "10.4.9.0/25") == {"routes": []}


def test_every_path_and_the_rule_that_decided(store: BgpStore) -> None:
    """The best first; of an address, those to the longest prefix; refused ones last, with the reason."""
    near, far = up(store, NEAR), up(store, FAR)
    says(store, near, PATH, "10.4.0.0/16")
    says(store, far, attrs.evolve(PATH, as_path=(Segment(AS_SEQUENCE, (64600,)),)), "10.4.9.0/24")
    says(store, near, attrs.evolve(PATH, local_pref=50), "10.4.9.0/24")
    told = ask(store, "show", "10.4.9.77")
    assert told == ask(store, "show", "10.4.9.0/24")
    assert told["prefix"] == "10.4.9.0/24"
    assert [(each["from"], each["rule"]) for each in told["paths"]] == [
        (FAR, "best"),
        (NEAR, "LOCAL_PREF 50 < 100 (RFC 4271 s9.1.1)"),
    ]
    says(store, far, PATH, "10.4.9.0/24")
    first, last = ask(store, "show", "10.4.9.0/24")["paths"]
    assert (first["from"], last["from"]) == (NEAR, FAR)
    assert last["rule"] == "refused: the AS_PATH does not begin with the peer's AS (RFC 4271 s6.3)"
    aggregated = attrs.evolve(PATH, as_path=(Segment(AS_SEQUENCE, (64600,)), Segment(AS_SET, (2, 3))))
    says(store, far, aggregated, "10.4.7.0/24")
    assert ask(store, "show", "10.4.7.0/24")["paths"][0]["as_path"] == "64600 {2 3}"
    assert ask(store, "show", "10.4.8.1")["prefix"] == "10.4.0.0/16"


def test_what_is_kept_for_a_peer_that_restarts_is_marked(store: BgpStore) -> None:
    """It is used as before (RFC 4724 s4.2)."""
    remote = up(store, NEAR, restart_time=120, restartable=(IPV4,))
    says(store, remote, PATH, "10.4.1.0/24")
    assert [each["stale"] for each in ask(store, "show", "10.4.1.0/24")["paths"]] == [False]
    store.speaker.table.leave(remote.source, (IPV4,))
    (path,) = ask(store, "show", "10.4.1.0/24")["paths"]
    assert (path["stale"], path["rule"]) == (True, "best")


def test_our_own_routes_with_their_tunnels(store: BgpStore) -> None:
    """They are from here; and a peer's tunnel is shown with what has to be known of its far end."""
    data: dict[str, Scalar] = {"VNI": 7, "VtepMAC": "02:00:00:00:00:01"}
    tunnel = Tunnel(type="vxlan", data=data)
    own = Route(prefix=ip_network("10.4.1.0/24"), node="a", next_hop=IPv4Address("192.0.2.1"), tunnel=tunnel)
    store.announce(own)
    theirs = attrs.evolve(PATH, encapsulations=encapsulation.encode(tunnel, IPv4Address("192.0.2.8")))
    says(store, up(store, NEAR), theirs, "10.4.1.0/24")
    ours, other = ask(store, "show", "10.4.1.0/24")["paths"]
    assert (ours["from"], ours["rule"]) == ("here", "best")
    assert other["rule"] == "this speaker originates the prefix"
    assert (other["tunnel"], other["tunnel_endpoint"]) == ("vxlan", "192.0.2.8")
    assert other["tunnel_data"] == data


def test_an_operator_ends_a_session_and_begins_it_again(store: BgpStore) -> None:
    """The answer is the peer as it is then, with the words."""
    told = ask(store, "shutdown", NEAR, "new", "cable")
    assert (told["state"], told["reason"]) == ("Idle", "shut down by our operator: new cable")
    assert ask(store, "peers")["peers"][0]["reason"] == told["reason"]
    assert ask(store, "shutdown", NEAR)["reason"] == "shut down by our operator"
    assert ask(store, "start", NEAR)["state"] == "Connect"


def test_what_lies_outside_of_the_pools_is_shown_all_the_same(store: BgpStore) -> None:
    """Whoever looks for a fault has to see what the daemon does not use."""
    store.confine(NetworkConfig(pools=[Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24)]))
    says(store, up(store, NEAR), PATH, "10.9.0.0/16")
    assert [each["prefix"] for each in ask(store, "routes")["routes"]] == ["10.9.0.0/16"]
