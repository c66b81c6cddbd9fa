"""What may know what: the rules of the layout, enforced on the source and on a fresh interpreter."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
CORE = TOP / "containernet"
BACKENDS = TOP / "backends" / "containernet_backends"
EVERY_MODULE = sorted([*CORE.rglob("*.py"), *BACKENDS.rglob("*.py")])

# Packages that only backends may use, with the parts of the core that are allowed to nevertheless.
OF_BACKENDS = {
    "containernet_backends": [],
    "etcd3": [],
    "grpc": [],
    "google": [],
    "pyroute2": ["lab"],  # the laboratory builds the hosts that the backends then program
}
# Programs: they use backends, never the other way round.
PROGRAMS = {"agent", "cli", "daemon", "lab", "serving"}
# Names that would fit everything, and so say nothing.
NOT_NAMES = {"common", "helper", "helpers", "manager", "misc", "util", "utils"}
# Heavy packages are imported where they are used: `import containernet` is in other people's start-up time.
NOT_AT_IMPORT = {"pyroute2", "stevedore", "rich", "sqlite3", "asyncio", "etcd3", "grpc"}


def name_of(path: Path) -> str:
    """Return the path as it is written in this repository."""
    return str(path.relative_to(TOP))


every_module = pytest.mark.parametrize("path", EVERY_MODULE, ids=name_of)
core_module = pytest.mark.parametrize("path", sorted(CORE.rglob("*.py")), ids=name_of)
backend_module = pytest.mark.parametrize("path", sorted(BACKENDS.rglob("*.py")), ids=name_of)


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (module, name) for every import anywhere in the file, relative ones resolved."""
    root = CORE.parent if path.is_relative_to(CORE) else BACKENDS.parent
    package = path.relative_to(root).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((module, alias.name) for alias in node.names)


def public_definitions(
    body: list[ast.stmt],
) -> Iterator[ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield what can be used without an underscore, methods included."""
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body)


@core_module
def test_the_core_imports_no_backend_and_nothing_of_theirs(path: Path) -> None:
    """Not even inside a function: a backend comes through an entry point or not at all."""
    part = path.relative_to(CORE).parts[0].removesuffix(".py")
    taken = {module.partition(".")[0] for module, _ in imports(path)}
    assert not {package for package in taken & OF_BACKENDS.keys() if part not in OF_BACKENDS[package]}


@backend_module
def test_a_backend_imports_only_public_names_of_the_core(path: Path) -> None:
    """What our own backends need, an outsider's needs too: it must be public, or he cannot write one."""
    words = [
        (word, f"{module} {name}")
        for module, name in imports(path)
        if module.split(".")[0] == "containernet"
        for word in [*module.split(".")[1:], name]
    ]
    assert not [where for word, where in words if word.startswith("_") or word in PROGRAMS]


@every_module
def test_every_module_says_what_it_is_for(path: Path) -> None:
    """A docstring at the top, and a file name that says something."""
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert path.stem not in NOT_NAMES


@core_module
def test_every_public_definition_of_the_core_has_a_docstring(path: Path) -> None:
    """The docstring is the contract; a method that only fulfils a documented one is found there."""
    tree = ast.parse(path.read_text())
    assert not [node.name for node in public_definitions(tree.body) if not ast.get_docstring(node)]


def test_importing_the_library_imports_nothing_heavy() -> None:
    """Measured in a fresh interpreter, because this one has imported everything already."""
    listing = subprocess.run(
        [sys.executable, "-c", "import sys, containernet; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
        env={},  # or coverage follows into it, and imports much
    ).stdout
    assert not NOT_AT_IMPORT & set(listing.split())
