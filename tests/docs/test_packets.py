"""docs/packets.md shows what the dataplanes render today, and headers that a wire carries today."""

from __future__ import annotations

import re

import pytest

from tests.docs.pages import shape
from tests.docs.shown import items, marked, wire

ITEMS = {words: text for kind, words, text in marked() if kind == "items"}
WIRES = {words: text for kind, words, text in marked() if kind == "wire"}
HERE = {words: text for words, text in WIRES.items() if not words.startswith("ipip")}


@pytest.mark.parametrize("part", ITEMS)
def test_the_items_are_what_the_dataplane_renders(part: str) -> None:
    """What a reader learns here is what his kernel gets."""
    assert ITEMS[part] == items(part)


def test_every_dataplane_is_shown() -> None:
    """A new one does not stay magic."""
    import containernet.loading as loading

    names = {each.name for each in loading.installed(loading.DATAPLANES) if each.distribution == "containernet"}
    assert names <= {words.split()[0] for words in ITEMS}
    assert names == {words.split()[0] for words in WIRES}


def headers(text: str) -> str:
    """Return captured headers without what differs between two packets: MACs, identifiers, hashed ports."""
    return shape(re.sub(r"UDP \d+ >", "UDP N >", re.sub(r"\bid \d+", "id N", text)))


@pytest.mark.kernel
@pytest.mark.parametrize("words", HERE)
def test_the_headers_are_what_the_wire_carries(words: str) -> None:
    """Captured again, in the same lab: every header, every address, every octet."""
    assert headers(wire(*words.split())) == headers(HERE[words])


@pytest.mark.uml
@pytest.mark.parametrize("words", WIRES.keys() - HERE.keys())
def test_the_headers_of_ipip_are_what_the_wire_carries(words: str) -> None:
    """The same, on a kernel that has the driver."""
    assert headers(wire(*words.split())) == headers(WIRES[words])
