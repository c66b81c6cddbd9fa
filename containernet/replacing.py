"""A file that is replaced as a whole: who reads it finds the old one or the new one, never half of either."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path


def replace(
    path: Path,
    pieces: Iterable[str],
    *,
    mode: int | None = None,
    approve: Callable[[Path], object] = lambda _: None,
) -> None:
    """Make these pieces of text all that is in the file at `path`, in one step, durably.

    Args:
        mode: the file's permissions; None: those that this process gives a new file.
        approve: called with the new file while it is beside `path`; what it raises, this raises.

    Raises:
        OSError: no space, no permission. Whatever is raised, the file that was there is still there, and
            nothing beside it.
    """
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with fresh.open("w") as file:
            file.writelines(pieces)
            file.flush()
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        approve(fresh)
        fresh.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise
