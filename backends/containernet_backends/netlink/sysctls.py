"""Settings under /proc/sys, as the namespace of the calling thread sees them."""

from __future__ import annotations

import errno
from pathlib import Path

import attrs

from containernet.items import Sysctl
from containernet.planning import Delete, Operation

from .frames import Refusal
from .refusals import Refused, explain

_ROOT = Path("/proc/sys")


def read_sysctl(setting: Sysctl) -> Sysctl | None:
    """Return the setting with its present value, white space made plain; None: there is no such setting."""
    try:
        value = _path(setting).read_text()
    except OSError:
        return None
    present = " ".join(value.split())
    same = present == " ".join(setting.value.split())
    return setting if same else attrs.evolve(setting, value=present)


def change_sysctl(operation: Operation) -> None:
    """Set what has to be set, and write nothing that is so already. Raises Refused.

    A kernel acts on some settings at every write (forwarding resets others), so an equal value is left alone.
    """
    setting = operation.item
    assert isinstance(setting, Sysctl)
    if isinstance(operation, Delete):
        return  # never unset: what stood there before was not ours to remember
    try:
        path = _path(setting)
        if read_sysctl(setting) != setting:
            path.write_text(setting.value)
    except OSError as error:
        code = error.errno or errno.EIO
        raise Refused(code, explain(operation, Refusal(code))) from error


def _path(setting: Sysctl) -> Path:
    path = _ROOT / setting.name
    if ".." in path.parts or _ROOT not in path.parents:
        raise OSError(errno.EINVAL, "a path below /proc/sys was expected")
    return path
