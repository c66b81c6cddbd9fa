"""Letters: what was asked for while no daemon answered."""

from __future__ import annotations

import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from containernet.cni.letters import Letters


def test_letters_are_read_once_in_their_order(tmp_path: Path) -> None:
    """And thrown away."""
    read: list[bytes] = []

    def handle(letter: bytes) -> bool:
        read.append(letter)
        return True

    letters = Letters(tmp_path / "letters", handle)
    for name in ("2", "1", "3"):
        (tmp_path / "letters" / name).write_bytes(name.encode())
    letters.open_all()
    letters.open_all()
    assert read == [b"1", b"2", b"3"]
    assert list((tmp_path / "letters").iterdir()) == []


def test_only_root_may_write_letters(tmp_path: Path) -> None:
    """Whoever could, could have containers detached."""
    Letters(tmp_path / "letters", lambda _: True)
    Letters(tmp_path / "letters", lambda _: True)
    assert stat.S_IMODE((tmp_path / "letters").stat().st_mode) == 0o700


def test_a_letter_that_cannot_be_done_is_kept(tmp_path: Path) -> None:
    """For the next time; those behind it are done."""
    for name in ("1", "2", "3"):
        (tmp_path / name).write_bytes(name.encode())
    letters = Letters(tmp_path, lambda letter: letter != b"2")
    for _ in range(2):
        letters.open_all()
        assert [each.name for each in tmp_path.iterdir()] == ["2"]


def test_a_directory_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    """Or no container could be added for want of letters."""
    path = tmp_path / "letters"
    letters = Letters(path, lambda _: True)
    path.rmdir()
    letters.open_all()
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_whoever_comes_while_a_letter_is_read_waits_for_it(tmp_path: Path) -> None:
    """What a letter says was asked for before whatever they want."""
    (tmp_path / "1").touch()
    was_done: list[bool] = []
    reading, go_on, done = threading.Event(), threading.Event(), threading.Event()

    def handle(letter: bytes) -> bool:
        reading.set()
        go_on.wait(10)
        done.set()
        return True

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
