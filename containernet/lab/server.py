"""The store's server in a lab: an etcd of one member, on a host of its own.

It is reached over the underlay as a cluster would be: a host that is cut off from the others is cut off from it
too. On its own host it also listens on the loopback, so that there `etcdctl` needs no address. Its data are on
the lab's tmpfs, and go with the lab.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import ConfigError
from .topology import Topology

PORT, PEER_PORT = 2379, 2380


def program(topology: Topology) -> str:
    """Return the path of the server's program; empty: the store needs none.

    Raises:
        ConfigError: it is not installed.
    """
    if topology.server is None:
        return ""
    found = shutil.which(topology.store)
    if found is None:
        raise ConfigError(
            f"--store {topology.store}: no program {topology.store} on the PATH: install the Debian package "
            f"{topology.store}-server"
        )
    return found


def endpoints(topology: Topology) -> tuple[str, ...]:
    """Return the URLs of the server, one per address family."""
    own = topology.server.addresses if topology.server else ()
    return tuple(f"http://{f'[{each.ip}]' if each.version == 6 else each.ip}:{PORT}" for each in own)


def command(topology: Topology, data: Path) -> list[str]:
    """Return the command that runs the server.

    Args:
        data: the directory for its data.
    """
    urls = ",".join((*endpoints(topology), f"http://127.0.0.1:{PORT}"))
    peers = f"http://127.0.0.1:{PEER_PORT}"
    return [
        program(topology),
        "--name=store",
        f"--data-dir={data}",
        f"--listen-client-urls={urls}",
        f"--advertise-client-urls={urls}",
        f"--listen-peer-urls={peers}",
        f"--initial-advertise-peer-urls={peers}",
        f"--initial-cluster=store={peers}",
        "--logger=zap",
        "--log-outputs=stderr",
    ]
