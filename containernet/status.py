"""How a node stands, said precisely: ready, or every reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from .jsonform import endpoint_to_json, route_to_json
from .model import Endpoint, Node, Route
from .rib import Known
from .values import shown


@attrs.frozen(kw_only=True)
class Status:
    """One consistent view of an agent.

    Args:
        node: the host, with the subnets that it uses.
        store: the name of the route store.
        lease_seconds: what is left of the lease; None: none is held; negative: its time has run out.
        synced: the route store has told everything at least once.
        announced: the node's own routes have been announced.
        programming: the kernel is being programmed.
        settled: the kernel holds what is desired, as far as anybody told.
        desired, programmed: how many items there should be, and are.
        routes: the believed routes, with their store and age.
        refused: prefix to reason: a route that cannot be believed, or a peer that cannot be reached.
        lingering: believed routes that the store tells nothing of since a gap; they go unless announced again.
        quarantined: key to reason: records of the store that could not be read.
        failures: what the kernel refused, one line each.
        endpoints: the containers; `gone`: those without a namespace; `stranded`: those outside the subnets.
        rivals: items that are not used as they are wanted, because of other items, one line each.
        namesake: where another host lives that has this node's name and its subnets; empty: nobody has.
        repairs: operations that were needed because somebody else changed the kernel.
        underlay_trouble, mtu_trouble: see `underlay.Changes`.
        lease_trouble, route_trouble, kernel_trouble: what went wrong last and still stands; empty: nothing.
    """

    node: Node
    store: str
    lease_seconds: float | None
    synced: bool
    announced: bool
    programming: bool
    settled: bool
    desired: int
    programmed: int
    routes: tuple[Known, ...]
    refused: Mapping[str, str]
    quarantined: Mapping[str, str]
    failures: tuple[str, ...]
    endpoints: tuple[Endpoint, ...]
    gone: tuple[Endpoint, ...]
    stranded: tuple[Endpoint, ...]
    repairs: int
    lease_trouble: str
    route_trouble: str
    kernel_trouble: str
    underlay_trouble: str = ""
    mtu_trouble: str = ""
    lingering: tuple[Route, ...] = ()
    rivals: tuple[str, ...] = ()
    namesake: str = ""
    __repr__ = shown

    @property
    def ready(self) -> bool:
        """Whether the lease is valid, the store was heard once, and the kernel holds what is desired."""
        return not self.reasons

    @property
    def reasons(self) -> list[str]:
        """Every reason why the node is not ready, most fundamental first; empty: it is."""
        reasons = []
        if self.lease_seconds is None:
            reasons.append(f"no lease: {self.lease_trouble or 'the claim is under way'}")
        elif self.lease_seconds <= 0:
            why = self.lease_trouble or "the lease store does not answer"
            reasons.append(f"the lease ran out {abs(self.lease_seconds):.0f} s ago: {why}")
        if not self.synced:
            reasons.append(f"the route store has not told its routes: {self.route_trouble or 'waiting'}")
        if self.underlay_trouble:
            reasons.append(self.underlay_trouble)
        if self.kernel_trouble:
            reasons.append(f"the kernel cannot be read or programmed: {self.kernel_trouble}")
        elif not self.programming:
            reasons.append("nothing is programmed yet")
        elif not self.settled:
            first = f", first: {self.failures[0]}" if self.failures else ""
            reasons.append(f"the kernel does not hold everything that it should{first}")
        if self.programming and not self.announced:
            reasons.append("the node's own routes are not announced yet")
        if self.namesake:
            reasons.append(
                f"another host, at {self.namesake}, is called {self.node.name} too and announces these "
                "subnets: give each host a name of its own under [node], then start both again"
            )
        return reasons

    @property
    def warnings(self) -> list[str]:
        """What does not keep the node from being ready, but somebody should know."""
        warnings = [f"{self.route_trouble}; forwarding goes on"] if self.synced and self.route_trouble else []
        if self.lease_trouble and (self.lease_seconds or 0) > 0:
            warnings.append(f"{self.lease_trouble}; the lease holds for {self.lease_seconds:.0f} s more")
        warnings += [self.mtu_trouble] if self.mtu_trouble else []
        warnings += [
            f"{route.prefix} of {route.node or route.next_hop}: the route store came back and tells nothing of "
            "it; kept for now, in case the store has forgotten"
            for route in self.lingering
        ]
        warnings += self.refused.values()
        warnings += [f"record {key} set aside: {reason}" for key, reason in self.quarantined.items()]
        warnings += self.failures
        warnings += self.rivals
        warnings += [
            f"container {each.container}: its namespace {each.netns} is gone; detach it" for each in self.gone
        ]
        warnings += [
            f"container {each.container}: {', '.join(map(str, each.addresses))} is not in this node's subnets "
            "any more; attach it again"
            for each in self.stranded
        ]
        return warnings

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values."""
        return {
            "node": self.node.name,
            "interface": self.node.interface,
            "addresses": [str(address) for address in self.node.addresses],
            "subnets": [str(subnet) for subnet in self.node.subnets],
            "container_mtu": self.node.container_mtu,
            "ready": self.ready,
            "reasons": self.reasons,
            "warnings": self.warnings,
            "lease_seconds": self.lease_seconds,
            "synced": self.synced,
            "announced": self.announced,
            "settled": self.settled,
            "desired": self.desired,
            "programmed": self.programmed,
            "repairs": self.repairs,
            "routes": [
                {**route_to_json(known.route), "store": known.store, "since": known.since}
                for known in self.routes
            ],
            "refused": dict(self.refused),
            "quarantined": dict(self.quarantined),
            "failures": list(self.failures),
            "endpoints": [endpoint_to_json(endpoint) for endpoint in self.endpoints],
        }
