"""From the words in a config file to classes: the one road for backends, in-tree or outside.

A backend is an entry point of an installed distribution in one of four groups. `entry_points` finds it where
one distribution offers it, as usual, and its code loads; what else there may be is stevedore's to find. What
this module adds is that a failure says what to do: which names there are, which Python package is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, cast

import attrs

from . import entry_points
from .errors import ConfigError, ContainernetError, MissingPackage, UnknownBackend
from .values import shown

if TYPE_CHECKING:
    from .contracts import Backend, Dataplane, Kernel, LeaseStore, LocalDelivery, RouteStore

LEASE_STORES = "containernet.lease_stores"
ROUTE_STORES = "containernet.route_stores"
DATAPLANES = "containernet.dataplanes"
KERNELS = "containernet.kernels"
GROUPS = (LEASE_STORES, ROUTE_STORES, DATAPLANES, KERNELS)


@attrs.frozen(kw_only=True)
class Installed:
    """A backend that an installed distribution offers; its code need not be loadable."""

    group: str
    name: str
    target: str
    distribution: str
    version: str
    __repr__ = shown


def installed(group: str) -> list[Installed]:
    """Return the backends of a group, by name. Reads metadata only; imports none of them."""
    from importlib import metadata

    return sorted(
        (
            Installed(
                group=group,
                name=point.name,
                target=point.value,
                distribution=point.dist.name if point.dist else "",
                version=point.dist.version if point.dist else "",
            )
            for point in metadata.entry_points(group=group)
        ),
        key=lambda backend: (backend.name, backend.distribution),
    )


def lease_store(name: str, options: Mapping[str, object]) -> LeaseStore:
    """Build the lease store of that name. Raises: see `backend`."""
    return cast("LeaseStore", backend(LEASE_STORES, name, options))


def route_store(name: str, options: Mapping[str, object]) -> RouteStore:
    """Build the route store of that name. Raises: see `backend`."""
    return cast("RouteStore", backend(ROUTE_STORES, name, options))


def remote_dataplane(name: str, options: Mapping[str, object]) -> Dataplane:
    """Build the dataplane of that name, as the way between hosts. Raises: see `backend`."""
    return cast("Dataplane", backend(DATAPLANES, name, options, methods=("overhead", "tunnel", "host", "peer")))


def local_dataplane(name: str, options: Mapping[str, object]) -> LocalDelivery:
    """Build the dataplane of that name, as the way to containers on this host. Raises: see `backend`."""
    return cast("LocalDelivery", backend(DATAPLANES, name, options, methods=("host", "endpoint")))


def kernel(name: str, options: Mapping[str, object]) -> Kernel:
    """Build the kernel backend of that name. Raises: see `backend`."""
    return cast("Kernel", backend(KERNELS, name, options))


def backend(group: str, name: str, options: Mapping[str, object], *, methods: tuple[str, ...] = ()) -> Backend:
    """Find the backend `name` of an entry-point group, and build it from its own options.

    Args:
        group: one of `GROUPS`.
        name: the word in the config file.
        options: the backend's own table, passed on unread.
        methods: what the role needs; a dataplane may be able to do one side only.

    Raises:
        UnknownBackend: nobody offers that name (the message lists who offers what), or two distributions do.
        MissingPackage: its module needs a Python package that is not installed.
        ConfigError: it cannot play that role, or refuses its options.
    """
    cls = _load(group, name)
    missing = [method for method in methods if not hasattr(cls, method)]
    if missing:
        raise ConfigError(
            f"dataplane {name!r} cannot be used here: it has no {', '.join(missing)}(); a remote dataplane has "
            "peer(), a local one has endpoint()"
        )
    return cls.from_options(options)


def _load(group: str, name: str) -> type[Backend]:
    target = entry_points.target(group, name)
    if target is None:
        return _found_by_stevedore(group, name)
    module, _, attribute = target.partition(":")
    try:
        return cast("type[Backend]", attrgetter(attribute)(import_module(module)))
    except Exception as error:
        raise _not_loadable(group, name, error) from error


def _found_by_stevedore(group: str, name: str) -> type[Backend]:
    from stevedore import DriverManager
    from stevedore.exception import MultipleMatches, NoMatches

    failures: list[BaseException] = []
    try:
        manager: DriverManager[Any] = DriverManager(
            group,
            name,
            on_load_failure_callback=lambda _manager, _point, error: failures.append(error),
            on_missing_entrypoints_callback=lambda _names: None,  # it would warn; we raise
        )
    except MultipleMatches:
        owners = sorted({each.distribution for each in installed(group) if each.name == name})
        raise UnknownBackend(
            f"{name!r} in {group} is offered twice, by {' and '.join(owners)}: uninstall one of them"
        ) from None
    except NoMatches:
        if failures:
            raise _not_loadable(group, name, failures[0]) from failures[0]
        raise _unknown(group, name) from None
    return cast("type[Backend]", manager.driver)


def _unknown(group: str, name: str) -> UnknownBackend:
    names = sorted({each.name for each in installed(group)})
    what = group.partition(".")[2].rstrip("s").replace("_", " ")
    return UnknownBackend(f"no {what} {name!r} is installed; installed are: {', '.join(names) or 'none'}")


def _not_loadable(group: str, name: str, error: BaseException) -> ContainernetError:
    owner = next((each for each in installed(group) if each.name == name), None)
    distribution = owner.distribution if owner else "its distribution"
    if isinstance(error, MissingPackage):
        return error
    if isinstance(error, ModuleNotFoundError) and error.name:
        extra = f"'{distribution}[{name}]'" if _has_extra(distribution, name) else error.name.partition(".")[0]
        return MissingPackage(
            f"backend {name!r} of {distribution} needs the Python package {error.name!r}: pip install {extra}"
        )
    return MissingPackage(
        f"backend {name!r} of {distribution} does not load: {type(error).__name__}: {error}; "
        f"try pip install --force-reinstall {distribution}"
    )


def _has_extra(distribution: str, extra: str) -> bool:
    from importlib import metadata

    try:
        return extra in (metadata.metadata(distribution).get_all("Provides-Extra") or [])
    except metadata.PackageNotFoundError:
        return False
