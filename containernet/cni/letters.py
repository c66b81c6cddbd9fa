"""What runtimes asked for while no daemon answered: a directory of requests, for the next one to do.

A DEL succeeds without a daemon, and nobody asks twice. So the executable leaves the request here, and the
daemon does what the letters say before it does anything else for a runtime: what is in a letter was asked for
before.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)


class Letters:
    """A directory of letters.

    Args:
        path: the directory, for this user alone; made if it is not there.
        handle: does what a letter says, and returns whether that is done; if not, the letter is kept.
    """

    def __init__(self, path: Path, handle: Callable[[bytes], bool]) -> None:
        self._path = path
        self._handle = handle
        self._lock = threading.Lock()
        self._make()

    def open_all(self) -> None:
        """Do what every letter says, and throw away those that are done.

        One opens at a time, and the others wait for it: call it on no thread that `handle` needs.

        Raises:
            OSError: the directory cannot be read.
        """
        with self._lock:  # a letter that two read would be done twice, the second time perhaps too late
            try:
                found = sorted(self._path.iterdir())
            except FileNotFoundError:
                self._make()  # somebody has tidied up
                return
            for letter in found:
                if self._handle(letter.read_bytes()):
                    letter.unlink()

    def _make(self) -> None:
        self._path.mkdir(mode=0o700, exist_ok=True)
