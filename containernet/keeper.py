"""The thread that talks to the stores on behalf of one node: it holds the lease, and it announces.

A store may hang for as long as it likes; what the kernel needs does not wait for it. So every call that can
block on a store is made here, and the agent hears the outcome as a message.

A lease is renewed after a third of its time. Its end is reckoned from before the request was sent, on a clock
that goes on in suspend, so the node never believes longer than the store does. When the lease is lost, the
network is agreed on again, for the store may have forgotten everything, and the same subnets are asked for
again first: containers have addresses in them. Should others be had, what was announced for the old ones is
withdrawn: a route store that knows no leases would keep it for ever.

A lease outlives the process that had it. So until its store answers for the first time, and as long as it can
not have ended, what it covers is announced to a route store that stands by itself.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence

import attrs

from .allocation import claim_subnet
from .contracts import ConfiguresNetwork, Confines, KeepsSettings, LeaseStore, Recognises, RouteStore, Settings
from .errors import ConfigError, ContainernetError, LeaseLost, StoreError, StoreUnavailable
from .jitter import backoff, jitter
from .model import Address, Lease, NetworkConfig, Prefix, Route
from .values import shown

LONGEST_SLEEP = 10.0  # seconds; a thread's sleep stands still in suspend, and a lease does not
NOW = -math.inf  # on any clock


@attrs.frozen(kw_only=True)
class Held:
    """The lease is ours until `until`, seconds on the keeper's clock."""

    lease: Lease
    until: float
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Lost:
    """The store gave our lease to somebody else, or forgot it; a claim follows."""

    reason: str
    __repr__ = shown


@attrs.frozen(kw_only=True)
class StoreFailed:
    """A call failed; it is tried again, and nothing else changes."""

    error: ContainernetError
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Told:
    """These routes are announced."""

    routes: tuple[Route, ...]
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Agreed:
    """The lease store was heard, and agrees; `settings` is its word to all hosts, None: it has none."""

    settings: Settings | None
    __repr__ = shown


Outcome = Agreed | Held | Lost | StoreFailed | Told


def agree(
    store: LeaseStore, network: NetworkConfig | None, settings: Settings | None = None
) -> Settings | None:
    """Let all hosts agree on a network: the store's, or the operator's where the store has none.

    Args:
        settings: what to store for all hosts where the store holds nothing and can hold more than `network`.

    Returns:
        What the store says to all hosts now; None: it keeps no settings, or has none.

    Raises:
        ConfigError: neither has one, or they contradict each other; with both.
        StoreUnavailable: the store does not answer.
    """
    told: Settings | None = None
    if settings is not None and isinstance(store, KeepsSettings):
        told = store.keep(settings, over=None)
        stored: NetworkConfig | None = told.network
    elif network is not None and isinstance(store, ConfiguresNetwork):
        stored = store.configure(network)
    else:
        stored = store.network()
    agreed(stored, network)
    return told


def agreed(stored: NetworkConfig | None, network: NetworkConfig | None) -> NetworkConfig:
    """Return the network that a store and an operator agree on; None: it says nothing. See `agree`."""
    if stored is None and network is None:
        raise ConfigError("no network is configured: set pool under [network], or in the store")
    if stored is not None and network is not None and stored != network:
        raise ConfigError(
            f"[network] says {describe(network)}, and the store holds {describe(stored)}: correct the file, or "
            "change the network for all hosts"
        )
    result = stored or network
    assert result is not None
    return result


def confine(network: NetworkConfig, *stores: object) -> None:
    """Tell the pools to those of the stores that can be told.

    Raises:
        ConfigError: a store's own options contradict them.
    """
    for store in stores:
        if isinstance(store, Confines):
            store.confine(network)


def describe(network: NetworkConfig) -> str:
    """Return a network in one line."""
    return " and ".join(
        f"{pool.prefix} in /{pool.subnet_length}s from {pool.first} to {pool.last}"
        + (f" without {', '.join(map(str, pool.reserved))}" if pool.reserved else "")
        for pool in network.pools
    )


class Keeper:
    """Holds one node's lease and announcements until it is stopped.

    Args:
        preferred: the subnets to ask for first, those of an earlier run.
        leased_until: when the lease of `preferred` ends at the earliest, seconds on `clock`; None: not known.
    """

    def __init__(
        self,
        *,
        leases: LeaseStore,
        routes: RouteStore,
        network: NetworkConfig,
        node: str,
        ttl: float,
        preferred: tuple[Prefix, ...],
        leased_until: float | None = None,
        addresses: tuple[Address, ...] = (),
        settings: Settings | None = None,
        report: Callable[[Outcome], None],
        clock: Callable[[], float],
    ) -> None:
        self._leases = leases
        self._routes = routes
        self._network = network
        self._node = node
        self._ttl = ttl
        self._preferred = preferred
        self._leased_until = leased_until
        self._addresses = addresses
        self._settings = settings
        self._report = report
        self._clock = clock
        self._lease: Lease | None = None
        self._renew_at = NOW
        self._agreed = False
        self._announcements: tuple[Route, ...] = ()
        self._standing: dict[Prefix, Route] = {}  # announced, and not withdrawn again
        self._told = True
        self._failures = 0
        self._stopping = False
        self._wake = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="containernet-keeper", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def announce(self, routes: tuple[Route, ...]) -> None:
        """Make `routes` all that this node announces; returns at once, `Told` follows."""
        with self._wake:
            self._announcements = routes
            self._told = False
            self._wake.notify()

    def check(self) -> None:
        """Look after lease and announcements now: somebody may have touched them."""
        with self._wake:
            self._told = False
            self._renew_at = NOW
            self._wake.notify()

    def stop(self, *, leave: bool, timeout: float) -> None:
        """End the thread; with `leave`, take the announcements back and give the lease back first.

        Raises:
            StoreError: what was to be given back could not be; it ends with its time.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        if not leave:
            return
        if self._thread.is_alive():
            raise StoreUnavailable(
                f"the store has not answered for {timeout:.0f} s; the lease of {self._node} ends with its time"
            )
        try:
            self._withdraw(kept=())
        finally:
            self._give_back()

    def _give_back(self) -> None:
        # By name: where an answer was lost, the store holds a lease or a revision that we have not seen.
        for lease in self._leases.leases():
            if lease.node == self._node:
                self._leases.release(lease)
        self._lease = None

    def _run(self) -> None:
        while not self._stopping:
            try:
                delay = self._look_after()
                self._failures = 0
            except Exception as error:
                # Anything at all: without this thread the lease would run out, and nobody would know why.
                self._report(StoreFailed(error=_ours(error)))
                self._told = False  # whatever the store forgot while it was away, it hears again
                self._failures += 1
                delay = backoff(self._failures)
            with self._wake:
                if not self._stopping and not self._due():
                    self._wake.wait(delay if self._failures else min(delay, LONGEST_SLEEP))

    def _due(self) -> bool:
        # An announcement or a check that came while a call was under way must not wait for the next renewal;
        # after a failure the backoff is waited for all the same.
        return self._failures == 0 and self._lease is not None and (not self._told or self._renew_at == NOW)

    def _look_after(self) -> float:
        """Do what is due; return the seconds until something is due again."""
        if self._lease is None:
            self._claim()
        elif self._clock() >= self._renew_at:
            self._renew()
        if self._lease is not None and not self._told:
            self._announce()
        return max(0.0, self._renew_at - self._clock())

    def _claim(self) -> None:
        if not self._agreed:
            settings = self._agree()
            self._leased_until = None  # from here on the store's word counts
            self._report(Agreed(settings=settings))
            if isinstance(self._leases, Recognises):
                self._leases.recognise(self._node, self._addresses)
            self._agreed = True
        asked = self._ask()
        lease = claim_subnet(
            self._leases, self._network, node=self._node, ttl=self._ttl, preferred=self._preferred
        )
        self._told = False
        self._hold(lease, asked)

    def _agree(self) -> Settings | None:
        try:
            return agree(self._leases, self._network, self._settings)
        except StoreUnavailable:
            both: object = self._leases
            leased = self._leased_until is not None and self._clock() < self._leased_until
            if leased and self._announcements and self._routes is not both:
                self._announce()
            raise

    def _renew(self) -> None:
        assert self._lease is not None
        asked = self._ask()
        try:
            self._hold(self._leases.renew(self._lease, self._ttl), asked)
        except LeaseLost as error:
            self._lease = None
            self._agreed = False  # it may have forgotten the network as well, or hold another one by now
            self._report(Lost(reason=str(error)))
            self._claim()

    def _ask(self) -> float:
        """Note when the store is asked; a check that comes while it is asked sets `_renew_at` to NOW again."""
        with self._wake:
            self._renew_at = self._clock()
            return self._renew_at

    def _hold(self, lease: Lease, asked: float) -> None:
        self._lease = lease
        self._preferred = lease.subnets
        with self._wake:
            if self._renew_at != NOW:
                self._renew_at = asked + jitter(self._ttl / 3, 0.8)
        self._report(Held(lease=lease, until=asked + self._ttl))

    def _announce(self) -> None:
        with self._wake:
            routes, self._told = self._announcements, True
        owned = [route for route in routes if route.prefix in self._preferred]
        self._withdraw(kept=owned)
        for route in owned:
            self._standing[route.prefix] = route  # before: where the answer is lost, it may stand nevertheless
            self._routes.announce(route)
        self._report(Told(routes=tuple(owned)))

    def _withdraw(self, *, kept: Sequence[Route]) -> None:
        for prefix in self._standing.keys() - {route.prefix for route in kept}:
            self._routes.withdraw(self._standing[prefix])
            del self._standing[prefix]


def _ours(error: Exception) -> ContainernetError:
    if isinstance(error, ContainernetError):
        return error
    foreign = StoreError(f"the store failed in a way that nobody foresaw: {type(error).__name__}: {error}")
    foreign.__cause__ = error
    return foreign
