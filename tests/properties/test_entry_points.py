"""entry_points: what is read quickly is what importlib.metadata says."""

from __future__ import annotations

import tempfile
from importlib import metadata
from pathlib import Path

from hypothesis import example, given, strategies as st

from containernet import entry_points, loading

GROUP = "some.group"
LINES = st.sampled_from(
    [
        f"[{GROUP}]",
        "[another.group]",
        "",
        "# name = not.this:One",
        "name = a.module:Class",
        "name=a.module:Other.inner",
        "  name  =  b:C  ",
        "name = a.module:Class [extra]",
        "name = a.module",
        "name = : =",
        "other = b:D",
    ]
)
FOLDERS = st.dictionaries(
    st.sampled_from(
        ["one-1.0.dist-info", "One-2.egg-info", "t.w_o-1.dist-info", "T-W.O-1.dist-info", "module.py"]
    ),
    st.lists(LINES, max_size=6),
    max_size=4,
)


def slowly(group: str, name: str, path: list[str]) -> list[str]:
    """Return every entry point of that name, as importlib.metadata finds them."""
    named: dict[str, metadata.Distribution] = {}
    for each in metadata.distributions(path=path):
        named.setdefault(each._normalized_name, each)  # type: ignore[attr-defined]
    points = (point for each in named.values() for point in each.entry_points)
    return [point.value for point in points if (point.group, point.name) == (group, name)]


@given(st.lists(FOLDERS, max_size=3))
@example([{"one-1.0.dist-info": [f"[{GROUP}]", "name = a:B"]}])
@example([{"one-1.0.dist-info": []}, {"one-2.0.dist-info": [f"[{GROUP}]", "name = a:B"]}])
def test_what_one_distribution_offers_is_found(folders: list[dict[str, list[str]]]) -> None:
    """Of what is offered twice, or in its own way, nothing is said; the first of a name hides the others."""
    with tempfile.TemporaryDirectory() as top:
        path = [str(_made(Path(top, str(number)), folder)) for number, folder in enumerate(folders)]
        expected = slowly(GROUP, "name", path)
        found = entry_points.target(GROUP, "name", path)
    usual = len(expected) == 1 and expected[0] in {"a.module:Class", "a.module:Other.inner", "b:C", "a:B"}
    assert found == (expected[0] if usual else None)


def _made(folder: Path, distributions: dict[str, list[str]]) -> Path:
    folder.mkdir()
    for name, lines in distributions.items():
        (folder / name).mkdir()
        (folder / name / "entry_points.txt").write_text("\n".join(lines))
    return folder


def test_every_backend_that_is_installed_here_is_found_quickly() -> None:
    """So a start needs no other way."""
    for group in loading.GROUPS:
        for each in loading.installed(group):
            assert entry_points.target(group, each.name) == each.target


def test_what_may_hold_distributions_of_its_own_is_not_decided_here(tmp_path: Path) -> None:
    """An archive on the path, or an egg, is somebody else's to read."""
    offering = _made(tmp_path / "usual", {"one-1.dist-info": [f"[{GROUP}]", "name = a:B"]})
    archive, egg = tmp_path / "some.zip", tmp_path / "some.egg"
    archive.write_bytes(b"")
    egg.mkdir()
    assert _target(offering) == _target(offering, tmp_path / "missing") == "a:B"
    assert _target(offering, archive) is _target(offering, egg) is None


def _target(*path: Path) -> str | None:
    return entry_points.target(GROUP, "name", map(str, path))
