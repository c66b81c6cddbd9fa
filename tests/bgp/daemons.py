"""A BGP speaker in a process of its own, inside a host's network namespace: what all of them have in common.

A daemon is what its class makes of a `Speaker`: configuration, process, and answers as `Session` and `Path`.
Its files, sockets and log are in a directory that the test gives; it reaches nothing outside, and ends with the
test and with the thread that started it, however that dies (PR_SET_PDEATHSIG, prctl(2)).

`start` returns when the daemon answers. Nothing is said of its sessions then: ask for them by `wait_session`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from ipaddress import ip_network
from pathlib import Path as File
from typing import ClassVar, Self, TypeVar

import pytest

from containernet.model import Address, Prefix
from tests.waiting import PATIENCE, wait_until

from .topology import Host
from .values import Neighbour, Path, Session, Speaker

T = TypeVar("T")

BGP_PORT = 179


class Daemon(ABC):
    """One speaker; the caller closes it.

    Args:
        host: where it runs.
        speaker: what it shall be.
        directory: empty, its own, and with a short path: sockets are made there (unix(7): 107 octets).
    """

    package: ClassVar[str]  # of Debian
    commands: ClassVar[tuple[str, ...]]  # that the package brings
    abilities: ClassVar[frozenset[str]]  # of `cases.ABILITIES`

    def __init__(self, host: Host, speaker: Speaker, directory: File) -> None:
        self.host, self.speaker, self.directory = host, speaker, directory
        self._process: subprocess.Popen[bytes] | None = None
        self._announced: dict[Prefix, Path] = {}

    @classmethod
    def needed(cls) -> None:
        """Skip the test that asks where it is not installed; in CI that is a failure."""
        absent = [command for command in cls.commands if not shutil.which(command)]
        if absent:
            pytest.skip(f"no {', '.join(absent)}: install the Debian package {cls.package}")

    # What a class has to say.

    @abstractmethod
    def _configure(self) -> None:
        """Write the configuration; called before every start."""

    @abstractmethod
    def _words(self, *, restarting: bool) -> list[str]:
        """Return the command line."""

    @abstractmethod
    def _answers(self) -> bool:
        """Return whether it answers questions already."""

    @abstractmethod
    def _sessions(self) -> list[Session]: ...

    @abstractmethod
    def _paths(self) -> list[Path]: ...

    @abstractmethod
    def _announce(self, paths: Iterable[Path]) -> None: ...

    @abstractmethod
    def _withdraw(self, paths: Iterable[Path]) -> None: ...

    @abstractmethod
    def shut_down(self, address: Address, message: str = "") -> None:
        """End a session for the administrator, with Cease and a message (RFC 9003), and do not come back."""

    @abstractmethod
    def bring_up(self, address: Address) -> None:
        """Undo `shut_down`."""

    @abstractmethod
    def refresh(self, address: Address) -> None:
        """Ask a neighbour to tell everything again (RFC 2918)."""

    # Questions and orders.

    def sessions(self) -> dict[Address, Session]:
        """Return every session, also those that are not up, by the address of the other side."""
        return {each.address: each for each in self._sessions()}

    def paths(self) -> list[Path]:
        """Return every path that it holds, its own among them, in no particular order."""
        return self._paths()

    def announce(self, *paths: Path) -> None:
        """Originate prefixes with these attributes; a prefix again: with others. They survive a restart."""
        self._announced |= {path.prefix: path for path in paths}
        self._announce(paths)

    def withdraw(self, *prefixes: Prefix | str) -> None:
        """Take back prefixes that were announced."""
        self._withdraw([self._announced.pop(ip_network(each)) for each in prefixes])

    # The process.

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process, f"{self} was not started"
        return self._process.pid

    def start(self, *, restarting: bool = False, wait: bool = True) -> Self:
        """Start the process.

        Args:
            restarting: it comes back after a crash, and shall say so (RFC 4724 s4.1).
            wait: False: return at once; `wait` is then the caller's.
        """
        assert self._process is None, f"{self} is running"
        self._configure()
        prefix = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.host.path}"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*prefix, *self._words(restarting=restarting)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env=self._environment(),
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Wait until it answers.

        Raises:
            AssertionError: it ended, or does not answer; with the end of its log.
        """

        def answers() -> bool:
            assert self.running, f"{self} ended: {self.log()}"
            try:
                return self._answers()
            except OSError:  # its socket is not there yet, or nobody listens
                return False

        wait_until(answers, what=f"{self} answers")

    def kill(self) -> None:
        """End the process as a crash does (SIGKILL); may be called twice."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process in order (SIGTERM); may be called twice."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): its kernel still acknowledges, and nobody sends keepalives."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let the process go on."""
        os.kill(self.pid, signal.SIGCONT)

    def log(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-5000:]

    def close(self) -> None:
        """Kill it, if it is still there; its files are the caller's."""
        self.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} on {self.host.name}>"

    # Waiting.

    def wait_session(
        self, address: Address, state: str = "established", *, patience: float = PATIENCE
    ) -> Session:
        """Wait until the session with a neighbour is in a state."""

        def there() -> Session | None:
            told = self.sessions().get(address)
            return told if told and told.state == state else None

        return self._wait(there, what=f"{address} is {state}", patience=patience)

    def wait_down(self, address: Address, *, patience: float = PATIENCE) -> Session | None:
        """Wait until a session is in any state but established; None: it is forgotten altogether."""

        def down() -> tuple[Session | None] | None:
            told = self.sessions().get(address)
            return None if told and told.state == "established" else (told,)

        return self._wait(down, what=f"{address} is down", patience=patience)[0]

    def wait_path(
        self,
        prefix: Prefix | str,
        judge: Callable[[Path], bool] = lambda path: path.best,
        *,
        patience: float = PATIENCE,
    ) -> Path:
        """Wait until it holds a path of a prefix that passes (default: the one in use), and return it."""
        wanted = ip_network(prefix)

        def held() -> Path | None:
            return next((each for each in self.paths() if each.prefix == wanted and judge(each)), None)

        return self._wait(held, what=f"a path to {prefix}", patience=patience)

    def wait_paths(self, prefixes: Iterable[Prefix | str], *, patience: float = PATIENCE) -> None:
        """Wait until it holds a path of every prefix."""
        wanted = {ip_network(each) for each in prefixes}
        self._wait(
            lambda: wanted <= {each.prefix for each in self.paths()},
            what=f"paths to {len(wanted)} prefixes",
            patience=patience,
        )

    def wait_gone(self, prefix: Prefix | str, *, patience: float = PATIENCE) -> None:
        """Wait until it holds no path of a prefix."""
        wanted = ip_network(prefix)
        self._wait(
            lambda: all(each.prefix != wanted for each in self.paths()),
            what=f"no path to {prefix}",
            patience=patience,
        )

    def _wait(self, ask: Callable[[], T | None], *, what: str, patience: float) -> T:
        try:
            return wait_until(ask, what=f"{self}: {what}", patience=patience, pause=0.05)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()}") from None

    # For the classes.

    def _local(self, neighbour: Neighbour) -> Address:
        """Return the address that a session is spoken from."""
        return neighbour.local_address or self.host.address(neighbour.address.version)

    def _next_hop(self, path: Path) -> Address:
        return path.next_hop or self.host.address(path.prefix.version)

    def _run(self, *words: str) -> str:
        """Run a program outside of the namespace; return what it prints."""
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=self.directory)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def _log(self) -> File:
        return self.directory / "log"

    def _environment(self) -> dict[str, str]:
        return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(number)  # to our own child, whose number is ours until we wait for it
        self._process.wait(PATIENCE)
        self._process = None


Run = Callable[[type[Daemon], Host, Speaker], Daemon]  # makes one, not started yet
