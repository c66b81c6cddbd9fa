"""etcd's messages as the package etcd3 carries them: ours are held against them, and the harness speaks them.

etcd3 0.12 does not import on protobuf 4 and later: its generated modules build descriptors by hand, which
that protobuf refuses. But what a generated module says is one serialized FileDescriptorProto, as a literal. So
the package is found and not imported, the literal is taken out of each module's text, and protobuf makes the
classes from it in a pool of its own.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pool, message_factory

# In the order in which they build on each other.
MODULES = ("kv_pb2.py", "auth_pb2.py", "rpc_pb2.py")

# _b('...') in what protoc wrote for Python 2 and 3 at once, else b'...'.
_SERIALIZED = re.compile(rb"\bserialized_pb=(?:_b\()?(b?'(?:[^'\\]|\\.)*')")


@functools.cache
def load() -> Any:
    """Return a namespace with a class for each message, and in `methods` for each path its input and output."""
    pool = descriptor_pool.DescriptorPool()
    for serialized in _descriptors():
        pool.AddSerializedFile(serialized)
    files = [pool.FindFileByName(module.replace("_pb2.py", ".proto")) for module in MODULES]
    found = SimpleNamespace()
    for file in files:
        for name, descriptor in file.message_types_by_name.items():
            setattr(found, name, message_factory.GetMessageClass(descriptor))
    found.methods = {
        f"/{service.full_name}/{method.name}": tuple(
            message_factory.GetMessageClass(each) for each in (method.input_type, method.output_type)
        )
        for file in files
        for service in file.services_by_name.values()
        for method in service.methods
    }
    return found


def _descriptors() -> list[bytes]:
    spec = importlib.util.find_spec("etcd3")
    assert spec is not None
    assert spec.origin is not None
    return [_descriptor(Path(spec.origin).parent / "etcdrpc" / name) for name in MODULES]


def _descriptor(path: Path) -> bytes:
    """Return the serialized descriptor that a generated module hands to protobuf."""
    found = _SERIALIZED.search(path.read_bytes())
    assert found, f"{path} holds no descriptor; this knows etcd3 0.12"
    value = ast.literal_eval(found[1].decode("latin1"))
    return value.encode("latin1") if isinstance(value, str) else bytes(value)
