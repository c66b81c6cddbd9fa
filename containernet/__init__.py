"""Container networking as a library: claim a subnet, announce it, follow routes, plan, apply, attach.

Everything that the programs do is a few lines of the names below; docs/library.md shows them at work. Each name
is imported from its module when it is first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .addresses import (
        AddressBook as AddressBook,
    )
    from .addresses import (
        bridge_address as bridge_address,
    )
    from .agent import (
        Agent as Agent,
    )
    from .allocation import (
        choose_subnet as choose_subnet,
    )
    from .allocation import (
        choose_subnets as choose_subnets,
    )
    from .allocation import (
        claim_subnet as claim_subnet,
    )
    from .config import (
        Config as Config,
    )
    from .config import (
        describe_node as describe_node,
    )
    from .contracts import (
        ConfiguresNetwork as ConfiguresNetwork,
    )
    from .contracts import (
        Dataplane as Dataplane,
    )
    from .contracts import (
        EndpointItems as EndpointItems,
    )
    from .contracts import (
        EntersNamespaces as EntersNamespaces,
    )
    from .contracts import (
        Failure as Failure,
    )
    from .contracts import (
        Kernel as Kernel,
    )
    from .contracts import (
        LeaseStore as LeaseStore,
    )
    from .contracts import (
        LocalDelivery as LocalDelivery,
    )
    from .contracts import (
        Reserves as Reserves,
    )
    from .contracts import (
        RouteStore as RouteStore,
    )
    from .contracts import (
        Subscription as Subscription,
    )
    from .contracts import (
        Underlay as Underlay,
    )
    from .contracts import (
        UnderlayLink as UnderlayLink,
    )
    from .endpoints import (
        Endpoints as Endpoints,
    )
    from .errors import (
        AddressesExhausted as AddressesExhausted,
    )
    from .errors import (
        AlreadyRunning as AlreadyRunning,
    )
    from .errors import (
        ConfigError as ConfigError,
    )
    from .errors import (
        ContainernetError as ContainernetError,
    )
    from .errors import (
        DaemonUnavailable as DaemonUnavailable,
    )
    from .errors import (
        ExhaustedError as ExhaustedError,
    )
    from .errors import (
        KernelError as KernelError,
    )
    from .errors import (
        LeaseLost as LeaseLost,
    )
    from .errors import (
        LeaseTaken as LeaseTaken,
    )
    from .errors import (
        MissingPackage as MissingPackage,
    )
    from .errors import (
        PermissionRefused as PermissionRefused,
    )
    from .errors import (
        RouteRefused as RouteRefused,
    )
    from .errors import (
        StateCorrupt as StateCorrupt,
    )
    from .errors import (
        StateUnavailable as StateUnavailable,
    )
    from .errors import (
        StoreCorrupt as StoreCorrupt,
    )
    from .errors import (
        StoreError as StoreError,
    )
    from .errors import (
        StoreUnavailable as StoreUnavailable,
    )
    from .errors import (
        SubnetsExhausted as SubnetsExhausted,
    )
    from .errors import (
        UnknownBackend as UnknownBackend,
    )
    from .events import (
        Announced as Announced,
    )
    from .events import (
        Event as Event,
    )
    from .events import (
        Quarantined as Quarantined,
    )
    from .events import (
        Snapshot as Snapshot,
    )
    from .events import (
        Withdrawn as Withdrawn,
    )
    from .items import (
        Bridge as Bridge,
    )
    from .items import (
        BridgePort as BridgePort,
    )
    from .items import (
        FdbEntry as FdbEntry,
    )
    from .items import (
        InterfaceAddress as InterfaceAddress,
    )
    from .items import (
        IpTunnel as IpTunnel,
    )
    from .items import (
        Item as Item,
    )
    from .items import (
        KernelRoute as KernelRoute,
    )
    from .items import (
        Key as Key,
    )
    from .items import (
        Link as Link,
    )
    from .items import (
        Neighbour as Neighbour,
    )
    from .items import (
        Sysctl as Sysctl,
    )
    from .items import (
        Veth as Veth,
    )
    from .items import (
        Vxlan as Vxlan,
    )
    from .items import (
        by_key as by_key,
    )
    from .listen import (
        snapshot as snapshot,
    )
    from .loading import (
        Installed as Installed,
    )
    from .loading import (
        installed as installed,
    )
    from .loading import (
        kernel as kernel,
    )
    from .loading import (
        lease_store as lease_store,
    )
    from .loading import (
        local_dataplane as local_dataplane,
    )
    from .loading import (
        remote_dataplane as remote_dataplane,
    )
    from .loading import (
        route_store as route_store,
    )
    from .model import (
        Address as Address,
    )
    from .model import (
        Endpoint as Endpoint,
    )
    from .model import (
        Interface as Interface,
    )
    from .model import (
        Lease as Lease,
    )
    from .model import (
        NetworkConfig as NetworkConfig,
    )
    from .model import (
        Node as Node,
    )
    from .model import (
        Pool as Pool,
    )
    from .model import (
        Prefix as Prefix,
    )
    from .model import (
        Route as Route,
    )
    from .model import (
        Tunnel as Tunnel,
    )
    from .plan import (
        Create as Create,
    )
    from .plan import (
        Delete as Delete,
    )
    from .plan import (
        Operation as Operation,
    )
    from .plan import (
        Replace as Replace,
    )
    from .plan import (
        plan as plan,
    )
    from .reconciler import (
        Reconciler as Reconciler,
    )
    from .rendering import (
        Rendering as Rendering,
    )
    from .rendering import (
        own_routes as own_routes,
    )
    from .rendering import (
        render as render,
    )
    from .rendering import (
        with_subnets as with_subnets,
    )
    from .rib import (
        Change as Change,
    )
    from .rib import (
        Known as Known,
    )
    from .rib import (
        Rib as Rib,
    )
    from .status import (
        Status as Status,
    )

_HOMES = {
    "model": (
        "Address",
        "Endpoint",
        "Interface",
        "Lease",
        "NetworkConfig",
        "Node",
        "Pool",
        "Prefix",
        "Route",
        "Tunnel",
    ),
    "items": (
        "Bridge",
        "BridgePort",
        "FdbEntry",
        "InterfaceAddress",
        "IpTunnel",
        "Item",
        "Key",
        "KernelRoute",
        "Link",
        "Neighbour",
        "Sysctl",
        "Veth",
        "Vxlan",
        "by_key",
    ),
    "events": (
        "Announced",
        "Event",
        "Quarantined",
        "Snapshot",
        "Withdrawn",
    ),
    "contracts": (
        "ConfiguresNetwork",
        "Dataplane",
        "EndpointItems",
        "EntersNamespaces",
        "Failure",
        "Kernel",
        "LeaseStore",
        "LocalDelivery",
        "Reserves",
        "RouteStore",
        "Subscription",
        "Underlay",
        "UnderlayLink",
    ),
    "allocation": (
        "choose_subnet",
        "choose_subnets",
        "claim_subnet",
    ),
    "addresses": (
        "AddressBook",
        "bridge_address",
    ),
    "rib": (
        "Change",
        "Known",
        "Rib",
    ),
    "rendering": (
        "Rendering",
        "own_routes",
        "render",
        "with_subnets",
    ),
    "plan": (
        "Create",
        "Delete",
        "Operation",
        "Replace",
        "plan",
    ),
    "reconciler": ("Reconciler",),
    "endpoints": ("Endpoints",),
    "listen": ("snapshot",),
    "agent": ("Agent",),
    "status": ("Status",),
    "config": (
        "Config",
        "describe_node",
    ),
    "loading": (
        "Installed",
        "installed",
        "kernel",
        "lease_store",
        "local_dataplane",
        "remote_dataplane",
        "route_store",
    ),
    "errors": (
        "AddressesExhausted",
        "AlreadyRunning",
        "ConfigError",
        "ContainernetError",
        "DaemonUnavailable",
        "ExhaustedError",
        "KernelError",
        "LeaseLost",
        "LeaseTaken",
        "MissingPackage",
        "PermissionRefused",
        "RouteRefused",
        "StateCorrupt",
        "StateUnavailable",
        "StoreCorrupt",
        "StoreError",
        "StoreUnavailable",
        "SubnetsExhausted",
        "UnknownBackend",
    ),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = ["__version__", *_HOME]

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    """Import a public name where it lives, and keep it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # A function and its module may share a name (plan, render): the name is the function's.
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name everything public, imported yet or not."""
    return sorted(__all__)
