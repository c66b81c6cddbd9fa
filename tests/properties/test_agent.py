"""The agent as a whole: whatever happens to it, when the world is quiet again the kernel holds what is true.

Events of the store, drift, failing operations and containers come in any order. The agent's loop is turned by
hand, on this thread, so that every step is over before the next one begins; the stores' threads stay out.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path
from typing import Any

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from containernet.addresses import AddressBook
from containernet.agent import Agent, _Drift, _Heard
from containernet.errors import AlreadyAttached, KernelError
from containernet.events import Announced, Snapshot, Withdrawn
from containernet.items import Item, KernelRoute, Link
from containernet.keeper import Held, Lost
from containernet.model import Endpoint, Lease, NetworkConfig, Node, Pool, Route
from containernet.rendering import render
from containernet.testing import FakeKernel
from containernet_backends.bridge import Bridge
from containernet_backends.host_gw import HostGateway
from containernet_backends.memory import MemoryStore

NETWORK = NetworkConfig(pools=(Pool(prefix=ip_network("10.4.0.0/16"), subnet_length=24),))
NODE = Node(name="me", interface="eth0", addresses=(ip_interface("192.0.2.1/24"),))
STALE = KernelRoute(destination=ip_network("10.4.200.0/24"), gateway=ip_address("192.0.2.9"), link="eth0")

routes = st.builds(
    Route,
    prefix=st.integers(1, 5).map(lambda number: ip_network(f"10.4.{number}.0/24")),
    node=st.sampled_from(("peer", "other")),
    next_hop=st.sampled_from(
        [ip_address(text) for text in ("192.0.2.2", "192.0.2.3", "203.0.113.1", "224.0.0.1")]
    ),
)
containers = st.sampled_from(("c1", "c2", "c3"))
pods = st.sampled_from(("p1", "p2"))  # what a runtime adds


class World(RuleBasedStateMachine):
    """One agent, its store's events, its kernel, and a model that only knows what is true."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.book = AddressBook(Path(self.directory.name) / "addresses.db")
        self.kernel = FakeKernel()
        self.store = MemoryStore()
        self.heard: dict[Any, Route] = {}
        self.attached: set[str] = set()
        self.synced = False
        for name in ("c1", "c2", "c3"):
            self.kernel.add_namespace(f"/run/netns/{name}")

    @initialize()
    def start(self) -> None:
        """Begin with a kernel that remembers a peer which nobody knows any more."""
        self.kernel.put(STALE)
        self.stale = {STALE.key}
        self.agent = Agent(
            node=NODE,
            network=NETWORK,
            leases=self.store,
            routes=self.store,
            local=Bridge(),
            remote=HostGateway(),
            kernel=self.kernel,
            addresses=self.book,
            state=Path(self.directory.name) / "view.json",
        )
        self.hold(1)

    @rule(number=st.integers(1, 5))
    def hold(self, number: int) -> None:
        """The keeper has a lease, the same or another."""
        lease = Lease(subnets=(ip_network(f"10.4.{number}.0/24"),), node="me", expires=60, revision="1")
        self.turn(Held(lease=lease, until=1e12))

    @rule()
    def lose(self) -> None:
        """The keeper has lost it; forwarding goes on."""
        # What is not wanted may still be there: an earlier change of subnets that the kernel has refused.
        before = self.kernel.items.keys() & self.agent._reconciler.desired.keys()
        self.turn(Lost(reason="taken"))
        assert before <= self.kernel.items.keys()

    @rule(told=st.lists(routes, max_size=5, unique_by=lambda route: route.prefix))
    def snapshot(self, told: list[Route]) -> None:
        """The store tells everything."""
        self.heard = {route.prefix: route for route in told}
        self.synced = True
        self.turn(_Heard(event=Snapshot(routes=told)))

    @precondition(lambda self: self.synced)
    @rule(route=routes)
    def announce(self, route: Route) -> None:
        """The store tells of one route."""
        self.heard[route.prefix] = route
        self.turn(_Heard(event=Announced(route=route)))

    @precondition(lambda self: self.synced)
    @rule(route=routes)
    def withdraw(self, route: Route) -> None:
        """The store takes one back."""
        self.heard.pop(route.prefix, None)
        self.turn(_Heard(event=Withdrawn(prefix=route.prefix)))

    @rule()
    def give_up_waiting(self) -> None:
        """The store took too long: what is known is programmed."""
        self.agent._give_up_waiting = 0.0
        self.turn()

    @rule(place=st.integers(0, 30))
    def drift(self, place: int) -> None:
        """Somebody deletes something of ours."""
        keys = sorted(self.kernel.items.keys() - self.stale, key=str)
        if keys and self.kernel.items[keys[place % len(keys)]] is not None:
            self.kernel.lose(keys[place % len(keys)])
            self.turn(_Drift())

    @rule(times=st.integers(1, 3))
    def refuse(self, times: int) -> None:
        """The kernel will refuse some operations."""
        self.kernel.fail(lambda _operation: True, times=times)

    @rule(call=st.sampled_from(("read", "execute", "inside")))
    def break_a_call(self, call: str) -> None:
        """The kernel will fail a whole call."""
        self.kernel.faults.fail(call, KernelError("broken"))

    @rule(name=containers)
    def attach(self, name: str) -> None:
        """A container comes, or comes again; it is there afterwards, or an error was raised."""
        attach = self.agent._endpoints.attach
        answer = self.ask(lambda: self.agent._when_programmed(lambda: attach(name, f"/run/netns/{name}")))
        if answer.exception() is None:
            self.attached.add(name)
        else:
            assert isinstance(answer.exception(), KernelError)

    @rule(name=pods)
    def add(self, name: str) -> None:
        """A runtime adds a container, in a namespace that it has just made unless it is there."""
        netns = f"/run/netns/{name}"
        if netns not in self.kernel.namespaces:
            self.kernel.add_namespace(netns)
        wished = Endpoint(container=name, netns=netns, addresses=(), network="pods")
        answer = self.ask(lambda: self.agent._when_programmed(lambda: self.agent._endpoints.add(wished)))
        if answer.exception() is None:
            self.attached.add(name)
        elif isinstance(answer.exception(), AlreadyAttached):
            assert name in self.attached
        else:
            assert isinstance(answer.exception(), KernelError)

    @rule(name=pods)
    def end(self, name: str) -> None:
        """A runtime takes a namespace away, and says nothing."""
        if f"/run/netns/{name}" in self.kernel.namespaces:
            self.kernel.end_namespace(f"/run/netns/{name}")
            self.turn(_Drift())

    @rule(name=st.one_of(containers, pods))
    def detach(self, name: str) -> None:
        """A container goes."""
        answer = self.ask(lambda: self.agent._detach(name, "eth0"))
        if answer.exception() is None:
            collected = name.startswith("p") and f"/run/netns/{name}" not in self.kernel.namespaces
            assert answer.result() == (name in self.attached) or collected
            self.attached.discard(name)

    @rule()
    def calm(self) -> None:
        """Nothing fails any more, and everything has been told: the kernel holds exactly what is true."""
        self.kernel.heal()
        if not self.synced:
            self.snapshot([])
        self.agent._give_up_waiting = self.agent._read_at = 0.0
        if self.agent._forget_at is not None:
            self.agent._forget_at = 0.0
        self.turn()
        self.agent._read_at = 0.0  # what failed inside of a container is looked at with the next read
        self.turn()
        status = self.agent._status()
        assert status.settled
        assert not status.failures
        assert {known.route for known in status.routes} <= set(self.heard.values())
        ended = {pod for pod in ("p1", "p2") if f"/run/netns/{pod}" not in self.kernel.namespaces}
        self.attached -= ended  # the pods that are gone are forgotten
        assert {endpoint.container for endpoint in status.endpoints} == self.attached
        kernel = dict(self.kernel.items)
        desired = render(
            status.node,
            [known.route for known in status.routes],
            local=Bridge(),
            remote=HostGateway(),
            endpoints=[each for each in status.endpoints if each not in (*status.stranded, *status.gone)],
        ).items
        for key, item in desired.items():
            assert _fits(item, kernel.get(key)), (item, self.kernel.words())
        assert {key for key in kernel if key[0] != "sysctl"} == {key for key in desired if key[0] != "sysctl"}
        self.stale.clear()

    @invariant()
    def nothing_stale_goes_before_everything_is_known(self) -> None:
        """Until the store has told its routes, what others left in the kernel stays."""
        if not self.synced:
            assert self.stale <= self.kernel.items.keys()

    def turn(self, *messages: Any) -> None:
        """Give the agent these messages, and turn its loop once."""
        for message in messages:
            self.agent._inbox.put(message)
        self.agent._inbox.wake()
        self.agent._turn()

    def ask(self, function: Callable[[], Any]) -> Future[Any]:
        """Let the agent call a function, and return its answer."""
        answer = self.agent._inbox.later(function)
        self.turn()
        return answer

    def teardown(self) -> None:
        """Let go of files."""
        if hasattr(self, "agent"):
            self.calm()
        self.book.close()
        self.directory.cleanup()


def _fits(item: Item, found: Item | None) -> bool:
    if isinstance(item, Link) and isinstance(found, Link):
        return item.matches(found)
    return item == found


TestWorld = World.TestCase
TestWorld.settings = settings(stateful_step_count=25, max_examples=60)
