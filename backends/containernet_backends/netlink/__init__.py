"""The kernel backend for Linux: items to rtnetlink and /proc/sys, and back.

Pure, bytes and values: `constants`, `layouts`, `ownership`, `frames`; `wire` from messages to values, `moulds`
and `encoding` to messages, `new_links` of links; `nexthops`, `recall`, `refusals`, `view`. I/O, a file for each
thing that can be talked to: `socket` (batches), `namespaces`, `links`, `removal`, `reading`, `programming`,
`conflicts`, `sysctls`, `underlay`, `monitor`. `kernel` puts them together.
"""

from .kernel import NetlinkKernel

__all__ = ["NetlinkKernel"]
