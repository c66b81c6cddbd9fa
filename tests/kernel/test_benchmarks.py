"""The benchmarks that need a network namespace run: their smallest runs, each as a user starts it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import __main__ as every

HERE = Path(__file__).parents[2]


@pytest.mark.kernel
@pytest.mark.untraced
def test_every_benchmark_runs_in_a_tiny_size(tmp_path: Path) -> None:
    """Every quantity is measured of ours."""
    for name in every.in_namespaces():
        module, told = import_module(f"benchmarks.{name}"), tmp_path / f"{name}.json"
        command = [sys.executable, HERE / f"benchmarks/{name}.py", *module.TINY, "--json", told]
        subprocess.run([HERE / "scripts/in-namespaces", *command], check=True, timeout=120)
        rows = json.loads(told.read_text())["rows"]
        measured = {row["name"] for row in rows if "ours" in row["sides"]}
        assert measured == {each.name for each in module.QUANTITIES}, name
