"""What a node remembers: the old file or the new one, never half of one, and junk is nothing remembered."""

from __future__ import annotations

import json
import os
from ipaddress import ip_network
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from containernet.remembered import Remembered, load, save
from containernet.testing.strategies import networks, routes

views = st.builds(
    Remembered,
    network=st.none() | networks(),
    subnets=st.sampled_from(((), (ip_network("10.4.1.0/24"),))),
    routes=st.lists(routes(), max_size=4).map(tuple),
    lease_until=st.none() | st.floats(0, 1e9),
    lease_of=st.sampled_from(("", "4c2a")),
)


@given(view=views)
def test_what_was_saved_is_remembered(tmp_path_factory: pytest.TempPathFactory, view: Remembered) -> None:
    """To the last tunnel parameter."""
    path = tmp_path_factory.getbasetemp() / "view.json"
    save(path, view)
    assert load(path) == view


@given(view=views, data=st.data())
def test_a_torn_file_is_an_error_or_what_was_saved(
    tmp_path_factory: pytest.TempPathFactory, view: Remembered, data: st.DataObject
) -> None:
    """Cut anywhere, or with one octet wrong, it never raises anything but ValueError."""
    path = tmp_path_factory.getbasetemp() / "torn.json"
    save(path, view)
    whole = path.read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    torn = data.draw(st.sampled_from((whole[:place], whole[:place] + b"\xff" + whole[place + 1 :])))
    path.write_bytes(torn)
    with pytest.raises(ValueError, match="torn"):
        load(path)


@given(view=views.filter(lambda view: view.routes and view.subnets), data=st.data())
def test_an_address_that_is_no_text_is_none(
    tmp_path_factory: pytest.TempPathFactory, view: Remembered, data: st.DataObject
) -> None:
    """Although Python would take 1 and true for 0.0.0.1."""
    path = tmp_path_factory.getbasetemp() / "odd.json"
    save(path, view)
    document = json.loads(path.read_text())
    route = document["routes"][0]
    where, key = data.draw(
        st.sampled_from(
            [(route, "prefix"), (route, "next_hop"), (route, "node"), (route["tunnel"], "type")]
            + [(document["subnets"], 0)]
            + [(pool, name) for pool in (document["network"] or [])[:1] for name in ("prefix", "first", "last")]
        )
    )
    where[key] = data.draw(st.integers(0, 2**32 - 1) | st.booleans() | st.none() | st.just([1, 24]))
    path.write_text(json.dumps(document))
    with pytest.raises(ValueError, match="expected text"):
        load(path)


def test_nothing_is_remembered_where_there_is_no_file(tmp_path: Path) -> None:
    """A first start is no error."""
    assert load(tmp_path / "none.json") == Remembered()


def test_a_save_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    """Here the new one cannot take its place."""
    path = tmp_path / "view.json"
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(OSError, match=str(tmp_path)):
        save(path, Remembered())
    assert os.listdir(tmp_path) == ["view.json"]  # noqa: PTH208 - names, and nothing else
    with pytest.raises(ValueError, match="cannot be read"):
        load(path)


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 10_000, '{"version": 1, "network": [{}]}', "{}", "\x00"])
def test_junk_is_a_value_error(tmp_path: Path, text: str) -> None:
    """Whatever it is that Python stumbles over."""
    path = tmp_path / "view.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="is not a snapshot of ours"):
        load(path)
