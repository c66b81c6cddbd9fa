"""The kernel backend for Linux: items to rtnetlink and /proc/sys, and back.

Bytes and values, no I/O: `constants`, `ownership`, `frames`, `wire`, `new_links`, `refusals`, `view`. I/O, one
file for each thing that can be talked to: `socket` (batches), `namespaces`, `links`, `removal`, `reading`,
`conflicts`, `sysctls`, `underlay`, `monitor`. `kernel` puts them together.
"""

from .kernel import NetlinkKernel

__all__ = ["NetlinkKernel"]
