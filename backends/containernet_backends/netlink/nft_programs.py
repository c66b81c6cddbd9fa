"""The tables of ours in nftables, as text that `nft` reads: what never changes of them.

What changes stands in sets and maps, so that to add or remove a port costs the same however many there are, and
the rules are written once. Every rule carries a comment that says which of this text it is; so a table that
lacks one, has one more, or was made by another version is known, and made anew in one transaction.

The language is that of nftables 1.0.6 (Debian 12); 1.0.6 has no word for the target of a neighbour
advertisement, hence `@th,64,128` (RFC 4861 s4.4: 8 octets into the ICMP message).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

import attrs

from containernet.values import shown

_TYPE = {4: "ipv4_addr", 6: "ipv6_addr"}
_IP = {4: "ip", 6: "ip6"}
_MULTICAST = {4: "224.0.0.0/4", 6: "ff00::/8"}
_TARGET = "iifname . ether saddr . @th,64,128"


@attrs.frozen(kw_only=True, eq=False)
class Program:
    """One table.

    Args:
        family, name: the table's identity.
        sets: their declarations by name, in nft's words; of a map, its declaration begins with `map`.
        chains: by name, the hook (empty: none) and the rules.
    """

    family: str
    name: str
    sets: Mapping[str, str]
    chains: Mapping[str, tuple[str, tuple[str, ...]]]
    __repr__ = shown

    @property
    def table(self) -> str:
        """The table in nft's words."""
        return f"{self.family} {self.name}"

    @property
    def text(self) -> str:
        """What makes the table anew, in place of whatever it was; without elements."""
        lines = [f"add table {self.table}", f"delete table {self.table}", f"table {self.table} {{"]
        for name, declaration in self.sets.items():
            kind = "map" if " : " in declaration else "set"
            lines += [f"{kind} {name} {{", declaration, "}"]
        for name, (hook, rules) in self.chains.items():
            lines += [f"chain {name} {{", *([hook] if hook else [])]
            lines += [f'{rule} comment "{self._mark(name, at)}"' for at, rule in enumerate(rules)]
            lines += ["}"]
        return "\n".join([*lines, "}", ""])

    @property
    def _version(self) -> str:
        return f"{zlib.crc32(repr((self.sets, self.chains)).encode()):08x}"

    def _mark(self, chain: str, at: int) -> str:
        return f"containernet {self._version} {chain} {at + 1}"

    def is_whole(self, listing: list[dict[str, Any]]) -> bool:
        """Return whether what nft lists of the table is this program, and nothing besides."""
        named: dict[str, dict[str, Any]] = {}
        marks: dict[str, list[str]] = {name: [] for name in self.chains}
        for entry in listing:
            for kind, what in entry.items():
                if kind == "rule":
                    marks.setdefault(what["chain"], []).append(what.get("comment", ""))
                elif kind in ("set", "map", "chain"):
                    named[what["name"]] = what
        hooked = {name for name, (hook, _) in self.chains.items() if hook}
        return (
            named.keys() == {*self.sets, *self.chains}
            and {name for name, what in named.items() if "hook" in what} == hooked
            and all(named[name].get("policy") == "accept" for name in hooked)
            and marks
            == {
                name: [self._mark(name, at) for at in range(len(rules))]
                for name, (_, rules) in self.chains.items()
            }
        )


def _for_both(form: str) -> tuple[str, ...]:
    return tuple(form.format(v=v, ip=_IP[v], type=_TYPE[v], all=_MULTICAST[v]) for v in (4, 6))


def _sets(**forms: str) -> dict[str, str]:
    return {
        f"{name}{v}": text
        for name, form in forms.items()
        for v, text in zip((4, 6), _for_both(form), strict=True)
    }


TRANSLATION = Program(
    family="inet",
    name="containernet",
    sets=_sets(
        pools="type {type}; flags interval",
        local="type {type}; flags interval",
        ports="type inet_proto . inet_service : {type} . inet_service",
        ports_at="type {type} . inet_proto . inet_service : {type} . inet_service",
    ),
    chains={
        # RFC 1122 s3.2.1.3: 127.0.0.0/8 never appears on a wire; where route_localnet is on, only this says so.
        "martian": (
            "type filter hook prerouting priority raw; policy accept",
            ('iifname != "lo" ip daddr 127.0.0.0/8 drop', 'iifname != "lo" ip saddr 127.0.0.0/8 drop'),
        ),
        "ports": (
            "",
            (
                *_for_both("dnat {ip} to {ip} daddr . meta l4proto . th dport map @ports_at{v}"),
                "fib daddr type local dnat ip to meta l4proto . th dport map @ports4",
                "ip6 daddr != ::1 fib daddr type local dnat ip6 to meta l4proto . th dport map @ports6",
            ),
        ),
        "prerouting": ("type nat hook prerouting priority dstnat; policy accept", ("jump ports",)),
        "output": ("type nat hook output priority -100; policy accept", ("jump ports",)),
        "postrouting": (
            "type nat hook postrouting priority srcnat; policy accept",
            (
                *_for_both("ct status dnat {ip} saddr @local{v} {ip} daddr @local{v} masquerade"),
                "ct status dnat ip saddr 127.0.0.0/8 ip daddr @local4 masquerade",
                *_for_both(
                    "{ip} saddr @pools{v} {ip} daddr != @pools{v} {ip} daddr != {all} masquerade fully-random"
                ),
            ),
        ),
    },
)

_GUARDED = {
    "guarded": "type ifname",
    **_sets(sources="type ifname . ether_addr . {type}"),
    "targets6": f"typeof {_TARGET}",
}
_NEIGHBOUR_DISCOVERY = (
    # RFC 4862 s5.4.2: duplicate address detection has no source yet; RFC 3590: nor have reports before it.
    f"ip6 saddr :: icmpv6 type nd-neighbor-solicit {_TARGET} @targets6 accept",
    "ip6 saddr :: icmpv6 type mld2-listener-report accept",
    "icmpv6 type { nd-router-advert, nd-redirect } drop",
    f"icmpv6 type nd-neighbor-advert {_TARGET} != @targets6 drop",
)
# First what nearly all packets are; of IPv6 that is behind what a neighbour may say.
_IPV4 = "iifname . ether saddr . ip saddr @sources4 accept"
_IPV6_OR_NOTHING = ("iifname . ether saddr . ip6 saddr @sources6 accept", "drop")

BRIDGE_GUARD = Program(
    family="bridge",
    name="containernet",
    sets=_GUARDED,
    chains={
        "sources": (
            "",
            (
                _IPV4,
                "iifname . ether saddr . arp saddr ip @sources4 "
                "iifname . arp saddr ether . arp saddr ip @sources4 accept",
                # RFC 5227 s1.1: a probe has no source yet, and asks for what it wants to use.
                "arp saddr ip 0.0.0.0 iifname . arp saddr ether . arp daddr ip @sources4 accept",
                *_NEIGHBOUR_DISCOVERY,
                *_IPV6_OR_NOTHING,
            ),
        ),
        "prerouting": (
            "type filter hook prerouting priority -300; policy accept",
            ("iifname @guarded goto sources",),
        ),
    },
)

GUARD = Program(
    family="inet",
    name="containernet-guard",
    sets=_GUARDED,
    chains={
        "sources": ("", (_IPV4, *_NEIGHBOUR_DISCOVERY, *_IPV6_OR_NOTHING)),
        "prerouting": (
            "type filter hook prerouting priority raw; policy accept",
            ("iifname @guarded goto sources",),
        ),
    },
)

PROGRAMS = (BRIDGE_GUARD, GUARD, TRANSLATION)
