"""ExaBGP (from PyPI), which keeps no table: it says what it is told, and tells what it hears, octet by octet.

It talks to a process that it starts: a shell that copies orders out of a pipe, and what ExaBGP tells into a
file. So besides a speaker it is the neutral observer of what the other side put on the wire: `heard` and
`packets`.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable
from importlib.util import find_spec
from ipaddress import IPv4Address, ip_address, ip_network
from pwd import getpwuid
from typing import Any

import attrs
import pytest

from containernet.model import Address, Prefix

from .daemons import BGP_PORT, Daemon
from .raw import UPDATE
from .values import WELL_KNOWN, Neighbour, Path, Session

_RELAY = """#!/bin/sh
cat {directory}/orders &
exec cat >>{directory}/heard
"""
_WORDS = {"2": "refresh", "6": "extended-message", "5": "extended-next-hop", "64": "restart", "65": "as4"}
_WORDS |= {"69": "add-path", "70": "enhanced-refresh", "71": "long-lived-restart", "73": "hostname"}
_ENDPOINT = {"target": "rt", "origin": "ro"}


@attrs.frozen(kw_only=True)
class Packet:
    """A message as it was on the wire, without its header: RFC 4271 s4.1's type, and the rest."""

    source: Address
    type: int
    body: bytes


class Exabgp(Daemon):
    """ExaBGP; its paths are folded from the UPDATEs that it heard."""

    commands = ()
    package = "exabgp"
    abilities = frozenset(
        {
            "route-origin",
            "password",
            "multihop",
            "add-path-receive",
            "extended-next-hop",
            "refresh",
            "passive",
            "observer",
        }
        | {"long-messages", "many-communities", "gtsm", "same-identifier", "two-octets"}
    )

    @classmethod
    def needed(cls) -> None:
        """Skip the test that asks where it is not installed; in CI that is a failure."""
        if find_spec("exabgp") is None:
            pytest.skip("no exabgp: install the package exabgp of PyPI, which the extra `test` names")

    def _words(self, *, restarting: bool) -> list[str]:
        return [sys.executable, "-m", "exabgp", "server", f"{self.directory}/exabgp.conf"]

    def log(self) -> str:
        """Return the end of what it wrote and heard: its last error is soon that of the next dial."""
        return super().log() + (self.directory / "heard").read_text(errors="replace")[-5000:]

    def _environment(self) -> dict[str, str]:
        bind = " ".join({str(self._local(each)) for each in self.speaker.neighbours})
        settings = {
            "daemon_user": getpwuid(os.getuid()).pw_name,
            "api_cli": "false",
            "api_ack": "false",
            "log_short": "false",
        }
        settings |= {
            "tcp_bind": bind,
            "tcp_port": str(BGP_PORT),
            "log_level": "INFO",
            "log_statistics": "false",
        }
        settings |= {"api_respawn": "false", "cache_attributes": "false"}
        return super()._environment() | {f"exabgp_{name}": value for name, value in settings.items()}

    def _configure(self) -> None:
        here = self.directory
        for name in ("orders", "heard"):
            (here / name).unlink(missing_ok=True)
        (here / "relay").write_text(_RELAY.format(directory=here))
        os.mkfifo(here / "orders")
        # Open for both: neither we nor the relay wait for the other, and the relay ends when we let go.
        self._orders = os.open(here / "orders", os.O_RDWR | os.O_CLOEXEC)
        (here / "exabgp.conf").write_text(
            f"process relay {{ run /bin/sh {here}/relay; encoder json; }}\n"
            + "\n".join(map(self._neighbour, self.speaker.neighbours))
        )

    def _answers(self) -> bool:
        if not (self.directory / "heard").exists():
            return False
        self._announce(self._announced.values())
        return True

    def _end(self, number: int) -> None:
        running = self._process is not None
        super()._end(number)
        if running:
            os.close(self._orders)

    def order(self, *lines: str) -> None:
        """Give it commands of its API; what becomes of them is to be seen on the other side."""
        for line in lines:
            os.write(self._orders, f"{line}\n".encode())

    def _neighbour(self, each: Neighbour) -> str:
        ways = {"receive": "receive", "send": "send", "both": "send/receive", "": "disable"}
        families = "; ".join(f"ipv{version} unicast" for version in each.families)
        words = [
            f"router-id {self.speaker.router_id}; local-as {self.speaker.asn}; peer-as {each.asn};",
            f"local-address {self._local(each)}; hold-time {each.hold_time};",
            f"family {{ {families}; }}",
            f"capability {{ graceful-restart {each.graceful_restart or 'disable'};",
            f"asn4 {'enable' if each.as4 else 'disable'};",
            f"add-path {ways[each.add_paths]}; extended-message enable;",
            f"nexthop {'enable' if each.extended_next_hop else 'disable'};",
            "  route-refresh enable; }",
            "api { processes [ relay ]; neighbor-changes; negotiated;",
            "  receive { parsed; packets; open; update; notification; refresh; keepalive; } }",
        ]
        if each.extended_next_hop:
            words.append("nexthop { ipv4 unicast ipv6; }")
        if each.passive:
            words.append("passive true;")
        if each.password:
            words.append(f'md5-password "{each.password}";')
        if each.multihop:
            words.append(f"outgoing-ttl {each.multihop};")
        if each.ttl_security:
            words.append("outgoing-ttl 255; incoming-ttl 255;")
        return f"neighbor {each.address} {{ {' '.join(words)} }}"

    # Questions and orders.

    def _announce(self, paths: Iterable[Path]) -> None:
        self.order(*(f"announce route {path.prefix} {self._attributes(path)}" for path in paths))

    def _withdraw(self, paths: Iterable[Path]) -> None:
        self.order(*(f"withdraw route {path.prefix} next-hop {self._next_hop(path)}" for path in paths))

    def _attributes(self, path: Path) -> str:
        words = [f"next-hop {self._next_hop(path)} origin {path.origin}"]
        if path.as_path:
            # An AS_PATH that is given is sent as it is, on eBGP too, where RFC 4271 s5.1.2 wants our AS first.
            own = (
                ()
                if all(each.asn == self.speaker.asn for each in self.speaker.neighbours)
                else (self.speaker.asn,)
            )
            words.append(f"as-path [ {' '.join(map(str, (*own, *path.as_path)))} ]")
        if path.med is not None:
            words.append(f"med {path.med}")
        if path.local_pref is not None:
            words.append(f"local-preference {path.local_pref}")
        if path.communities:
            words.append(f"community [ {' '.join(sorted(path.communities))} ]")
        if path.large:
            words.append(f"large-community [ {' '.join(sorted(path.large))} ]")
        if path.extended:
            named = {word: name for name, word in _ENDPOINT.items()}
            values = (
                f"{named[kind]}:{rest}"
                for kind, _, rest in (each.partition(":") for each in sorted(path.extended))
            )
            words.append(f"extended-community [ {' '.join(values)} ]")
        return " ".join(words)

    def shut_down(self, address: Address, message: str = "") -> None:
        """Not possible."""
        raise NotImplementedError("ExaBGP dials again after every teardown")

    def bring_up(self, address: Address) -> None:
        """Not possible."""
        raise NotImplementedError("ExaBGP dials again after every teardown")

    def refresh(self, address: Address) -> None:
        """Announce the wish for a refresh."""
        self.order(*(f"neighbor {address} announce route-refresh ipv{version} unicast" for version in (4, 6)))

    def heard(self) -> list[dict[str, Any]]:
        """Return what it told so far, in ExaBGP's own JSON."""
        text = (self.directory / "heard").read_text()
        whole, _, _ = text.rpartition("\n")
        return [json.loads(line) for line in whole.splitlines() if line.startswith("{")]

    def packets(self) -> list[Packet]:
        """Return every message that it received, as it was on the wire."""
        return [
            Packet(
                source=ip_address(each["neighbor"]["address"]["peer"]),
                type=int(each["neighbor"]["message"]["header"][-2:], 16),
                body=bytes.fromhex(each["neighbor"]["message"]["body"].removeprefix("0x")),
            )
            for each in self.heard()
            if "header" in each.get("neighbor", {}).get("message", {})
        ]

    def _sessions(self) -> list[Session]:
        found = {
            each.address: Session(address=each.address, state="idle", asn=each.asn)
            for each in self.speaker.neighbours
        }
        held: dict[Address, set[Prefix]] = {each: set() for each in found}
        for path in self.paths():
            if path.source:
                held[path.source].add(path.prefix)
        for each in self.heard():
            neighbour = each.get("neighbor", {})
            address = ip_address(neighbour["address"]["peer"])
            found[address] = _told(found[address], each["type"], neighbour)
        updates = Counter(each.source for each in self.packets() if each.type == UPDATE)
        return [
            attrs.evolve(each, received=len(held[each.address]), told=updates[each.address])
            for each in found.values()
        ]

    def _paths(self) -> list[Path]:
        held: dict[tuple[Address, Prefix, int | None], Path] = {}
        for each in self.heard():
            neighbour = each.get("neighbor", {})
            source = ip_address(neighbour["address"]["peer"])
            if neighbour.get("state") == "down":
                held = {key: path for key, path in held.items() if key[0] != source}
            update = neighbour.get("message", {}).get("update", {})
            for gone in _nlri(update.get("withdraw", {})):
                held.pop((source, *gone), None)
            for next_hops in update.get("announce", {}).values():
                # A link-local next hop beside a global one (RFC 2545 s3) is told as a route of its own.
                own = [each for each in next_hops if not ip_address(each).is_link_local] or list(next_hops)
                for next_hop, entries in ((each, next_hops[each]) for each in own):
                    for prefix, path_id in _nlri({"": entries}):
                        path = _path(
                            prefix, update["attribute"], next_hop=next_hop, source=source, path_id=path_id
                        )
                        held[source, prefix, path_id] = path
        return list(held.values()) + list(self._announced.values())


def _told(before: Session, kind: str, neighbour: dict[str, Any]) -> Session:
    if kind == "state":
        state = {"up": "established", "connected": "opensent", "down": "idle"}[neighbour["state"]]
        return attrs.evolve(before, state=state, error=before.error or neighbour.get("reason", ""))
    if kind == "notification" and "notification" in neighbour:
        return attrs.evolve(before, error=neighbour["notification"]["message"])
    if kind == "open" and "open" in neighbour:
        offered = neighbour["open"]["capabilities"]
        families = offered.get("1", {}).get("families", ())
        names = {_WORDS[code] for code in offered if code in _WORDS} | {
            each.partition("/")[0] for each in families
        }
        router_id = IPv4Address(neighbour["open"]["router_id"])
        return attrs.evolve(before, router_id=router_id, capabilities=frozenset(names))
    if kind == "negotiated":
        return attrs.evolve(before, hold_time=neighbour["negotiated"]["hold_time"])
    return before


def _nlri(families: dict[str, list[dict[str, Any]]]) -> list[tuple[Prefix, int | None]]:
    found = []
    for entries in families.values():
        for each in entries:
            path_id = int(IPv4Address(each["path-information"])) if "path-information" in each else None
            found.append((ip_network(each["nlri"]), path_id))
    return found


def _path(prefix: Prefix, told: dict[str, Any], *, next_hop: str, source: Address, path_id: int | None) -> Path:
    named = {f"{each[0]}:{each[1]}" for each in told.get("community", ()) if isinstance(each, list)}
    named |= {WELL_KNOWN[each] for each in told.get("community", ()) if isinstance(each, str)}
    return Path(
        prefix=prefix,
        next_hop=ip_address(next_hop),
        origin=told.get("origin", "incomplete"),
        as_path=tuple(asn for each in told.get("as-path", {}).values() for asn in each["value"]),
        med=told.get("med"),
        local_pref=told.get("local-preference"),
        communities=frozenset(named),
        extended=frozenset(_extended(each["string"]) for each in told.get("extended-community", ())),
        large=frozenset(":".join(map(str, each)) for each in told.get("large-community", ())),
        originator_id=IPv4Address(told["originator-id"]) if "originator-id" in told else None,
        cluster_list=tuple(IPv4Address(each) for each in told.get("cluster-list", ())),
        source=source,
        path_id=path_id,
    )


def _extended(text: str) -> str:
    """Return an extended community as all others write it: ExaBGP ends origins in an IPv4 address."""
    kind, asn, value = text.split(":")
    return f"{_ENDPOINT.get(kind, kind)}:{asn}:{int(IPv4Address(value)) if '.' in value else value}"
