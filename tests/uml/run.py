#!/usr/bin/env python3
"""Run a command in user-mode-linux, on a kernel that has the drivers which the host may lack.

    tests/uml/run.py .venv/bin/python -m pytest -m uml

The kernel is an ordinary program of Debian's package user-mode-linux. It needs neither root nor KVM, and its
root file system is the host's, so the same checkout and the same .venv are at work inside. What it prints is
streamed; its exit code is the command's, or 124 when the time is up and 125 when the machine stopped early.

Only the standard library: this runs outside the virtual environment.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

MEMORY = 1 << 30
TIMED_OUT = 124  # as timeout(1) says it
STOPPED_EARLY = 125
INIT = Path(__file__).resolve().with_name("init")


def environment() -> dict[str, str]:
    """Return all that the command inside gets to know of the environment outside."""
    inherited = {name: os.environ[name] for name in ("CI", "COVERAGE_FILE") if name in os.environ}
    return {
        "HOME": "/run/home",
        "HYPOTHESIS_PROFILE": "uml",
        "LANG": "C.UTF-8",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        # The console inside is a terminal, whatever the host's is.
        "PY_COLORS": str(int(sys.stdout.isatty())),
        "TMPDIR": "/run/tmp",
        **inherited,
    }


def memory_directory(scratch: Path) -> Path:
    """Return where the machine's memory, a sparse file that is mapped executable, may lie.

    A tmpfs spares the disk. But Docker's /dev/shm has 64 MB and forbids execution: the kernel would die of
    SIGBUS in the middle of a test, or not start at all.
    """
    shm = Path("/dev/shm")
    if not os.access(shm, os.W_OK):
        return scratch
    stat = os.statvfs(shm)
    roomy = stat.f_bavail * stat.f_frsize > MEMORY
    return shm if roomy and not stat.f_flag & os.ST_NOEXEC else scratch


def write_init(scratch: Path, command: list[str]) -> Path:
    """Write the program that the kernel starts; a kernel's command line is no place for quoting."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment().items())
    call = shlex.join(["exec", str(INIT), str(scratch / "result"), *command])
    init = scratch / "init"
    init.write_text(f"#!/bin/sh\n{exports}cd {shlex.quote(str(Path.cwd()))}\n{call}\n")
    init.chmod(0o755)
    return init


def boot(kernel: str, scratch: Path, command: list[str], *, timeout: float) -> int:
    """Boot, wait for the end at most `timeout` seconds, and return the exit code."""
    machine = subprocess.Popen(
        [
            kernel,
            "root=/dev/root",
            "rootfstype=hostfs",
            "rw",
            f"mem={MEMORY >> 20}M",
            f"init={write_init(scratch, command)}",
            f"uml_dir={scratch}/",
            "con=null",
            "con0=fd:0,fd:1",
            "quiet",
            "loglevel=1",  # a panic, and no greetings of drivers for hardware that is not there
            "selinux=0",
        ],
        stdin=subprocess.DEVNULL,
        env={**os.environ, "TMPDIR": str(memory_directory(scratch))},
        start_new_session=True,  # one host process for each process inside: they are ended as one group
    )
    try:
        machine.wait(timeout)
    except subprocess.TimeoutExpired:
        print(f"\n{sys.argv[0]}: not done after {timeout:.0f} s; see the last line above", file=sys.stderr)
        return TIMED_OUT
    finally:
        end(machine)
    result = scratch / "result"
    if not result.exists():
        print(f"\n{sys.argv[0]}: the machine stopped before the command ended", file=sys.stderr)
        return STOPPED_EARLY
    return int(result.read_text())


def end(machine: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the machine; a stopped one leaves nothing, and that is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(machine.pid, signal.SIGKILL)
    machine.wait()


def main() -> int:
    """Boot with the command of the command line."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that `boot` cleans up
    command = sys.argv[1:]
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    kernel = shutil.which("linux.uml")
    if kernel is None:
        print(f"{sys.argv[0]}: no linux.uml in PATH; apt-get install user-mode-linux kmod", file=sys.stderr)
        return STOPPED_EARLY
    with tempfile.TemporaryDirectory(prefix="containernet-uml-") as scratch:
        return boot(kernel, Path(scratch), command, timeout=float(os.environ.get("UML_TIMEOUT", "900")))


if __name__ == "__main__":
    sys.exit(main())
