"""The only loop: one inbox, one thread that decides, and threads that do nothing but fill the inbox.

    keeper - Agreed, Held, Lost, StoreFailed, Told -+
    subscription - events of the route store ------+--> inbox --> Agent --> Reconciler --> kernel
    kernel ------- somebody touched our items -----+
    callers ------ attach, detach, status ---------+

The rules that the agent keeps:

- Losing a store changes nothing in the kernel: what was known stays programmed, and the status says so.
- Nothing is deleted before the route store has told everything once; with no store at all, the view that was
  remembered on disk is programmed, and only added to.
- What this node announces is announced after its own side stands in the kernel.
- Somebody else's change is repaired at the next turn of the loop; a full read with jitter stands behind it.
- Stopping leaves the kernel as it is.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import attrs

from . import derive, remembered, underlay
from .addresses import AddressBook
from .contracts import Dataplane, Drains, Kernel, LeaseStore, LocalDelivery, RouteStore, Settings, TellsAtOnce
from .desired import route_owner
from .endpoints import Endpoints
from .errors import (
    ContainernetError,
    KernelError,
    NotReady,
    PermissionRefused,
    StateError,
    StoreError,
    StoreUnavailable,
)
from .events import Announced, Event, Quarantined, Snapshot, Withdrawn
from .inbox import Inbox
from .items import Item
from .jitter import jitter
from .keeper import Agreed, Held, Keeper, Lost, Outcome, StoreFailed, Told, confine
from .model import Endpoint, NetworkConfig, Node, Prefix, Route, overlaps
from .planning import Operation
from .pumps import KernelPump, RoutePump
from .reconciler import Reconciler
from .rendering import host_items, own_routes, peer_items, with_subnets
from .rib import Change, Rib
from .values import shown

if TYPE_CHECKING:
    from .status import Status

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

AUDIT = 60.0  # seconds between full reads, without any sign that one is needed
PATIENCE = 2.0  # seconds that a start waits for the route store before it takes the remembered view
LINGER = 60.0  # seconds in which a store that has forgotten everything hears it again; keepers wait up to 30
DRAIN = 10.0  # seconds that a node which leaves gives its peers to go round it
SAVE_DELAY = 1.0  # seconds in which changes of the view are gathered into one write to disk


def boottime() -> float:
    """Return seconds on the clock that agents reckon with: it never jumps, and it goes on in suspend."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot() -> str:
    """Return which boot of this machine `boottime` counts from (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


@attrs.frozen(kw_only=True, eq=False)
class _Heard:
    event: Event
    __repr__ = shown


@attrs.frozen(kw_only=True, eq=False)
class _RoutesAway:
    error: ContainernetError
    __repr__ = shown


@attrs.frozen(kw_only=True, eq=False)
class _Drift:
    __repr__ = shown


_Message = Outcome | _Heard | _RoutesAway | _Drift


class Agent:
    """One node of one network: leases, announces, listens, and keeps the kernel as it should be.

    Args:
        node: this host, without subnets; the agent fills in what it leases.
        network: what all hosts agree on (see `keeper.agree`).
        leases, routes: the stores; the caller closes them after `run` has returned.
        local, remote: the dataplanes.
        kernel: the host's namespace.
        addresses: who has which address on this node.
        state: file for the remembered view.
        ttl: seconds that a lease is asked for.
        store: the route store's name, for the status.
        lease_store: whatever tells this lease store from others; what is remembered of another's leases is not
            relied on.
        settings: what to store for all hosts, if the lease store can hold it and holds nothing.
        subnets_taken: called with the node whenever it has taken other subnets, on the agent's thread.

    Raises:
        ConfigError: a store's own options contradict the network.
    """

    def __init__(
        self,
        *,
        node: Node,
        network: NetworkConfig,
        leases: LeaseStore,
        routes: RouteStore,
        local: LocalDelivery,
        remote: Dataplane,
        kernel: Kernel,
        addresses: AddressBook,
        state: Path,
        ttl: float = 2700.0,
        store: str = "",
        lease_store: str = "",
        audit: float = AUDIT,
        linger: float = LINGER,
        drain: float = DRAIN,
        settings: Settings | None = None,
        subnets_taken: Callable[[Node], None] = lambda _: None,
    ) -> None:
        confine(network, leases, routes)
        self._node = with_subnets(node, (), network=network, remote=remote)
        self._network = network
        self._leases = leases
        self._routes = routes
        self._local = local
        self._remote = remote
        self._kernel = kernel
        self._state = state
        self._audit = audit
        self._linger = linger
        self._drain_time = drain
        self._store = store
        self._subnets_taken = subnets_taken
        self._inbox: Inbox[_Message] = Inbox()
        self._stop = threading.Event()

        self._lease_of = f"{derive.number(f'{boot()} {node.name} {lease_store}'):x}"
        self._remembered = self._load()
        self._settings = self._remembered.settings  # the store's word, never our own
        self._rib = Rib(network, self._node, store=store)
        self._reconciler = Reconciler(kernel)
        self._reconciler.prune = False  # until the route store has told everything
        self._endpoints = Endpoints(self._reconciler, local=local, addresses=addresses)
        self._keeper = Keeper(
            leases=leases,
            routes=routes,
            network=network,
            node=node.name,
            ttl=ttl,
            preferred=self._remembered.subnets,
            leased_until=self._remembered.lease_until,
            addresses=tuple(own.ip for own in node.addresses),
            settings=settings,
            report=self._inbox.put,
            clock=boottime,
        )

        self._route_pump = RoutePump(
            routes,
            heard=lambda event: self._inbox.put(_Heard(event=event)),
            lost=lambda error: self._inbox.put(_RoutesAway(error=error)),
        )
        self._kernel_pump = KernelPump(kernel, changed=lambda: self._inbox.put(_Drift()))

        self._underlay = underlay.Changes()
        self._rivals: tuple[str, ...] = ()
        self._refused: dict[Prefix, str] = {}
        self._lease_until = self._remembered.lease_until  # of a lease that an earlier run has had
        self._lease_lost = ""
        self._asked_to_announce = False
        self._announced = False
        self._namesake = ""
        self._synced = False
        self._lease_trouble = ""
        self._route_trouble = ""
        self._kernel_trouble = ""
        self._may_program = False
        self._started = boottime()
        self._give_up_waiting = self._started + PATIENCE
        self._read_at = self._started
        self._save_at: float | None = None
        self._forget_at: float | None = None
        self._drift_gap = 0.0
        self._retries = 0
        self._repairs = 0
        self._has_read = False
        self._view_is_new = True  # so what a read finds is not what somebody else has done
        self._last_read = self._audit_at = self._started

    # What callers may do, from any thread.

    def attach(self, container: str, netns: str, *, interface: str = "eth0") -> Endpoint:
        """Give a container's namespace an interface with addresses; asked again, give the same.

        Raises:
            ConfigError: a name that cannot be one.
            AddressesExhausted, KernelError: with the reason; nothing is left behind. Also where the node has no
                subnet yet.
            DaemonUnavailable: the agent has stopped, or did not get to it in time; then it never will.
        """
        return self._inbox.call(
            lambda: self._when_programmed(lambda: self._endpoints.attach(container, netns, interface))
        )

    def add(self, wished: Endpoint) -> Endpoint:
        """Give a container an interface that is not there yet, as its runtime wishes it; see `Endpoints.add`.

        Raises:
            AlreadyAttached, AddressTaken: see there. Everything that `attach` raises.
        """
        return self._inbox.call(lambda: self._when_programmed(lambda: self._endpoints.add(wished)))

    def endpoint(self, container: str, *, interface: str = "eth0") -> Endpoint | None:
        """Return the endpoint of that name, or None."""
        return self._inbox.call(lambda: self._endpoints.get(container, interface))

    def missing(self, endpoint: Endpoint) -> tuple[Operation, ...]:
        """Return what it would take to make everything of an endpoint as it should be; see `Endpoints.missing`.

        Raises:
            KernelError: its namespace cannot be read.
        """
        return self._inbox.call(lambda: self._when_programmed(lambda: self._endpoints.missing(endpoint)))

    def strangers(self, network: str, known: Collection[tuple[str, str]]) -> tuple[Endpoint, ...]:
        """Return what a runtime added to a CNI network, but for what it knows; see `Endpoints.strangers`."""
        return self._inbox.call(lambda: self._endpoints.strangers(network, known))

    def has_room(self) -> bool:
        """Return whether another container could have addresses."""
        return self._inbox.call(self._endpoints.has_room)

    def collect_gone(self) -> tuple[Endpoint, ...]:
        """Detach every container whose namespace is gone, an operator's too; return them.

        Raises:
            KernelError, StateError: some could not be.
        """
        return self._inbox.call(lambda: self._when_programmed(self._collect_all))

    def detach(self, container: str, *, interface: str = "eth0") -> bool:
        """Take the interface away and free its addresses; False: there was none."""
        return self._inbox.call(lambda: self._detach(container, interface))

    @property
    def node(self) -> Node:
        """The host, with the subnets that it uses now."""
        return self._node

    def status(self) -> Status:
        """Return how things stand, as one consistent view."""
        return self._inbox.call(self._status)

    def stop(self) -> None:
        """Make `run` return soon; may be called from a signal handler."""
        self._stop.set()
        self._inbox.wake()

    # The loop.

    def run(self, *, leave: bool = False, when_ready: Callable[[], None] = lambda: None) -> None:
        """Work until `stop`; the kernel stays as it is.

        Args:
            when_ready: called once, when the node is ready for the first time.
            leave: on the way out let the peers go round this node, if the route store can tell them (see
                `Drains`), give the subnet back, and take everything of ours out of the kernel.

        Raises:
            ConfigError: the node cannot take part in this network.
            PermissionRefused: this process may not program the kernel.
            StoreError, KernelError, StateError: with `leave`, something could not be given back; the rest was.
        """
        self._inbox.own()
        self._endpoints.restore()
        self._follow(self._rib.apply(Snapshot(routes=self._remembered.routes), now=time.time()))
        if isinstance(self._leases, TellsAtOnce):
            self._leases.starting()
        self._keeper.start()
        self._route_pump.start()
        self._kernel_pump.start()
        try:
            waiting = True
            while not self._stop.is_set():
                self._turn()
                if waiting and self._reconciler.settled and self._announced and self._status().ready:
                    waiting = False
                    log.info("ready: %s", _words(self._node.subnets))
                    when_ready()
        finally:
            self._stop.set()
            self._end(leave=leave)

    def _turn(self) -> None:
        self._inbox.take(self._next_deadline() - boottime(), self._handle)
        now = boottime()
        if not self._may_program:
            self._consider_programming(now)
        if self._may_program:
            self._program(now)
        if self._save_at is not None and now >= self._save_at:
            self._save()
        if self._forget_at is not None and now >= self._forget_at:
            self._forget()

    def _next_deadline(self) -> float:
        deadline = self._read_at if self._may_program else self._give_up_waiting
        return min(each for each in (deadline, self._save_at, self._forget_at) if each is not None)

    def _handle(self, message: _Message) -> None:
        match message:
            case _Heard(event=event):
                self._hear(event)
            case _Drift():
                self._kernel_pump.ready()
                self._read_at = min(self._read_at, self._last_read + self._drift_gap)
            case _RoutesAway(error=error):
                self._route_trouble = str(error)
                log.warning("route store away, kernel left as it is: %s", error)
            case Agreed(settings=settings):
                self._settings = settings
                self._lease_until = None  # whatever was remembered, a claim follows
                self._save_soon()
            case Held(lease=lease, until=until):
                self._lease_until = until
                self._lease_trouble = self._lease_lost = ""
                self._save_soon()
                if lease.subnets != self._node.subnets:
                    self._take_subnets(lease.subnets)
            case Lost(reason=reason):
                self._lease_until = None
                self._lease_lost = reason
                self._save_soon()
                log.error("lease lost, asking for the same subnets again: %s", reason)
            case StoreFailed(error=error):
                self._lease_trouble = str(error)
                log.warning("store: %s", error, exc_info=error.__cause__ if type(error) is StoreError else None)
            case Told(routes=routes):
                self._lease_trouble = ""  # whatever it was, everything that was due has been done since
                told = {route.prefix for route in routes}
                self._announced = bool(told) and told.issuperset(self._node.subnets)

    # Routes.

    def _hear(self, event: Event) -> None:
        now = time.time()
        match event:
            case Snapshot(routes=routes):
                heard = {route.prefix for route in routes if route.node == self._node.name}
                missing = self._announced and not set(self._node.subnets) <= heard
                self._rib.linger = self._synced  # the first one tells who has gone while we were away
                self._sync()
            case Withdrawn(prefix=prefix):
                missing = self._announced and prefix in self._node.subnets
            case Announced(route=route):
                missing = route.prefix in self._node.subnets and route.node != self._node.name
                if self._announced and route.prefix in self._node.subnets and not missing:
                    self._meet(route)
            case Quarantined(key=key, reason=reason):
                missing = False
                if reason:
                    log.warning("record of the route store set aside: %s: %s", key, reason)
        if missing:
            log.error("our own announcement is gone from the route store; announcing again")
            self._announced = False
            self._keeper.check()
        self._follow(self._rib.apply(event, now=now))
        if isinstance(event, Snapshot) and self._rib.lingering:
            self._forget_at = boottime() + self._linger
            kept = _words(tuple(self._rib.lingering))
            log.warning("after a gap the route store tells nothing of %s: kept for %g s", kept, self._linger)

    def _meet(self, own: Route) -> None:
        """Take note of where our subnets live by our name: elsewhere, if another host has it too.

        Nothing is announced again: the other one would do the same, and so on.
        """
        namesake = "" if self._node.owns(own.next_hop) else str(own.next_hop)
        if namesake and not self._namesake:
            log.error("another host, at %s, has this node's name, %s, and its subnets", namesake, own.node)
        self._namesake = namesake

    def _forget(self) -> None:
        self._forget_at = None
        if self._rib.lingering:
            log.warning("not announced again: %s", _words(tuple(self._rib.lingering)))
        self._follow(self._rib.forget(now=time.time()))

    def _sync(self) -> None:
        self._route_trouble = ""
        if not self._synced:
            # From here on the view is whole, so what is in the kernel and not in it is stale.
            self._synced = self._reconciler.prune = True
            self._view_is_new = True
            self._read_at = boottime()

    def _follow(self, changes: list[Change]) -> None:
        for change in changes:
            route = change.new or change.old
            assert route is not None
            if self._refused:  # mostly there is none, and the hash of a prefix is dear
                self._refused.pop(route.prefix, None)
            if self._node.subnets:  # else `_take_subnets` will, for all that is believed by then
                self._reconciler.want(route_owner(route.prefix), self._render(change.new))
        if changes:
            self._save_soon()

    def _render(self, route: Route | None) -> tuple[Item, ...]:
        if route is None:
            return ()
        items, refusal = peer_items(self._node, route, remote=self._remote)
        if refusal:
            self._refused[route.prefix] = refusal
            log.warning("%s", refusal)
        return items

    # The node itself.

    def _take_subnets(self, subnets: tuple[Prefix, ...]) -> None:
        """Become the node that holds these subnets, and render everything anew."""
        if self._node.subnets:
            log.error("subnets change from %s to %s", _words(self._node.subnets), _words(subnets))
        node = attrs.evolve(self._node, subnets=subnets)
        items = host_items(node, local=self._local, remote=self._remote)
        self._node = node
        self._asked_to_announce = self._announced = False
        self._reconciler.want(("host",), items)
        self._follow(self._rib.judge_again(node, now=time.time()))
        self._refused.clear()
        for route in self._rib.believed():
            self._reconciler.want(route_owner(route.prefix), self._render(route))
        self._endpoints.node_is(node)
        self._save_soon()
        self._subnets_taken(node)

    def _consider_programming(self, now: float) -> None:
        patient = now < self._give_up_waiting and not (self._route_trouble and self._lease_trouble)
        if not self._synced and patient:
            return
        if not self._node.subnets and not patient and (subnets := self._still_ours()):
            log.warning("no lease yet; going on with what was remembered: %s", _words(subnets))
            self._take_subnets(subnets)
        if self._node.subnets:
            self._may_program = True
            self._read_at = now
        elif not patient:  # else every question that is asked meanwhile would put it off
            self._give_up_waiting = now + PATIENCE

    def _still_ours(self) -> tuple[Prefix, ...]:
        """Return the subnets that are remembered, unless somebody else is known to live in them."""
        remembered = self._remembered.subnets
        taken = any(overlaps(route.prefix, own) for route in self._rib.believed() for own in remembered)
        return () if taken else remembered

    def _program(self, now: float) -> None:
        try:
            if now >= self._read_at:
                self._read_everything(now)
            elif self._has_read:
                self._log_failures(self._reconciler.apply())
            else:
                return  # nothing is known of the kernel, and the next attempt to read it is on its way
        except (KernelError, PermissionRefused) as error:
            if isinstance(error, PermissionRefused) and not self._has_read:
                raise
            self._kernel_trouble = str(error)
            self._retry(now)
            log.error("kernel: %s", error)
            return
        self._kernel_trouble = ""
        if self._has_failures() and now + self._retry_delay() < self._read_at:
            self._retry(now)
        if not self._asked_to_announce and not self._host_failures():
            self._asked_to_announce = True
            self._keeper.announce(own_routes(self._node, self._remote))

    def _read_everything(self, now: float) -> None:
        audit = now >= self._audit_at
        due = self._reconciler.due
        self._reconciler.refresh()
        self._collect_gone()
        operations = self._reconciler.apply()
        self._endpoints.finish(None if audit else operations)
        self._log_failures(operations)
        unasked = due | self._reconciler.failures.keys()
        repaired = [] if self._view_is_new else [each for each in operations if each.item.key not in unasked]
        if repaired:
            self._repairs += len(repaired)
            log.warning("repaired: %s", _some(repaired))
        # Somebody who fights with us must not make us spin: every repair in a row doubles the pause.
        self._drift_gap = min(0.4, max(0.02, self._drift_gap * 2)) if repaired else 0.0
        self._look_at_underlay()
        if audit:  # not at every repair: it has the kernel tell all routes once more, others' too
            self._look_for_rivals()
        self._has_read = True
        self._view_is_new = False
        self._last_read = now
        if audit:
            self._audit_at = now + jitter(self._audit, 0.8, 1.2)
        self._read_at = self._audit_at
        if not self._has_failures():
            self._retries = 0

    def _look_at_underlay(self) -> underlay.Changes:
        found = underlay.changes(self._kernel, self._node)
        for what in attrs.astuple(found):
            if what and what not in attrs.astuple(self._underlay):
                log.error("%s", what)
        self._underlay = found
        return found

    def _look_for_rivals(self) -> tuple[str, ...]:
        try:
            found = self._reconciler.rivals()
        except (KernelError, PermissionRefused):
            return self._rivals  # whoever reads the kernel's items says it
        for line in found:
            if line not in self._rivals:
                log.warning("%s", line)
        self._rivals = found
        return found

    def _has_failures(self) -> bool:
        return bool(self._reconciler.failures or self._endpoints.failures())

    def _log_failures(self, operations: Sequence[Operation]) -> None:
        if not operations:
            return
        for failure in [*self._reconciler.failures.values(), *self._endpoints.failures()][:5]:
            log.error("kernel refused: %s", failure)

    def _retry_delay(self) -> float:
        return float(min(30, 1 << min(self._retries, 5)))

    def _retry(self, now: float) -> None:
        self._read_at = now + jitter(self._retry_delay(), 0.8)
        self._retries += 1

    def _host_failures(self) -> list[str]:
        wanted = self._reconciler.desired.of(("host",))
        return [str(failure) for key, failure in self._reconciler.failures.items() if key in wanted]

    # Containers.

    def _when_programmed(self, function: Callable[[], _Result]) -> _Result:
        if not self._has_read:
            raise NotReady(
                f"node {self._node.name} is not programmed yet: "
                f"{'; '.join(self._status().reasons)}; try again, or ask `containernet status`"
            )
        try:
            return function()
        except KernelError:
            self._read_at = boottime()  # what was half done is finished, or taken away, by a full read
            raise

    def _detach(self, container: str, interface: str) -> bool:
        # Before the first read nothing may be executed; what nobody wants goes when everything is known.
        detach = self._endpoints.detach if self._has_read else self._endpoints.forget
        return detach(container, interface)

    def _collect_gone(self) -> None:
        try:
            collected = self._endpoints.collect_gone()
        except StateError as error:
            log.error("a container that is gone keeps its addresses: %s", error)
            return
        for each in collected:
            log.info("collected: container %s of %s, whose namespace is gone", each.container, each.network)

    def _collect_all(self) -> tuple[Endpoint, ...]:
        self._reconciler.refresh()
        collected = self._endpoints.collect_gone(everybody=True)
        self._reconciler.apply()
        return collected

    # What is remembered.

    def _load(self) -> remembered.Remembered:
        try:
            view = remembered.load(self._state)
        except ValueError as error:
            log.warning("starting without a remembered view: %s", error)
            return remembered.Remembered()
        if view.network is not None and view.network != self._network:
            log.warning("%s is of another network; not used", self._state)
            return remembered.Remembered()
        if view.lease_of != self._lease_of:
            return attrs.evolve(view, lease_until=None)
        return view

    def _save_soon(self) -> None:
        if self._save_at is None:
            self._save_at = boottime() + SAVE_DELAY

    def _save(self) -> None:
        self._save_at = None
        if not self._synced or not self._node.subnets:
            return  # a partial view must not take the place of a whole one
        view = remembered.Remembered(
            network=self._network,
            subnets=self._node.subnets,
            routes=self._rib.believed(),
            settings=self._settings,
            lease_until=self._lease_until,
            lease_of=self._lease_of,
        )
        try:
            remembered.save(self._state, view)
        except OSError as error:
            log.error("cannot remember the view: %s: %s; trying again in 30 s", self._state, error)
            self._save_at = boottime() + 30

    # The end.

    def _end(self, *, leave: bool) -> None:
        if leave:
            self._drain()
        self._route_pump.stop()
        troubles = _tried(lambda: self._keeper.stop(leave=leave, timeout=10.0))
        if leave:
            # Each step by itself: what one cannot give back is no reason to keep the rest.
            troubles += _tried(self._endpoints.forget_all)
            troubles += _tried(self._clean_kernel)
            troubles += _tried(lambda: self._state.unlink(missing_ok=True))
        elif self._save_at is not None:
            self._save()
        self._kernel_pump.stop()
        self._inbox.close()
        if troubles:
            raise troubles[0]

    def _drain(self) -> None:
        """Let the peers go round this node while everything still stands; for so long and no longer."""
        routes = self._routes
        if not isinstance(routes, Drains):
            return
        troubles: list[Exception] = []
        thread = threading.Thread(
            target=lambda: troubles.extend(_tried(lambda: routes.drain(self._drain_time))),
            name="containernet-drain",
            daemon=True,
        )
        thread.start()
        thread.join(self._drain_time + 1)
        if thread.is_alive():
            troubles.append(StoreUnavailable(f"the route store has not answered for {self._drain_time:g} s"))
        for trouble in troubles:  # nothing was to be given back, so it is no reason to fail
            log.warning("leaving, though peers may still send here: %s", trouble)

    def _clean_kernel(self) -> None:
        for owner in self._reconciler.desired.owners():
            self._reconciler.want(owner, ())
        self._reconciler.prune = True
        self._reconciler.refresh()
        self._reconciler.apply()
        for failure in self._reconciler.failures.values():
            raise KernelError(
                f"{len(self._reconciler.failures)} items are left in the kernel, first: {failure}"
            )

    def _status(self) -> Status:
        from .status import Status  # asked for when everything is programmed

        now = boottime()
        found = self._look_at_underlay()
        return Status(
            node=self._node,
            store=self._store,
            lease_seconds=self._lease_until - now if self._lease_until and self._node.subnets else None,
            synced=self._synced,
            announced=self._announced,
            programming=self._may_program,
            # Not what failed inside of a container: what one does to itself keeps no node from being ready.
            settled=self._reconciler.settled,
            desired=len(self._reconciler.desired),
            programmed=len(self._reconciler.programmed),
            routes=tuple(self._rib.routes.values()),
            refused={str(prefix): reason for prefix, reason in self._refused.items()}
            | {str(prefix): reason for prefix, (_route, reason) in self._rib.refused.items()},
            lingering=tuple(
                known.route for prefix, known in self._rib.routes.items() if prefix in self._rib.lingering
            ),
            quarantined={record.key: record.reason for record in self._rib.quarantined.values()},
            failures=(
                *(str(failure) for failure in self._reconciler.failures.values()),
                *(str(failure) for failure in self._endpoints.failures()),
            ),
            endpoints=self._endpoints.all(),
            gone=self._endpoints.gone(),
            stranded=self._endpoints.stranded(),
            repairs=self._repairs,
            lease_trouble="; ".join(filter(None, (self._lease_lost, self._lease_trouble))),
            route_trouble=self._route_trouble,
            kernel_trouble=self._kernel_trouble,
            rivals=self._look_for_rivals(),
            namesake=self._namesake,
            underlay_trouble=found.broken,
            mtu_trouble=found.mtu,
        )


def _tried(step: Callable[[], None]) -> list[Exception]:
    try:
        step()
    except (ContainernetError, OSError) as error:
        return [error]
    return []


def _words(subnets: tuple[Prefix, ...]) -> str:
    return " and ".join(map(str, subnets))


def _some(operations: Sequence[Operation]) -> str:
    shown = ", ".join(map(str, operations[:3]))
    return shown if len(operations) <= 3 else f"{shown} and {len(operations) - 3} more"
