"""How the suites are tested: one of their tests is run where it must fail."""

from __future__ import annotations

from typing import Any

import pytest

from containernet.errors import ContainernetError
from containernet.testing.stores import Contract


def fails(suite: Contract[Any], test: str) -> None:
    """Check that this test of the suite fails: it finds too few or too many, or the store refuses."""
    suite.setup_method()
    try:
        with pytest.raises((AssertionError, ContainernetError, ValueError)):
            getattr(suite, test)()
    finally:
        suite.teardown_method()
