"""What a node remembers on disk, so that it can start while its stores are away.

One JSON file, replaced as a whole: either the old one is there or the new one. It holds no secret and nothing
that a store could not tell again; a file that cannot be read costs a slower start and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from .contracts import Settings
from .jsonform import (
    network_from_json,
    network_to_json,
    prefix_from_json,
    route_from_json,
    route_to_json,
    settings_from_json,
    settings_to_json,
)
from .model import NetworkConfig, Prefix, Route
from .replacing import replace
from .values import shown

VERSION = 1


@attrs.frozen(kw_only=True)
class Remembered:
    """The last view that was complete.

    Args:
        network: what all hosts agree on; None: not known yet.
        subnets: what this node had leased.
        routes: every route that was believed.
        settings: what the lease store said to all hosts; None: it said nothing, or was never heard.
        lease_until: when the lease of `subnets` ends at the earliest, seconds on the clock of `agent.boottime`;
            None: not known.
        lease_of: which clock and which store that is of; opaque.
    """

    network: NetworkConfig | None = None
    subnets: tuple[Prefix, ...] = ()
    routes: tuple[Route, ...] = ()
    settings: Settings | None = None
    lease_until: float | None = None
    lease_of: str = ""
    __repr__ = shown


def save(path: Path, remembered: Remembered) -> None:
    """Replace the file at `path` in one step, durably.

    Raises:
        OSError: no space, no permission; the file that was there is still there.
    """
    replace(path, _pieces(remembered))


def load(path: Path) -> Remembered:
    """Read the file at `path`; what is not there, or not readable as ours, is nothing remembered.

    Raises:
        ValueError: there is a file, but not one that `save` wrote; the caller says so and goes on without.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        return Remembered()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']}, expected {VERSION}")
        return _from_json(document)
    except Exception as error:
        raise ValueError(f"{path} is not a snapshot of ours: {error}") from error


def _pieces(remembered: Remembered) -> Iterator[str]:
    """Yield the document, route by route: of thousands no two are held as JSON at the same time."""
    head = {
        "version": VERSION,
        "network": network_to_json(remembered.network) if remembered.network else None,
        "subnets": [str(subnet) for subnet in remembered.subnets],
        "settings": settings_to_json(remembered.settings) if remembered.settings else None,
        "lease": {"until": remembered.lease_until, "of": remembered.lease_of},
    }
    encode = json.JSONEncoder(separators=(",", ":")).encode
    yield f'{encode(head).removesuffix("}")},"routes":['
    for nth, route in enumerate(remembered.routes):
        yield f"{',' if nth else ''}\n{encode(route_to_json(route))}"
    yield "\n]}"  # nothing behind it: whatever is cut off is missed


def _from_json(document: dict[str, Any]) -> Remembered:
    lease = document.get("lease") or {}  # older files have none
    until = lease.get("until")
    return Remembered(
        network=network_from_json(document["network"]) if document["network"] else None,
        subnets=tuple(map(prefix_from_json, document["subnets"])),
        routes=tuple(route_from_json(route) for route in document["routes"]),
        settings=settings_from_json(settings) if (settings := document.get("settings")) else None,
        lease_until=None if until is None else float(until),
        lease_of=str(lease.get("of", "")),
    )
