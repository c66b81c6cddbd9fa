"""netlink: a nexthop object is idle if and only if no route uses it, whatever happens."""

from __future__ import annotations

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from containernet_backends.netlink.nexthops import PLAIN, Hop, Nexthop, Nexthops, Way
from containernet_backends.netlink.ownership import PROTOCOL

GATEWAYS = st.sampled_from([bytes((10, 9, 9, last)) for last in range(5)])
WAYS = st.sampled_from([Way(2, False), Way(2, True), Way(3, False)])
ROUTES = st.sampled_from([("route", number) for number in range(6)])


class Kernel(RuleBasedStateMachine):
    """A kernel that holds objects and routes, beside what is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.known = Nexthops(plain=1)
        self.objects: dict[int, Nexthop] = {}
        self.routes: dict[tuple[object, ...], int] = {}

    @rule(way=WAYS, gateway=GATEWAYS, route=ROUTES, taken=st.booleans())
    def add(self, way: Way, gateway: bytes, route: tuple[object, ...], taken: bool) -> None:
        """A route comes, or takes another gateway; the kernel may refuse the object."""
        for number, hop in self.known.place(way, [gateway]).items():
            if taken or number in self.objects:
                self.known.refused(number, supported=True)
            else:
                self.objects[number] = Nexthop(number, PROTOCOL, hop)
        number, *_ = self.known.numbers(way, [gateway]) or [PLAIN]
        if number != PLAIN and number not in self.objects:
            self.known.refused(number, supported=True)
            number = PLAIN
        assert number == PLAIN or self.objects[number].hop == Hop(way, gateway)
        self.routes[route] = number
        self.known.uses(route, number)

    @rule(route=ROUTES)
    def remove(self, route: tuple[object, ...]) -> None:
        """A route of ours goes; that it was not there is no matter."""
        self.routes.pop(route, None)
        self.known.uses(route, PLAIN)

    @rule(data=st.data())
    def lose(self, data: st.DataObject) -> None:
        """Somebody removes an object, and its routes with it; we read."""
        if self.objects:
            gone = data.draw(st.sampled_from(sorted(self.objects)))
            del self.objects[gone]
            self.routes = {route: number for route, number in self.routes.items() if number != gone}
            self.read()

    @rule(number=st.integers(PROTOCOL << 24, (PROTOCOL << 24) + 3), ours=st.booleans())
    def occupy(self, number: int, ours: bool) -> None:
        """Somebody makes an object, with our mark or without; we read."""
        hop = Hop(Way(9, False), b"abcd")
        self.objects.setdefault(number, Nexthop(number, PROTOCOL if ours else 4, hop))
        self.read()

    @rule()
    def read(self) -> None:
        """What is known is what is there."""
        used = {route: number for route, number in self.routes.items() if number != PLAIN}
        self.known.reset(self.objects.values(), used=used, plain=[])

    @rule()
    def tidy(self) -> None:
        """Idle objects are removed; that takes no route along, and nobody's object."""
        for number in self.known.idle:
            assert number not in self.routes.values()
            assert self.objects[number].protocol == PROTOCOL
            del self.objects[number]
            self.known.forget(number)

    @invariant()
    def idle_is_what_nobody_uses(self) -> None:
        """Exactly; but for what somebody else has made since we read."""
        ours = {number for number, each in self.objects.items() if each.protocol == PROTOCOL}
        assert set(self.known.idle) == ours - set(self.routes.values())


TestNexthops = Kernel.TestCase
TestNexthops.settings = settings(stateful_step_count=25)
