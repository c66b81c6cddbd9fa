"""What nftables itself tells over nfnetlink: whether a table is there, and who has changed it.

Every transaction of anybody makes the next generation, and is told to all listeners with that number behind it.
So what we did is known by its number: one transaction of ours that was the only one between two looks.

A table is looked for here before the library is loaded, since most namespaces have none of ours.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterable
from contextlib import closing
from socket import htonl

from containernet.errors import ContainernetError

from . import constants as c
from .frames import Message, attribute, attributes, text
from .nft_programs import PROGRAMS
from .socket import NetlinkSocket

_HEADER = struct.Struct("=BBH")  # nfgenmsg: family, version, resource
_FAMILY = {"inet": 1, "ip": 2, "bridge": 7, "ip6": 10}
_FAMILY_NAME = {number: name for name, number in _FAMILY.items()}
_SUBSYSTEM = 10 << 8  # NFNL_SUBSYS_NFTABLES
_NEWGEN, _GETGEN, _GETTABLE, _GETRULE = (_SUBSYSTEM | number for number in (15, 16, 1, 7))
_TABLE = 1  # NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE, NFTA_SET_ELEM_LIST_TABLE
_RULE_CHAIN, _RULE_HANDLE, _CHAIN_NAME = 2, 3, 3  # NFTA_RULE_CHAIN, NFTA_RULE_HANDLE, NFTA_CHAIN_NAME
# What tells of a chain's rules, or of the chain itself, and where its name stands there.
_NAMES_CHAIN = dict.fromkeys((_SUBSYSTEM | 6, _SUBSYSTEM | 8), _RULE_CHAIN)  # NFT_MSG_NEWRULE, DELRULE
_NAMES_CHAIN |= dict.fromkeys((_SUBSYSTEM | 3, _SUBSYSTEM | 5), _CHAIN_NAME)  # NFT_MSG_NEWCHAIN, DELCHAIN
_REMEMBERED = 4096  # generations of ours that nobody was told of yet
GROUP = 7  # NFNLGRP_NFTABLES

_OURS = {(_FAMILY[each.family], each.name) for each in PROGRAMS}


class Generations:
    """The generations of one namespace's nftables, and which of them are ours.

    Args:
        open: opens a socket of nfnetlink inside the namespace.

    Attributes:
        watched: chains of somebody else's in which we have rules, as family, table and name.
    """

    def __init__(self, open: Callable[[], NetlinkSocket]) -> None:
        self._open = open
        self._socket: NetlinkSocket | None = None
        self._own: dict[int, None] = {}
        self._named = False  # the transaction that is being told has to do with what is ours
        self.watched: set[str] = set()

    def has_table(self, family: str, name: str) -> bool:
        """Return whether a table is there; not so where the kernel has no nftables at all."""
        wanted = attribute(_TABLE, name.encode() + b"\0")
        found = self._ask(_GETTABLE, _HEADER.pack(_FAMILY[family], 0, 0) + wanted)
        return found is not None

    def rules_with(self, mark: str) -> list[tuple[str, int, str]] | None:
        """Return the rules whose comment begins with that mark, wherever they are; None: nobody would say.

        A comment is where `nft` puts it (NFTA_RULE_USERDATA) or in iptables' own match (xt_comment); both end
        with a zero.

        Returns:
            Of each its chain, as family, table and name; its handle; and the comment.
        """
        start = mark.encode()
        try:
            rules = self._netfilter().dump(_GETRULE, _HEADER.pack(0, 0, 0), keep=lambda body: start in body)
        except ContainernetError:  # no nfnetlink
            return None
        return [(_chain(body, _RULE_CHAIN), _handle(body), text(body[body.find(start) :])) for body in rules]

    def make(self, transaction: Callable[[], None], *, on: int) -> int:
        """Make a transaction of ours; return the generation that follows `on` by nothing else, or 0.

        Raises:
            Refused: what the transaction raises.
        """
        before = self.now()
        transaction()
        after = self.now()
        if after != before + 1:  # somebody else made one meanwhile, and which is ours nobody can tell
            return 0
        self._own[after] = None
        if len(self._own) > _REMEMBERED:
            del self._own[next(iter(self._own))]
        return after if on == before else 0

    def disturbed(self, messages: Iterable[Message]) -> bool:
        """Return whether somebody else's transaction has to do with a table of ours, or a watched chain."""
        found = False
        for each in messages:
            if each.type != _NEWGEN:
                self._named |= self._is_named(each)
                continue
            ours = _generation(each.body) in self._own
            found |= self._named and not ours
            self._named = False
        return found

    def _is_named(self, message: Message) -> bool:
        family = message.body[0] if message.body else 0
        if (family, text(attributes(message.body, _HEADER.size).get(_TABLE, b""))) in _OURS:
            return True
        named_by = _NAMES_CHAIN.get(message.type) if self.watched else None
        return named_by is not None and _chain(message.body, named_by) in self.watched

    def close(self) -> None:
        """Let go of the socket."""
        if self._socket is not None:
            self._socket.close()

    def now(self) -> int:
        """Return the number of the present generation; 0: there is no nftables."""
        answer = self._ask(_GETGEN, _HEADER.pack(0, 0, 0))
        return _generation(answer) if answer is not None else 0

    def _ask(self, type: int, body: bytes) -> bytes | None:
        try:
            answer = self._netfilter().get(type, body)
        except ContainernetError:  # no nfnetlink
            return None
        return answer if isinstance(answer, bytes) else None

    def _netfilter(self) -> NetlinkSocket:
        if self._socket is None:
            self._socket = self._open()
        return self._socket


def _handle(body: bytes) -> int:
    return int.from_bytes(attributes(body, _HEADER.size)[_RULE_HANDLE], "big")


def _chain(body: bytes, named_by: int) -> str:
    """Return family, table and name of the chain that a message is about."""
    found = attributes(body, _HEADER.size)
    table, name = (text(found.get(each, b"")) for each in (_TABLE, named_by))
    return f"{_FAMILY_NAME.get(body[0], '?')} {table} {name}"


def refusal() -> int:
    """Return the errno with which the nftables of this thread's namespace refuses to be spoken to, or 0."""
    try:
        with closing(NetlinkSocket(protocol=c.NETLINK_NETFILTER)) as socket:
            answer = socket.get(_GETGEN, _HEADER.pack(0, 0, 0))
    except ContainernetError:
        return errno.EPROTONOSUPPORT
    return 0 if isinstance(answer, bytes) else answer.errno


def _generation(body: bytes) -> int:
    return htonl(struct.unpack("=I", attributes(body, _HEADER.size)[1])[0])
