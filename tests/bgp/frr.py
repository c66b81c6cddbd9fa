"""FRR's bgpd (Debian's frr), alone: without zebra, and asked over its vty socket as vtysh does it.

The protocol of the socket is a command that ends with a zero octet, and an answer that ends with three of them
and a status; 0 is success. What a connection was told to (`configure terminal`) holds for that connection.
"""

from __future__ import annotations

import itertools
import json
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from containernet.model import Address, Prefix

from .daemons import BGP_PORT, Daemon
from .values import WELL_KNOWN, Neighbour, Path, Session

BGPD = "/usr/lib/frr/bgpd"
_SUCCESS, _WARNING = 0, 1
_WORDS = {
    "4byteAs": "as4",
    "extendedMessage": "extended-message",
    "longLivedGracefulRestart": "long-lived-restart",
    "routeRefresh": "refresh",
    "enhancedRouteRefresh": "enhanced-refresh",
    "gracefulRestart": "restart",
}


class Frr(Daemon):
    """bgpd; announces by `network` with a route map each."""

    package = "frr"
    commands = (BGPD,)
    abilities = frozenset(
        {
            "route-origin",
            "decides",
            "password",
            "gtsm",
            "reflector",
            "multihop",
            "range",
            "add-path-send",
            "add-path-receive",
        }
        | {
            "restart",
            "long-messages",
            "extended-next-hop",
            "max-prefix",
            "refresh",
            "shutdown-message",
            "passive",
            "same-identifier",
        }
    )

    def _words(self, *, restarting: bool) -> list[str]:
        here = self.directory
        quiet = ["--log", "stdout", "--log-level", "informational"]
        where = ["-f", f"{here}/frr.conf", "-i", f"{here}/pid", "--vty_socket", str(here), "-P", "0"]
        return [BGPD, "-S", "-n", "-Z", "-p", str(BGP_PORT), *quiet, *where]

    def _answers(self) -> bool:
        return bool(self.ask("show version"))

    def ask(self, *commands: str) -> str:
        """Give commands to it, one after the other on one connection; return the last answer.

        Raises:
            AssertionError: it refused one.
        """
        text = b""
        with socket.socket(socket.AF_UNIX) as vty:
            vty.connect(str(self.directory / "bgpd.vty"))
            for command in ("enable", *commands):
                vty.sendall(command.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":
                    got = vty.recv(1 << 16)
                    assert got, f"{self}: {command}: connection closed"
                    answer += got
                text, status = answer[:-4], answer[-1]
                assert status in {_SUCCESS, _WARNING}, f"{self}: {command}: status {status}: {text.decode()}"
        return text.decode()

    # Configuration.

    def _configure(self) -> None:
        speaker = self.speaker
        lines = [
            "hostname frr",
            *itertools.chain.from_iterable(self._map(path) for path in self._announced.values()),
            "route-map ALL permit 10",
            # Without zebra it knows no addresses of its own links, and would tell ::ffff:192.0.2.1 as its own.
            "route-map ALL6 permit 10",
            f" set ipv6 next-hop global {self.host.address(6)}",
            "exit",
            "bgp route-map delay-timer 0",
            f"router bgp {speaker.asn}",
            f" bgp router-id {speaker.router_id}",
            " no bgp network import-check",
            " bgp bestpath as-path multipath-relax",
            " coalesce-time 0",
        ]
        if speaker.cluster_id:
            lines.append(f" bgp cluster-id {speaker.cluster_id}")
        restart = max((each.graceful_restart for each in speaker.neighbours), default=0)
        if restart:
            lines += [" bgp graceful-restart", f" bgp graceful-restart restart-time {restart}"]
            lines += [" bgp graceful-restart preserve-fw-state"]
        for each in speaker.neighbours:
            lines += self._neighbour(each, str(each.address))
        for at, range_ in enumerate(speaker.ranges):
            group = f"RANGE{at}"
            lines.append(f" neighbor {group} peer-group")
            lines += self._neighbour(range_.like, group)
            lines.append(f" bgp listen range {range_.prefix} peer-group {group}")
        everyone = [(each, str(each.address)) for each in speaker.neighbours]
        everyone += [(each.like, f"RANGE{at}") for at, each in enumerate(speaker.ranges)]
        for version in (4, 6):
            lines.append(f" address-family ipv{version} unicast")
            lines.append(f"  maximum-paths {speaker.multipath}")
            lines.append(f"  maximum-paths ibgp {speaker.multipath}")
            lines += [
                f"  {self._network(path)}"
                for path in self._announced.values()
                if path.prefix.version == version
            ]
            for each, name in everyone:
                lines += self._activate(each, name, version)
            lines.append(" exit-address-family")
        (self.directory / "frr.conf").write_text("\n".join((*lines, "")))

    def _neighbour(self, each: Neighbour, name: str) -> list[str]:
        start = f" neighbor {name}"
        lines = [
            f"{start} remote-as {each.asn}",
            f"{start} timers {each.hold_time // 3} {each.hold_time}",
            f"{start} timers connect 1",
            f"{start} advertisement-interval 0",
            f"{start} update-source {self._local(each)}",
        ]
        if each.passive:
            lines.append(f"{start} passive")
        if each.password:
            lines.append(f"{start} password {each.password}")
        if each.ttl_security:
            lines.append(f"{start} ttl-security hops 1")
        if each.multihop:
            lines.append(f"{start} ebgp-multihop {each.multihop}")
        if each.extended_next_hop:
            lines.append(f"{start} capability extended-nexthop")
        if not each.graceful_restart:
            lines.append(f"{start} graceful-restart-disable")
        return lines

    def _activate(self, each: Neighbour, name: str, version: int) -> list[str]:
        start = f"  neighbor {name}"
        if version not in each.families:
            return [f"  no neighbor {name} activate"]
        lines = [f"{start} activate", f"{start} send-community all"]
        if each.policy:
            own = version == 6 and (self.speaker.external(each) or each.next_hop_self)
            lines += [f"{start} route-map ALL in", f"{start} route-map {'ALL6' if own else 'ALL'} out"]
        if each.client:
            lines.append(f"{start} route-reflector-client")
        if each.next_hop_self:
            lines.append(f"{start} next-hop-self")
        if each.add_paths in {"send", "both"}:
            lines.append(f"{start} addpath-tx-all-paths")
        if each.add_paths not in {"receive", "both"}:
            lines.append(f"{start} disable-addpath-rx")
        if each.max_prefixes:
            lines.append(f"{start} maximum-prefix {each.max_prefixes}")
        return lines

    def _map(self, path: Path) -> list[str]:
        """Return the route map that gives a prefix its attributes."""
        lines = [f"route-map {_name(path.prefix)} permit 10", f" set origin {path.origin}"]
        # An IPv4 prefix with an IPv6 next hop it can tell only as its own, by itself.
        if path.prefix.version == 6 or (path.next_hop and path.next_hop.version == 4):
            words = "ip next-hop" if path.prefix.version == 4 else "ipv6 next-hop global"
            lines.append(f" set {words} {self._next_hop(path)}")
        if path.as_path:
            lines.append(f" set as-path prepend {' '.join(map(str, path.as_path))}")
        if path.med is not None:
            lines.append(f" set metric {path.med}")
        if path.local_pref is not None:
            lines.append(f" set local-preference {path.local_pref}")
        if path.communities:
            lines.append(f" set community {' '.join(sorted(path.communities))}")
        if path.large:
            lines.append(f" set large-community {' '.join(sorted(path.large))}")
        for kind, word in (("rt:", "rt"), ("ro:", "soo")):
            if values := " ".join(sorted(each[3:] for each in path.extended if each.startswith(kind))):
                lines.append(f" set extcommunity {word} {values}")
        return [*lines, "exit"]

    def _network(self, path: Path) -> str:
        return f"network {path.prefix} route-map {_name(path.prefix)}"

    # Questions and orders.

    def _announce(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self._configured(f"no route-map {_name(path.prefix)}", *self._map(path))
            self._within(path.prefix.version, self._network(path))

    def _withdraw(self, paths: Iterable[Path]) -> None:
        for path in paths:
            self._within(path.prefix.version, f"no network {path.prefix}")

    def _configured(self, *commands: str) -> None:
        self.ask("configure terminal", *commands)

    def _within(self, version: int, *commands: str) -> None:
        self._configured(f"router bgp {self.speaker.asn}", f"address-family ipv{version} unicast", *commands)

    def shut_down(self, address: Address, message: str = "") -> None:
        """Configure the shutdown."""
        words = f" message {message}" if message else ""
        self._configured(f"router bgp {self.speaker.asn}", f"neighbor {address} shutdown{words}")

    def bring_up(self, address: Address) -> None:
        """Configure the end of the shutdown."""
        self._configured(f"router bgp {self.speaker.asn}", f"no neighbor {address} shutdown")

    def refresh(self, address: Address) -> None:
        """Clear softly what comes in."""
        for version in (4, 6):
            self.ask(f"clear bgp ipv{version} unicast {address} in")

    def _sessions(self) -> list[Session]:
        told = json.loads(self.ask("show bgp neighbors json"))
        return [_session(name, each) for name, each in told.items() if "bgpState" in each]

    def _paths(self) -> list[Path]:
        held = []
        for version in (4, 6):
            told = json.loads(self.ask(f"show bgp ipv{version} unicast json detail") or "{}")
            for prefix, paths in told.get("routes", {}).items():
                held += [_path(prefix, each) for each in paths if "aspath" in each]
        return held


def _name(prefix: Prefix) -> str:
    return f"M{prefix}".replace("/", "-")


def _session(name: str, told: dict[str, Any]) -> Session:
    offered = told.get("neighborCapabilities", {})
    capabilities = {word for key, word in _WORDS.items() if "eceived" in str(offered.get(key, ""))}
    for family, each in offered.get("multiprotocolExtensions", {}).items():
        if "eceived" in str(each.keys()):
            capabilities.add(family.removesuffix("Unicast"))
    if any("xReceived" in str(each.keys()) for each in offered.get("addPath", {}).values()):
        capabilities.add("add-path")
    if "eceived" in str(offered.get("extendedNexthop", "")):
        capabilities.add("extended-next-hop")
    if "rcvHostName" in offered.get("hostName", {}):
        capabilities.add("hostname")
    router_id = told.get("remoteRouterId", "0.0.0.0")
    families = told.get("addressFamilyInfo", {}).values()
    reasons = (
        told.get(each) for each in ("lastResetDueTo", "lastNotificationReason", "lastShutdownDescription")
    )
    return Session(
        address=ip_address(name),
        state=told["bgpState"].lower(),
        asn=told["remoteAs"],
        router_id=IPv4Address(router_id) if router_id != "0.0.0.0" else None,
        hold_time=told["bgpTimerHoldTimeMsecs"] // 1000 if told["bgpState"] == "Established" else None,
        capabilities=frozenset(capabilities),
        received=sum(each.get("acceptedPrefixCounter", 0) for each in families),
        told=told["messageStats"]["updatesRecv"],
        error="; ".join(each for each in reasons if each),
    )


def _path(prefix: str, told: dict[str, Any]) -> Path:
    hops = told.get("nexthops", ())
    hop = next((each for each in hops if each.get("scope") != "link-local"), {"ip": "0.0.0.0"})
    next_hop = ip_address(hop["ip"])
    source = told["peer"]["peerId"]
    asns = [asn for each in told["aspath"]["segments"] for asn in each["list"]]
    return Path(
        prefix=ip_network(prefix),
        next_hop=None if next_hop.is_unspecified else next_hop,
        origin=told["origin"].lower(),
        as_path=tuple(asns),
        med=told.get("metric"),
        local_pref=told.get("locPrf"),
        communities=frozenset(
            WELL_KNOWN.get(each, each)
            for each in _strings(told.get("community")).replace("noExport", "no-export").split()
        ),
        extended=frozenset(
            each.replace("RT:", "rt:").replace("SoO:", "ro:")
            for each in _strings(told.get("extendedCommunity")).split()
        ),
        large=frozenset(_strings(told.get("largeCommunity")).split()),
        originator_id=IPv4Address(told["originatorId"]) if "originatorId" in told else None,
        cluster_list=tuple(IPv4Address(each) for each in told.get("clusterList", {}).get("list", ())),
        best=told.get("bestpath", {}).get("overall", False),
        stale=told.get("stale", False),
        source=None if ip_address(source).is_unspecified else ip_address(source),
        path_id=told.get("addpathRxId") or None,
    )


def _strings(told: dict[str, Any] | None) -> str:
    return str(told["string"]) if told else ""
