"""What a route store tells: a Snapshot first and after every gap, then one event per change.

A record that cannot be read never turns into the removal of anything: it travels in `quarantined`, is
counted, and is shown.
"""

from __future__ import annotations

import attrs

from .model import Prefix, Route
from .values import shown


@attrs.frozen(kw_only=True)
class Quarantined:
    """A record of the store that is not a route, or is one at last.

    Args:
        key: where the store holds it, in the store's own words.
        reason: one line: what is wrong with it; empty (not in a Snapshot): nothing any more, or it is gone.
    """

    key: str
    reason: str
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Snapshot:
    """Everything that the store holds now; whatever was known before and is not in it is gone."""

    routes: tuple[Route, ...] = attrs.field(converter=tuple[Route, ...])
    quarantined: tuple[Quarantined, ...] = attrs.field(default=(), converter=tuple[Quarantined, ...])
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Announced:
    """A route appeared, or took the place of the one known for its prefix."""

    route: Route
    __repr__ = shown


@attrs.frozen(kw_only=True)
class Withdrawn:
    """The route of this prefix is gone; it may never have been known."""

    prefix: Prefix
    __repr__ = shown


Event = Snapshot | Announced | Withdrawn | Quarantined
