"""What operators ask a speaker: who its peers are, what it knows, why one path wins; and the little they order.

Everything is answered as JSON can hold it. The caller holds the speaker's lock.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from containernet.errors import ConfigError
from containernet.model import Address, Prefix

from . import communities, encapsulation, nlri
from .attributes import AS_SET, Attributes
from .export import Member
from .families import FAMILIES, IPV4, IPV6, Family
from .nlri import Nlri
from .paths import Path
from .peering import Negotiated
from .remote import Remote
from .rib import chosen
from .speaker import Speaker

ORIGINS = ("igp", "egp", "incomplete")

QUESTIONS = {
    "peers": "[ADDRESS]: every peer, or all about one",
    "routes": "[PREFIX]: the best path to each prefix, or to those in one",
    "show": "PREFIX or ADDRESS: every path to it, which rule decided, and who is told",
    "shutdown": "ADDRESS [WORDS]: end the session with a peer, with words for its operator (RFC 9003)",
    "start": "ADDRESS: begin it again",
    "refresh": "ADDRESS: ask the peer to tell all of its routes again (RFC 2918)",
}


def answer(speaker: Speaker, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
    """Return the answer to one of `QUESTIONS`.

    Raises:
        ConfigError: the arguments are not what it needs, or nothing is known of what they name.
    """
    words = tuple(arguments)
    match question, words:
        case "peers", ():
            return {"peers": [_summary(peer) for peer in peers(speaker)]}
        case "peers", (text,):
            return _one(speaker, text)
        case "routes", () | (_,):
            return {"routes": [_in_short(route) for route in routes(speaker, *words)]}
        case "show", (text,):
            return show(speaker, text)
        case "shutdown", (text, *rest):
            speaker.shut_down(_address(text), " ".join(rest))
            return _one(speaker, text)
        case "start", (text,):
            speaker.bring_up(_address(text))
            return _one(speaker, text)
        case "refresh", (text,):
            speaker.refresh(_address(text))
            return _one(speaker, text)
    raise ConfigError(f"bgp {' '.join((question, *words))}: expected {question} {QUESTIONS[question]}")


def _one(speaker: Speaker, text: str) -> Mapping[str, object]:
    return _peer(speaker.peer(_address(text)))


def _summary(peer: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a peer fits into a line."""
    since = f"{max(0.0, time.time() - peer['since']):.0f} s" if peer["since"] else ""
    return {
        "address": peer["address"],
        "asn": peer["asn"],
        "state": peer["state"],
        "for": since,
        "routes": sum(peer["received"].values()),
        "refused": sum(peer["refused"].values()),
        "faults": sum(peer["faults"].values()),
        "description": peer["description"] or peer.get("hostname", ""),
        "reason": peer["reason"],
    }


def _in_short(route: Mapping[str, Any]) -> dict[str, Any]:
    names = ("prefix", "next_hop", "from", "as_path", "local_pref", "med", "communities", "tunnel", "paths")
    return {name: route[name] for name in names}


def peers(speaker: Speaker) -> list[dict[str, Any]]:
    """Return every peer: its session, and how much it says."""
    return [_peer(speaker.remotes[address]) for address in sorted(speaker.remotes, key=_order)]


def routes(speaker: Speaker, within: str = "") -> list[dict[str, Any]]:
    """Return the best path to each prefix, of those in a prefix if that is given.

    Raises:
        ConfigError: that is no prefix.
    """
    outer = _prefix(within) if within else None
    return [
        {"prefix": str(prefix), "paths": len(entry), **_path(path)}
        for family in FAMILIES
        if outer is None or outer.version == family.version
        for prefix, entry in sorted(_entries(speaker, family))
        if outer is None or prefix.subnet_of(outer)  # type: ignore[arg-type]  # one family
        if (path := chosen(entry)) is not None
    ]


def show(speaker: Speaker, text: str) -> dict[str, Any]:
    """Return all that is known of a prefix, or of the longest one that an address lies in, and why.

    Raises:
        ConfigError: that is neither, or nothing is known of it.
    """
    prefix = _longest(speaker, text)
    family = IPV4 if prefix.version == 4 else IPV6
    raw = nlri.encode(prefix)
    ranked = speaker.table.explain(family, raw, limit=speaker.options.multipath)
    return {
        "prefix": str(prefix),
        "paths": [
            {"rule": each.rule, "stale": _is_stale(each.path, family), **_path(each.path)} for each in ranked
        ],
        "told": [
            {"peer": str(remote.address), "told": _told(speaker, remote.member, family, raw)}
            for remote in speaker.remotes.values()
            if remote.member is not None
        ],
    }


def _entries(speaker: Speaker, family: Family) -> Iterator[tuple[Prefix, tuple[Path, ...]]]:
    for raw, entry in speaker.table.routes[family].items():
        yield nlri.decode(family, raw), entry


def _peer(remote: Remote) -> dict[str, Any]:
    negotiated, source = remote.negotiated, remote.source
    answer: dict[str, Any] = {
        "address": str(remote.address),
        "description": remote.neighbour.description,
        "asn": source.asn,
        "state": str(remote.session.state),
        "since": remote.since or None,
        "sessions": remote.sessions,
        "reason": remote.reason,
        "external": source.external,
        "client": source.client,
        "received": {str(family): source.held[family] for family in FAMILIES},
        "refused": dict(source.refused),
        "faults": dict(remote.faults),
        "updates": remote.updates,
        "stale": remote.stale_at is not None,
    }
    if remote.stale_at is not None:
        answer["stale_seconds"] = round(max(0.0, remote.stale_at - time.monotonic()), 1)
    if negotiated is not None:
        answer |= {
            "router_id": str(negotiated.peer_id),
            "hostname": negotiated.hostname,
            "local_address": str(remote.local_address),
            "hold_time": negotiated.hold_time,
            "families": [str(family) for family in negotiated.families],
            "capabilities": _agreed(negotiated),
            "complete": remote.has_told_all,
            "restart_time": negotiated.restart_time,
            "add_paths": [str(family) for family in negotiated.receives_paths],
            "extended_next_hop": [str(family) for family in negotiated.extended_next_hop],
        }
    return answer


def _agreed(negotiated: Negotiated) -> list[str]:
    """Return what both sides know beside RFC 4271 and their families."""
    known = {
        "as4": negotiated.as4,  # RFC 6793
        "refresh": negotiated.route_refresh,  # RFC 2918
        "enhanced-refresh": negotiated.enhanced_refresh,  # RFC 7313
        "restart": negotiated.restart_time is not None,  # RFC 4724
        "notification-restart": negotiated.notification_restart,  # RFC 8538
        "add-path": negotiated.receives_paths,  # RFC 7911
        "extended-next-hop": negotiated.extended_next_hop,  # RFC 8950
        "extended-message": negotiated.extended_messages,  # RFC 8654
    }
    return [name for name, agreed in known.items() if agreed]


def _path(path: Path) -> dict[str, Any]:
    attributes = path.attributes
    tunnel, endpoint = encapsulation.decode(attributes.encapsulations)
    return {
        "from": str(path.source.address) if path.source.address else "here",
        "next_hop": str(attributes.next_hop),
        "as_path": _as_path(attributes),
        "origin": ORIGINS[attributes.origin],
        "local_pref": attributes.local_pref,
        "med": attributes.med,
        "communities": [
            *map(communities.show, attributes.communities),
            *map(communities.show, attributes.extended),
            *map(communities.show, attributes.large),
        ],
        "originator_id": str(attributes.originator_id) if attributes.originator_id else None,
        "cluster_list": [str(each) for each in attributes.cluster_list],
        "path_id": path.path_id,
        "tunnel": tunnel.type,
        "tunnel_endpoint": str(endpoint) if endpoint else None,
        "tunnel_data": dict(tunnel.data),
    }


def _as_path(attributes: Attributes) -> str:
    words = []
    for segment in attributes.as_path:
        numbers = " ".join(map(str, segment.asns))
        words.append(f"{{{numbers}}}" if segment.type == AS_SET else numbers)
    return " ".join(words)


def _is_stale(path: Path, family: Family) -> bool:
    return path.epoch < path.source.epoch[family]


def _told(speaker: Speaker, member: Member, family: Family, raw: Nlri) -> str:
    outcome = speaker.exports.outcome(member, family, raw)
    return outcome.why if outcome.attributes is None else "yes"


def _prefix(text: str) -> Prefix:
    try:
        return ip_network(text)
    except ValueError as error:
        raise ConfigError(f"{text!r}: expected a prefix such as 10.4.1.0/24 ({error})") from None


def _address(text: str) -> Address:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r}: expected the address of a peer, such as 192.0.2.2") from None


def _longest(speaker: Speaker, text: str) -> Prefix:
    if "/" in text:
        prefix = _prefix(text)
        if speaker.table.entry(IPV4 if prefix.version == 4 else IPV6, nlri.encode(prefix)):
            return prefix
        raise ConfigError(f"nobody says anything of {prefix}; `containernet bgp routes` has what there is")
    try:
        address = ip_address(text)
    except ValueError:
        raise ConfigError(f"{text!r}: expected a prefix or an address") from None
    family = IPV4 if address.version == 4 else IPV6
    for length in range(address.max_prefixlen, -1, -1):
        prefix = ip_network((address, length), strict=False)
        if speaker.table.entry(family, nlri.encode(prefix)):
            return prefix
    raise ConfigError(f"no prefix that anybody says something of holds {address}")


def _order(address: Address) -> tuple[int, int]:
    return address.version, int(address)
