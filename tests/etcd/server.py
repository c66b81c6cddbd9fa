"""Real etcd servers: started, killed, stopped, cut off, replaced, and put back to yesterday's backup.

A member tells when it is ready by systemd's protocol (sd_notify(3)), which etcd speaks: it has a leader, has
written to the cluster, and serves. So nothing here asks again and again, and one member is ready within 0.2 s.

What is started ends with its cluster, and with the thread that started it, however that dies
(PR_SET_PDEATHSIG, prctl(2)): start members on a thread that outlives them.

Elections take half of etcd's own time: fast enough to wait for, slow enough for two busy processors. A lease
may therefore be as short as 1 s.
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

from tests.waiting import PATIENCE, wait_until

from .certificates import Authority, Credentials
from .peers import Peers
from .ports import free_port
from .proxy import LOOPBACK, Proxy
from .raw import Raw, Status

PACKAGES = {"etcd": "etcd-server", "etcdctl": "etcd-client", "openssl": "openssl", "setpriv": "util-linux"}

FLAGS = (
    "--heartbeat-interval=50",
    "--election-timeout=500",
    "--strict-reconfig-check=false",  # else a member may be replaced only after five quiet seconds
    "--bcrypt-cost=4",
    "--logger=zap",
    "--log-outputs=stderr",
)
ROOM = 1 << 30  # octets; a member reserves 64 MiB for each of two write-ahead logs


def needed() -> None:
    """Skip the test that asks where something is not installed; in CI that is a failure."""
    absent = [package for command, package in PACKAGES.items() if not shutil.which(command)]
    if absent:
        pytest.skip(f"no real etcd: install the Debian packages {', '.join(absent)}")


def workplace() -> tempfile.TemporaryDirectory[str]:
    """Return a directory in memory if there is room: etcd waits for the disk at every write."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > ROOM
    return tempfile.TemporaryDirectory(prefix="etcd-", dir=memory if roomy else None)


class Member:
    """One etcd process and its data, which outlive each other.

    Args:
        name: in the cluster.
        directory: for its data, log and socket; it exists and is empty.
        url: by which clients reach it. peer_url: by which members do. back_url: by which the harness does,
            whatever the clients' way is made to suffer.
        port: of 127.0.0.1, where it listens for clients.
        netns: the path of the network namespace that it runs in; empty: this one.
        proxy: through which `url` leads, if it does.
        server: what it shows to clients; None: it speaks http.
        flags: further ones of etcd's.
    """

    def __init__(
        self,
        *,
        name: str,
        directory: Path,
        url: str,
        peer_url: str,
        back_url: str,
        port: int,
        netns: str,
        proxy: Proxy | None,
        server: Credentials | None,
        flags: Sequence[str],
    ) -> None:
        self.name, self.url, self.peer_url, self.back_url = name, url, peer_url, back_url
        self._directory, self._netns, self._proxy, self._flags = directory, netns, proxy, (*FLAGS, *flags)
        self._listen = f"{url.partition(':')[0]}://{LOOPBACK}:{port}"
        self._server = server
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind(str(directory / "notices"))

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self._directory / "data"

    @property
    def proxy(self) -> Proxy:
        """The way of its clients."""
        assert self._proxy, f"{self.name} has no proxy: make the cluster with proxied=True"
        return self._proxy

    @property
    def running(self) -> bool:
        """Whether its process is there and not frozen."""
        return self._process is not None and self._process.poll() is None and not self._frozen

    @property
    def pid(self) -> int:
        """The number of its process."""
        assert self._process, f"{self.name} was not started"
        return self._process.pid

    def start(self, cluster: Iterable[Member], *, token: str, new: bool = True, wait: bool = True) -> None:
        """Start the process on the data that it has.

        Args:
            cluster, token, new: the members, a name for all of them together, and whether they begin together;
                these count only where there is no data yet.
            wait: False: return at once.
        """
        assert self._process is None, f"{self.name} is running"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._prefix(), "etcd", *self._words(cluster, token, new)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
            )
        if wait:
            self.wait()

    def wait(self) -> None:
        """Wait until it serves and has a leader.

        Raises:
            AssertionError: it ended, or is not ready after 30 s; with the end of its log.
        """
        process = os.pidfd_open(self.pid)
        try:
            ready, _, _ = select.select([self._notices.fileno(), process], [], [], PATIENCE)
        finally:
            os.close(process)
        assert self._notices.fileno() in ready, (
            f"{self.name} {'ended' if ready else 'is not ready'}: {self.log()}"
        )
        assert self._notices.recv(100) == b"READY=1"

    def kill(self) -> None:
        """End the process as a power cut does (SIGKILL); may be called twice."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End the process in order (SIGTERM): a leader hands over first. May be called twice."""
        self._end(signal.SIGTERM)

    def freeze(self) -> None:
        """Stop the process (SIGSTOP): its kernel still accepts connections, and nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)  # every thread of it
        self._frozen = True

    def thaw(self) -> None:
        """Let the process go on."""
        os.kill(self.pid, signal.SIGCONT)
        self._frozen = False

    def wipe(self) -> None:
        """Delete its data; it must not be running."""
        assert self._process is None, f"{self.name} is running"
        shutil.rmtree(self.data)

    def log(self) -> str:
        """Return the end of what it wrote."""
        return self._log.read_text(errors="replace")[-3000:]

    def close(self) -> None:
        """Kill it, if it is still there; its files are the caller's."""
        self.kill()
        self._notices.close()

    def __repr__(self) -> str:
        return f"<{self.name} {self.url}>"

    @property
    def _log(self) -> Path:
        return self._directory / "log"

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        self._process.send_signal(
            number
        )  # to our own child, whose number is not given away before we wait for it
        self._process.wait(PATIENCE)
        self._process, self._frozen = None, False
        with contextlib.suppress(BlockingIOError):
            while True:  # a notice that nobody waited for
                self._notices.recv(100, socket.MSG_DONTWAIT)

    def _prefix(self) -> list[str]:
        inside = ["nsenter", f"--net={self._netns}"] if self._netns else []
        return ["setpriv", "--pdeathsig", "KILL", *inside]

    def _words(self, cluster: Iterable[Member], token: str, new: bool) -> list[str]:
        words = [
            f"--name={self.name}",
            f"--data-dir={self.data}",
            f"--listen-client-urls={self._listen}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls={self.peer_url}",
            f"--initial-advertise-peer-urls={self.peer_url}",
            f"--initial-cluster={listed(cluster)}",
            f"--initial-cluster-state={'new' if new else 'existing'}",
            f"--initial-cluster-token={token}",
            *self._flags,
        ]
        if self._server:
            files = self._server
            words += [f"--cert-file={files.cert}", f"--key-file={files.key}", f"--trusted-ca-file={files.ca}"]
        return words

    def _environment(self) -> dict[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("ETCD_", "ETCDCTL_"))}
        return {**ours, "NOTIFY_SOCKET": str(self._directory / "notices")}


def listed(cluster: Iterable[Member]) -> str:
    """Return members as etcd's flags name them."""
    return ",".join(f"{member.name}={member.peer_url}" for member in cluster)


class Cluster:
    """One or more members, running, until it is closed.

    Args:
        size: how many members; 1 or 3.
        authority: signs the members' certificate, and clients have to show one of its own; None: http.
        client_certificates: False: with an authority, let clients in without a certificate.
        proxied: let clients go through a proxy each.
        apart: give each member a network namespace, so that it can be cut off from its peers; implies
            `proxied`.
        flags: further ones of etcd's, for every member.
    """

    def __init__(
        self,
        size: int = 1,
        *,
        authority: Authority | None = None,
        client_certificates: bool = True,
        proxied: bool = False,
        apart: bool = False,
        flags: Sequence[str] = (),
    ) -> None:
        needed()
        self._stack = ExitStack()
        self._authority = authority
        self._raws: dict[Member, Raw] = {}
        self._user: str | None = None
        self._lives = 0  # a cluster made of a backup is another one
        if authority and client_certificates:
            flags = (*flags, "--client-cert-auth")
        try:
            self._directory = Path(self._stack.enter_context(workplace()))
            self.peers = Peers(size) if apart else None
            if self.peers:
                self._stack.callback(self.peers.close)
            self.members = [self._make(number, flags, proxied=proxied or apart) for number in range(size)]
            self._start_all()
        except BaseException:
            self._stack.close()
            raise

    def _make(self, number: int, flags: Sequence[str], *, proxied: bool) -> Member:
        netns = self.peers.netns(number) if self.peers else ""
        port = free_port()
        address = self.peers.address(number) if self.peers else LOOPBACK
        proxy = self._stack.enter_context(Proxy(port, netns=netns)) if proxied else None
        back = self._stack.enter_context(Proxy(port, netns=netns)).port if netns else port
        scheme = "https" if self._authority else "http"
        directory = self._directory / f"m{number}"
        directory.mkdir()
        made = Member(
            name=f"m{number}",
            directory=directory,
            url=f"{scheme}://{LOOPBACK}:{proxy.port if proxy else port}",
            back_url=f"{scheme}://{LOOPBACK}:{back}",
            peer_url=f"http://{address}:{free_port()}",
            port=port,
            netns=netns,
            proxy=proxy,
            server=self._authority.server() if self._authority else None,
            flags=flags,
        )
        self._stack.callback(made.close)
        return made

    @property
    def urls(self) -> list[str]:
        """By which clients reach the members."""
        return [member.url for member in self.members]

    def raw(self, member: Member | None = None) -> Raw:
        """Return a handle on a member (default: the first), as root if auth is on; the cluster closes it."""
        chosen = member or self.members[0]
        if chosen not in self._raws:
            self._raws[chosen] = self._stack.enter_context(self.client(self._user, member=chosen))
        return self._raws[chosen]

    def client(self, user: str | None = None, *, member: Member | None = None, password: bool = False) -> Raw:
        """Return a handle on a member (default: the first) that no proxy stands before; the caller closes it.

        Args:
            user: as whom; None: as nobody, but with an authority with root's certificate.
            password: True: with a token, got by the password (the user's name), where a certificate would do.
        """
        chosen = member or self.members[0]
        credentials = self._authority.user(user or "root") if self._authority else None
        by_password = user is not None and (password or credentials is None)
        return Raw(
            chosen.back_url, credentials=credentials, user=(str(user), str(user)) if by_password else None
        )

    def enable_auth(self, users: Mapping[str, Sequence[tuple[str, int]]]) -> None:
        """Do what `Raw.enable_auth` does; from now on `raw` is root."""
        self.raw().enable_auth(users)
        self._user = "root"
        self._forget()

    def _forget(self) -> None:
        for raw in self._raws.values():
            raw.close()
        self._raws.clear()

    def options(self, user: str = "") -> dict[str, object]:
        """Return the table [store.etcd] for a user (default: root, where only certificates are let in)."""
        options: dict[str, object] = {"endpoints": self.urls}
        if self._authority:
            files = self._authority.user(user or "root")
            return {**options, "ca": str(files.ca), "cert": str(files.cert), "key": str(files.key)}
        if user:
            password = self._directory / f"{user}.password"
            password.write_text(f"{user}\n")
            options |= {"username": user, "password_file": str(password)}
        return options

    def status(self, member: Member) -> Status:
        """Return what a member says of itself."""
        return self.raw(member).status()

    def leader(self, *, among: Iterable[Member] | None = None, patience: float = PATIENCE) -> Member:
        """Wait until all of these members (default: those running) follow one of them; return it."""
        asked = list(among) if among is not None else [member for member in self.members if member.running]

        def agreed() -> Member | None:
            told = {member: self.status(member) for member in asked}
            leaders = {status.leader for status in told.values()}
            found = [member for member, status in told.items() if leaders == {status.member}]
            return found[0] if found else None

        return wait_until(agreed, what=f"one leader among {asked}", patience=patience)

    def followers(self) -> list[Member]:
        """Return the running members that do not lead."""
        leader = self.leader()
        return [member for member in self.members if member is not leader and member.running]

    def lead(self, member: Member) -> None:
        """Let the leader hand over to a member; returns when it has."""
        leader = self.leader()
        if leader is not member:
            self.raw(leader).call("Maintenance/MoveLeader", targetID=self.status(member).member)

    def restart(self, member: Member, *, wait: bool = True) -> None:
        """Start a member on the data that it has, after killing it if it runs.

        Args:
            wait: False: return at once; without a quorum it will not be ready.
        """
        member.kill()
        member.start(self.members, token=self._token, wait=wait)

    def replace(self, member: Member) -> None:
        """Kill a member, strike it out, lose its data, and let it join as a new one."""
        member.kill()
        through = self.raw(self.leader())
        gone = [each.ID for each in through.call("Cluster/MemberList").members if each.name == member.name]
        through.call("Cluster/MemberRemove", ID=gone[0])
        member.wipe()
        through.call("Cluster/MemberAdd", peerURLs=[member.peer_url])
        member.start(self.members, token=self._token, new=False)

    def cut_off(self, member: Member) -> None:
        """Let no packet pass between a member and its peers; its clients still reach it."""
        self._apart.cut(self.members.index(member))

    def rejoin(self, member: Member) -> None:
        """Undo `cut_off`."""
        self._apart.mend(self.members.index(member))

    @property
    def _apart(self) -> Peers:
        assert self.peers, "members can be cut off from each other only with apart=True"
        return self.peers

    def save(self, file: Path) -> None:
        """Write a backup of the store."""
        self._etcdctl(*self._as_root(), f"--endpoints={self.leader().back_url}", "snapshot", "save", str(file))

    def restore(self, file: Path) -> None:
        """Kill all members and start them anew from a backup, on the same URLs: revisions go back."""
        for member in self.members:
            member.kill()
            member.wipe()
        self._lives += 1
        for member in self.members:
            self._etcdctl(
                "snapshot",
                "restore",
                str(file),
                f"--name={member.name}",
                f"--data-dir={member.data}",
                f"--initial-cluster={listed(self.members)}",
                f"--initial-cluster-token={self._token}",
                f"--initial-advertise-peer-urls={member.peer_url}",
            )
        self._start_all()

    def _as_root(self) -> list[str]:
        files = self._authority.user("root") if self._authority else None
        certificate = [f"--cacert={files.ca}", f"--cert={files.cert}", f"--key={files.key}"] if files else []
        return certificate or (["--user=root:root"] if self._user else [])

    @property
    def _token(self) -> str:
        return f"life-{self._lives}"

    def _start_all(self) -> None:
        for member in self.members:
            member.start(self.members, token=self._token, wait=False)
        for member in self.members:
            member.wait()

    def _etcdctl(self, *words: str) -> None:
        done = subprocess.run(
            ["etcdctl", *words],
            env={**os.environ, "ETCDCTL_API": "3"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"etcdctl {' '.join(words)}: {done.stderr}"

    def close(self) -> None:
        """Kill every member and delete every file; may be called twice."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
