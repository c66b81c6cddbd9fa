"""The suites for what a store can do besides find what is planted."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import pytest

from containernet.model import NetworkConfig, Prefix
from containernet.testing import AnswersContract, Bed, ConfinesContract, DrainsContract
from tests.conformance import like_bgp
from tests.conformance.finding import fails
from tests.conformance.like_bgp import OperatedSpeaker


class Mute(OperatedSpeaker):
    """It answers questions, and knows none."""

    def questions(self) -> Mapping[str, str]:
        """Return nothing."""
        return {}


class Wordy(OperatedSpeaker):
    """Its question is no word."""

    def questions(self) -> Mapping[str, str]:
        """Return a sentence."""
        return {"who said what": "..."}


class Pythonic(OperatedSpeaker):
    """It answers with values that JSON does not have."""

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Return prefixes as they are."""
        super().answer(question, arguments)
        return {"heard": self.mesh.speakers}


class Deaf(OperatedSpeaker):
    """It does not look at what the operator types."""

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Answer all the same."""
        return super().answer(question, ())


class Crowded(OperatedSpeaker):
    """It answers one at a time, and hangs up on whoever is second."""

    _asked = threading.Semaphore(2)

    def answer(self, question: str, arguments: Sequence[str]) -> Mapping[str, object]:
        """Lose count."""
        if not self._asked.acquire(blocking=False):
            raise ValueError("busy")
        return super().answer(question, arguments)


class Boundless(OperatedSpeaker):
    """It is told the pools in vain."""

    def confine(self, network: NetworkConfig) -> None:
        """Listen to something else."""


class Generous(OperatedSpeaker):
    """It takes what holds a pool for a part of it."""

    def tells(self, prefix: Prefix) -> bool:
        """Look at overlaps."""
        return not self.network or any(
            prefix.version == pool.version and prefix.overlaps(pool.prefix) for pool in self.network.pools
        )


class Halfhearted(OperatedSpeaker):
    """It knows the pools of IPv4, and lets everything else through."""

    def tells(self, prefix: Prefix) -> bool:
        """Leave IPv6 alone."""
        return prefix.version == 6 or super().tells(prefix)


class Forgetful(OperatedSpeaker):
    """The second time that it is told the pools, it has none."""

    def confine(self, network: NetworkConfig) -> None:
        """Swap."""
        self.network = None if self.network else network


class Hasty(OperatedSpeaker):
    """It takes its routes back where it is to warn of that."""

    def drain(self, timeout: float) -> None:
        """Leave."""
        for route in list(self.own.values()):
            self.withdraw(route)


class Stubborn(OperatedSpeaker):
    """It tells nobody that it is about to leave."""

    def drain(self, timeout: float) -> None:
        """Wait for nothing."""


class Silenced(OperatedSpeaker):
    """Once it drains, it says nothing more."""

    drained = False

    def drain(self, timeout: float) -> None:
        """Drain for ever."""
        super().drain(timeout)
        self.drained = True

    def tell(self, prefix: Prefix, route: object) -> None:
        """Tell while it is not draining."""
        if not self.drained:
            super().tell(prefix, route)  # type: ignore[arg-type]


class Patient(OperatedSpeaker):
    """It waits until everybody has gone, however long it may."""

    def drain(self, timeout: float) -> None:
        """Take longer."""
        threading.Event().wait(timeout + 0.2)


ANSWERS, CONFINES, DRAINS = AnswersContract, ConfinesContract, DrainsContract


def suite(
    contract: type[AnswersContract] | type[ConfinesContract] | type[DrainsContract],
    speaker: type[OperatedSpeaker],
) -> AnswersContract | ConfinesContract | DrainsContract:
    """Return the suite for a speaker."""

    class Suite(contract):  # type: ignore[valid-type, misc]
        supports = contract.supports - {"shared", "immediate", "exact events", "nodes", "tunnels"}
        soon = 0.1

        def bed(self) -> Bed[OperatedSpeaker]:
            """Return a mesh of them."""
            return like_bgp.bed(speaker)

    made: AnswersContract | ConfinesContract | DrainsContract = Suite()
    return made


@pytest.mark.parametrize(
    ("planted", "contract", "test"),
    [
        (Mute, ANSWERS, "questions"),
        (Wordy, ANSWERS, "questions"),
        (Pythonic, ANSWERS, "answers"),
        (Deaf, ANSWERS, "wrong_arguments"),
        (Crowded, ANSWERS, "asked_at_once"),
        (Boundless, CONFINES, "confined_from_the_first"),
        (Boundless, CONFINES, "confined_later"),
        (Generous, CONFINES, "confined_from_the_first"),
        (Halfhearted, CONFINES, "confined_from_the_first"),
        (Forgetful, CONFINES, "confined_again"),
        (Hasty, DRAINS, "drained_routes_stay"),
        (Stubborn, DRAINS, "another_way"),
        (Silenced, DRAINS, "drained_withdraws"),
        (Patient, DRAINS, "no_longer_than_that"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_of_an_ability(
    planted: type[OperatedSpeaker],
    contract: type[AnswersContract] | type[ConfinesContract] | type[DrainsContract],
    test: str,
) -> None:
    """Each fault is found by the test whose fact it breaks."""
    fails(suite(contract, planted), f"test_{test}")
