"""A store that cannot do everything passes the suites by saying so, and only so."""

from __future__ import annotations

from pathlib import Path

import pytest

from containernet.cli.inspect import end
from containernet.errors import ConfigError
from containernet.model import Interface, Lease
from containernet.testing import (
    ABILITIES,
    AnswersContract,
    Bed,
    BoundRoutesContract,
    ConfiguresNetworkContract,
    ConfinesContract,
    DataplaneContract,
    DrainsContract,
    KernelContract,
    LeaseStoreContract,
    LocalDeliveryContract,
    ReservesContract,
    RouteStoreContract,
)
from containernet.testing.stores import ONE, TWO
from containernet_backends.leasing import taken
from tests.conformance import like_bgp, like_etcd
from tests.conformance.finding import fails


class TestLikeBgp(RouteStoreContract):
    supports = RouteStoreContract.supports - {"shared", "immediate", "exact events", "nodes", "tunnels"}

    examples = 20

    def bed(self) -> Bed[like_bgp.Speaker]:
        """Return a mesh without speakers."""
        return like_bgp.bed(like_bgp.Speaker)


class TestOperated(AnswersContract, ConfinesContract, DrainsContract):
    supports = TestLikeBgp.supports

    def bed(self) -> Bed[like_bgp.OperatedSpeaker]:
        """Return a mesh without speakers."""
        return like_bgp.bed(like_bgp.OperatedSpeaker)


class TestLikeEtcd(
    LeaseStoreContract, ReservesContract, ConfiguresNetworkContract, RouteStoreContract, BoundRoutesContract
):
    supports = like_etcd.SUPPORTS

    examples = 20

    def bed(self) -> Bed[like_etcd.KeptAlive]:
        """Return an empty store."""
        return like_etcd.bed()


@pytest.mark.parametrize(
    ("suite", "word", "test"),
    [
        (TestLikeBgp, "shared", "test_close_store"),
        (TestLikeBgp, "immediate", "test_first_event"),
        (TestLikeBgp, "exact events", "test_replace"),
        (TestLikeBgp, "nodes", "test_first_event"),
        (TestLikeBgp, "tunnels", "test_scalars"),
        (TestLikeEtcd, "late renewal", "test_late_renewal"),
        (TestLikeEtcd, "renewal revisions", "test_renew"),
        (TestLikeEtcd, "remaining time", "test_listed"),
        (TestLikeEtcd, "immediate", "test_asleep"),
    ],
)
def test_boasting(suite: type[TestLikeBgp] | type[TestLikeEtcd], word: str, test: str) -> None:
    """One word too many is found out."""

    class Boasting(suite):  # type: ignore[misc, valid-type]
        supports = suite.supports | {word}
        soon = 0.1

    fails(Boasting(), test)


def test_every_word_is_missed() -> None:
    """Each word is left out by one of these stores: none stands for nothing."""
    assert not TestLikeBgp.supports & TestLikeEtcd.supports


def test_words_are_documented() -> None:
    """The table of docs/plugins.md is the one of the code."""
    page = (Path(__file__).parents[2] / "docs/plugins.md").read_text()
    rows = [f'| `"{word}"` | {" | ".join(meanings)} |' for word, meanings in ABILITIES.items()]
    assert "\n|---|---|---|\n" + "\n".join(rows) + "\n\n" in page


@pytest.mark.parametrize(
    ("node", "expires", "words"),
    [("a", 9.6, "in 10 s"), ("", None, "never"), ("a", None, "not told")],
)
def test_end_in_words(node: str, expires: float | None, words: str) -> None:
    """Somebody who looks at the leases can tell a reservation from an end that the store does not tell."""
    assert end(Lease(subnets=ONE, node=node, expires=expires, revision="1")) == words


@pytest.mark.parametrize(
    ("node", "expires", "words"),
    [
        ("a", 9.6, "leased to a for another 10 s;"),
        ("", None, "is reserved;"),
        ("a", None, "is leased to a;"),
    ],
)
def test_taken_in_words(node: str, expires: float | None, words: str) -> None:
    """So can somebody who is refused."""
    assert words in str(taken(TWO, Lease(subnets=ONE, node=node, expires=expires, revision="1")))


@pytest.mark.parametrize(
    ("suite", "word", "words"),
    [
        (LeaseStoreContract, "late renewals", ".*late renewal,"),
        (DataplaneContract, "routers", "IPv4, IPv6, router$"),
        (LocalDeliveryContract, "router", "IPv4, IPv6$"),
        (KernelContract, Interface, ".*IpTunnel"),
    ],
)
def test_unknown_word(suite: type, word: object, words: str) -> None:
    """A word that there is not is refused when the class is made, with those that there are."""
    with pytest.raises(ConfigError, match=rf"Misspelt\.supports: .*: expected some of {words}"):
        type("Misspelt", (suite,), {"supports": frozenset({word})})
