"""What a call to etcd costs by our own client, and by grpcio with protobuf and etcd3's messages.

    scripts/in-namespaces python benchmarks/etcd_client.py [--records 5000] [--calls 300] [--claims 1000]

One real etcd of one member on a loopback of its own, its data in memory; each side in a process of its own.

    first answer    from before the imports to the answer to the first call, in a process that has begun
    memory          more than before the imports, when all records have been listed and let go of
    call            a linearizable read of one key; median
    list            all records, and every one of them looked at; median
    claims          transactions that create a key if it is not there, one after the other, and 16 at once
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count
from typing import Any, Protocol

from benchmarks import frame

TINY = ("--records", "20", "--calls", "3", "--claims", "16", "--rounds", "1")
QUANTITIES = (
    frame.less("first answer", "ms"),
    frame.less("memory", "MB"),
    frame.less("call", "ms"),
    frame.less("list", "ms"),
    frame.more("claims", "1/s"),
    frame.more("claims, 16 at once", "1/s"),
)
AT_ONCE = 16
BEGIN, END = b"/coreos.com/network/subnets/", b"/coreos.com/network/subnets0"


class Client(Protocol):
    """What both can do."""

    def get(self, key: bytes) -> object: ...
    def list(self, begin: bytes, end: bytes) -> int: ...
    def claim(self, key: bytes) -> None: ...
    def close(self) -> None: ...


class Ours:
    def __init__(self, url: str) -> None:
        from containernet_backends.etcd import requests
        from containernet_backends.etcd.client import Client
        from containernet_backends.etcd.options import EtcdOptions

        self._requests = requests
        self._client = Client(EtcdOptions(endpoints=[url]))

    def get(self, key: bytes) -> object:
        return self._client.get(key)

    def list(self, begin: bytes, end: bytes) -> int:
        return sum(len(kv.key) + len(kv.value) + kv.lease for kv in self._client.range(begin, end).kvs)

    def claim(self, key: bytes) -> None:
        r = self._requests
        assert self._client.txn([r.unchanged(key, 0)], [r.put(key, b"x")]).succeeded

    def close(self) -> None:
        self._client.close()


class Grpcio:
    def __init__(self, url: str) -> None:
        import grpc

        from tests.etcd import descriptors

        self._m = descriptors.load()
        self._channel = grpc.insecure_channel(url.partition("://")[2])
        self._range, self._txn = (self._method(f"/etcdserverpb.KV/{name}") for name in ("Range", "Txn"))

    def _method(self, path: str) -> Any:
        takes, gives = self._m.methods[path]
        return self._channel.unary_unary(
            path, request_serializer=takes.SerializeToString, response_deserializer=gives.FromString
        )

    def get(self, key: bytes) -> object:
        return self._range(self._m.RangeRequest(key=key)).kvs

    def list(self, begin: bytes, end: bytes) -> int:
        told = self._range(self._m.RangeRequest(key=begin, range_end=end))
        return sum(len(kv.key) + len(kv.value) + kv.lease for kv in told.kvs)

    def claim(self, key: bytes) -> None:
        m = self._m
        compare = m.Compare(target="MOD", result="EQUAL", key=key, mod_revision=0)
        put = m.RequestOp(request_put=m.PutRequest(key=key, value=b"x"))
        assert self._txn(m.TxnRequest(compare=[compare], success=[put])).succeeded

    def close(self) -> None:
        self._channel.close()


SIDES: dict[str, Callable[[str], Client]] = {"ours": Ours, "grpcio": Grpcio}
ETCD = (frame.Program("etcd", "etcd-server"),)
NEEDS = {"ours": ETCD, "grpcio": (*ETCD, frame.Module("grpc", "grpcio"), frame.Module("etcd3", "etcd3"))}


def main(argv: Sequence[str] | None = None) -> None:
    parser = frame.parser(__doc__, rounds=5)
    parser.add_argument("--records", type=int, default=5000)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--claims", type=int, default=1000)
    parser.add_argument("--only", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.only:
        name, url, turn = options.only
        print(json.dumps(measured(SIDES[name], url, int(turn), options)))
        return
    from benchmarks.etcd import record, served  # not above: it imports our client

    turns = count()

    def play(name: str) -> frame.Values:
        words = ["--only", name, etcd.url, str(next(turns)), "--calls", str(options.calls)]
        command = [sys.executable, __file__, *words, "--claims", str(options.claims)]
        told: frame.Values = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return told

    with served("vxlan") as (etcd, _):
        etcd.fill(dict(record(number, "vxlan") for number in range(1, options.records + 1)))
        sides = [frame.Side(name=name, play=partial(play, name), needs=NEEDS[name]) for name in SIDES]
        frame.run(options, QUANTITIES, [frame.Case(name="etcd", size=options.records, sides=sides)])


def measured(make: Callable[[str], Client], url: str, turn: int, options: argparse.Namespace) -> frame.Values:
    """Measure one side, in a process that knows nothing of it yet."""
    memory, began = frame.memory(), time.perf_counter()
    client = make(url)
    client.get(b"/x")
    first = time.perf_counter() - began
    lists = [frame.seconds(lambda: client.list(BEGIN, END)) for _ in range(5)]
    memory = frame.memory() - memory
    calls = [frame.seconds(lambda: client.get(b"/x")) for _ in range(options.calls)]
    keys = [b"/claims/%d/%d" % (turn, number) for number in range(2 * options.claims)]
    one, many = keys[: options.claims], keys[options.claims :]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        alone = frame.seconds(lambda: claim(client, one))
        together = frame.seconds(lambda: list(pool.map(client.claim, many)))
    client.close()
    return {
        "first answer": first * 1e3,
        "memory": memory,
        "call": statistics.median(calls) * 1e3,
        "list": statistics.median(lists) * 1e3,
        "claims": options.claims / alone,
        "claims, 16 at once": options.claims / together,
    }


def claim(client: Client, keys: Iterable[bytes]) -> None:
    for key in keys:
        client.claim(key)


if __name__ == "__main__":
    main()
