"""The threads that wait where the agent may not: at a route store's subscription, and at the kernel.

A pump decides nothing. It turns what it hears into a message, and it does not die: whatever a backend raises is
reported, and after a pause it listens again. Without these threads the agent would be deaf, and not know it.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable

from .contracts import Kernel, RouteStore, Subscription
from .errors import ContainernetError, StoreError
from .events import Event
from .jitter import backoff

log = logging.getLogger(__name__)

LONG = 3600.0  # seconds to wait for something that wakes us by itself
END = 5.0  # seconds for a pump to end, once what it waits for has been closed


class RoutePump:
    """Listens to a route store, and subscribes again whenever that ends.

    Args:
        store: stays the caller's.
        heard: gets every event. lost: gets the reason whenever nothing can be heard. Both are called from the
            pump's own thread.
    """

    def __init__(
        self, store: RouteStore, *, heard: Callable[[Event], None], lost: Callable[[ContainernetError], None]
    ) -> None:
        self._store = store
        self._heard = heard
        self._lost = lost
        self._stopping = threading.Event()
        self._subscription: Subscription | None = None
        self._failures = 0
        self._thread = threading.Thread(target=self._run, name="containernet-routes", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """End the subscription and the thread."""
        self._stopping.set()
        if self._subscription is not None:
            self._subscription.close()
        self._thread.join(END)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._subscription = self._store.subscribe()
                self._listen(self._subscription)
            except Exception as error:
                self._report(error)

    def _listen(self, subscription: Subscription) -> None:
        try:
            while not self._stopping.is_set():
                event = subscription.next_event(timeout=LONG)
                self._failures = 0
                if event is not None:
                    self._heard(event)
        finally:
            with contextlib.suppress(Exception):  # it is gone already, or was never quite there
                subscription.close()

    def _report(self, error: Exception) -> None:
        if not isinstance(error, ContainernetError):
            log.error("the route store failed in a way that nobody foresaw", exc_info=error)
            error = StoreError(f"the route store failed: {type(error).__name__}: {error}")
        self._lost(error)
        self._failures += 1
        self._stopping.wait(backoff(self._failures))


class KernelPump:
    """Waits for somebody else to touch the kernel.

    Args:
        kernel: stays the caller's, who closes it to wake the pump.
        changed: called from the pump's own thread; not again before `ready`.
    """

    def __init__(self, kernel: Kernel, *, changed: Callable[[], None]) -> None:
        self._kernel = kernel
        self._changed = changed
        self._stopping = threading.Event()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name="containernet-kernel", daemon=True)

    def start(self) -> None:
        """Begin to wait."""
        self._thread.start()

    def ready(self) -> None:
        """Let the next change be told: the last one has been taken note of."""
        self._told.clear()

    def stop(self) -> None:
        """End the thread; the kernel has been closed, or will be."""
        self._stopping.set()
        self._kernel.close()
        self._thread.join(END)

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                changed = self._kernel.changed(timeout=LONG)
            except Exception as error:
                log.error("cannot hear of changes in the kernel: %s: %s", type(error).__name__, error)
                self._changed()
                self._stopping.wait(1.0)
                continue
            if changed and not self._told.is_set():
                self._told.set()
                self._changed()
