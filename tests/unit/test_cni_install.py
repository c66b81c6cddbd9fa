"""Installing the plugin: what is written, what is left alone, and what is taken away again."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from containernet.cni import executable
from containernet.cni.install import CAPABILITIES, NAME, Places, install, uninstall
from containernet.config import Config, DaemonTable
from containernet.errors import ConfigError


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """Directories that are not there yet."""
    return Places(executables=tmp_path / "a/bin", configurations=tmp_path / "b/net.d", network="net")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A daemon's."""
    return Config(daemon=DaemonTable(run_dir=str(tmp_path / "run")))


def test_both_files_are_written_once(places: Places, config: Config, tmp_path: Path) -> None:
    """The executable runs without anything of ours; a runtime of today reads the configuration."""
    assert install(places, config) == [places.executable, places.configuration]
    assert install(places, config) == []
    text = places.executable.read_text()
    assert f'SOCKET = "{tmp_path}/run/containernet.sock"\nLETTERS = "{tmp_path}/run/letters"\n' in text
    assert stat.S_IMODE(places.executable.stat().st_mode) == 0o755
    assert json.loads(places.configuration.read_text()) == {
        "cniVersion": "1.0.0",
        "name": "net",
        "plugins": [{"type": NAME, "capabilities": dict.fromkeys(CAPABILITIES, True)}],
    }
    asked = json.dumps({"cniVersion": "1.1.0"})
    command, version = [places.executable], {"CNI_COMMAND": "VERSION"}
    done = subprocess.run(command, input=asked, env=version, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"cniVersion": "1.1.0", "supportedVersions": executable.VERSIONS}


def test_a_new_version_or_another_daemon_replaces_the_executable_alone(places: Places, config: Config) -> None:
    """What the operator has changed in the configuration stays."""
    install(places, config)
    edited = places.configuration.read_text().replace('"net"', '"theirs"')
    places.configuration.write_text(edited)
    assert install(places, Config(daemon=DaemonTable(run_dir="/run/other"))) == [places.executable]
    assert '"/run/other/containernet.sock"' in places.executable.read_text()
    assert places.configuration.read_text() == edited
    assert uninstall(places) == [places.configuration, places.executable]
    assert uninstall(places) == []


@pytest.mark.parametrize(
    "theirs", ["#!/bin/sh\n", "\x7fELF", '{"plugins": [{"type": "bridge"}]}', "{}", "[]", ""]
)
@pytest.mark.parametrize("which", ["executable", "configuration"])
def test_what_is_somebody_elses_is_left_alone(places: Places, config: Config, which: str, theirs: str) -> None:
    """Neither written over nor removed; and nothing else is written beside it."""
    path: Path = getattr(places, which)
    path.parent.mkdir(parents=True)
    path.write_text(theirs)
    with pytest.raises(ConfigError, match=f"{path} is not ours"):
        install(places, config)
    assert uninstall(places) == []
    assert path.read_text() == theirs
    other = {places.executable, places.configuration} - {path}
    assert not any(each.exists() for each in other)


@pytest.mark.parametrize("python", ["python3", "/no such/python", "/nonesuch", "/bin/false", "/bin/true"])
def test_an_interpreter_that_cannot_run_it_is_found_out(places: Places, config: Config, python: str) -> None:
    """Before a runtime finds out: nothing is left of it, and no runtime is told of the plugin."""
    for _ in range(2):
        with pytest.raises(ConfigError, match=rf"interpreter '{python}'|{python} does not run the plugin"):
            install(places, config, interpreter=python)
        assert not places.configuration.exists()
        assert not places.executables.exists() or not list(places.executables.iterdir())


def test_a_plugin_that_runs_is_not_replaced_by_one_that_does_not(places: Places, config: Config) -> None:
    """Whoever names a wrong interpreter has the network that he had."""
    install(places, config)
    before = places.executable.read_text()
    with pytest.raises(ConfigError, match="/bin/false does not run the plugin: exit code 1; name another"):
        install(places, config, interpreter="/bin/false")
    assert places.executable.read_text() == before
    assert list(places.executables.iterdir()) == [places.executable]


@pytest.mark.parametrize("network", ["", "a b", "../net", "-net", "a/b", "ä"])
def test_a_network_that_no_runtime_could_name_is_refused(network: str) -> None:
    """As a request for it would be."""
    with pytest.raises(ConfigError, match="expected a letter or digit, and then letters"):
        Places(network=network)


def test_any_interpreter_will_do(places: Places, config: Config) -> None:
    """Such as the one that runs this."""
    install(places, config, interpreter=str(Path(sys.executable).resolve()))
    assert places.executable.read_text().startswith(f"#!{Path(sys.executable).resolve()} -IS\n")


def test_a_directory_that_cannot_be_written_is_named(places: Places, config: Config) -> None:
    """With what to do about it."""
    places.executables.parent.mkdir()
    places.executables.write_text("a file")
    wrong = f"cannot write {places.executable}: File exists; choose another directory"
    with pytest.raises(ConfigError, match=wrong):
        install(places, config)
