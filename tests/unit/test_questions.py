"""What only a store understands: asked of the daemon, answered by the store, shown as tables or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from containernet.cli.main import main
from containernet.contracts import Answers
from containernet.control import ControlServer
from containernet.errors import ConfigError
from containernet.questions import Table, answer, shown
from containernet_backends.memory import MemoryStore

PEERS = [
    {"peer": "192.0.2.2", "state": "Established", "families": ["IPv4", "IPv6"], "up": True, "since": 1.5},
    {"peer": "192.0.2.3", "state": "Active", "families": [], "up": False, "since": None},
]


class Knowing(MemoryStore):
    """A store that knows its peers."""

    def questions(self) -> Mapping[str, str]:
        """Return two words."""
        return {"peers": "every session", "show": "PREFIX: every path to it"}

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Answer."""
        if question == "peers":
            return {"router_id": "192.0.2.1", "peers": PEERS, "idle": []}
        if len(arguments) != 1:
            raise ConfigError(f"show {' '.join(arguments)}: expected one prefix such as 10.4.1.0/24")
        return {"prefix": arguments[0], "best": {"next_hop": "192.0.2.2", "med": 5}}


STORES = {"memory": Knowing(), "silent": MemoryStore()}


def ask(store: str, question: str = "", *arguments: str) -> Mapping[str, object]:
    """Ask as the command line does."""
    return answer(STORES, {"store": store, "question": question, "arguments": list(arguments)})


def test_the_stores_word_is_passed_on_as_it_is() -> None:
    """With the operator's own words; and without a question, the questions are the answer."""
    assert isinstance(STORES["memory"], Answers)
    assert ask("memory", "peers")["peers"] == PEERS
    assert ask("memory", "show", "10.4.1.0/24")["prefix"] == "10.4.1.0/24"
    assert ask("memory") == {
        "questions": [
            {"question": "peers", "answers": "every session"},
            {"question": "show", "answers": "PREFIX: every path to it"},
        ]
    }


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"store": "bgp"}, "'bgp' is no store of this host: its config file names memory and silent"),
        ({}, "None is no store of this host"),
        ({"store": ["x"]}, "is no store of this host"),
        ({"store": "silent"}, "the store silent answers no questions"),
        ({"store": "memory", "question": "paths"}, "memory does not know 'paths': ask peers, show"),
        ({"store": "memory", "question": ["peers"]}, "memory does not know"),
        ({"store": "memory", "question": "peers"}, "arguments = None: expected a list of words"),
        ({"store": "memory", "question": "peers", "arguments": [1]}, r"arguments = \[1\]: expected a list"),
        ({"store": "memory", "question": "show", "arguments": []}, "expected one prefix"),
    ],
)
def test_what_cannot_be_answered_is_refused_by_name(request_: dict[str, Any], reason: str) -> None:
    """Whatever is written to the socket: it is a ConfigError that says what was expected."""
    with pytest.raises(ConfigError, match=reason):
        answer(STORES, request_)


def test_a_list_of_objects_is_a_table_and_anything_else_a_line() -> None:
    """In the order of the answer; a row that lacks a column has an empty cell."""
    lines = list(
        shown({"router_id": "192.0.2.1", "peers": [*PEERS, {"peer": "x"}], "idle": [], "n": 0, "no": None})
    )
    assert lines == [
        "router_id: 192.0.2.1",
        Table(
            columns=("peer", "state", "families", "up", "since"),
            rows=(
                ("192.0.2.2", "Established", "IPv4 IPv6", "yes", "1.5"),
                ("192.0.2.3", "Active", "", "no", ""),
                ("x", "", "", "", ""),
            ),
        ),
        "idle: none",
        "n: 0",
        "no: none",
    ]
    assert list(shown({"best": {"next_hop": "192.0.2.2", "med": 5}})) == ["best: next_hop=192.0.2.2 med=5"]


def test_a_column_that_is_empty_from_top_to_bottom_is_left_out() -> None:
    """JSON has it; people would have to read over it, and a table has to fit."""
    rows = [{"peer": "192.0.2.2", "med": None, "n": 0}, {"peer": "192.0.2.3", "med": "", "n": 0}]
    (table,) = shown({"peers": rows})
    assert table == Table(columns=("peer", "n"), rows=(("192.0.2.2", "0"), ("192.0.2.3", "0")))
    assert list(shown({"peers": [{"med": None}]})) == [Table(columns=(), rows=())]


@pytest.fixture
def config(tmp_path: Path) -> Iterator[str]:
    """A config file, and a daemon's socket behind it."""
    (tmp_path / "run").mkdir()
    file = tmp_path / "containernet.toml"
    file.write_text(f'[daemon]\nrun_dir = "{tmp_path}/run"\n')
    commands = {"ask": lambda request: answer(STORES, request)}
    with closing(ControlServer(tmp_path / "run" / "containernet.sock", commands)):
        yield str(file)


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[object, str, str]:
    """Run the command line; return its exit code and what it printed."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    printed = capsys.readouterr()
    return ended.value.code, printed.out, printed.err


def test_a_store_is_asked_by_its_name(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a table, as JSON, and with the words that follow."""
    code, out, _ = run(capsys, "--config", config, "memory", "peers")
    assert code == 0
    assert [line.split() for line in out.splitlines() if line.startswith(("router", "PEER", "192"))] == [
        ["router_id:", "192.0.2.1"],
        ["PEER", "STATE", "FAMILIES", "UP", "SINCE"],
        ["192.0.2.2", "Established", "IPv4", "IPv6", "yes", "1.5"],
        ["192.0.2.3", "Active", "no"],
    ]
    code, out, _ = run(capsys, f"--config={config}", "memory", "show", "10.4.1.0/24", "--json")
    assert (code, json.loads(out)["prefix"]) == (0, "10.4.1.0/24")
    code, out, _ = run(capsys, "--config", config, "memory")
    assert code == 0
    assert "every session" in out


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("sqlite", "peers"), "'sqlite' is no store of this host: its config file names memory and silent"),
        (("memory", "paths"), "memory does not know 'paths': ask peers, show"),
        (("memory", "show"), "expected one prefix such as 10.4.1.0/24"),
        (("atach",), "invalid choice: 'atach'"),
        (("config",), "invalid choice: 'config'"),
    ],
)
def test_whoever_cannot_be_asked_is_exit_code_2(
    config: str, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], reason: str
) -> None:
    """A store that is not this host's, a question that there is not, and a word that is nothing."""
    code, _, error = run(capsys, "--config", config, *words)
    assert code == 2
    assert reason in error
