"""The store's servers in a lab: an etcd cluster of one member or more, each on a host of its own.

They are reached over the underlay, by hosts and by each other: a host that is cut off from the others is cut
off from them too, and a member whose cable is taken away is alone. On its own host a member also listens on the
loopback, so that there `etcdctl` needs no address. Its data are on the lab's tmpfs, and go with the lab. With
certificates, everybody shows his own. What else etcd can be told, it takes from the environment of who makes
the lab (ETCD_...).
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError
from .topology import Host, Topology

PORT, PEER_PORT = 2379, 2380


def program(topology: Topology) -> str:
    """Return the path of the servers' program; empty: the store needs none.

    Raises:
        ConfigError: it is not installed.
    """
    if not topology.servers:
        return ""
    found = shutil.which(topology.store)
    if found is None:
        raise ConfigError(
            f"--store {topology.store}: no program {topology.store} on the PATH: install the Debian package "
            f"{topology.store}-server"
        )
    return found


def endpoints(topology: Topology) -> tuple[str, ...]:
    """Return the URLs of the servers, one per address family: every server before any a second time."""
    of_each = [urls(topology, server, PORT) for server in topology.servers]
    return tuple(url for family in zip(*of_each, strict=True) for url in family)


def urls(topology: Topology, server: Host, port: int) -> tuple[str, ...]:
    """Return the URLs of one server, one per address family."""
    hosts = [f"[{own.ip}]" if own.version == 6 else str(own.ip) for own in server.addresses]
    return tuple(f"{_scheme(topology)}://{host}:{port}" for host in hosts)


def _scheme(topology: Topology) -> str:
    return "https" if topology.certificates else "http"


def files(topology: Topology, name: str) -> tuple[Path, Path, Path]:
    """Return the PEM files with the CA, and with certificate and key of a host or a server."""
    directory = Path(topology.certificates)
    return directory / "ca.pem", directory / f"{name}.pem", directory / f"{name}.key"


def command(topology: Topology, server: Host, *, path: str, data: Path, state: str = "new") -> list[str]:
    """Return the command that runs a server.

    Args:
        path: of the program.
        data: the directory for its data.
        state: `existing`: it joins members that run; of no importance where it has data.
    """
    clients = ",".join(urls(topology, server, PORT))
    peers = ",".join(urls(topology, server, PEER_PORT))
    cluster = ",".join(
        f"{each.name}={url}" for each in topology.servers for url in urls(topology, each, PEER_PORT)
    )
    return [
        path,
        f"--name={server.name}",
        f"--data-dir={data}",
        f"--listen-client-urls={clients},{_scheme(topology)}://127.0.0.1:{PORT}",
        f"--advertise-client-urls={clients}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster={cluster}",
        f"--initial-cluster-state={state}",
        "--logger=zap",
        "--log-outputs=stderr",
        *(_tls(topology, server) if topology.certificates else ()),
    ]


def _tls(topology: Topology, server: Host) -> Iterator[str]:
    ca, cert, key = files(topology, server.name)
    for side in ("", "peer-"):
        yield from (f"--{side}trusted-ca-file={ca}", f"--{side}cert-file={cert}", f"--{side}key-file={key}")
        yield f"--{side}client-cert-auth"
