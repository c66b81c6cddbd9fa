"""Letters: what was asked for while no daemon answered."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containernet.cni.letters import Letters


def test_letters_are_read_once_in_their_order(tmp_path: Path) -> None:
    """And thrown away."""
    read: list[bytes] = []
    letters = Letters(tmp_path / "letters", read.append)
    for name in ("2", "1", "3"):
        (tmp_path / "letters" / name).write_bytes(name.encode())
    letters.open_all()
    letters.open_all()
    assert read == [b"1", b"2", b"3"]
    assert list((tmp_path / "letters").iterdir()) == []


def test_only_root_may_write_letters(tmp_path: Path) -> None:
    """Whoever could, could have containers detached."""
    Letters(tmp_path / "letters", lambda _: None)
    Letters(tmp_path / "letters", lambda _: None)
    assert stat.S_IMODE((tmp_path / "letters").stat().st_mode) == 0o700


def test_a_letter_that_cannot_be_done_is_kept(tmp_path: Path) -> None:
    """With those behind it, for the next time."""
    (tmp_path / "1").touch()
    (tmp_path / "2").touch()

    def refuse(letter: bytes) -> None:
        raise OSError("not now")

    with pytest.raises(OSError, match="not now"):
        Letters(tmp_path, refuse).open_all()
    assert len(list(tmp_path.iterdir())) == 2


def test_whoever_comes_while_a_letter_is_read_waits_for_it(tmp_path: Path) -> None:
    """What a letter says was asked for before whatever they want."""
    (tmp_path / "1").touch()
    was_done: list[bool] = []
    reading, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def handle(letter: bytes) -> None:
        reading.set()
        go_on.wait(10)
        done.set()

    letters = Letters(tmp_path, handle)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(letters.open_all)
        assert reading.wait(10)
        second = threads.submit(letters.open_all)
        second.add_done_callback(lambda _: was_done.append(done.is_set()))
        go_on.set()
        second.result(10)
        first.result(10)
    assert was_done == [True]
