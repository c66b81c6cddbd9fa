"""From a config to the parts of a node: every backend that it names, built and, in the end, closed.

What the config leaves to the store is asked there: how hosts reach each other. A store that is away is no
reason not to start; what it last said is remembered on disk.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

import attrs

from . import loading, remembered
from .config import REMOTE, Choice, Config, NodeTable, check_pair, describe_node
from .contracts import (
    Dataplane,
    KeepsSettings,
    Kernel,
    LeaseStore,
    LocalDelivery,
    RouteStore,
    Settings,
    TellsAtOnce,
)
from .edge import Edge
from .errors import ConfigError, StoreUnavailable
from .model import NetworkConfig, Node
from .values import shown


@attrs.frozen(kw_only=True, eq=False)
class Parts:
    """What a node is made of.

    Args:
        settings: what the lease store says to all hosts; None: nothing, or it does not answer now.
        dataplane: the name and the options of `remote`.
    """

    kernel: Kernel
    leases: LeaseStore
    routes: RouteStore
    local: LocalDelivery
    remote: Dataplane
    settings: Settings | None
    dataplane: Choice
    __repr__ = shown

    def network(self) -> NetworkConfig | None:
        """Return the pools as the lease store tells them; None: it holds none.

        Raises:
            StoreUnavailable: it does not answer, and nothing is remembered of it.
        """
        return self.settings.network if self.settings is not None else self.leases.network()

    def node(self, network: NetworkConfig, table: NodeTable) -> Node:
        """Return this host without subnets, by [node] of its file, the kernel, and the store's word on the MTU.

        Raises:
            ConfigError: see `describe_node`.
        """
        mtu = self.settings.mtu if self.settings is not None else 0
        return describe_node(self.kernel, network=network, table=table, mtu=mtu)


@contextmanager
def assembled(config: Config, *, kernel: Kernel | None = None) -> Iterator[Parts]:
    """Build the backends that `config` names, and close them at the end.

    Args:
        kernel: to be used in place of the config's; stays the caller's.

    Raises:
        ConfigError: a backend is unknown, lacks a package, or refuses its options.
    """
    with ExitStack() as stack:
        leases = loading.lease_store(config.leases.name, config.leases.options)
        stack.callback(leases.close)
        settings = _begin_to_ask(config, leases)
        if kernel is None:
            kernel = loading.kernel(config.kernel.name, config.kernel.options)
            stack.callback(kernel.close)
        if config.routes == config.leases and isinstance(leases, RouteStore):
            routes: RouteStore = leases  # one connection for both
        else:
            routes = loading.route_store(config.routes.name, config.routes.options)
            stack.callback(routes.close)
        local = Edge(loading.local_dataplane(config.local.name, config.local.options), config.edge)
        told = settings()
        dataplane = _dataplane(config, told)
        yield Parts(
            kernel=kernel,
            leases=leases,
            routes=routes,
            local=local,
            remote=_built(dataplane),
            settings=told,
            dataplane=dataplane,
        )


def _begin_to_ask(config: Config, leases: LeaseStore) -> Callable[[], Settings | None]:
    """Return what returns what the store says to all hosts, see `_settings`.

    A store that tells a start everything in one answer takes as long for that as the imports of the other
    backends do, and is asked on another thread meanwhile. Asking changes nothing there.
    """
    if not isinstance(leases, TellsAtOnce):
        return partial(_settings, config, leases)
    leases.starting()
    answered: list[Settings | None] = []
    failed: list[Exception] = []

    def ask() -> None:
        try:
            answered.append(_settings(config, leases))
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=ask, name="containernet-settings", daemon=True)
    thread.start()

    def wait() -> Settings | None:
        thread.join()
        for error in failed:
            raise error
        return answered[0]

    return wait


def _settings(config: Config, leases: LeaseStore) -> Settings | None:
    """Return what the store says to all hosts, or said when it was last heard."""
    if not isinstance(leases, KeepsSettings):
        return None
    try:
        return leases.settings()
    except StoreUnavailable:
        with contextlib.suppress(ValueError):
            return remembered.load(config.view).settings
        return None


def _dataplane(config: Config, settings: Settings | None) -> Choice:
    """Return how this host reaches the others: as its file says, or else the store.

    Raises:
        ConfigError: they contradict each other, since two ways in one network reach nobody; or the store's does
            not go together with `local`.
    """
    stored = None
    if settings is not None and settings.dataplane:
        stored = Choice(name=settings.dataplane, options=settings.options)
    if config.remote is None:
        chosen = stored or default_dataplane(config)
        check_pair(config.local, chosen)
        return chosen
    if stored is not None and _built(stored) != _built(config.remote):
        raise ConfigError(
            f"[dataplane] says {_words(config.remote)}, and the store says {_words(stored)} to all hosts: take "
            "remote out of the file, or change the store's word with `containernet network set`"
        )
    return config.remote


def default_dataplane(config: Config) -> Choice:
    """Return how hosts reach each other as far as the file is asked."""
    return config.remote or Choice(name=REMOTE, options={})


def _built(choice: Choice) -> Dataplane:
    return loading.remote_dataplane(choice.name, choice.options)


def _words(choice: Choice) -> str:
    return " ".join((choice.name, *(f"{name}={value}" for name, value in choice.options.items())))
