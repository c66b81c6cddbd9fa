"""A runtime's words as a request: what is refused, and with which code."""

from __future__ import annotations

import json
from typing import Any

import pytest

from containernet.cni.request import Code, Refused, Request, read, version_of

ENVIRONMENT = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/c1",
    "CNI_IFNAME": "eth0",
    "CNI_ARGS": "IgnoreUnknown=1",
    "CNI_PATH": "/opt/cni/bin",
}


def config(**more: Any) -> str:
    """Return a network configuration of ours."""
    return json.dumps({"cniVersion": "1.0.0", "name": "net", "type": "containernet-cni", **more})


def request(text: str, **environment: str) -> Request:
    """Return what is read of it."""
    return read("containernet-cni", {**ENVIRONMENT, **environment}, text)


def refusal(text: str, **environment: str) -> Refused:
    """Return why it is refused."""
    with pytest.raises(Refused) as raised:
        request(text, **environment)
    return raised.value


def test_a_request_holds_what_was_said() -> None:
    """The environment, and the configuration as it is."""
    asked = request(config(capabilities={"ips": True}))
    assert attributes(asked) == ("ADD", "1.0.0", "net", "c1", "eth0", "/run/netns/c1", "IgnoreUnknown=1", False)
    assert asked.config["capabilities"] == {"ips": True}


def attributes(asked: Request) -> tuple[object, ...]:
    """Return all of a request but its configuration."""
    return (
        *(asked.command, asked.version, asked.network, asked.container, asked.interface),
        *(asked.netns, asked.arguments, asked.addresses_only),
    )


def test_the_name_that_we_are_executed_by_is_our_type() -> None:
    """Whoever renames the executable names the new one in the configuration."""
    assert not read("ours", ENVIRONMENT, config(type="ours")).addresses_only
    assert read("ours", ENVIRONMENT, config(type="bridge", ipam={"type": "ours"})).addresses_only
    assert not read("ours", ENVIRONMENT, config(type="ours", ipam={"type": "ours"})).addresses_only


def test_another_ipam_plugin_is_not_asked() -> None:
    """Code 2 names the key and its value, as the specification wants it."""
    refused = refusal(config(ipam={"type": "host-local", "subnet": "10.1.0.0/16"}))
    assert refused.code is Code.UNSUPPORTED_FIELD
    assert 'ipam {"type": "host-local", "subnet": "10.1.0.0/16"}' in refused.message
    assert request(config(ipam={"type": "host-local"}), CNI_COMMAND="DEL").container == "c1"


@pytest.mark.parametrize(
    ("command", "version", "code"),
    [
        ("CHECK", "0.3.1", Code.INCOMPATIBLE_VERSION),
        ("CHECK", "0.4.0", None),
        ("GC", "1.0.0", Code.INCOMPATIBLE_VERSION),
        ("GC", "1.1.0", None),
        ("STATUS", "1.0.0", Code.INCOMPATIBLE_VERSION),
        ("STATUS", "1.1.0", None),
        ("DEL", "0.3.0", None),
        ("ADD", "0.2.0", Code.INCOMPATIBLE_VERSION),
        ("ADD", "", Code.INCOMPATIBLE_VERSION),  # 0.1.0, before there was the key
        ("ADD", None, Code.INCOMPATIBLE_VERSION),
        ("ADD", 1.0, Code.DECODING),
    ],
)
def test_a_command_is_asked_in_a_version_that_has_it(command: str, version: object, code: Code | None) -> None:
    """CHECK since 0.4.0, GC and STATUS since 1.1.0."""
    text = config(cniVersion=version)
    if code is None:
        assert request(text, CNI_COMMAND=command).version == version
    else:
        assert refusal(text, CNI_COMMAND=command).code is code


def test_octets_that_are_no_text_are_no_json() -> None:
    """They come as the executable passes them on, half a surrogate for each."""
    assert (
        refusal(config(name=b"\xff".decode("utf-8", "surrogateescape"))[:-1] + "\udcff}").code is Code.DECODING
    )
    assert refusal("[" * 100_000).code is Code.DECODING


@pytest.mark.parametrize("text", ["", "[]", "null", "7", '"x"', "{", "[" * 100_000])
def test_whatever_was_asked_the_answer_has_a_version(text: str) -> None:
    """Of what cannot be read, one that everybody reads."""
    assert version_of(text) == "1.0.0"
    assert version_of('{"cniVersion": 7}') == "1.0.0"
    assert version_of('{"cniVersion": "9.9"}') == "9.9"
