"""containernetd that dies by SIGKILL in the middle of a request, right before a certain call; a program.

    mortal.py ORDERS --config FILE

The calls are those by which the process changes anything outside of itself: what it sends on a socket, its
statements of SQL that write, its transactions of nftables, and what it opens for writing, makes, renames or
removes. Each is counted, on whatever thread. Whoever connects to the daemon while there is a number in the file
ORDERS takes it out of there: before the call of that number, counted from 1 on from there, the process ends.
The calls that are counted are named in the log. Without orders this is containernetd as ever.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import sqlite3
import struct
import sys
import threading
from pathlib import Path
from typing import Any

from containernet_backends.netlink import constants as c

CALL = "next call: "  # how a line of the log begins that says what comes next
CHANGES_FILES = {"os.remove", "os.rename", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.truncate"}
# linux/netfilter/nf_tables.h: NFT_MSG_GETTABLE, NFT_MSG_GETGEN
READS_NFTABLES = {1, 16}


class Fate:
    """Before which call the process dies.

    Args:
        orders: the file with the number.
    """

    def __init__(self, orders: Path) -> None:
        self._orders = orders
        self._left = 0
        self._lock = threading.RLock()

    def begins(self) -> None:
        """Begin to count, if there are orders for the one who has just connected."""
        with self._lock:
            self._left = 0
            if self._orders.exists():
                number = int(self._orders.read_text())
                self._orders.unlink()
                self._left = number

    def comes(self, call: str) -> None:
        """Die if this call is the one; else it may be made."""
        with self._lock:
            if self._left:
                os.write(2, f"{CALL}{call}\n".encode())
                if self._left == 1:
                    os.kill(os.getpid(), signal.SIGKILL)
                self._left -= 1


FATE = Fate(Path(sys.argv.pop(1)))


class Socket(socket.socket):
    """One whose every message counts, but for questions to the kernel."""

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept a client, and its fate."""
        accepted = super().accept()
        FATE.begins()
        return accepted

    def send(self, data: Any, *flags: int) -> int:
        """Send, if the process is alive to do it."""
        if self.family != socket.AF_NETLINK:
            FATE.comes("an answer")
        else:
            [kind] = struct.unpack_from("=H", data, 4)
            asks = kind % 4 == 2 if self.proto == socket.NETLINK_ROUTE else kind & 0xFF in READS_NFTABLES
            if not asks:
                FATE.comes(NAMES.get(kind, f"netlink message {kind}"))
        return super().send(data, *flags)


class Database(sqlite3.Connection):
    """One whose every statement counts that writes, and every transaction's end that has written."""

    _before = 0

    def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
        """Execute, if the process is alive to do it."""
        if sql.startswith("BEGIN"):
            self._before = self.total_changes
        elif sql == "COMMIT":
            if self.total_changes > self._before:
                FATE.comes(sql)
        elif sql.split()[0] in {"INSERT", "REPLACE", "DELETE", "UPDATE"}:
            FATE.comes(sql)
        return super().execute(sql, *parameters)

    def executemany(self, sql: str, parameters: Any) -> sqlite3.Cursor:
        """Execute, if the process is alive to do it."""
        FATE.comes(sql)
        return super().executemany(sql, parameters)


class Library(ctypes.CDLL):
    """One whose every transaction of nftables counts."""

    def __init__(self, *words: Any, **more: Any) -> None:
        super().__init__(*words, **more)

        class Function(self._FuncPtr):  # type: ignore[name-defined, misc]
            _flags_ = self._FuncPtr._flags_
            _restype_ = self._FuncPtr._restype_

            def __call__(self, *words: Any) -> Any:
                if self.__name__ == "nft_run_cmd_from_buffer" and not words[1].startswith(b"list "):
                    FATE.comes("a transaction of nftables")
                return super().__call__(*words)

        self._FuncPtr = Function


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    """Count what is done to files; but not what the agent remembers, for itself and in its own time."""
    if event == "open":
        path, _, flags = arguments
        changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    else:
        path, changes = arguments[0] if arguments else "", event in CHANGES_FILES
    if changes and "view.json" not in str(path):
        FATE.comes(f"{event} {path}")


NAMES = {value: name for name, value in vars(c).items() if name.startswith("RTM_")}

if __name__ == "__main__":
    from containernet.serving import main

    socket.socket = Socket  # type: ignore[misc]
    sqlite3.dbapi2.connect = sqlite3.connect = lambda *path, **more: Database(*path, **more)  # type: ignore
    ctypes.CDLL = Library  # type: ignore[misc]
    sys.addaudithook(hear)
    main()
