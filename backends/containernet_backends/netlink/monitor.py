"""Hearing of changes: a subscribed socket, and a way to stop waiting for it."""

from __future__ import annotations

import errno
import os
import select

from . import constants as c
from .frames import Malformed
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
_LINKS = frozenset({c.RTM_NEWLINK, c.RTM_DELLINK})


class Listener:
    """Hears everything that changes in the namespace of the thread that makes it, from that moment on."""

    def __init__(self) -> None:
        self._socket = NetlinkSocket(_GROUPS)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._socket.fileno(), select.POLLIN)
        self._poll.register(self._wake, select.POLLIN)

    def wait(self, timeout: float) -> bool:
        """Return whether something arrived, or `wake` was called, within `timeout` seconds."""
        return bool(self._poll.poll(max(0.0, timeout) * 1000))

    def disturbed(self, view: View, *, own_port: int) -> bool:
        """Return whether what arrived so far contradicts what is believed; True also if something was lost."""
        try:
            heard = list(self._socket.notifications())
            # A round that is all our own is passed over unread, however long. Not so one about links, which the
            # view has to know; nor one that is mixed, where the last word about a key may be ours.
            return any(each.port != own_port or each.type in _LINKS for each in heard) and view.differs(heard)
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
        os.close(self._wake)
