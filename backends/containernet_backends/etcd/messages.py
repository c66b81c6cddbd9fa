"""The messages and methods of etcd's v3 API, made from the descriptors that the package etcd3 carries.

etcd3 0.12 does not import on protobuf 4 and later: its generated modules build descriptors by hand, which
that protobuf refuses. An older protobuf, or the environment variable that makes the refusal go away, would
bind every program that imports us. But what a generated module says is one serialized FileDescriptorProto, as
a literal. So the package is found and not imported, the literal is taken out of each module's text (its whole
syntax tree takes 50 ms and 10 MB), and protobuf makes the classes from it in a pool of our own: nothing is
registered in the process, and a program that uses etcd's API by other means is not in the way.

The services come from the same descriptors, so a stub is five lines (`client`).
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from containernet.errors import MissingPackage

# In the order in which they build on each other.
MODULES = ("kv_pb2.py", "auth_pb2.py", "rpc_pb2.py")

# _b('...') in what protoc wrote for Python 2 and 3 at once, else b'...'.
_SERIALIZED = re.compile(rb"\bserialized_pb=(?:_b\()?(b?'(?:[^'\\]|\\.)*')")


@functools.cache
def load() -> Any:
    """Return a namespace with a class for each message, and in `methods` for each path its input and output.

    Raises:
        MissingPackage: etcd3, or protobuf, is not installed, or is one whose modules look otherwise.
    """
    try:
        from google.protobuf import descriptor_pool, message_factory
    except ImportError as error:
        raise missing("protobuf") from error
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


def missing(package: str) -> MissingPackage:
    """Return the error that says which package the backend lacks."""
    return MissingPackage(f"backend etcd needs the package {package}: pip install 'containernet[etcd]'")


def _descriptors() -> list[bytes]:
    spec = importlib.util.find_spec("etcd3")
    if spec is None or spec.origin is None:
        raise missing("etcd3")
    return [_descriptor(Path(spec.origin).parent / "etcdrpc" / name) for name in MODULES]


def _descriptor(path: Path) -> bytes:
    """Return the serialized descriptor that a generated module hands to protobuf."""
    try:
        found = _SERIALIZED.search(path.read_bytes())
        value = ast.literal_eval(found[1].decode("latin1")) if found else None
    except (OSError, SyntaxError, ValueError) as error:
        raise MissingPackage(f"{path} cannot be read ({error}); install etcd3 again") from error
    if value is None:
        raise MissingPackage(f"{path} holds no descriptor; backend etcd knows etcd3 0.12")
    return value.encode("latin1") if isinstance(value, str) else bytes(value)
