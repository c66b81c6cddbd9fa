"""Our own speaker, in a process of its own, with the options that a user writes."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Address, ip_address, ip_network
from pathlib import Path as File
from typing import Any

import attrs

from containernet.model import Address
from containernet_backends.bgp import communities

from .daemons import Daemon
from .values import Neighbour, Path, Session, Speaker, community

_PROCESS = File(__file__).with_name("ours_process.py")


class Ours(Daemon):
    """Our speaker; announces by `Speaker.originate`, which takes any attributes.

    Attributes:
        profile: of [store.bgp].
    """

    package = "containernet"
    commands = ()
    profile = ""
    abilities = frozenset(
        {"add-path-receive", "decides", "drain", "extended-next-hop", "gtsm", "gtsm-at-once", "long-messages"}
        | {"long-parameters", "many-communities", "max-prefix", "multihop", "multipath", "notification-restart"}
        | {"passive", "password", "policy", "range", "reflector", "refresh", "restart", "route-origin"}
        | {"same-identifier", "send-hold", "shutdown-message", "tunnels"}
    )

    def _words(self, *, restarting: bool) -> list[str]:
        return [sys.executable, str(_PROCESS), f"{self.directory}/config", f"{self.directory}/ctl"]

    def _answers(self) -> bool:
        self.ask("peers")
        if self._announced:
            self._announce(self._announced.values())
        return True

    def ask(self, word: str, *rest: Any, at: int = 0) -> Any:
        """Give an order to a speaker of the process; return the answer.

        Raises:
            AssertionError: it refused.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.directory / "ctl"))
            with control.makefile("rw") as stream:
                stream.write(json.dumps([at, word, *rest]) + "\n")
                stream.flush()
                told = json.loads(stream.readline())
        assert "error" not in told, f"{self}: {word}: {told['error']}"
        return told["answer"]

    # Configuration.

    def _configure(self) -> None:
        (self.directory / "config").write_text(json.dumps(self.options()))

    def options(self) -> list[dict[str, Any]]:
        """Return [store.bgp] of each speaker in the process; for subclasses."""
        return [self.store(self.speaker)]

    def store(self, speaker: Speaker) -> dict[str, Any]:
        """Return [store.bgp] of a speaker."""
        peers = [self._peer(each, speaker) | {"address": str(each.address)} for each in speaker.neighbours]
        peers += [self._peer(each.like, speaker) | {"range": str(each.prefix)} for each in speaker.ranges]
        others = [*speaker.neighbours, *(each.like for each in speaker.ranges)]
        return {
            "asn": speaker.asn,
            "router_id": str(speaker.router_id),
            "profile": self.profile,
            "cluster_id": str(speaker.cluster_id or ""),
            "multipath": speaker.multipath,
            "restart_time": max((each.graceful_restart for each in others), default=0),
            "peer": peers,
            "policy": [{"name": "everything", "default": "accept"}],
        }

    def _peer(self, each: Neighbour, speaker: Speaker) -> dict[str, Any]:
        policy = "everything" if speaker.external(each) and each.policy else ""
        return {
            "asn": each.asn,
            "passive": each.passive,
            "hold_time": -1 if self.profile else each.hold_time,
            "send_hold_time": each.send_hold_time,
            "password": each.password,
            "multihop": each.multihop,
            "ttl_security": int(each.ttl_security),
            "local_address": str(each.local_address or ""),
            "client": each.client,
            "next_hop_self": each.next_hop_self,
            "families": [f"ipv{version}" for version in each.families],
            "add_paths": each.add_paths in {"receive", "both"},
            "graceful_restart": bool(each.graceful_restart),
            "max_prefixes": each.max_prefixes,
            "import_policy": policy,
            "export_policy": policy,
        }

    # Questions and orders.

    def _announce(self, paths: Iterable[Path]) -> None:
        self.ask("announce", *map(self._said, paths))

    def _said(self, path: Path) -> dict[str, Any]:
        extended = [each.replace("ro:", "soo:") for each in path.extended]
        return {
            "prefix": str(path.prefix),
            "next_hop": str(self._next_hop(path)),
            "origin": path.origin,
            "as_path": path.as_path,
            "med": path.med,
            "local_pref": path.local_pref,
            "communities": [*path.communities, *extended, *path.large],
        }

    def _withdraw(self, paths: Iterable[Path]) -> None:
        self.ask("withdraw", *(str(path.prefix) for path in paths))

    def shut_down(self, address: Address, message: str = "") -> None:
        """End the session, and have none."""
        self.ask("shut_down", str(address), message)

    def bring_up(self, address: Address) -> None:
        """Have one again."""
        self.ask("bring_up", str(address))

    def refresh(self, address: Address) -> None:
        """Ask for everything again."""
        self.ask("refresh", str(address))

    def drain(self) -> None:
        """Ask everybody to take another way (RFC 8326)."""
        self.ask("drain")

    def announce_route(
        self,
        prefix: str,
        next_hop: Address,
        tunnel: str = "",
        words: Mapping[str, str | int] | None = None,
        *,
        at: int = 0,
    ) -> None:
        """Announce a route as an agent does."""
        self.ask("route", prefix, str(next_hop), tunnel, words or {}, at=at)

    def subscribe(self, at: int = 0) -> None:
        """Begin to hear as an agent does."""
        self.ask("subscribe", at=at)

    def heard(self, at: int = 0) -> dict[str, Any]:
        """Return what the subscription made of it: `routes` by prefix, and prefixes that it `lost`."""
        told: dict[str, Any] = self.ask("heard", at=at)
        return told

    def _sessions(self) -> list[Session]:
        return [_session(each) for each in self.ask("peers")]

    def _paths(self) -> list[Path]:
        return [_path(each) for each in self.ask("paths")]

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PYTHONWARNINGS": "error"}


class OursLikeCalico(Ours):
    """Our speaker as one of Calico's nodes."""

    profile = "calico"
    abilities = Ours.abilities | {"calico"}


class Crowd(Ours):
    """As many speakers of ours as its host has IPv4 addresses, each a host's; they call the same neighbours."""

    def options(self) -> list[dict[str, Any]]:
        """Return [store.bgp] of each."""
        found = []
        for own in self.addresses:
            calling = (attrs.evolve(each, local_address=own) for each in self.speaker.neighbours)
            speaker = attrs.evolve(self.speaker, router_id=IPv4Address(int(own)), neighbours=tuple(calling))
            found.append(self.store(speaker) | {"listen": []})
        return found

    @property
    def addresses(self) -> list[Address]:
        """Where the speakers are, in their order."""
        return [each.ip for each in self.host.addresses if each.version == 4]


def _session(told: dict[str, Any]) -> Session:
    return Session(
        address=ip_address(told["address"]),
        state=told["state"].lower(),
        asn=told["asn"],
        router_id=IPv4Address(told["router_id"]) if "router_id" in told else None,
        hold_time=told.get("hold_time"),
        capabilities=frozenset(
            [
                *told.get("families", ()),
                *told.get("capabilities", ()),
                *(["hostname"] if told.get("hostname") else []),
            ]
        ),
        received=sum(told["received"].values()),
        told=told["updates"],
        error=told["reason"],
    )


def _path(told: dict[str, Any]) -> Path:
    marks = list(map(communities.parse, told["communities"]))
    return Path(
        prefix=ip_network(told["prefix"]),
        next_hop=ip_address(told["next_hop"]),
        origin=told["origin"],
        as_path=tuple(map(int, told["as_path"].split())),
        med=told["med"],
        local_pref=told["local_pref"],
        communities=frozenset(community(each) for each in marks if isinstance(each, int)),
        extended=frozenset(
            communities.show(each).replace("soo:", "ro:") for each in marks if isinstance(each, bytes)
        ),
        large=frozenset(communities.show(each) for each in marks if isinstance(each, tuple)),
        originator_id=IPv4Address(told["originator_id"]) if told["originator_id"] else None,
        cluster_list=tuple(map(IPv4Address, told["cluster_list"])),
        best=told["rule"].startswith("best"),
        stale=told["stale"],
        source=ip_address(told["from"]) if told["from"] != "here" else None,
        path_id=told["path_id"] or None,
    )
