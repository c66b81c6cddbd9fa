"""The members of a lab's etcd cluster: who leads, and what can be done to one."""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from containernet.lab import daemons, namespaces, server
from containernet.lab.cluster import Lab

from .labs import ctl, wait_until

MEMBERS = ("store1", "store2", "store3")


def leader(built: Lab, *, among: Sequence[str] = MEMBERS) -> str:
    """Wait until all of these members follow one of them; return it."""
    found: list[str] = []

    def agreed() -> bool:
        asked = [status(built, each) for each in among]
        leaders = {each.get("leader") for each in asked}
        found[:] = [
            name for name, each in zip(among, asked, strict=True) if leaders == {each["header"]["member_id"]}
        ]
        return bool(found)

    wait_until(agreed)
    return found[0]


def status(built: Lab, member: str) -> dict[str, Any]:
    """Return what a member says of itself; it needs no leader for that."""
    (answer,) = json.loads(ctl(built, "endpoint", "status", "--write-out=json", via=member))
    told: dict[str, Any] = answer["Status"]
    return told


def but(*without: str) -> list[str]:
    """Return the other members."""
    return [each for each in MEMBERS if each not in without]


def start_members(built: Lab, *names: str) -> None:
    """Start members on the data that they have, at once."""
    servers = [each for each in built.topology.servers if each.name in names]
    built.call(functools.partial(daemons.start_ready, built.topology, servers))


def put_junk(built: Lab, count: int, *, via: str) -> None:
    """Put so many values of 1 MiB each."""
    for number in range(count):
        ctl(built, "put", f"/junk{number}", stdin="x" * (1 << 20), via=via)


def compact(built: Lab) -> None:
    """Have etcd forget all but the newest revision."""
    ctl(built, "compact", "--physical", str(status(built, "store1")["header"]["revision"]))


@contextmanager
def deaf(built: Lab, host: str) -> Iterator[None]:
    """Let no packet of any member reach a host; all else does."""
    addresses = next(each.addresses for each in built.topology.members if each.name == host)
    holes = [(member, str(address.ip)) for member in MEMBERS for address in addresses]
    for member, address in holes:
        assert built.run(member, ["ip", "route", "add", "blackhole", address]) == 0
    try:
        yield
    finally:
        for member, address in holes:
            assert built.run(member, ["ip", "route", "del", "blackhole", address]) == 0


def strike(built: Lab, gone: str) -> str:
    """Let a new member take the place of one that is dead; return one that is well."""
    via = leader(built, among=but(gone))
    listed = [line.split(", ") for line in ctl(built, "member", "list", via=via).splitlines()]
    (number,) = [words[0] for words in listed if words[2] == gone]
    (place,) = [each for each in built.topology.servers if each.name == gone]
    ctl(built, "member", "remove", number, via=via)
    urls = ",".join(server.urls(built.topology, place, server.PEER_PORT))
    ctl(built, "member", "add", gone, f"--peer-urls={urls}", via=via)
    return via


def join(built: Lab, name: str, room: int) -> None:
    """Start a member that was added, on an empty disk of so many octets (0: the lab's); to be called inside."""
    data = daemons.directory(name) / "data"
    shutil.rmtree(data)
    data.mkdir(mode=0o700)
    if room:
        namespaces.mount("tmpfs", str(data), "tmpfs", options=f"size={room},mode=0700")
    (place,) = [each for each in built.topology.servers if each.name == name]
    command = server.command(
        built.topology, place, path=server.program(built.topology), data=data, state="existing"
    )
    daemons.wait_ready([daemons.launch(name, command)])


def fill(name: str) -> None:
    """Fill a member's disk; to be called inside the lab."""
    with suppress(OSError), (daemons.directory(name) / "data" / "filling").open("wb", buffering=0) as filling:
        while True:
            filling.write(bytes(1 << 16))


def is_dead(name: str) -> bool:
    """Return whether a member's process has ended; to be called inside the lab."""
    try:
        os.kill(daemons.pid(name), 0)
    except ProcessLookupError:
        return True
    return False
