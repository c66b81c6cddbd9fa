"""From what a peer said to the table: the work that takes long, an UPDATE or many short ones at a time."""

from __future__ import annotations

import logging

from .message import FEW, MAXIMUM, RouteRefresh, Volley
from .notification import CEASE, OUT_OF_RESOURCES, Violation
from .remote import Remote
from .rib import Table
from .update import Reading

log = logging.getLogger(__name__)


def hear(table: Table, remote: Remote) -> None:
    """Take the first of what waits in the inbox of `remote`, which is not empty.

    Raises:
        Violation: the session has to end.
    """
    said = remote.inbox[0]
    if isinstance(said, tuple):
        remote.skip()
        subtype, family = said
        if subtype == RouteRefresh.BEGIN:
            table.begin_refresh(remote.source, family)
        else:
            table.end_refresh(remote.source, family)
        return
    body = said.body if isinstance(said, Volley) else said
    try:
        if isinstance(said, Volley) and _hear_together(table, remote, said):
            return
        reading = _read(remote, body)
        table.learn(remote.source, reading)
    except Violation:
        raise
    except Exception as error:
        log.exception("BGP: an UPDATE of %s is beyond us: %s", remote.address, body[:64].hex())
        reason = "an UPDATE could not be processed"
        raise Violation(CEASE, OUT_OF_RESOURCES, reason=reason) from error
    if reading.end_of_rib is not None:
        remote.complete.add(reading.end_of_rib)
        if remote.has_told_all:
            remote.stale_at = None
    if unheard_of := [fault for fault in reading.faults if remote.note_fault(fault)]:
        log.warning("BGP: %s: %s", remote.address, "; ".join(unheard_of))
        # RFC 7606 s6: the whole UPDATE, so that it can be traced; but no peer fills the log
        log.info("BGP: the UPDATE of %s: %s", remote.address, body[:MAXIMUM].hex())


def _hear_together(table: Table, remote: Remote, volley: Volley) -> bool:
    """Take UPDATEs of a volley, if they can be read together; return whether any was taken."""
    reader = remote.reader
    assert reader is not None
    if len(volley) < FEW or not reader.gathers(volley.body):
        return False
    count, crowd = reader.together(volley.first(reader.several))
    if not count:
        return False
    if not table.learn_together(remote.source, crowd):
        reader.several = FEW  # among fewer no prefix may be named again
        return False
    remote.skip(count)
    remote.updates += count
    return True


def _read(remote: Remote, said: bytes) -> Reading:
    assert remote.reader is not None
    remote.skip()
    remote.updates += 1
    return remote.reader.read(said)
