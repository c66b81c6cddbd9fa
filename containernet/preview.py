"""What a daemon would do to the kernel now: the same road from routes to operations, without a write.

Nothing is claimed, announced or executed. A node that holds no lease yet is shown with the subnets that it
would ask for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import attrs

from .addresses import recorded
from .allocation import choose_subnets
from .assembly import assembled
from .config import Config
from .contracts import Kernel, LeaseStore, ReadsSysctls, Recognises
from .endpoints import belongs
from .items import Item, Key, Sysctl, by_key
from .keeper import agreed, confine
from .listen import snapshot_beside
from .model import NetworkConfig, Prefix
from .planning import Operation, plan
from .rendering import Rendering, render, with_subnets
from .rib import Rib


@attrs.frozen(kw_only=True)
class Preview:
    """The operations that are due, and notes: what was assumed, what was refused."""

    operations: tuple[Operation, ...]
    notes: tuple[str, ...]


def preview(config: Config, *, kernel: Kernel | None = None) -> Preview:
    """Return what is due on this host.

    Args:
        kernel: the namespace to look at, which stays the caller's; by default the config's, opened and closed.

    Raises:
        ContainernetError: the config, a store or the kernel, as for the daemon.
    """
    with assembled(config, kernel=kernel) as parts:
        network = agreed(parts.network(), config.network)
        node = parts.node(network, config.node)
        confine(network, parts.leases, parts.routes)
        if isinstance(parts.leases, Recognises):
            parts.leases.recognise(node.name, [own.ip for own in node.addresses])
        subnets, notes = _subnets(parts.leases, network, node.name)
        node = with_subnets(node, subnets, network=network, remote=parts.remote)
        rib = Rib(network, node, store=config.routes.name)
        rib.apply(snapshot_beside(parts.routes, config.socket), now=time.time())
        rendering = render(
            node,
            rib.believed(),
            local=parts.local,
            remote=parts.remote,
            endpoints=[endpoint for endpoint in recorded(config.addresses) if belongs(endpoint, node)],
        )
        notes += [f"{prefix} is not believed: {reason}" for prefix, (_, reason) in rib.refused.items()]
        notes += rendering.refused.values()
        return Preview(operations=plan(rendering.items, _actual(parts.kernel, rendering)), notes=tuple(notes))


def _actual(kernel: Kernel, rendering: Rendering) -> Mapping[Key, Item]:
    """Return what the kernel holds, settings included: it has not been told yet which ones to look at."""
    wanted = [item for item in rendering.items.values() if isinstance(item, Sysctl)]
    settings = kernel.sysctls(wanted) if isinstance(kernel, ReadsSysctls) else ()
    return {**kernel.read(), **by_key(settings)}


def _subnets(leases: LeaseStore, network: NetworkConfig, name: str) -> tuple[tuple[Prefix, ...], list[str]]:
    held = leases.leases()
    for lease in held:
        if lease.node == name and network.admits(lease.subnets):
            return lease.subnets, []
    chosen = choose_subnets(network, held, name=name)
    return chosen, [f"{name} holds no lease; it would ask for {' and '.join(map(str, chosen))}"]
