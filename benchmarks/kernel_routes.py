"""How fast routes get into the kernel and out of it again: ours beside `ip -batch` and pyroute2, in turns.

    scripts/in-namespaces .venv/bin/python benchmarks/kernel_routes.py [--routes 10000 100000]

Each side has a network namespace of its own, and adds, reads back and deletes the same IPv4 /24 routes through
one gateway. Ours starts from item objects, and includes everything that `execute` and `read` do: `first read`
is that of a process that knows nothing yet, `read` is the next; Python looks for garbage as rarely as in the
daemon. `ip` starts from a file and includes its start-up, about two milliseconds. pyroute2 makes a request for
each route, and at most 1,000 of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import frame
from benchmarks.namespaces import Netns, batches, enter, execute
from containernet.daemon import calm_collector
from containernet.items import KernelRoute
from containernet.planning import Create, Delete
from containernet_backends.netlink import NetlinkKernel

TINY = ("--routes", "10", "--rounds", "1")
QUANTITIES = tuple(frame.more(what, "k/s") for what in ("add", "first read", "read", "delete"))
GATEWAY = IPv4Address("192.0.2.2")
AT_MOST = 1000


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=7)
    parser.add_argument("--routes", type=int, nargs="+", default=[10_000, 100_000])
    options = parser.parse_args(argv)
    calm_collector()
    with ExitStack() as stack:
        frame.run(options, QUANTITIES, [case(stack, size) for size in options.routes])


def case(stack: ExitStack, size: int) -> frame.Case:
    """Return the sides, each with a namespace of its own."""
    items = routes(size)
    own, ips, pyroute2s = (stack.enter_context(closing(Netns())) for _ in range(3))
    scratch = Path(stack.enter_context(TemporaryDirectory()))
    ip, pyroute2 = frame.Program("ip", "iproute2"), frame.Module("pyroute2", "pyroute2")
    few = items[:AT_MOST]
    return frame.Case(
        name="routes",
        size=size,
        sides=(
            frame.Side(name="ours", play=lambda: ours(own, items)),
            frame.Side(name="ip -batch", play=lambda: by_ip(ips, scratch, items), needs=(ip,)),
            frame.Side(name="pyroute2", play=lambda: by_pyroute2(pyroute2s, few), needs=(pyroute2,)),
        ),
    )


def routes(count: int) -> list[KernelRoute]:
    """Return routes through one gateway."""
    base = int(IPv4Address("16.0.0.0"))
    return [
        KernelRoute(destination=IPv4Network((base + (nth << 8), 24)), link="eth0", gateway=GATEWAY)
        for nth in range(count)
    ]


def ours(netns: Netns, items: Sequence[KernelRoute]) -> frame.Values:
    """Play a round of ours; a second process reads."""
    create, delete = [Create(item) for item in items], [Delete(item) for item in items]
    with closing(NetlinkKernel(netns=netns.path)) as kernel, closing(NetlinkKernel(netns=netns.path)) as reader:
        kernel.read()
        add = execute(kernel, create)
        first_read, read = frame.seconds(reader.read), frame.seconds(reader.read)
        assert reader.read().keys() >= {item.key for item in items}
        return rates(len(items), add=add, first_read=first_read, read=read, delete=execute(kernel, delete))


def by_ip(netns: Netns, scratch: Path, items: Sequence[KernelRoute]) -> frame.Values:
    """Play a round of the C tool."""
    files = batches(scratch, {"add": items, "del": items})
    show = ("ip", "route", "show", "table", "all", "proto", "77")
    add = frame.seconds(lambda: netns.run("ip", "-batch", str(files["add"])))
    read = frame.seconds(lambda: netns.run(*show))
    delete = frame.seconds(lambda: netns.run("ip", "-batch", str(files["del"])))
    return rates(len(items), add=add, first_read=read, read=read, delete=delete)


def by_pyroute2(netns: Netns, items: Sequence[KernelRoute]) -> frame.Values:
    """Play a round of pyroute2, in a process that is inside."""
    return frame.apart(pyroute2_inside, netns.path, items)


def pyroute2_inside(path: str, items: Sequence[KernelRoute]) -> frame.Values:
    """Make a request for each route."""
    enter(path)
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        (link,) = kernel.link_lookup(ifname="eth0")

        def each(verb: str) -> None:
            for item in items:
                kernel.route(verb, dst=str(item.destination), gateway=str(item.gateway), oif=link, proto=77)

        add = frame.seconds(lambda: each("add"))
        read = frame.seconds(lambda: list(kernel.get_routes(proto=77)))
        delete = frame.seconds(lambda: each("del"))
    return rates(len(items), add=add, first_read=read, read=read, delete=delete)


def rates(count: int, **seconds: float) -> frame.Values:
    """Return thousands a second."""
    return {what.replace("_", " "): count / each / 1000 for what, each in seconds.items()}


if __name__ == "__main__":
    main()
