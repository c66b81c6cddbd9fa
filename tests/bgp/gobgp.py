"""GoBGP (Debian's gobgpd), asked by its own client over a Unix socket."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network
from typing import Any

from containernet.model import Address

from .daemons import BGP_PORT, Daemon
from .values import Neighbour, Path, Session, community

_STATES = ("", "idle", "connect", "active", "opensent", "openconfirm", "established")
_ORIGINS = ("igp", "egp", "incomplete")
_WORDS = {
    "RouteRefreshCapability": "refresh",
    "EnhancedRouteRefreshCapability": "enhanced-refresh",
    "FourOctetASNCapability": "as4",
    "GracefulRestartCapability": "restart",
    "LongLivedGracefulRestartCapability": "long-lived-restart",
    "AddPathCapability": "add-path",
    "ExtendedNexthopCapability": "extended-next-hop",
    "FqdnCapability": "hostname",
}
# RFC 4271 s5.1, RFC 1997, RFC 4456, RFC 4360, RFC 4760, RFC 8092
_ORIGIN, _AS_PATH, _NEXT_HOP, _MED, _LOCAL_PREF, _COMMUNITIES, _ORIGINATOR, _CLUSTERS = 1, 2, 3, 4, 5, 8, 9, 10
_REACH, _EXTENDED, _LARGE = 14, 16, 32


class Gobgp(Daemon):
    """gobgpd; announces by `gobgp global rib add`, and again after a restart: it keeps nothing."""

    package = "gobgpd"
    commands = ("gobgpd", "gobgp")
    abilities = frozenset(
        {"decides", "password", "gtsm", "reflector", "multihop", "range", "add-path-send", "add-path-receive"}
        | {"restart", "extended-next-hop", "max-prefix", "shutdown-message", "passive"}
        | {"notification-restart", "same-identifier"}
    )

    def _words(self, *, restarting: bool) -> list[str]:
        words = ["gobgpd", "-f", "gobgpd.json", "-t", "json", "--log-plain", "--pprof-disable"]
        return [*words, f"--api-hosts={self._target}", *(["-r"] if restarting else [])]

    @property
    def _target(self) -> str:
        return f"unix://{self.directory}/api"

    def _answers(self) -> bool:
        if not (self.directory / "api").is_socket():
            return False
        try:
            up = bool(self.ask("global"))
        except AssertionError:
            return False
        if up:
            self._announce(self._announced.values())
        return up

    def ask(self, *words: str) -> Any:
        """Run its client; return the document that it prints."""
        return json.loads(self._gobgp("-j", *words) or "null")

    def _gobgp(self, *words: str) -> str:
        return self._run("gobgp", "--target", self._target, *words)

    # Configuration.

    def _configure(self) -> None:
        (self.directory / "api").unlink(missing_ok=True)
        speaker = self.speaker
        document = {
            "global": {
                "config": {"as": speaker.asn, "router-id": str(speaker.router_id), "port": BGP_PORT},
                "use-multiple-paths": {"config": {"enabled": speaker.multipath > 1}},
            },
            "neighbors": [
                {
                    **self._neighbour(each),
                    "config": self._config(each) | {"neighbor-address": str(each.address)},
                }
                for each in speaker.neighbours
            ],
            "peer-groups": [
                {
                    **self._neighbour(each.like),
                    "config": self._config(each.like) | {"peer-group-name": f"r{at}"},
                }
                for at, each in enumerate(speaker.ranges)
            ],
            "dynamic-neighbors": [
                {"config": {"prefix": str(each.prefix), "peer-group": f"r{at}"}}
                for at, each in enumerate(speaker.ranges)
            ],
        }
        (self.directory / "gobgpd.json").write_text(json.dumps(document, indent=1))

    def _config(self, each: Neighbour) -> dict[str, Any]:
        return {"peer-as": each.asn, **({"auth-password": each.password} if each.password else {})}

    def _neighbour(self, each: Neighbour) -> dict[str, Any]:
        timers = {"hold-time": each.hold_time, "keepalive-interval": each.hold_time / 3}
        timers |= {"connect-retry": 1, "idle-hold-time-after-reset": 1}
        words: dict[str, Any] = {
            "timers": {"config": timers},
            "transport": {"config": {"passive-mode": each.passive, "local-address": str(self._local(each))}},
            "afi-safis": [self._family(each, version) for version in each.families],
        }
        if each.graceful_restart:
            restart = {"enabled": True, "restart-time": each.graceful_restart, "notification-enabled": True}
            words["graceful-restart"] = {"config": restart}
        if each.multihop:
            words["ebgp-multihop"] = {"config": {"enabled": True, "multihop-ttl": each.multihop}}
        if each.ttl_security:
            words["ttl-security"] = {"config": {"enabled": True, "ttl-min": 255}}
        if each.client:
            cluster = str(self.speaker.cluster_id or self.speaker.router_id)
            config = {"route-reflector-client": True, "route-reflector-cluster-id": cluster}
            words["route-reflector"] = {"config": config}
        if not each.policy:
            reject = {"default-import-policy": "reject-route", "default-export-policy": "reject-route"}
            words["apply-policy"] = {"config": reject}
        return words

    def _family(self, each: Neighbour, version: int) -> dict[str, Any]:
        words: dict[str, Any] = {"config": {"afi-safi-name": f"ipv{version}-unicast"}}
        if each.graceful_restart:
            words["mp-graceful-restart"] = {"config": {"enabled": True}}
        receive, send = each.add_paths in {"receive", "both"}, each.add_paths in {"send", "both"}
        if receive or send:
            words["add-paths"] = {"config": {"receive": receive, "send-max": 8 if send else 0}}
        if each.max_prefixes:
            words["prefix-limit"] = {"config": {"max-prefixes": each.max_prefixes}}
        return words

    # Questions and orders.

    def _announce(self, paths: Iterable[Path]) -> None:
        for path in paths:
            words = [f"{path.prefix}", "origin", path.origin, "nexthop", f"{self._next_hop(path)}"]
            for name, value in (
                ("med", path.med),
                ("local-pref", path.local_pref),
                ("aspath", ",".join(map(str, path.as_path))),
                ("community", ",".join(sorted(path.communities))),
                ("large-community", ",".join(sorted(path.large))),
            ):
                if value not in {None, ""}:
                    words += [name, str(value)]
            for each in sorted(path.extended):
                kind, _, value = each.partition(":")
                assert kind == "rt", f"{each}: gobgp announces no extended community but rt"
                words += [kind, value]
            self._gobgp("global", "rib", "add", "-a", f"ipv{path.prefix.version}", *words)

    def _withdraw(self, paths: Iterable[Path]) -> None:
        for each in (path.prefix for path in paths):
            self._gobgp("global", "rib", "del", "-a", f"ipv{each.version}", str(each))

    def shut_down(self, address: Address, message: str = "") -> None:
        """Disable the neighbour."""
        if message:  # only with this order it passes the message on, but then it would come back by itself
            self._gobgp("neighbor", str(address), "shutdown", "--reason", message)
        self._gobgp("neighbor", str(address), "disable")

    def bring_up(self, address: Address) -> None:
        """Enable the neighbour."""
        self._gobgp("neighbor", str(address), "enable")

    def refresh(self, address: Address) -> None:
        """Reset softly what comes in."""
        self._gobgp("neighbor", str(address), "softresetin")

    def _sessions(self) -> list[Session]:
        return [_session(each) for each in self.ask("neighbor") or ()]

    def _paths(self) -> list[Path]:
        held = []
        for version in (4, 6):
            told = self.ask("global", "rib", "-a", f"ipv{version}") or {}
            held += [_path(prefix, each) for prefix, paths in told.items() for each in paths]
        return held


def _session(told: dict[str, Any]) -> Session:
    state, timers = told["state"], told["timers"].get("state", {})
    capabilities = set()
    for each in state.get("remote_cap", ()):
        name = each["type_url"].rpartition(".")[2]
        capabilities.add(_WORDS.get(name, name))
        if name == "MultiProtocolCapability":
            capabilities.remove(name)
            family = base64.b64decode(
                each["value"]
            )  # protobuf: a message of 4 octets, the AFI the second of them
            capabilities.add({1: "ipv4", 2: "ipv6"}[family[3]])
    return Session(
        address=ip_address(state["neighbor_address"]),
        state=_STATES[state.get("session_state", 1)],
        asn=state.get("peer_asn", 0),
        router_id=IPv4Address(state["router_id"]) if state.get("router_id") else None,
        hold_time=timers.get("negotiated_hold_time"),
        capabilities=frozenset(capabilities),
        received=sum(each.get("state", {}).get("received", 0) for each in told.get("afi_safis", ())),
        told=int(state.get("messages", {}).get("received", {}).get("update", 0)),
        error=state.get("disconnect_message", ""),
    )


def _path(prefix: str, told: dict[str, Any]) -> Path:
    attributes = {each["type"]: each for each in told["attrs"]}

    def value(type_: int, name: str, default: Any = ()) -> Any:
        return attributes.get(type_, {}).get(name, default)

    next_hop = value(_NEXT_HOP, "nexthop", None) or value(_REACH, "nexthop", None)
    originator = value(_ORIGINATOR, "value", None)
    return Path(
        prefix=ip_network(prefix),
        next_hop=ip_address(next_hop) if next_hop else None,
        origin=_ORIGINS[value(_ORIGIN, "value", 2)],
        as_path=tuple(asn for each in value(_AS_PATH, "as_paths") for asn in each["asns"]),
        med=value(_MED, "metric", None),
        local_pref=value(_LOCAL_PREF, "value", None),
        communities=frozenset(map(community, value(_COMMUNITIES, "communities"))),
        extended=frozenset(map(_extended, value(_EXTENDED, "value"))),
        large=frozenset(
            f"{each['ASN']}:{each['LocalData1']}:{each['LocalData2']}" for each in value(_LARGE, "value")
        ),
        originator_id=IPv4Address(originator) if originator else None,
        cluster_list=tuple(IPv4Address(each) for each in value(_CLUSTERS, "value")),
        best=told.get("best", False),
        stale=told.get("stale", False),
        source=ip_address(told["neighbor-ip"]) if told.get("neighbor-ip") else None,
        path_id=told.get("id") or told.get("nlri", {}).get("id") or None,
    )


def _extended(told: dict[str, Any]) -> str:
    return f"{ {2: 'rt', 3: 'ro'}.get(told.get('subtype', 0), told) }:{told.get('value')}"
