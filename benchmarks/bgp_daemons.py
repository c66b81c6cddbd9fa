"""Daemons for `bgp`: each has the sender, the sink and the clients as peers, and is asked what it holds."""

from __future__ import annotations

import json
import os
import re
import resource
import socket
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from pwd import getpwuid
from typing import Any, ClassVar

from benchmarks import frame
from benchmarks.bgp_peers import ASN, CLIENTS, DAEMON, HOLD, PATIENCE, PORT, SENDER, SENDER_ASN, SINK, SINK_ASN


class Program(ABC):
    """A daemon with the sender, the sink and the clients as its peers; running from its birth until `close`."""

    name: ClassVar[str]
    command: ClassVar[str]
    needs: ClassVar[Sequence[frame.Program | frame.Module]] = ()
    asking: ClassVar[float] = 0.003  # seconds between two questions
    most: ClassVar[int] = 10**9  # prefixes that it can take
    tells: ClassVar[bool] = True  # whether it keeps a table, and tells others of it

    def __init__(self, directory: Path, network: str) -> None:
        self.directory = directory
        self._log = (directory / "log").open("wb")
        # Compiled Python, as an installed program is.
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        self.process = subprocess.Popen(
            ["nsenter", f"--net={network}", *self.words()],
            cwd=directory,
            env=environment | self.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self.command == sys.executable else self._log,
            stderr=self._log,
        )

    @abstractmethod
    def words(self) -> list[str]:
        """Write the configuration, and return the command."""

    def environment(self) -> dict[str, str]:
        return {}

    @abstractmethod
    def held(self) -> int:
        """Return how many prefixes have a best path."""

    def wait(self, count: int) -> float:
        """Return the time at which it was found to hold so many prefixes."""
        deadline = time.monotonic() + PATIENCE
        while (held := self.held()) < count:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} holds {held} of {count} prefixes: {self.log()}")
            time.sleep(self.asking)
        return time.monotonic()

    def ready(self) -> None:
        """Wait until it answers."""
        deadline = time.monotonic() + 30
        while True:
            try:
                self.held()
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise SystemExit(f"{self.name} does not start: {self.log()}") from None
                time.sleep(0.05)
            else:
                return

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")[-1000:]

    def memory(self) -> int:
        """Return the octets that it holds of this machine's memory."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * resource.getpagesize()

    def busy(self) -> float:
        """Return the seconds that processors have worked for it."""
        told = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(told[11]) + int(told[12])) / os.sysconf("SC_CLK_TCK")

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self._log.close()


class Ours(Program):
    """A process with a Speaker, which says how much it holds when a line comes."""

    name, command = "ours", sys.executable

    def words(self) -> list[str]:
        external = {"import_policy": "all", "export_policy": "all", "passive": True}
        options = {
            "asn": ASN,
            "router_id": str(DAEMON),
            "hold_time": HOLD,
            "peer": [
                {"address": str(SENDER), "asn": SENDER_ASN, **external},
                {"address": str(SINK), "asn": SINK_ASN, **external},
                {"range": CLIENTS, "client": True},
            ],
            "policy": [{"name": "all", "default": "accept"}],
        }
        return [sys.executable, str(Path(__file__).resolve()), json.dumps(options)]

    def held(self) -> int:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        if not (told := self.process.stdout.readline()):
            raise SystemExit(f"ours ended: {self.log()}")
        return int(told)


def speak(options: Mapping[str, Any]) -> None:
    """Be the process of `Ours`."""
    from containernet_backends.bgp.families import IPV4
    from containernet_backends.bgp.options import BgpOptions
    from containernet_backends.bgp.speaker import Speaker

    speaker = Speaker(BgpOptions(**options))
    speaker.start()
    while os.read(0, 1):
        os.write(1, b"%d\n" % len(speaker.table.routes[IPV4]))


class Bird(Program):
    """BIRD 2, asked over its control socket."""

    name, command = "bird", "bird"
    needs = (frame.Program("bird", "bird2"),)

    def words(self) -> list[str]:
        def peer(name: str, remote: str, *more: str) -> str:
            words = [f"local {DAEMON} as {ASN}", f"neighbor {remote}", f"hold time {HOLD}", "passive on", *more]
            return f"protocol bgp {name} {{ {'; '.join(words)}; ipv4 {{ import all; export all; }}; }}"

        lines = [
            "log stderr { fatal, bug };",
            f"router id {DAEMON};",
            "protocol device {}",
            "protocol direct { ipv4; }",
            peer("sender", f"{SENDER} as {SENDER_ASN}"),
            peer("sink", f"{SINK} as {SINK_ASN}"),
            peer("clients", f"range {CLIENTS} as {ASN}", "rr client", 'dynamic name "client"'),
        ]
        (self.directory / "bird.conf").write_text("\n".join(lines))
        return ["bird", "-f", "-c", "bird.conf", "-s", "ctl", "-P", "pid"]

    def held(self) -> int:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.directory / "ctl"))
            control.sendall(b"show protocols all sender\n")
            text = b""
            while not re.search(rb"^0000", text, re.MULTILINE):
                text += control.recv(1 << 16)
        found = re.search(rb"(\d+) preferred", text)
        return int(found[1]) if found else 0


class Frr(Program):
    """bgpd of FRR without zebra, asked as vtysh does."""

    name, command = "frr", "/usr/lib/frr/bgpd"
    needs = (frame.Program("/usr/lib/frr/bgpd", "frr"),)

    def words(self) -> list[str]:
        lines = [
            f"router bgp {ASN}",
            f" bgp router-id {DAEMON}",
            " no bgp ebgp-requires-policy",
            " coalesce-time 0",
            " bgp listen limit 5000",
            " neighbor CLIENTS peer-group",
            f" neighbor CLIENTS remote-as {ASN}",
            f" neighbor CLIENTS timers {HOLD // 3} {HOLD}",
            f" bgp listen range {CLIENTS} peer-group CLIENTS",
        ]
        for address, asn in ((SENDER, SENDER_ASN), (SINK, SINK_ASN)):
            lines += [f" neighbor {address} remote-as {asn}", f" neighbor {address} passive"]
            # Without the second, it would tell everything back to whom it is from.
            lines += [f" neighbor {address} advertisement-interval 0"]
            lines += [f" neighbor {address} timers {HOLD // 3} {HOLD}"]
            lines += [f" neighbor {address} sender-as-path-loop-detection"]
        lines += [" address-family ipv4 unicast", "  neighbor CLIENTS route-reflector-client", ""]
        (self.directory / "frr.conf").write_text("\n".join(lines))
        here = self.directory
        where = ["-f", f"{here}/frr.conf", "-i", f"{here}/pid", "--vty_socket", str(here), "-P", "0"]
        return [
            self.command,
            "-S",
            "-n",
            "-Z",
            "-p",
            str(PORT),
            "--log",
            "stdout",
            "--log-level",
            "err",
            *where,
        ]

    def held(self) -> int:
        with socket.socket(socket.AF_UNIX) as vty:
            vty.connect(str(self.directory / "bgpd.vty"))
            for line in ("enable", "show bgp ipv4 unicast summary json"):
                vty.sendall(line.encode() + b"\0")
                answer = b""
                while answer[-4:-1] != b"\0\0\0":
                    answer += vty.recv(1 << 16)
        told: dict[str, int] = json.loads(answer[:-4])
        return told.get("tableVersion", 0)


class Gobgp(Program):
    """gobgpd, asked by its client."""

    name, command = "gobgp", "gobgpd"
    needs = (frame.Program("gobgpd", "gobgpd"),)
    asking = 0.03

    def words(self) -> list[str]:
        timers = {"timers": {"config": {"hold-time": HOLD, "keepalive-interval": HOLD / 3}}}
        common = {**timers, "transport": {"config": {"passive-mode": True}}}
        reflector = {"route-reflector-client": True, "route-reflector-cluster-id": str(DAEMON)}
        document = {
            "global": {"config": {"as": ASN, "router-id": str(DAEMON), "port": PORT}},
            "neighbors": [
                {**common, "config": {"neighbor-address": str(address), "peer-as": asn}}
                for address, asn in ((SENDER, SENDER_ASN), (SINK, SINK_ASN))
            ],
            "peer-groups": [
                {
                    **common,
                    "config": {"peer-group-name": "clients", "peer-as": ASN},
                    "route-reflector": {"config": reflector},
                }
            ],
            "dynamic-neighbors": [{"config": {"prefix": CLIENTS, "peer-group": "clients"}}],
        }
        (self.directory / "gobgpd.json").write_text(json.dumps(document))
        quiet = ["--pprof-disable", "--log-level=error", f"--api-hosts={self._target}"]
        return ["gobgpd", "-f", "gobgpd.json", "-t", "json", *quiet]

    @property
    def _target(self) -> str:
        return f"unix://{self.directory}/api"

    def held(self) -> int:
        # Asked for one neighbour alone, it looks through its whole table.
        asked = ["gobgp", "--target", self._target, "-j", "neighbor"]
        done = subprocess.run(asked, capture_output=True, check=False)
        if done.returncode:
            raise ConnectionRefusedError
        families = [family for each in json.loads(done.stdout) or () for family in each.get("afi_safis", ())]
        return sum(family.get("state", {}).get("accepted", 0) for family in families)


class Exabgp(Program):
    """ExaBGP, which tells a process that it starts."""

    name, command = "exabgp", sys.executable
    needs = (frame.Module("exabgp", "exabgp"),)
    most = 100_000  # more take it minutes
    tells = False

    def words(self) -> list[str]:
        # Without an output it would be taken for dead.
        relay = f"#!/bin/sh\nexec cat 3>&1 >>{self.directory}/told\n"
        (self.directory / "relay").write_text(relay)
        lines = [
            f"process relay {{ run /bin/sh {self.directory}/relay; encoder json; }}",
            f"neighbor {SENDER} {{ router-id {DAEMON}; local-address {DAEMON}; local-as {ASN};",
            f"  peer-as {SENDER_ASN}; hold-time {HOLD}; passive true; family {{ ipv4 unicast; }}",
            "  api { processes [ relay ]; receive { parsed; update; } } }",
        ]
        (self.directory / "exabgp.conf").write_text("\n".join(lines))
        self._at, self._told = 0, 0
        return [sys.executable, "-m", "exabgp", "server", str(self.directory / "exabgp.conf")]

    def environment(self) -> dict[str, str]:
        settings = {"tcp_bind": str(DAEMON), "tcp_port": str(PORT), "api_cli": "false", "api_ack": "false"}
        settings |= {"log_level": "ERROR", "daemon_user": getpwuid(os.getuid()).pw_name}
        return {f"exabgp_{name}": value for name, value in settings.items()}

    def held(self) -> int:
        with (self.directory / "told").open("rb") as told:
            told.seek(self._at)
            new = told.read()
        whole = new.rfind(b"\n") + 1
        self._at += whole
        self._told += new[:whole].count(b'"nlri"')
        return self._told


PROGRAMS: Mapping[str, type[Program]] = {each.name: each for each in (Ours, Bird, Frr, Gobgp, Exabgp)}


if __name__ == "__main__":
    speak(json.loads(sys.argv[1]))
