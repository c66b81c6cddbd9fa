"""Who speaks BGP with whom in a lab, as each host's config file says it.

    full                              reflector

    host1, host2, host3, host4:       host1, host2: each other, and whoever calls from the underlay
    each other                        host3, host4: host1 and host2

The hosts are one AS and speak over the underlay, also across its router: over IPv4 where there is any, and one
session carries both families. Reflectors pass on what each of the others announces (RFC 4456). They name none
of them, so that a host more changes no file but its own.
"""

from __future__ import annotations

from .topology import Host, Topology

ASN = 64512  # the first of the private ones (RFC 6996)
PEER = "[[store.bgp.peer]]"
START_WAIT = 6  # seconds; whoever called a reflector that was not there calls again after 5 at most


def table(topology: Topology, host: Host) -> list[str]:
    """Return the lines of a host's [store.bgp]."""
    reflectors = topology.reflectors
    options = {"asn": str(ASN)}
    if host in reflectors:
        options["start_wait"] = str(START_WAIT)
    for option in topology.store_options:
        key, _, value = option.partition("=")
        options[key.strip()] = value
    lines = ["[store.bgp]", *(f"{key} = {value}" for key, value in options.items())]
    for peer in reflectors or topology.members:
        if peer != host:
            lines += [PEER, f'address = "{peer.addresses[0].ip}"', f'description = "{peer.name}"']
    if host in reflectors:
        for segment in topology.segments:
            underlay = segment.interfaces(1, topology.versions)[0].network
            lines += [PEER, f'range = "{underlay}"', "client = true"]
    return lines
