"""Container networking as a library: claim a subnet, announce it, follow routes, plan, apply, attach.

Everything that the programs do is a few lines of the names below; docs/library.md shows them at work. Each name
is imported from its module when it is first used, so that importing this package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False  # a type checker takes it as true; `typing` would be a third of the whole import

if TYPE_CHECKING:
    from .addresses import (
        AddressBook as AddressBook,
        bridge_address as bridge_address,
    )
    from .agent import (
        Agent as Agent,
    )
    from .allocation import (
        choose_subnet as choose_subnet,
        choose_subnets as choose_subnets,
        claim_subnet as claim_subnet,
    )
    from .config import (
        Config as Config,
        NodeTable as NodeTable,
        describe_node as describe_node,
    )
    from .contracts import (
        Answers as Answers,
        ConfiguresNetwork as ConfiguresNetwork,
        Confines as Confines,
        Dataplane as Dataplane,
        Drains as Drains,
        EndpointItems as EndpointItems,
        EntersNamespaces as EntersNamespaces,
        Failure as Failure,
        FindsRivals as FindsRivals,
        KeepsSettings as KeepsSettings,
        Kernel as Kernel,
        LeaseStore as LeaseStore,
        LocalDelivery as LocalDelivery,
        OnePerHost as OnePerHost,
        ReadsSysctls as ReadsSysctls,
        Recognises as Recognises,
        Reserves as Reserves,
        RouteStore as RouteStore,
        Settings as Settings,
        Subscription as Subscription,
        Underlay as Underlay,
        UnderlayLink as UnderlayLink,
    )
    from .edge import (
        Edge as Edge,
        EdgeOptions as EdgeOptions,
    )
    from .endpoints import (
        Endpoints as Endpoints,
    )
    from .errors import (
        AddressesExhausted as AddressesExhausted,
        AddressTaken as AddressTaken,
        AlreadyAttached as AlreadyAttached,
        AlreadyRunning as AlreadyRunning,
        ConfigError as ConfigError,
        ContainernetError as ContainernetError,
        DaemonUnavailable as DaemonUnavailable,
        ExhaustedError as ExhaustedError,
        KernelError as KernelError,
        LeaseLost as LeaseLost,
        LeaseTaken as LeaseTaken,
        MissingPackage as MissingPackage,
        NamespaceGone as NamespaceGone,
        NotReady as NotReady,
        PermissionRefused as PermissionRefused,
        RouteRefused as RouteRefused,
        StateCorrupt as StateCorrupt,
        StateUnavailable as StateUnavailable,
        StoreCorrupt as StoreCorrupt,
        StoreError as StoreError,
        StoreRefused as StoreRefused,
        StoreUnavailable as StoreUnavailable,
        SubnetsExhausted as SubnetsExhausted,
        UnknownBackend as UnknownBackend,
    )
    from .events import (
        Announced as Announced,
        Event as Event,
        Quarantined as Quarantined,
        Snapshot as Snapshot,
        Withdrawn as Withdrawn,
    )
    from .items import (
        Bridge as Bridge,
        BridgePort as BridgePort,
        FdbEntry as FdbEntry,
        ForwardAccept as ForwardAccept,
        Hairpin as Hairpin,
        InterfaceAddress as InterfaceAddress,
        IpTunnel as IpTunnel,
        Item as Item,
        KernelRoute as KernelRoute,
        Key as Key,
        Link as Link,
        Masquerade as Masquerade,
        Neighbour as Neighbour,
        PortForward as PortForward,
        SourceGuard as SourceGuard,
        Sysctl as Sysctl,
        Veth as Veth,
        Vxlan as Vxlan,
        by_key as by_key,
    )
    from .listen import (
        snapshot as snapshot,
    )
    from .loading import (
        Installed as Installed,
        installed as installed,
        kernel as kernel,
        lease_store as lease_store,
        local_dataplane as local_dataplane,
        remote_dataplane as remote_dataplane,
        route_store as route_store,
    )
    from .model import (
        Address as Address,
        Endpoint as Endpoint,
        Interface as Interface,
        Lease as Lease,
        NetworkConfig as NetworkConfig,
        Node as Node,
        Pool as Pool,
        PortMapping as PortMapping,
        Prefix as Prefix,
        Route as Route,
        Tunnel as Tunnel,
    )
    from .planning import (
        Create as Create,
        Delete as Delete,
        Operation as Operation,
        Replace as Replace,
        plan as plan,
    )
    from .reconciler import (
        Reconciler as Reconciler,
    )
    from .rendering import (
        Rendering as Rendering,
        own_routes as own_routes,
        render as render,
        with_subnets as with_subnets,
    )
    from .rib import (
        Change as Change,
        Known as Known,
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
        "PortMapping",
        "Prefix",
        "Route",
        "Tunnel",
    ),
    "items": (
        "Bridge",
        "BridgePort",
        "FdbEntry",
        "ForwardAccept",
        "Hairpin",
        "InterfaceAddress",
        "IpTunnel",
        "Item",
        "Key",
        "KernelRoute",
        "Link",
        "Masquerade",
        "Neighbour",
        "PortForward",
        "SourceGuard",
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
        "Answers",
        "Confines",
        "ConfiguresNetwork",
        "Dataplane",
        "Drains",
        "EndpointItems",
        "EntersNamespaces",
        "Failure",
        "FindsRivals",
        "KeepsSettings",
        "Kernel",
        "LeaseStore",
        "LocalDelivery",
        "OnePerHost",
        "ReadsSysctls",
        "Recognises",
        "Reserves",
        "RouteStore",
        "Settings",
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
    "planning": (
        "Create",
        "Delete",
        "Operation",
        "Replace",
        "plan",
    ),
    "reconciler": ("Reconciler",),
    "edge": ("Edge", "EdgeOptions"),
    "endpoints": ("Endpoints",),
    "listen": ("snapshot",),
    "agent": ("Agent",),
    "status": ("Status",),
    "config": (
        "Config",
        "NodeTable",
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
        "AddressTaken",
        "AlreadyAttached",
        "AlreadyRunning",
        "ConfigError",
        "ContainernetError",
        "DaemonUnavailable",
        "ExhaustedError",
        "KernelError",
        "LeaseLost",
        "LeaseTaken",
        "MissingPackage",
        "NamespaceGone",
        "NotReady",
        "PermissionRefused",
        "RouteRefused",
        "StateCorrupt",
        "StateUnavailable",
        "StoreCorrupt",
        "StoreError",
        "StoreRefused",
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
    value = globals()[name] = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    return value


def __dir__() -> list[str]:
    """Name everything public, imported yet or not."""
    return sorted(__all__)
