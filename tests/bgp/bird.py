"""BIRD 2 (Debian's bird2), asked over its control socket.

The protocol of the socket is lines: four digits, then a blank (the last line of an answer) or a hyphen (more to
come), then text; a line that begins with a blank has the code of the line before it. Codes that begin with 8 or
9 are errors.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from ipaddress import IPv4Address, ip_address, ip_network

from containernet.model import Address, Prefix

from .daemons import Daemon
from .values import Neighbour, Path, Session

_ROUTE = re.compile(
    r"(?P<prefix>\S+)? +(?:unicast|blackhole|unreachable|prohibit) \[(?P<protocol>\S+) \S+(?: from \S+)?\]"
    r"(?P<best> \*)?"
)
_WORDS = {
    "Route refresh": "refresh",
    "Enhanced refresh": "enhanced-refresh",
    "4-octet AS numbers": "as4",
    "Graceful restart": "restart",
    "Long-lived graceful restart": "long-lived-restart",
    "Extended message": "extended-message",
    "Extended next hop": "extended-next-hop",
    "ADD-PATH": "add-path",
}


class Bird(Daemon):
    """BIRD; announces static blackhole routes."""

    package = "bird2"
    commands = ("bird",)
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
            "many-communities",
            "extended-next-hop",
            "max-prefix",
            "refresh",
            "shutdown-message",
            "passive",
            "same-identifier",
            "two-octets",
        }
    )

    def _words(self, *, restarting: bool) -> list[str]:
        return ["bird", "-f", "-c", "bird.conf", "-s", "ctl", "-P", "pid", *(["-R"] if restarting else [])]

    def _answers(self) -> bool:
        return "up and running" in self.ask("show status")

    def ask(self, line: str) -> str:
        """Give one command to it, as birdc does; return the text of the answer.

        Raises:
            AssertionError: it refused.
        """
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.directory / "ctl"))
            with control.makefile("rw") as stream:
                stream.readline()  # 0001 BIRD ... ready.
                stream.write(f"{line}\n")
                stream.flush()
                text = []
                for answer in stream:
                    told = answer.rstrip("\n")
                    code = told[:5] if told[:4].isdigit() else ""
                    text.append(told[5:] if code else told[1:])
                    assert code[:1] not in {"8", "9"}, f"{self}: {line}: {told}"
                    if code.endswith(" "):
                        break
        return "\n".join(text)

    # Configuration.

    def _configure(self) -> None:
        self._write()

    def _write(self) -> None:
        speaker = self.speaker
        parts = [
            "log stderr all;",
            f"router id {speaker.router_id};",
            "protocol device { }",
            # What is on the wire, apart from what BGP holds: only next hops are looked up there.
            "ipv4 table wire4; ipv6 table wire6;",
            "protocol direct { ipv4 { table wire4; }; ipv6 { table wire6; }; }",
            self.more(),
            *(self._static(version) for version in (4, 6)),
            *(self._bgp(f"p{at}", each) for at, each in enumerate(speaker.neighbours)),
            *(
                self._bgp(f"r{at}", each.like, remote=f"range {each.prefix}", name_of_each=f"d{at}_")
                for at, each in enumerate(speaker.ranges)
            ),
        ]
        (self.directory / "bird.conf").write_text("\n".join(parts))

    def more(self) -> str:
        """Return further configuration; for subclasses."""
        return ""

    def policy(self, neighbour: Neighbour, version: int) -> str:
        """Return what is let in and out; for subclasses."""
        if not neighbour.policy:
            return "import none; export none;"
        return "import all; export where source ~ [RTS_STATIC, RTS_BGP];"

    def _static(self, version: int) -> str:
        routes = [
            f"route {path.prefix} blackhole {{ {self._set(path)} }};"
            for path in self._announced.values()
            if path.prefix.version == version
        ]
        return f"protocol static s{version} {{ ipv{version}; {' '.join(routes)} }}"

    def _set(self, path: Path) -> str:
        """Return the filter that gives a route its attributes."""
        words = [f"bgp_origin = ORIGIN_{path.origin.upper()};"]
        words += [f"bgp_path.prepend({asn});" for asn in reversed(path.as_path)]
        words += [f"bgp_community.add(({_list(each)}));" for each in sorted(path.communities)]
        words += [f"bgp_ext_community.add(({_list(each)}));" for each in sorted(path.extended)]
        words += [f"bgp_large_community.add(({_list(each)}));" for each in sorted(path.large)]
        if path.next_hop:
            words.append(f"bgp_next_hop = {path.next_hop};")
        if path.med is not None:
            words.append(f"bgp_med = {path.med};")
        if path.local_pref is not None:
            words.append(f"bgp_local_pref = {path.local_pref};")
        return " ".join(words)

    def _bgp(self, name: str, neighbour: Neighbour, *, remote: str = "", name_of_each: str = "") -> str:
        each = neighbour
        words = [
            f"local {self._local(each)} as {self.speaker.asn};",
            f"neighbor {remote or each.address} as {each.asn};",
            f"hold time {each.hold_time};",
            "connect delay time 0; connect retry time 1; error wait time 1, 2;",
            f"graceful restart {'on' if each.graceful_restart else 'off'};",
            "long lived graceful restart off; enable extended messages on;",
            "error forget time 1;",
        ]
        if each.graceful_restart:
            words.append(f"graceful restart time {each.graceful_restart};")
        if name_of_each:
            words.append(f'dynamic name "{name_of_each}";')
        if each.passive and not remote:
            words.append("passive on;")
        if each.password:
            words.append(f'password "{each.password}";')
        if each.ttl_security:
            words.append("ttl security on;")
        if not each.as4:
            words.append("enable as4 off;")
        if each.multihop:
            words.append(f"multihop {each.multihop};")
        elif each.ttl_security:
            words.append("direct;")
        if each.client:
            words.append("rr client;")
            words.append(f"rr cluster id {self.speaker.cluster_id or self.speaker.router_id};")
        words += [self._channel(each, version) for version in each.families]
        return f"protocol bgp {name} {{ {' '.join(words)} }}"

    def _channel(self, neighbour: Neighbour, version: int) -> str:
        words = [f"igp table wire{version};", self.policy(neighbour, version)]
        if neighbour.next_hop_self:
            words.append("next hop self;")
        if neighbour.max_prefixes:
            words.append(f"import limit {neighbour.max_prefixes} action disable;")
        if neighbour.extended_next_hop and version == 4:
            words.append("igp table wire6; extended next hop on;")
        ways = {"receive": "rx", "send": "tx", "both": "on", "": "off"}
        words.append(f"add paths {ways[neighbour.add_paths]};")
        return f"ipv{version} {{ {' '.join(words)} }};"

    # Questions and orders.

    def _announce(self, paths: Iterable[Path]) -> None:
        self._reconfigure()

    def _withdraw(self, paths: Iterable[Path]) -> None:
        self._reconfigure()

    def _reconfigure(self) -> None:
        self._write()
        self.ask('configure "bird.conf"')

    def shut_down(self, address: Address, message: str = "") -> None:
        """Disable the protocol."""
        self.ask(f'disable {self._name(address)} "{message}"')

    def bring_up(self, address: Address) -> None:
        """Enable the protocol."""
        self.ask(f"enable {self._name(address)}")

    def refresh(self, address: Address) -> None:
        """Reload what comes in."""
        self.ask(f"reload in {self._name(address)}")

    def _name(self, address: Address) -> str:
        return next(name for name, block in self._blocks().items() if _session(block).address == address)

    def _sessions(self) -> list[Session]:
        return [_session(block) for block in self._blocks().values()]

    def _blocks(self) -> dict[str, str]:
        """Return what it tells of each BGP protocol, by name."""
        blocks = re.split(r"\n(?=\S)", self.ask("show protocols all"))
        return {
            each.split()[0]: each
            for each in blocks
            if re.match(r"\S+ +BGP ", each) and "Neighbor address" in each
        }

    def _paths(self) -> list[Path]:
        blocks = self._blocks()
        sources = {name: _session(block).address for name, block in blocks.items()}
        held: list[Path] = []
        prefix: Prefix | None = None
        lines = self.ask("show route all").splitlines()
        for at, line in enumerate(lines):
            if not (matched := _ROUTE.match(line)):
                continue
            prefix = ip_network(matched["prefix"]) if matched["prefix"] else prefix
            assert prefix
            told = {}
            for each in lines[at + 1 :]:
                if _ROUTE.match(each) or each.startswith("Table"):
                    break
                name, _, value = each.strip().partition(":")
                told[name] = value.strip()
            if prefix in self._announced and matched["protocol"] in {"s4", "s6"}:
                held.append(_path(prefix, told, best=bool(matched["best"]), stale=False, source=None))
            elif matched["protocol"] in sources:
                # Routes carry no mark: all of a neighbour are kept, until its End-of-RIB is there.
                stale = "Neighbor graceful restart active" in blocks[matched["protocol"]]
                source = sources[matched["protocol"]]
                held.append(_path(prefix, told, best=bool(matched["best"]), stale=stale, source=source))
        return held


def _list(text: str) -> str:
    return text.replace(":", ", ")


def _session(block: str) -> Session:
    told: dict[str, str] = {}
    for line in block.splitlines():
        name, _, value = line.strip().partition(":")
        told.setdefault(name, value.strip())
    _, _, theirs = block.partition("Neighbor capabilities\n")
    theirs, _, _ = theirs.partition("    Session:")
    capabilities = {word for line in theirs.splitlines() if (word := _WORDS.get(line.strip()))}
    if matched := re.search(r"AF announced: (.*)", theirs):
        capabilities |= {each for each in matched[1].split() if each in {"ipv4", "ipv6"}}
    if "Hostname:" in theirs:
        capabilities.add("hostname")
    asn = told.get("Neighbor AS", "0")
    return Session(
        address=ip_address(told["Neighbor address"].partition("%")[0]),
        state=told["BGP state"].lower(),
        asn=int(asn) if asn.isdigit() else 0,
        router_id=IPv4Address(told["Neighbor ID"]) if "Neighbor ID" in told else None,
        hold_time=int(float(told["Hold timer"].partition("/")[2])) if "Hold timer" in told else None,
        capabilities=frozenset(capabilities),
        received=sum(int(each) for each in re.findall(r"Routes: +(\d+) imported", block)),
        told=sum(int(each) for each in re.findall(r"Import updates: +(\d+)", block)),
        error=told.get("Last error", ""),
    )


def _path(prefix: Prefix, told: dict[str, str], *, best: bool, stale: bool, source: Address | None) -> Path:
    def attribute(name: str) -> str:
        return told.get(f"BGP.{name}", "")

    def number(name: str) -> int | None:
        return int(attribute(name)) if attribute(name) else None

    def communities(name: str) -> frozenset[str]:
        return frozenset(re.sub(r", ?", ":", each) for each in re.findall(r"\(([^)]*)\)", attribute(name)))

    next_hop = attribute("next_hop").split()
    return Path(
        prefix=prefix,
        next_hop=ip_address(next_hop[0]) if next_hop else None,
        origin=attribute("origin").lower(),
        as_path=tuple(int(each) for each in re.findall(r"\d+", attribute("as_path"))),
        med=number("med"),
        local_pref=number("local_pref"),
        communities=communities("community"),
        extended=communities("ext_community"),
        large=communities("large_community"),
        originator_id=IPv4Address(attribute("originator_id")) if attribute("originator_id") else None,
        cluster_list=tuple(IPv4Address(each) for each in attribute("cluster_list").split()),
        best=best,
        stale=stale,
        source=source,
        path_id=number("path_id"),
    )
