"""Every error that this library raises on purpose, as one tree.

A message holds the values, what was expected, and the next step for the reader, in one line. Two facts
about an error are data, so that no caller has to parse text: `retryable` (the same call may succeed later
without anybody changing anything) and `exit_code` (what a program of ours exits with).
"""

from __future__ import annotations

from typing import ClassVar


class ContainernetError(Exception):
    """The root of the tree: catch this one to catch all of ours."""

    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 1


class ConfigError(ContainernetError):
    """The operator's word is wrong or contradicts itself; nothing was started."""

    exit_code = 2


class UnknownBackend(ConfigError):
    """No installed distribution offers a backend of that name."""


class MissingPackage(ConfigError):
    """A backend is installed, but a Python package that it needs is not."""


class PermissionRefused(ContainernetError):
    """The operating system does not let this process do that."""

    exit_code = 3


class StoreError(ContainernetError):
    """A lease store or route store could not do what was asked."""

    exit_code = 4


class StoreUnavailable(StoreError):
    """The store cannot be reached now; what it held is still true as far as anybody knows."""

    retryable = True


class StoreRefused(StoreError):
    """The store answers, and does not let this client do that."""

    exit_code = 3


class StoreCorrupt(StoreError):
    """The store answers, but what it holds cannot be read as a store of ours."""


class LeaseTaken(StoreError):
    """Somebody else holds a lease that overlaps the subnets asked for: list again and choose others."""

    retryable = True


class LeaseLost(StoreError):
    """The lease to be renewed or released is no longer the one that the store holds."""


class ExhaustedError(ContainernetError):
    """A finite range of subnets or addresses has nothing left to give."""

    exit_code = 5


class SubnetsExhausted(ExhaustedError):
    """Every subnet of the pool is leased or reserved."""


class AddressesExhausted(ExhaustedError):
    """Every address of the node's subnet is in use by a container."""


class AddressTaken(ContainernetError):
    """An address was asked for that another container's interface holds."""

    exit_code = 5


class RouteRefused(ContainernetError):
    """A dataplane cannot reach this peer, for a reason that the message states."""


class KernelError(ContainernetError):
    """The kernel refused an operation, or a network namespace is not there."""

    exit_code = 6


class NotReady(KernelError):
    """The node is not programmed yet, or the kernel could not be read yet."""

    retryable = True


class NamespaceGone(KernelError):
    """No network namespace is at that path, any more or at all."""


class AlreadyAttached(ContainernetError):
    """The container has an interface of that name already."""

    exit_code = 6


class AlreadyRunning(ContainernetError):
    """Another containernetd holds this host's lock."""

    exit_code = 7


class DaemonUnavailable(ContainernetError):
    """No containernetd answers on its socket."""

    retryable = True
    exit_code = 8


class StateError(ContainernetError):
    """What this node itself keeps on disk cannot be used."""

    exit_code = 10  # 9 is a status that is asked for, and not ready: no error


class StateUnavailable(StateError):
    """A file of the node's own state cannot be opened, read or written now; nothing was changed."""

    retryable = True


class StateCorrupt(StateError):
    """A file of the node's own state is damaged, or is something else."""
