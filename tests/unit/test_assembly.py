"""assembly: what is done while a store is asked, and what becomes of its answer."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

STORE = """
import threading
from containernet.errors import StoreCorrupt

BUILT = threading.Event()

class Store:
    from_options = classmethod(lambda cls, options: cls())
    keep = close = starting = lambda self: None

    def settings(self):
        if not BUILT.wait(30):
            raise StoreCorrupt("nobody has built the kernel")
        WORD

class Kernel:
    close = lambda self: None

    @classmethod
    def from_options(cls, options):
        BUILT.set()
        return cls()
"""
SCRIPT = """
from containernet.assembly import assembled
from containernet.config import parse
from containernet.errors import StoreCorrupt
tables = {
    "network": {"pool": "10.4.0.0/16"},
    "store": {"leases": "theirs", "routes": "memory"},
    "kernel": {"backend": "theirs"},
}
try:
    with assembled(parse(tables)) as parts:
        print(parts.settings, parts.dataplane.name)
except StoreCorrupt as error:
    print(error)
"""


def said(directory: Path, word: str) -> str:
    """Return what comes of a store that says `word` at the end, and not before the kernel is there."""
    (directory / "foreign.py").write_text(STORE.replace("WORD", word))
    metadata = directory / "foreign-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: foreign\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[containernet.lease_stores]\ntheirs = foreign:Store\n[containernet.kernels]\ntheirs = foreign:Kernel\n"
    )
    environment = {"PYTHONPATH": str(directory), "HOME": str(directory), "PATH": os.environ["PATH"]}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert not done.stderr, done.stderr
    return done.stdout.strip()


def test_backends_are_built_while_the_store_is_asked(tmp_path: Path) -> None:
    """It takes as long as their imports do, and a start waits for the longer of the two."""
    assert said(tmp_path, "return None") == "None vxlan"


def test_what_the_store_raises_is_raised(tmp_path: Path) -> None:
    """On the thread that waits for it."""
    assert said(tmp_path, "raise StoreCorrupt('of another age')") == "of another age"
