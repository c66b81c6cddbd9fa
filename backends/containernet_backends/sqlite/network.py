"""The network's configuration inside one transaction: one JSON value, written once."""

from __future__ import annotations

import json
import sqlite3
from ipaddress import ip_network
from typing import Any

from containernet.errors import ConfigError
from containernet.model import NetworkConfig, Pool

from .database import corrupt_row


def stored(db: sqlite3.Connection) -> NetworkConfig | None:
    """Return what the store holds, or None. Raises StoreCorrupt where it is not a configuration."""
    (text,) = db.execute("SELECT network FROM store").fetchone()
    if text is None:
        return None
    try:
        return NetworkConfig(pools=[_pool(pool) for pool in json.loads(text)])
    except (ValueError, TypeError, KeyError, ConfigError) as error:
        raise corrupt_row("store", "network", error) from error


def store(db: sqlite3.Connection, network: NetworkConfig) -> NetworkConfig:
    """Write `network` if there is none; return the one that stands."""
    standing = stored(db)
    if standing is None:
        db.execute("UPDATE store SET network = ?", (json.dumps([_plain(pool) for pool in network.pools]),))
    return standing or network


def _plain(pool: Pool) -> dict[str, object]:
    return {
        "prefix": str(pool.prefix),
        "subnet_length": pool.subnet_length,
        "first": str(pool.first),
        "last": str(pool.last),
        "reserved": [str(prefix) for prefix in pool.reserved],
    }


def _pool(plain: dict[str, Any]) -> Pool:
    reserved = [ip_network(prefix) for prefix in plain["reserved"]]
    return Pool(
        prefix=ip_network(plain["prefix"]),
        subnet_length=plain["subnet_length"],
        first=ip_network(plain["first"]),
        last=ip_network(plain["last"]),
        reserved=reserved,
    )
