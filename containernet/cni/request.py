"""What a runtime asks: from its environment and its network configuration to a checked value. Pure.

Checked in the order of the reference implementation: the environment, that the configuration is JSON, the
network's name, the version. What a DEL does not need is not held against it.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Mapping
from typing import Any

import attrs

from containernet.values import shown

from ..errors import ConfigError
from ..model import Endpoint
from .executable import VERSIONS

NETWORK_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # SPEC, section 1: `name`
_SINCE = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
_OF_A_CONTAINER = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}


class Code(enum.IntEnum):
    """Why a request is refused: SPEC, section 5, Error; from 100 on ours."""

    INCOMPATIBLE_VERSION = 1
    UNSUPPORTED_FIELD = 2
    UNKNOWN_CONTAINER = 3
    INVALID_ENVIRONMENT = 4
    DECODING = 6
    INVALID_CONFIG = 7
    TRY_AGAIN = 11
    UNAVAILABLE = 50
    LIMITED = 51
    FAILED = 100
    NOT_AS_EXPECTED = 101
    TAKEN = 102


class Refused(Exception):
    """A request that cannot be fulfilled, in the specification's words."""

    def __init__(self, code: Code, message: str, details: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = details


@attrs.frozen(kw_only=True)
class Request:
    """One checked request.

    Args:
        command: ADD, DEL, CHECK, GC or STATUS.
        version: the specification's, which the answer has to follow.
        network: the CNI network's name.
        container, interface, netns: of the attachment; empty where the command has none.
        arguments: CNI_ARGS as they are.
        config: the network configuration, with all that the runtime has put into it.
        addresses_only: another plugin makes the interface, and we are its IPAM plugin; DEL does not ask.
    """

    command: str
    version: str
    network: str
    container: str = ""
    interface: str = ""
    netns: str = ""
    arguments: str = ""
    config: Mapping[str, Any] = attrs.Factory(dict)
    addresses_only: bool = False
    __repr__ = shown


def read(plugin: str, environment: Mapping[str, str], text: str) -> Request:
    """Return the request.

    Args:
        plugin: the name under which the runtime has executed us; a configuration's `type`.
        environment: the variables that begin with CNI_.
        text: what was on stdin.

    Raises:
        Refused: it is none, with the code for it.
    """
    command = environment.get("CNI_COMMAND", "")
    _check_environment(command, environment)
    config = _config(text)
    network = _network(config)
    version = _version(command, config)
    return Request(
        command=command,
        version=version,
        network=network,
        container=environment.get("CNI_CONTAINERID", ""),
        interface=environment.get("CNI_IFNAME", ""),
        netns=environment.get("CNI_NETNS", ""),
        arguments=environment.get("CNI_ARGS", ""),
        config=config,
        addresses_only=command != "DEL" and _addresses_only(plugin, config),
    )


def version_of(text: str) -> str:
    """Return the version that an answer to this configuration has to follow, however broken it is."""
    try:
        version = json.loads(text)["cniVersion"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return VERSIONS[-2]
    return version if isinstance(version, str) else VERSIONS[-2]


def _check_environment(command: str, environment: Mapping[str, str]) -> None:
    missing = [name for name in _OF_A_CONTAINER.get(command, ()) if not environment.get(name)]
    if missing:
        # SPEC, section 5: "The error message must contain the names of invalid variables."
        raise Refused(Code.INVALID_ENVIRONMENT, f"{', '.join(missing)}: missing, and {command} needs it")
    if command in _OF_A_CONTAINER:
        container, interface = environment["CNI_CONTAINERID"], environment["CNI_IFNAME"]
        try:
            Endpoint(container=container, interface=interface, netns="", addresses=())
        except ConfigError as error:
            names = f"CNI_CONTAINERID {container!r}, CNI_IFNAME {interface!r}"
            raise Refused(Code.INVALID_ENVIRONMENT, f"{names}: not such names", str(error)) from None


def _config(text: str) -> Mapping[str, Any]:
    try:
        config = json.loads(text.encode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        raise Refused(Code.DECODING, "the network configuration is not JSON", str(error)) from None
    if not isinstance(config, dict):
        raise Refused(Code.DECODING, "the network configuration is not a JSON object", f"it is {text[:80]}")
    return config


def _network(config: Mapping[str, Any]) -> str:
    name = config.get("name")
    if not isinstance(name, str) or not NETWORK_NAME.fullmatch(name):
        raise Refused(Code.INVALID_CONFIG, f"name {name!r}: expected letters, digits, '_', '.' and '-'")
    return name


def _version(command: str, config: Mapping[str, Any]) -> str:
    version = config.get("cniVersion") or "0.1.0"  # what it meant before there was such a key
    if not isinstance(version, str):
        raise Refused(Code.DECODING, f"cniVersion {version!r}: expected text")
    if version not in VERSIONS:
        raise Refused(
            Code.INCOMPATIBLE_VERSION,
            f"cniVersion {version!r}: not supported",
            f"supported: {', '.join(VERSIONS)}",
        )
    since = _SINCE.get(command, version)
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise Refused(Code.INCOMPATIBLE_VERSION, f"cniVersion {version!r}: {command} came with {since}")
    return version


def _addresses_only(plugin: str, config: Mapping[str, Any]) -> bool:
    ipam = config.get("ipam") or {}
    delegated = ipam.get("type", "") if isinstance(ipam, dict) else ""
    if config.get("type") != plugin and delegated == plugin:
        return True
    if delegated not in ("", plugin):
        # SPEC, section 5: "The error message must contain the key and value of the unsupported field."
        raise Refused(Code.UNSUPPORTED_FIELD, f"ipam {json.dumps(ipam)}: addresses come from containernetd")
    return False
