"""From a config to the parts of a node: every backend that it names, built and, in the end, closed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs

from . import loading
from .config import Config
from .contracts import Dataplane, Kernel, LeaseStore, LocalDelivery, RouteStore


@attrs.frozen(kw_only=True)
class Parts:
    """What a node is made of."""

    kernel: Kernel
    leases: LeaseStore
    routes: RouteStore
    local: LocalDelivery
    remote: Dataplane


@contextmanager
def assembled(config: Config, *, kernel: Kernel | None = None) -> Iterator[Parts]:
    """Build the backends that `config` names, and close them at the end.

    Args:
        kernel: to be used in place of the config's; stays the caller's.

    Raises:
        ConfigError: a backend is unknown, lacks a package, or refuses its options.
    """
    with ExitStack() as stack:
        if kernel is None:
            kernel = loading.kernel(config.kernel.name, config.kernel.options)
            stack.callback(kernel.close)
        leases = loading.lease_store(config.leases.name, config.leases.options)
        stack.callback(leases.close)
        routes = loading.route_store(config.routes.name, config.routes.options)
        stack.callback(routes.close)
        yield Parts(
            kernel=kernel,
            leases=leases,
            routes=routes,
            local=loading.local_dataplane(config.local.name, config.local.options),
            remote=loading.remote_dataplane(config.remote.name, config.remote.options),
        )
