"""What the library promises: these names, documented, and cheap to import."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import containernet

# Frozen: a name that is added here stays; one that goes breaks somebody. Grouped as in the package.
NAMES = [
    "__version__",
    *(
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
    *("Bridge", "BridgePort", "FdbEntry", "InterfaceAddress", "IpTunnel", "Item", "Key", "KernelRoute", "Link"),
    *("Neighbour", "Sysctl", "Veth", "Vxlan", "by_key"),
    *("Masquerade", "Hairpin", "PortForward", "ForwardAccept", "SourceGuard", "Edge", "EdgeOptions"),
    *("Announced", "Event", "Quarantined", "Snapshot", "Withdrawn"),
    *("ConfiguresNetwork", "Dataplane", "EndpointItems", "EntersNamespaces", "Failure", "Kernel", "LeaseStore"),
    *("LocalDelivery", "ReadsSysctls", "Reserves", "RouteStore", "Subscription", "Underlay", "UnderlayLink"),
    *("Answers", "Confines", "Drains", "FindsRivals", "KeepsSettings", "OnePerHost", "Recognises", "Settings"),
    *("choose_subnet", "choose_subnets", "claim_subnet"),
    *("AddressBook", "bridge_address"),
    *("Change", "Known", "Rib"),
    *("Rendering", "own_routes", "render", "with_subnets"),
    *("Create", "Delete", "Operation", "Replace", "plan"),
    *("Reconciler", "Endpoints", "snapshot", "Agent", "Status"),
    *("Config", "NodeTable", "describe_node"),
    *("Installed", "installed", "kernel", "lease_store", "local_dataplane", "remote_dataplane", "route_store"),
    *("AddressesExhausted", "AddressTaken", "AlreadyAttached", "NamespaceGone", "NotReady"),
    *("AlreadyRunning", "ConfigError", "ContainernetError", "DaemonUnavailable"),
    *("ExhaustedError", "KernelError", "LeaseLost", "LeaseTaken", "MissingPackage", "PermissionRefused"),
    *("RouteRefused", "StateCorrupt", "StateUnavailable", "StoreCorrupt", "StoreError", "StoreRefused"),
    *("StoreUnavailable", "SubnetsExhausted", "UnknownBackend"),
]
ALIASES = {"Address", "Prefix", "Interface", "Item", "Key", "Event", "Operation", "__version__"}


def test_the_public_names_are_these() -> None:
    """In any order; nothing comes or goes by accident."""
    assert sorted(containernet.__all__) == sorted(NAMES)
    assert len(set(NAMES)) == len(NAMES)
    assert dir(containernet) == sorted(NAMES)


@pytest.mark.parametrize("name", sorted({*NAMES} - ALIASES))
def test_every_name_is_documented(name: str) -> None:
    """A first line that is a fact; more where there is something to pass."""
    value = getattr(containernet, name)
    text = inspect.getdoc(value) or ""
    first = text.splitlines()[0]
    assert first.endswith((".", ":"))
    own = [
        method
        for label, method in vars(value).items()
        if inspect.isclass(value) and inspect.isfunction(method) and not label.startswith("_")
    ]
    assert all(inspect.getdoc(method) for method in own)


def test_what_a_type_checker_sees_is_what_is_imported() -> None:
    """The lazy table and the imports under TYPE_CHECKING agree, name by name and module by module."""
    tree = ast.parse(Path(containernet.__file__).read_text())
    (block,) = [
        node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    seen = {
        (alias.asname, each.module)
        for each in block.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
        if alias.name == alias.asname
    }
    assert seen == set(containernet._HOME.items())
    for name, module in containernet._HOME.items():
        assert getattr(containernet, name) is getattr(importlib.import_module(f"containernet.{module}"), name)


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """As of any module."""
    with pytest.raises(AttributeError, match="module 'containernet' has no attribute 'nonesuch'"):
        _ = containernet.nonesuch


def test_importing_the_package_imports_nothing_of_it() -> None:
    """Not even attrs; the first name that is used brings what it needs, and `plan` stays a function."""
    script = (
        "import sys, containernet\n"
        "heavy = {'attr', 'attrs', 'pyroute2', 'stevedore'}\n"
        "loaded = [name for name in sys.modules if {name.split('.')[0]} & heavy or 'containernet.' in name]\n"
        "assert not loaded, loaded\n"
        "import containernet.agent\n"
        "assert callable(containernet.plan) and callable(containernet.kernel)\n"
        "assert 'pyroute2' not in sys.modules and 'sqlite3' not in sys.modules\n"
        "from containernet import *\n"
        "assert Agent is containernet.agent.Agent\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env={})  # or coverage follows, and imports much
