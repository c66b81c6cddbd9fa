"""The process of `Ours`: speakers by the options that users write, and orders for them over a Unix socket.

    python ours_process.py CONFIG SOCKET

CONFIG is JSON: a list of [store.bgp], one for each speaker. An order is a line of JSON: a list of the speaker's
number, a word, and what belongs to it; the answer is a line, {"answer": ...} or {"error": ...}. SIGTERM closes
the speakers as a daemon does that is stopped.

Only what is installed is imported: it runs as a script, wherever.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socketserver
import sys
import threading
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

from containernet.contracts import Subscription
from containernet.errors import ContainernetError, StoreUnavailable
from containernet.events import Announced, Snapshot, Withdrawn
from containernet.model import Prefix, Route, Tunnel
from containernet_backends.bgp import BgpStore, communities, nlri, questions
from containernet_backends.bgp.attributes import AS_SEQUENCE, Attributes, Segment
from containernet_backends.bgp.families import IPV4, IPV6, Family


def where(prefix: str) -> tuple[Family, nlri.Nlri]:
    """Return a prefix as the speaker has it."""
    network = ip_network(prefix)
    return (IPV4 if network.version == 4 else IPV6), nlri.encode(network)


def attributes(told: dict[str, Any]) -> Attributes:
    """Return what `Ours` says of a prefix."""
    marks = [communities.parse(each) for each in told["communities"]]
    return Attributes(
        origin=questions.ORIGINS.index(told["origin"]),
        as_path=(Segment(AS_SEQUENCE, tuple(told["as_path"])),) if told["as_path"] else (),
        next_hop=ip_address(told["next_hop"]),
        med=told["med"],
        local_pref=told["local_pref"],
        communities=tuple(sorted(each for each in marks if isinstance(each, int))),
        extended=tuple(sorted(each for each in marks if isinstance(each, bytes))),
        large=tuple(sorted(each for each in marks if isinstance(each, tuple))),
    )


def paths(store: BgpStore) -> list[dict[str, Any]]:
    """Return every path to every prefix."""
    return [
        {"prefix": str(prefix), **path}
        for family, routes in store.speaker.table.routes.items()
        for prefix in [nlri.decode(family, raw) for raw in list(routes)]
        for path in questions.show(store.speaker, str(prefix))["paths"]
    ]


def announce(store: BgpStore, *some: dict[str, Any]) -> None:
    """Originate prefixes with any attributes; what a user cannot say."""
    for each in some:
        store.speaker.originate(*where(each["prefix"]), attributes(each))


def withdraw(store: BgpStore, *prefixes: str) -> None:
    """Take prefixes back."""
    for each in prefixes:
        store.speaker.originate(*where(each), None)


def route(store: BgpStore, prefix: str, next_hop: str, tunnel: str, words: dict[str, Any]) -> None:
    """Announce a route as an agent does."""
    store.announce(
        Route(
            prefix=ip_network(prefix),
            node="",
            next_hop=ip_address(next_hop),
            tunnel=Tunnel(type=tunnel, data=words),
        )
    )


class Reader(threading.Thread):
    """Hears as an agent does, and notes what was lost: withdrawn, or not in a later snapshot."""

    def __init__(self, store: BgpStore) -> None:
        super().__init__(daemon=True)
        self.routes: dict[Prefix, Route] = {}
        self.lost: set[Prefix] = set()
        self._store = store

    def run(self) -> None:
        """Subscribe, and again after each time that the store could not be heard."""
        while True:
            with contextlib.suppress(StoreUnavailable):
                self._hear(self._store.subscribe())

    def _hear(self, subscription: Subscription) -> None:
        while True:
            match subscription.next_event(3600):
                case Snapshot(routes=routes):
                    known = {route.prefix: route for route in routes}
                    self.lost |= self.routes.keys() - known.keys()
                    self.routes = known
                case Announced(route=route):
                    self.routes[route.prefix] = route
                case Withdrawn(prefix=prefix):
                    self.lost.add(prefix)
                    self.routes.pop(prefix, None)
                case _:
                    return


READERS: dict[BgpStore, Reader] = {}


def subscribe(store: BgpStore) -> None:
    """Begin to hear."""
    READERS[store] = Reader(store)
    READERS[store].start()


def heard(store: BgpStore) -> dict[str, Any]:
    """Return what was heard."""
    reader = READERS[store]
    return {
        "routes": {
            str(prefix): {
                "next_hops": sorted(str(path.next_hop) for path in route.paths),
                "tunnel": route.tunnel.type,
                "words": dict(route.tunnel.data),
            }
            for prefix, route in list(reader.routes.items())
        },
        "lost": sorted(map(str, list(reader.lost))),
    }


ORDERS: dict[str, Callable[..., Any]] = {
    "peers": lambda store: questions.peers(store.speaker),
    "paths": paths,
    "announce": announce,
    "withdraw": withdraw,
    "route": route,
    "subscribe": subscribe,
    "heard": heard,
    "refresh": lambda store, address: store.speaker.refresh(ip_address(address)),
    "shut_down": lambda store, address, reason: store.speaker.shut_down(ip_address(address), reason),
    "bring_up": lambda store, address: store.speaker.bring_up(ip_address(address)),
    "drain": lambda store: store.speaker.drain(),
}


def main() -> None:
    """Run until SIGTERM."""
    config, path = map(Path, sys.argv[1:])
    stores = [BgpStore.from_options(options) for options in json.loads(config.read_text())]
    for store in stores:
        store.speaker.start()

    class Asked(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                at, word, *rest = json.loads(line)
                try:
                    with stores[at].speaker.lock:
                        answer = {"answer": ORDERS[word](stores[at], *rest)}
                except ContainernetError as error:
                    answer = {"error": str(error)}
                self.wfile.write(json.dumps(answer).encode() + b"\n")

    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    path.unlink(missing_ok=True)
    with socketserver.ThreadingUnixStreamServer(str(path), Asked) as server:
        server.daemon_threads = True
        server.serve_forever(0.05)
    for store in stores:
        store.close()


if __name__ == "__main__":
    main()
