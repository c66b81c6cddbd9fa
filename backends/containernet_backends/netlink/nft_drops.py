"""Whose chains in nftables, iptables' among them, drop what we forward. Looked at, never touched.

A packet that is forwarded passes every chain at that hook, in every table; to accept it in one says nothing to
the next. So no rule in a table of ours can save what Docker's FORWARD with policy drop, or firewalld, does not
accept. Such a chain is named, with the command that opens it and with the option that has us keep it open
(`nft_accepts`). What cannot be seen here: the rules of iptables-legacy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from ipaddress import ip_network
from typing import Any

from containernet.items import TABLE_FAMILIES
from containernet.model import Prefix, contains

from .nft_library import Nft
from .nft_programs import PROGRAMS
from .refusals import Refused

_IP = {4: "ip", 6: "ip6"}
_OURS = {(each.family, each.name) for each in PROGRAMS}
_USERS = "DOCKER-USER"  # the chain that Docker, whose FORWARD drops, has for the rules of others
_HARMLESS = {"counter", "log", "comment"}


def find_drops(nft: Nft, prefixes: Sequence[Prefix]) -> Iterator[str]:
    """Yield a line for each chain of somebody else's that drops what is forwarded from or to a prefix."""
    for chain in _kinds(nft.list("chains"), "chain"):
        family, table, name = chain["family"], chain["table"], chain["name"]
        if chain.get("hook") != "forward" or (family, table) in _OURS or family not in TABLE_FAMILIES:
            continue
        listing = _listed(nft, f"table {family} {table}")
        rules = list(_kinds(listing, "rule"))
        ours = _USERS if any(each["name"] == _USERS for each in _kinds(listing, "chain")) else name
        if not _closed(chain, [rule for rule in rules if rule["chain"] == name]):
            continue
        for prefix in prefixes:
            if prefix.version in TABLE_FAMILIES[family] and not _opened(rules, prefix):
                yield (
                    f"what is forwarded for {prefix} is dropped by chain {name} of table {family} {table}: "
                    f"`{_opening(family, table, name, prefix)}`, "
                    f'or accept_in = ["{family} {table} {ours}"] under [dataplane]'
                )


def _listed(nft: Nft, what: str) -> list[dict[str, Any]]:
    try:
        return nft.list(what)
    except Refused:  # it holds what this version of the library has no words for
        return []


def _kinds(listing: Iterable[Mapping[str, Any]], kind: str) -> Iterator[dict[str, Any]]:
    return (entry[kind] for entry in listing if kind in entry)


def _closed(chain: Mapping[str, Any], rules: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether what no rule accepts is dropped: by the policy, or by a last rule for everything."""
    last = rules[-1]["expr"] if rules else []
    words = [word for expression in last for word in expression if word not in _HARMLESS]
    return chain.get("policy") == "drop" or words in (["drop"], ["reject"])


def _opened(rules: Iterable[Mapping[str, Any]], prefix: Prefix) -> bool:
    """Return whether the table accepts by a rule what comes from a prefix, and what goes there."""
    fields = {field for rule in rules if _lets_on(rule["expr"]) for field in _about(rule["expr"], prefix)}
    return fields >= {"saddr", "daddr"}


def _lets_on(expressions: Iterable[Mapping[str, Any]]) -> bool:
    # Where a jump leads is not followed: whoever has a rule for the prefix has thought of it.
    return any(word in expression for expression in expressions for word in ("accept", "jump", "goto"))


def _about(expressions: Iterable[Mapping[str, Any]], prefix: Prefix) -> Iterator[str]:
    """Yield which addresses of a packet a rule compares with the prefix, or with more than it."""
    for match in (each["match"] for each in expressions if "match" in each):
        left, right = match["left"], match["right"]
        payload = left.get("payload", {}) if isinstance(left, dict) else {}
        if payload.get("protocol") != _IP[prefix.version] or not isinstance(right, dict):
            continue
        whole = right.get("prefix")
        if whole and contains(ip_network((whole["addr"], whole["len"])), prefix):
            yield payload["field"]


def _opening(family: str, table: str, chain: str, prefix: Prefix) -> str:
    """Return the command that has the chain accept what is from or to a prefix."""
    if table == "firewalld":
        return f"firewall-cmd --permanent --zone=trusted --add-source={prefix} && firewall-cmd --reload"
    ways = (("saddr", "-s"), ("daddr", "-d"))
    if (table, chain) == ("filter", "FORWARD") and family != "inet":  # iptables' own
        program = {4: "iptables", 6: "ip6tables"}[prefix.version]
        return " && ".join(f"{program} -I FORWARD {option} {prefix} -j ACCEPT" for _, option in ways)
    ip = _IP[prefix.version]
    return " && ".join(
        f"nft insert rule {family} {table} {chain} {ip} {way} {prefix} accept" for way, _ in ways
    )
