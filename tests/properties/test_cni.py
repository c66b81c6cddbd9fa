"""The plugin answers whatever it is asked, in the specification's words, and forgets and invents nothing."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, strategies as st

from tests.nodes import CONTAINERS, NAME, plugin

junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9) | st.sampled_from(("10.4.1.3", "1.1.0")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=8,
)
KEYS = (
    *("cniVersion", "name", "type", "ipam", "args", "dns", "prevResult", "runtimeConfig", "capabilities"),
    "cni.dev/valid-attachments",
)
CAPABILITIES = ("ips", "mac", "portMappings", "aliases", "dns", "bandwidth")
wishes = st.dictionaries(st.sampled_from(CAPABILITIES), junk, max_size=2)
broken = st.dictionaries(st.sampled_from(KEYS), junk | wishes, max_size=3)
whole = st.fixed_dictionaries(
    {"cniVersion": st.sampled_from(("0.3.1", "0.4.0", "1.0.0", "1.1.0")), "name": st.just("net")},
    optional={"runtimeConfig": wishes, "prevResult": junk, "cni.dev/valid-attachments": junk},
)
environments = st.fixed_dictionaries(
    {
        "CNI_COMMAND": st.sampled_from(("ADD", "DEL", "CHECK", "GC", "STATUS")),
        "CNI_CONTAINERID": st.sampled_from(CONTAINERS) | st.text(max_size=3),
        "CNI_NETNS": st.sampled_from([f"/run/netns/{name}" for name in CONTAINERS]) | st.text(max_size=3),
        "CNI_IFNAME": st.sampled_from(("eth0", "eth1")) | st.text(max_size=3),
    },
    optional={"CNI_ARGS": st.text(max_size=9) | st.sampled_from(("IP=10.4.1.4", "MAC=02:00:00:00:00:01;A=b"))},
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw what comes on stdin: mostly a configuration, sometimes junk."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.text(max_size=20))
    return json.dumps({"type": NAME, **draw(whole), **(draw(broken) if draw(st.booleans()) else {})})


@given(asked=st.lists(st.tuples(environments, texts()), max_size=12))
def test_every_request_has_an_answer(asked: list[tuple[dict[str, str], str]]) -> None:
    """Success is nothing or a result, failure a document with a code; and no address is ever held twice."""
    with plugin() as (ours, agent):
        for environment, text in asked:
            before = {endpoint.name: endpoint for endpoint in agent.status().endpoints}
            answer = ours.answer({"plugin": NAME, "environment": environment, "config": text})
            check(answer, environment)
            after = {endpoint.name: endpoint for endpoint in agent.status().endpoints}
            if answer["exit"] and environment["CNI_COMMAND"] in ("ADD", "CHECK", "STATUS"):
                assert after == before
            held = [own for endpoint in after.values() for own in endpoint.addresses]
            assert len(set(held)) == len(held)


def check(answer: dict[str, Any], environment: dict[str, str]) -> None:
    """Fail unless it is an answer: SPEC, section 5."""
    if answer["exit"]:
        error = json.loads(answer["output"])
        assert error.keys() == {"cniVersion", "code", "msg", "details"}
        assert (type(error["code"]), bool(error["msg"])) == (int, True)
    elif environment["CNI_COMMAND"] == "ADD":
        assert json.loads(answer["output"])["ips"]
    else:
        assert answer["output"] == ""
