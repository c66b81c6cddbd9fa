"""The plugin in a daemon: answers to what cannot be done, and letters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from containernet.cni.plugin import Plugin
from containernet.errors import ConfigError, KernelError, PermissionRefused
from containernet.testing import FOR_EVER, FakeKernel
from tests.nodes import NAME, plugin

NONE: dict[str, Any] = {"cni.dev/valid-attachments": []}


def words(command: str, container: str = "c1", **config: Any) -> dict[str, Any]:
    """Return a request as the executable sends it."""
    environment = {
        "CNI_COMMAND": command,
        "CNI_CONTAINERID": container,
        "CNI_NETNS": f"/run/netns/{container}",
        "CNI_IFNAME": "eth0",
    }
    text = json.dumps({"cniVersion": "1.1.0", "name": "net", "type": NAME, **config})
    return {"plugin": NAME, "environment": environment, "config": text}


def code(ours: Plugin, command: str, container: str = "c1", **config: Any) -> int:
    """Return the code of an answer; 0: success."""
    answer = ours.answer(words(command, container, **config))
    return int(json.loads(answer["output"])["code"]) if answer["exit"] else 0


def write(directory: Path, name: str, letter: object) -> None:
    """Leave a letter."""
    (directory / name).write_text(json.dumps(letter))


def test_every_reason_has_its_code() -> None:
    """A taken address, one too many, an interface that is there, no namespace, a kernel that refuses."""
    with plugin() as (ours, agent):
        kernel = agent._kernel
        assert isinstance(kernel, FakeKernel)
        assert code(ours, "ADD", runtimeConfig={"ips": ["10.4.1.3"]}) == 0
        assert code(ours, "ADD") == 4
        assert code(ours, "ADD", "c2", runtimeConfig={"ips": ["10.4.1.3"]}) == 102
        assert code(ours, "ADD", "c2", runtimeConfig={"ips": ["10.9.9.9"]}) == 7
        assert code(ours, "ADD", "nonesuch") == 4
        kernel.fail(lambda _operation: True, times=1)
        assert code(ours, "ADD", "c2") == 100
        kernel.faults.fail("inside", PermissionRefused("not yours"))
        assert code(ours, "ADD", "c2") == 100
        assert [each.container for each in agent.status().endpoints] == ["c1"]
        for container in ("c2", "c3", "c4", "c5"):
            assert code(ours, "ADD", container) == 0
        assert code(ours, "ADD", "c6") == 11
        assert code(ours, "CHECK", "c6", prevResult={"ips": []}) == 3
        assert code(ours, "CHECK", "c5") == 7
        assert code(ours, "CHECK", "c5", prevResult={"ips": [{"address": "10.4.1.99/29"}]}) == 101


def test_collecting_goes_on_where_one_cannot_be_collected() -> None:
    """And says which; the next time all are gone."""
    with plugin() as (ours, agent):
        kernel = agent._kernel
        assert isinstance(kernel, FakeKernel)
        for container in ("c1", "c2"):
            assert code(ours, "ADD", container) == 0
        kernel.faults.fail("execute", KernelError("busy"))
        answer = ours.answer(words("GC", **NONE))
        assert "c1: busy" in json.loads(answer["output"])["details"]
        assert [each.container for each in agent.status().endpoints] == ["c1"]
        assert code(ours, "GC", **NONE) == 0
        assert agent.status().endpoints == ()


def test_a_letter_that_cannot_be_done_stands_in_nobody_elses_way() -> None:
    """The container that it is about has to wait; as soon as it can be done, it is."""
    with plugin() as (ours, agent):
        kernel, letters = agent._kernel, ours._letters._path
        assert isinstance(kernel, FakeKernel)
        assert code(ours, "ADD") == 0
        write(letters, "1", words("DEL"))
        write(letters, "2", words("ADD", "c3"))
        write(letters, "3", ["nonsense"])
        kernel.faults.fail("execute", KernelError("busy"), times=2)
        ours.open_letters()
        assert [each.name for each in letters.iterdir()] == ["1"]
        assert code(ours, "ADD") == 11
        kernel.faults.heal()
        assert code(ours, "ADD", "c2") == 0
        assert [each.container for each in agent.status().endpoints] == ["c2"]
        assert list(letters.iterdir()) == []
        assert code(ours, "ADD") == 0


@pytest.mark.parametrize(
    "asked",
    [{}, {"plugin": 7}, {"plugin": "x", "environment": [], "config": ""}, {**words("ADD"), "config": None}],
)
def test_only_the_executable_may_ask(asked: dict[str, Any]) -> None:
    """Whoever says something else over the socket is told so."""
    with plugin() as (ours, _), pytest.raises(ConfigError, match="as the CNI plugin sends them"):
        ours.answer(asked)


def test_a_kernel_that_cannot_be_read_is_no_reason_to_lose_a_container() -> None:
    """CHECK and DEL can be tried again; nothing is forgotten meanwhile."""
    with plugin() as (ours, agent):
        kernel = agent._kernel
        assert isinstance(kernel, FakeKernel)
        told = json.loads(ours.answer(words("ADD"))["output"])
        kernel.faults.fail("read", KernelError("busy"), times=FOR_EVER)
        kernel.faults.fail("execute", KernelError("busy"), times=FOR_EVER)
        assert code(ours, "CHECK", prevResult=told) == 100
        assert code(ours, "DEL") == 100
        assert [each.container for each in agent.status().endpoints] == ["c1"]
        kernel.faults.heal()
        assert code(ours, "CHECK", prevResult=told) == 0
        assert code(ours, "DEL") == 0
