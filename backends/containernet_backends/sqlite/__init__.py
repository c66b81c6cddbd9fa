"""Leases and routes in one SQLite file: the store of one machine, for many processes, without a server.

**What is promised and how.** Every write is one `BEGIN IMMEDIATE` transaction: SQLite lets one writer in at a
time, so checking and writing are one step, and a writer that is killed in the middle has written nothing.
Readers see one state while others write (WAL). The subnets in the file never overlap each other, living or
expired; that is why the two nearest rows of an index answer whether a claim is free, however many there are
(`ledger`).

**Time** is CLOCK_BOOTTIME: setting the wall clock does not move it, and it counts while the machine is
suspended. It starts anew with each boot, so the file remembers the boot's id; whoever opens the file first
after a reboot gives every lease its full time to live again. That is conservative: a lease can end too late by
that, never too early. All processes must share the boot clock; a time namespace with an offset does not. An
expired lease stays in the file, marked, until somebody wants its subnets, so that its node can still renew it.

**Routes** are rows with a number that grows by each change; a withdrawn route stays as a tombstone for the next
`history` changes. A subscriber asks for what lies above the last number it saw: that costs what changed, not
what there is. One that slept longer than the history gets a fresh Snapshot (`changes`). A route that was
announced under a live lease of its node goes with it. It does not come back when the lease is renewed after
its end: announce again, that is harmless.

**Waking.** After each commit the writer touches the file's time stamp, which wakes every subscriber by inotify;
a writer that is killed between the commit and the touch wakes them by its death. A subscriber sleeps until
that or until the next lease ends, and costs nothing meanwhile (`..inotify`). After a suspend it may notice the
end of a lease late, by the length of its sleep; a claim does not depend on it.

**synchronous=FULL**: each commit waits for the disk. Safety alone would not need it: a power failure that
takes the last commits away takes every process and container of this machine too, so nobody is left to believe
in a lost lease. Yet a reservation and the network's configuration are an operator's word, which no process
repeats after the reboot, and a node should find its old subnet again. The price is one fsync a write, and a
machine writes a few times a minute.

**The file** is the only copy. It is created whole, under another name, and linked into place, so that nobody
ever opens half a store. When it, its log (-wal) or the log's index (-shm) is deleted or replaced under a
running process, two processes could go on in two files, and both give one subnet away; so each looks before and
after a write whether the files are still those that it has open: StoreUnavailable, and the next call works with
what is there then. A log that outlived its database is not replayed into a new one. A backup is restored
without one: remove -wal and -shm with the file that they belong to.
"""

from .store import SqliteStore

__all__ = ["SqliteStore"]
