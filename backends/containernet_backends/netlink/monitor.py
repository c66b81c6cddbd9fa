"""Hearing of changes: a subscribed socket, and a way to stop waiting for it."""

from __future__ import annotations

import errno
import os
import select
from itertools import chain

from containernet.errors import ContainernetError

from . import constants as c
from .frames import Malformed
from .nft_generations import GROUP, Generations
from .socket import NetlinkSocket
from .view import View

_GROUPS = (
    c.RTNLGRP_LINK,
    c.RTNLGRP_NEIGH,
    c.RTNLGRP_IPV4_IFADDR,
    c.RTNLGRP_IPV6_IFADDR,
    c.RTNLGRP_IPV4_ROUTE,
    c.RTNLGRP_IPV6_ROUTE,
    c.RTNLGRP_NEXTHOP,
)
# What else goes with a link or an address of ours the kernel does not tell.
_FOR_ALL = (c.RTM_NEWLINK, c.RTM_DELLINK, c.RTM_NEWADDR, c.RTM_DELADDR)


class Listener:
    """Hears everything that changes in the namespace of the thread that makes it, from that moment on.

    Args:
        own_port: whose routes, neighbours and nexthops are as is believed, and not heard of.
    """

    def __init__(self, *, own_port: int) -> None:
        self._socket = NetlinkSocket(_GROUPS)
        self._socket.pass_over(own_port, but=_FOR_ALL)
        self._tables = _listening_to_nftables()
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        for socket in (self._socket, self._tables):
            if socket is not None:
                self._poll.register(socket.fileno(), select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Return whether something arrived, or `wake` was called, within `timeout` seconds."""
        return bool(self._poll.poll(max(0.0, timeout) * 1000))

    def disturbed(self, view: View, generations: Generations) -> bool:
        """Return whether what arrived so far contradicts what is believed; True also if something was lost."""
        try:
            told = self._tables is not None and generations.disturbed(self._tables.notifications())
            heard = self._socket.notifications()
            # The view catches up with our own work only where there is something to compare.
            first = next(heard, None)
            return (first is not None and view.differs(chain([first], heard))) or told
        except Malformed:
            return True
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise
            return True

    def wake(self) -> None:
        """End the waiting, now and from now on."""
        os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Close what is held."""
        self._socket.close()
        if self._tables is not None:
            self._tables.close()
        os.close(self._wake)


def _listening_to_nftables() -> NetlinkSocket | None:
    """Return a socket that hears of every transaction; None: there is no nftables, or it may not be heard."""
    try:
        return NetlinkSocket([GROUP], protocol=c.NETLINK_NETFILTER)
    except (ContainernetError, OSError):
        return None
