"""Does what runtimes ask: from a request to the agent, and from what it says to an answer.

Any thread may call; what concerns containers runs on the agent's thread. An answer is always one: errors are
answers too, with a code, and nothing that a runtime can say ends the daemon.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..agent import Agent
from ..contracts import LocalDelivery
from ..errors import (
    AddressesExhausted,
    AddressTaken,
    AlreadyAttached,
    ConfigError,
    ContainernetError,
    NamespaceGone,
)
from ..items import KernelRoute
from ..model import Endpoint
from .letters import Letters
from .request import Code, Refused, Request, read, version_of
from .result import previous, result
from .wishes import dns, wished

log = logging.getLogger(__name__)


class Plugin:
    """The CNI plugin of one node.

    Args:
        agent: does it.
        local: the agent's local dataplane, which says what an endpoint consists of.
        letters: the directory of what could not be asked.
    """

    def __init__(self, agent: Agent, *, local: LocalDelivery, letters: Path) -> None:
        self._agent = agent
        self._local = local
        self._letters = Letters(letters, self._do_letter)
        self._undone: set[tuple[str, str]] = set()  # by letters that are kept
        self._commands: Mapping[str, Callable[[Request], dict[str, Any] | None]] = {
            "ADD": self._add,
            "DEL": self._delete,
            "CHECK": self._check,
            "GC": self._collect,
            "STATUS": self._status,
        }

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the executable is to print, and its exit code.

        Args:
            asked: `plugin` (the executable's name), `environment` and `config` (its stdin).

        Raises:
            ConfigError: it was not our executable that asked.
        """
        plugin, environment, text = _words(asked)
        try:
            request = read(plugin, environment, text)
            self.open_letters()
            if request.command == "ADD" and (request.container, request.interface) in self._undone:
                raise Refused(
                    Code.TRY_AGAIN, f"{request.container} is not deleted yet; the daemon's log says why"
                )
            document = self._commands[request.command](request)
        except Refused as refused:
            return _refusal(refused, text)
        except ContainernetError as error:
            return _refusal(_in_their_words(error, environment), text)
        return {"exit": 0, "output": json.dumps(document) if document else ""}

    def open_letters(self) -> None:
        """Do what was asked for while no daemon answered; what cannot be done now is tried at the next time."""
        self._letters.open_all()

    def _do_letter(self, letter: bytes) -> bool:
        try:
            request = read(*_words(json.loads(letter)))
        except (ValueError, ConfigError, Refused) as error:
            log.warning("a letter that says nothing: %s: %s", letter[:80], error)
            return True
        name = request.container, request.interface
        self._undone.discard(name)
        try:
            if request.command == "DEL":
                self._delete(request)
        except ContainernetError as error:
            log.error("a letter that cannot be done now: %s of %s: %s", request.command, name[0], error)
            self._undone.add(name)
            return False
        return True

    def _add(self, request: Request) -> dict[str, Any]:
        wish, resolvers = wished(request), dns(request)
        previous(request)  # a broken one is refused before anything is made
        endpoint = self._agent.add(wish)
        items = self._local.endpoint(self._agent.node, endpoint)
        return result(request, endpoint, items, resolvers)

    def _delete(self, request: Request) -> None:
        self._agent.detach(request.container, interface=request.interface)

    def _check(self, request: Request) -> None:
        endpoint = self._agent.endpoint(request.container, interface=request.interface)
        if endpoint is None:
            who = f"{request.container} ({request.interface})"
            raise Refused(Code.UNKNOWN_CONTAINER, f"{who} is not attached")
        told = previous(request)
        if not told:
            raise Refused(Code.INVALID_CONFIG, "prevResult is missing: CHECK compares with it")
        _compare(endpoint, told)
        # A later plugin may have changed routes (SPEC, section 2, CHECK); what the result names has to stand.
        routes = {route.get("dst") for route in told.get("routes") or []}
        missing = [
            str(each)
            for each in self._agent.missing(endpoint)
            if not isinstance(each.item, KernelRoute) or str(each.item.destination) in routes
        ]
        if missing:
            wrong = f"{request.container} is not as it should be"
            raise Refused(Code.NOT_AS_EXPECTED, wrong, "; ".join(missing))

    def _collect(self, request: Request) -> None:
        valid = request.config.get("cni.dev/valid-attachments")
        try:
            if not isinstance(valid, list):
                raise TypeError
            known = {(each["containerID"], each["ifname"]) for each in valid}
        except (TypeError, KeyError):
            wrong = f"cni.dev/valid-attachments {json.dumps(valid)}: expected a list of attachments"
            raise Refused(Code.INVALID_CONFIG, wrong) from None
        errors = []
        for stranger in self._agent.strangers(request.network, known):
            try:
                self._agent.detach(stranger.container, interface=stranger.interface)
            except ContainernetError as error:  # SPEC, section 2, GC: go on, and report
                errors.append(f"{stranger.container}: {error}")
        if errors:
            raise Refused(Code.FAILED, f"{len(errors)} attachments could not be collected", "; ".join(errors))

    def _status(self, request: Request) -> None:
        status = self._agent.status()
        if status.reasons:
            limited = status.programming and not status.settled
            code = Code.LIMITED if limited else Code.UNAVAILABLE
            raise Refused(code, f"node {status.node.name} is not ready", "; ".join(status.reasons))
        if not self._agent.has_room():
            raise Refused(Code.UNAVAILABLE, f"node {status.node.name} has no address left for a container")


def _words(asked: Any) -> tuple[str, Mapping[str, str], str]:
    """Return the executable's name, its environment and its stdin.

    Raises:
        ConfigError: there are none.
    """
    asked = asked if isinstance(asked, Mapping) else {}
    plugin, environment, text = asked.get("plugin"), asked.get("environment"), asked.get("config")
    variables = environment.values() if isinstance(environment, Mapping) else [None]
    if all(isinstance(each, str) for each in (plugin, text, *variables)):
        return str(plugin), dict(environment or {}), str(text)
    raise ConfigError("expected plugin, environment and config, as the CNI plugin sends them")


def _compare(endpoint: Endpoint, told: Mapping[str, Any]) -> None:
    addresses = {str(entry.get("address", "")).partition("/")[0] for entry in told.get("ips") or []}
    for own in endpoint.addresses:
        if str(own.ip) not in addresses:
            raise Refused(
                Code.NOT_AS_EXPECTED,
                f"{endpoint.container} has {own.ip}, and prevResult {', '.join(sorted(addresses)) or 'none'}",
            )


def _in_their_words(error: ContainernetError, environment: Mapping[str, str]) -> Refused:
    match error:
        case AddressTaken():
            return Refused(Code.TAKEN, str(error))
        case AddressesExhausted():
            return Refused(Code.TRY_AGAIN, "no address is left", str(error))
        case AlreadyAttached() | NamespaceGone():
            names = f"CNI_NETNS {environment.get('CNI_NETNS')}, CNI_IFNAME {environment.get('CNI_IFNAME')}"
            return Refused(Code.INVALID_ENVIRONMENT, names, str(error))
        case ConfigError():
            return Refused(Code.INVALID_CONFIG, str(error))
        case _:
            return Refused(Code.TRY_AGAIN if error.retryable else Code.FAILED, str(error))


def _refusal(refused: Refused, text: str) -> dict[str, Any]:
    document = {
        "cniVersion": version_of(text),
        "code": int(refused.code),
        "msg": refused.message,
        "details": refused.details,
    }
    return {"exit": 1, "output": json.dumps(document)}
