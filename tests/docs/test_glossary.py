"""docs/glossary.md explains everything that the public surface names, and names nothing that is gone."""

from __future__ import annotations

import importlib
import re

import pytest

import containernet
from containernet import errors
from tests.docs.pages import TOP

PAGE = (TOP / "docs/glossary.md").read_text()
# Errors have their tables in library.md and operate.md. Some functions are explained by the word that they use.
ELSEWHERE = {name for name, each in vars(errors).items() if isinstance(each, type)} | {"__version__"}
VERBS = {"choose_subnet": "slot", "choose_subnets": "slot", "snapshot": "snapshot"}


def test_every_term_of_the_public_surface_is_explained() -> None:
    """A name that nobody can look up is a second word for something, or a missing entry."""
    shown = set(re.findall(r"`(\w+)`", PAGE))
    missing = set(containernet.__all__) - shown - ELSEWHERE - VERBS.keys()
    assert not missing
    assert all(f"**{word}**" in PAGE for word in VERBS.values())


def test_every_name_in_the_glossary_is_one() -> None:
    """What was renamed in the code is renamed here."""
    names = set(re.findall(r"`([A-Z]\w+)`", PAGE))
    assert names <= set(containernet.__all__)


@pytest.mark.parametrize("module", ["tables", "translation", "tracing", "explaining", "hearsay", "sight"])
def test_the_tracer_is_explained(module: str) -> None:
    """Its modules are used by their own names, and have no other ones here."""
    own = vars(importlib.import_module(f"containernet.{module}"))
    defined = {
        f"{module}.{name}"
        for name, each in own.items()
        if not name.startswith("_") and getattr(each, "__module__", "") == f"containernet.{module}"
    }
    assert defined == set(re.findall(rf"`({module}\.\w+)`", PAGE))


def test_no_module_has_a_public_name() -> None:
    """Python binds an imported submodule in its package, and would hide the function of that name."""
    modules = {path.stem for path in (TOP / "containernet").glob("*")}
    assert not modules & set(containernet.__all__)
