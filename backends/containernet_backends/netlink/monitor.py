"""Hearing of changes: a subscribed socket, and a way to stop waiting for it."""

from __future__ import annotations

import errno
import os
import select
from itertools import chain

from . import constants as c
from .frames import Malformed
from .socket import NetlinkSocket
from .view import LINKS, View

_GROUPS = (
    c.RTNLGRP_LINK,
    c.RTNLGRP_NEIGH,
    c.RTNLGRP_IPV4_IFADDR,
    c.RTNLGRP_IPV6_IFADDR,
    c.RTNLGRP_IPV4_ROUTE,
    c.RTNLGRP_IPV6_ROUTE,
    c.RTNLGRP_NEXTHOP,
)


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
            heard = self._socket.notifications()
            # A round that is all our own is passed over unread, and the view need not even catch up with it.
            first = next((each for each in heard if each.port != own_port or each.type in LINKS), None)
            return first is not None and view.differs(chain([first], heard), own_port=own_port)
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
