"""From items to elements of the tables' sets and maps, and back. Pure: text out, nft's JSON in.

An item is one element, but for a guard, which is several under one name. Protocols are numbers: their names are
in a file of the host's, which need not be there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple

import attrs

from containernet.items import ForwardAccept, Hairpin, Item, Key, Masquerade, PortForward, SourceGuard

from .nft_programs import BRIDGE_GUARD, GUARD, TRANSLATION, Program

TABLED = frozenset({Masquerade, Hairpin, PortForward, SourceGuard, ForwardAccept})

_NUMBERS = {"tcp": "6", "udp": "17", "sctp": "132"}
_NAMES = {number: name for name, number in _NUMBERS.items()}
_NAMEABLE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")


class Element(NamedTuple):
    """One element: of which set, and its parts; behind `:` those that it leads to."""

    set: str
    parts: tuple[str, ...]

    def __str__(self) -> str:
        return " . ".join(self.parts).replace(" . : . ", " : ")


def program(item: Item) -> Program | None:
    """Return the table that an item is in; None: one of somebody else's."""
    if isinstance(item, ForwardAccept):
        return None
    if isinstance(item, SourceGuard):
        return BRIDGE_GUARD if item.bridged else GUARD
    return TRANSLATION


def elements(item: Item) -> frozenset[Element]:
    """Return what an item is in its table.

    Raises:
        ValueError: nft has no words for an interface of that name.
    """
    return frozenset(_elements(item))


def _elements(item: Item) -> Iterator[Element]:
    match item:
        case Masquerade(pool=pool):
            yield Element(f"pools{pool.version}", (str(pool),))
        case Hairpin(subnet=subnet):
            yield Element(f"local{subnet.version}", (str(subnet),))
        case PortForward(host_ip=own, address=address):
            at = () if own is None else (str(own),)
            port = (_NUMBERS[item.protocol], str(item.host_port), ":", str(address), str(item.port))
            yield Element(f"ports_at{address.version}" if at else f"ports{address.version}", (*at, *port))
        case SourceGuard(interface=name, mac=mac, addresses=addresses):
            if not _NAMEABLE.fullmatch(name):
                raise ValueError(name)
            name = f'"{name}"'
            yield Element("guarded", (name,))
            for own in addresses:
                yield Element(f"sources{own.version}", (name, mac, str(own)))
                if own.version == 6:
                    yield Element("targets6", (name, mac, f"{int(own):#x}"))


def held(which: Program, listing: Iterable[Mapping[str, Any]]) -> dict[Key, frozenset[Element]]:
    """Return the elements of a table by the key of the item that they are, or are a part of.

    Raises:
        ValueError, LookupError, TypeError: an element is of a kind that we never make.
    """
    found: dict[Key, set[Element]] = defaultdict(set)
    for entry in listing:
        for kind in ("set", "map"):
            for element in entry.get(kind, {}).get("elem", ()):
                made = Element(entry[kind]["name"], tuple(_parts(entry[kind]["name"], element)))
                found[_key(which, made)].add(made)
    return {key: frozenset(each) for key, each in found.items()}


def item(key: Key, of: frozenset[Element], *, whole: bool) -> Item:
    """Return the item that those elements are, or are a part of.

    Args:
        whole: the table is as its program says.
    """
    made = _guard(key, of) if key[0] == "guard" else _item(next(iter(of)))
    return made if whole and elements(made) == of else attrs.evolve(made, enforced=False)


def _guard(key: Key, of: frozenset[Element]) -> SourceGuard:
    _, name, bridged = key
    sources = [each.parts for each in of if each.set.startswith("sources")]
    return SourceGuard(
        interface=str(name),
        mac=next((parts[1] for parts in sources), ""),
        addresses=[ip_address(parts[2]) for parts in sources],
        bridged=bool(bridged),
    )


def _item(element: Element) -> Masquerade | Hairpin | PortForward:
    parts = element.parts
    match element.set.rstrip("46"):
        case "pools":
            return Masquerade(pool=ip_network(parts[0]))
        case "local":
            return Hairpin(subnet=ip_network(parts[0]))
        case _:
            protocol, host_port, _, address, port = parts[-5:]
            return PortForward(
                protocol=_NAMES.get(protocol, protocol),
                host_ip=ip_address(parts[0]) if len(parts) == 6 else None,
                host_port=int(host_port),
                address=ip_address(address),
                port=int(port),
            )


def _key(which: Program, element: Element) -> Key:
    if which is TRANSLATION:
        return _item(element).key
    return ("guard", element.parts[0].strip('"'), which is BRIDGE_GUARD)


def _parts(name: str, element: Any) -> Iterator[str]:
    """Yield the parts of an element as nft's JSON has it, in our own writing."""
    if isinstance(element, list):
        yield from _parts(name, element[0])
        yield ":"
        yield from _parts(name, element[1])
    elif isinstance(element, Mapping) and "concat" in element:
        for at, part in enumerate(element["concat"]):
            yield _part(part, quoted=at == 0 and name.startswith(("sources", "targets")))
    elif isinstance(element, Mapping) and "prefix" in element:
        yield f"{ip_address(element['prefix']['addr'])}/{element['prefix']['len']}"
    elif isinstance(element, Mapping) and "elem" in element:  # one with a comment or a timeout of somebody's
        yield from _parts(name, element["elem"]["val"])
    elif name.startswith(("pools", "local")):  # a whole prefix is an address
        yield str(ip_network(element)) if isinstance(element, str) else str(element)
    else:
        yield _part(element, quoted=name == "guarded")


def _part(part: Any, *, quoted: bool) -> str:
    text = str(part)
    if quoted:
        return f'"{text}"'
    if text.startswith("0x"):
        return f"{int(text, 16):#x}"
    if ":" in text and text.count(":") != 5:
        return str(ip_address(text))
    return text
