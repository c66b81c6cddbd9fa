"""The configurations that docs/bgp.md shows work: ours, and those of the other side, as they stand there."""

from __future__ import annotations

import tomllib
from ipaddress import IPv4Address, ip_network
from typing import Any, ClassVar

import pytest

from containernet_backends.bgp.options import BgpOptions
from tests.docs.pages import Block, blocks

from .bird import Bird
from .daemons import Daemon, Run
from .frr import Frr
from .gobgp import Gobgp
from .ours import Ours
from .topology import Segment
from .values import Path, Speaker

pytestmark = pytest.mark.bgp

PAGE = "docs/bgp.md"
THEIRS = "192.0.2.254/24", "2001:db8::fe/64"
PREFIXES = "10.4.1.0/24", "fd00:4:0:1::/64"


class Shown(Daemon):
    """A daemon that takes its configuration from the page."""

    shown: ClassVar[str]
    file: ClassVar[str]

    def _configure(self) -> None:
        (self.directory / self.file).write_text(self.shown)


class ShownBird(Shown, Bird):
    file = "bird.conf"


class ShownFrr(Shown, Frr):
    file = "frr.conf"


class ShownGobgp(Shown, Gobgp):
    file = "gobgpd.toml"

    def _words(self, *, restarting: bool) -> list[str]:
        words = super()._words(restarting=restarting)
        return ["toml" if word == "json" else word.replace(".json", ".toml") for word in words]


class ShownOurs(Ours):
    """Our speaker with a table of the page."""

    table: ClassVar[dict[str, Any]]

    def store(self, speaker: Speaker) -> dict[str, Any]:
        """Return it, for this host."""
        return self.table | {"asn": speaker.asn, "router_id": str(speaker.router_id)}


DAEMONS: dict[str, type[Shown]] = {"bird": ShownBird, "frr": ShownFrr, "gobgp": ShownGobgp}


def pairs() -> list[tuple[Block, Block]]:
    """Return every configuration of another daemon, each behind the one of ours that it is for."""
    found: list[tuple[Block, Block]] = []
    ours: Block | None = None
    for each in blocks(PAGE):
        ours = each if each.language == "toml" else ours
        if each.language in DAEMONS:
            assert ours
            found.append((ours, each))
    return found


@pytest.mark.parametrize(("ours", "theirs"), pairs(), ids=lambda each: f"{each.language}, line {each.line}")
def test_two_hosts_hear_each_other_through_what_the_page_shows(
    ours: Block, theirs: Block, segment: Segment, make: Run
) -> None:
    """Each of two hosts tells its subnets to the other side, and hears of the other's from there."""
    table = tomllib.loads(ours.text)["store"]["bgp"]
    options = BgpOptions(**table)
    external = options.external(options.peers[0])
    other = type("Theirs", (DAEMONS[theirs.language],), {"shown": theirs.text, "__module__": __name__})
    link_local = theirs.language != "frr"
    far = make(
        other,
        segment.host("theirs", *THEIRS, link_local=link_local),
        Speaker(asn=options.peers[0].asn or options.asn, router_id=IPv4Address("192.0.2.254")),
    )
    hosts = []
    for number in (1, 2):
        host = segment.host(
            f"h{number}", f"192.0.2.{number}/24", f"2001:db8::{number}/64", link_local=link_local
        )
        speaker = Speaker(asn=options.asn + number * external, router_id=IPv4Address(f"192.0.2.{number}"))
        kind = type("Ours", (ShownOurs,), {"table": table, "__module__": __name__})
        hosts.append(make(kind, host, speaker))
    for each in (far, *hosts):
        each.start(wait=False)
    for each in (far, *hosts):
        each.wait()
    one, two = hosts
    one.announce(*(Path(prefix=ip_network(each)) for each in PREFIXES))
    for prefix in PREFIXES:
        heard = two.wait_path(prefix)
        assert heard.best
        ends = {host.address(heard.prefix.version) for host in (one.host, far.host)}
        # A switch may put itself between. Without zebra bgpd knows no IPv6 address of its own.
        assert heard.next_hop in ends or str(heard.next_hop) == "::ffff:c000:2fe"
