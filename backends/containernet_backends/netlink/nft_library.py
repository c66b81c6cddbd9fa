"""libnftables, in this process: text in, and what it lists as JSON out.

A transaction takes 0.1 ms here, and 6 ms by a process `nft` (decision 22). The library comes with Debian's
package libnftables1, on which `nftables` depends; it is loaded when the first table of ours is made.

The library speaks to the namespace of the thread that makes the handle, whoever uses it afterwards. It keeps
state of its own beside its handles, so one call is made at a time. Where it can have no socket it ends the
process (exit(3) in its src/mnl.c): so a handle is made only behind a socket of our own that had an answer.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import threading
from typing import Any

from .nft_generations import refusal
from .refusals import FORBIDDEN, Refused

_SONAME = "libnftables.so.1"
# nft_ctx_output_set_flags(3); without the first, counters, and with the second numbers for protocols
_LIST = (1 << 2) | (1 << 4) | (1 << 7)
_ONE = threading.Lock()
_SWITCH_OFF = "switch off masquerade, masquerade6, guard and accept_in under [dataplane] and map no ports"
_MISSING = f"{_SONAME} is not installed: `apt-get install libnftables1`, or {_SWITCH_OFF}"
_MODULES = "nf_tables nf_tables_bridge nft_chain_nat nft_masq nft_fib_inet"


class Nft:
    """A handle on the nftables of the calling thread's namespace.

    Raises:
        Refused: the library is not installed, or the kernel has no nftables.
    """

    def __init__(self) -> None:
        if code := refusal():
            raise _refusal(code if code in FORBIDDEN else errno.EOPNOTSUPP, os.strerror(code))
        try:
            self._library = library = ctypes.CDLL(_SONAME)
        except OSError as error:
            raise Refused(errno.ENOSYS, _MISSING) from error
        library.nft_ctx_new.restype = ctypes.c_void_p
        library.nft_ctx_new.argtypes = [ctypes.c_uint32]
        for name, arguments in (
            ("nft_ctx_free", []),
            ("nft_ctx_buffer_output", []),
            ("nft_ctx_buffer_error", []),
            ("nft_ctx_output_set_flags", [ctypes.c_uint]),
            ("nft_run_cmd_from_buffer", [ctypes.c_char_p]),
            ("nft_ctx_get_output_buffer", []),
            ("nft_ctx_get_error_buffer", []),
        ):
            getattr(library, name).argtypes = [ctypes.c_void_p, *arguments]
        library.nft_ctx_get_output_buffer.restype = library.nft_ctx_get_error_buffer.restype = ctypes.c_char_p
        with _ONE:
            self._handle = library.nft_ctx_new(0)
            library.nft_ctx_buffer_output(self._handle)
            library.nft_ctx_buffer_error(self._handle)

    def run(self, text: str) -> None:
        """Carry out commands as one transaction: all of it or, when it raises, nothing.

        Raises:
            Refused: with the kernel's or the library's own words.
        """
        self._run(text, 0)

    def list(self, what: str) -> list[dict[str, Any]]:
        """Return what there is, such as `table inet containernet`, as nft's JSON. Raises Refused."""
        listing = json.loads(self._run(f"list {what}", _LIST) or "{}")
        found: list[dict[str, Any]] = listing.get("nftables", [])
        return found

    def close(self) -> None:
        """Let go of the handle; may be called twice."""
        with _ONE:
            if self._handle:
                self._library.nft_ctx_free(self._handle)
            self._handle = None

    def _run(self, text: str, flags: int) -> str:
        with _ONE:
            self._library.nft_ctx_output_set_flags(self._handle, flags)
            failed = self._library.nft_run_cmd_from_buffer(self._handle, text.encode())
            said = self._library.nft_ctx_get_error_buffer(self._handle).decode(errors="replace")
            output: bytes = self._library.nft_ctx_get_output_buffer(self._handle)
        if failed:
            raise _refused(said)
        return output.decode()


def _refused(said: str) -> Refused:
    """Return what the library said, as an errno and a line: it tells the errno in words only."""
    line = next((each for each in said.splitlines() if "rror:" in each), said.strip() or "no reason given")
    reason = line.split("rror:", 1)[-1].strip()
    said_so = [code for code, words in _STRERROR.items() if words in reason]
    return _refusal(max(said_so, key=lambda code: len(_STRERROR[code]), default=errno.EINVAL), reason)


def _refusal(code: int, reason: str) -> Refused:
    if code in FORBIDDEN:
        return Refused(code, "needs CAP_NET_ADMIN in this network namespace: run as root")
    if code in _LACKING or "cache initialization" in reason:
        way_out = f"modprobe -a {_MODULES}, or {_SWITCH_OFF}"
        return Refused(errno.EOPNOTSUPP, f"this kernel lacks a part of nftables ({reason}): {way_out}")
    return Refused(code, f"nftables: {reason}")


_LACKING = frozenset({errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})
_STRERROR = {code: os.strerror(code) for code in errno.errorcode}
