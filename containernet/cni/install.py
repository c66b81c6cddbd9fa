"""Puts the plugin where runtimes look for it: an executable, and a network configuration that names it.

    /opt/cni/bin/containernet-cni
    /etc/cni/net.d/10-containernet.conflist

Both are ours by what they say, not by where they are: a file that somebody else has written is neither written
over nor removed. A configuration of ours that was edited is kept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from ..config import Config
from ..errors import ConfigError, PermissionRefused
from ..replacing import replace
from . import executable
from .request import NETWORK_NAME

NAME = "containernet-cni"
CAPABILITIES = ("aliases", "dns", "ips", "mac", "portMappings")
# podman 4 and containerd 1 read no newer one.
VERSION = "1.0.0"


def _check_network(instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not NETWORK_NAME.fullmatch(value):
        raise ConfigError(
            f"network {value!r}: expected a letter or digit, and then letters, digits, '_', '.' and '-'"
        )


@attrs.frozen(kw_only=True)
class Places:
    """Where the two files belong.

    Args:
        executables: a directory in which runtimes look for plugins.
        configurations: the directory in which they look for networks.
        network: what runtimes are to call the network.

    Raises:
        ConfigError: no network can be called so.
    """

    executables: Path = Path("/opt/cni/bin")
    configurations: Path = Path("/etc/cni/net.d")
    network: str = attrs.field(default="containernet", validator=_check_network)

    @property
    def executable(self) -> Path:
        """The plugin."""
        return self.executables / NAME

    @property
    def configuration(self) -> Path:
        """The network configuration; of several, runtimes take the first by name."""
        return self.configurations / f"10-{self.network}.conflist"


def install(places: Places, config: Config, *, interpreter: str = "") -> list[Path]:
    """Try the executable, and write both files; return what was written. May be called again.

    Args:
        config: the daemon's, for the paths of its socket and its letters.
        interpreter: the absolute path of Python for the executable; empty: the system's, or else ours.

    Raises:
        ConfigError: somebody else's file is there, the directories cannot be, or that interpreter cannot run
            the plugin; one that was there before still is.
        PermissionRefused: they may not be written.
    """
    written = []
    for path in (places.executable, places.configuration):
        if path.exists() and not _is_ours(path):
            raise ConfigError(f"{path} is not ours: move it away, or choose another directory")
    text = _script(config, interpreter or _interpreter())
    if places.executable.exists() and places.executable.read_text() == text:
        _try_out(places.executable, text)
    else:
        _write(places.executable, text, mode=0o755, approve=lambda fresh: _try_out(fresh, text))
        written.append(places.executable)
    if not places.configuration.exists():
        _write(places.configuration, json.dumps(configuration(places.network), indent=2) + "\n", mode=0o644)
        written.append(places.configuration)
    return written


def uninstall(places: Places) -> list[Path]:
    """Remove both files as far as they are ours; return what was removed. May be called again.

    Raises:
        PermissionRefused: they may not be removed.
    """
    # The configuration first: no runtime may find one whose plugin is gone.
    found = [path for path in (places.configuration, places.executable) if path.exists() and _is_ours(path)]
    for path in found:
        try:
            path.unlink()
        except OSError as error:
            advice = "run as root" if isinstance(error, PermissionError) else "is its directory read-only?"
            raise PermissionRefused(f"cannot remove {path}: {error.strerror}; {advice}") from error
    return found


def configuration(network: str) -> dict[str, Any]:
    """Return the network configuration."""
    plugin = {"type": NAME, "capabilities": dict.fromkeys(CAPABILITIES, True)}
    return {"cniVersion": VERSION, "name": network, "plugins": [plugin]}


def _script(config: Config, interpreter: str) -> str:
    """Return the executable's text: its module, behind the interpreter and with the daemon's paths."""
    if not interpreter.startswith("/") or any(character.isspace() for character in interpreter):
        raise ConfigError(f"interpreter {interpreter!r}: expected an absolute path without white space")
    text = Path(executable.__file__).read_text()
    run_dir = Path(config.daemon.run_dir).absolute()
    paths = {executable.SOCKET: run_dir / config.socket.name, executable.LETTERS: run_dir / config.letters.name}
    for default, path in paths.items():
        text = text.replace(json.dumps(default), json.dumps(str(path)))
    # -I: nobody's environment counts. -S: site-packages are not needed, and looking for them takes longer than
    # all that the plugin does.
    return f"#!{interpreter} -IS\n{text}"


def _interpreter() -> str:
    system = Path("/usr/bin/python3")
    return str(system) if system.exists() else os.path.realpath(sys.executable)


def _try_out(plugin: Path, text: str) -> None:
    interpreter = text.split(maxsplit=1)[0].removeprefix("#!")
    asked = {"env": {"CNI_COMMAND": "VERSION"}, "input": json.dumps({"cniVersion": VERSION}), "text": True}
    try:
        done = subprocess.run([plugin], capture_output=True, check=False, **asked)  # type: ignore[call-overload]
    except OSError as error:
        raise ConfigError(
            f"{plugin.parent}: {interpreter} does not run the plugin: {error.strerror}; name another --python"
        ) from error
    if done.returncode or VERSION not in done.stdout:
        said = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise ConfigError(
            f"{plugin.parent}: {interpreter} does not run the plugin: "
            f"{' '.join(said) or f'exit code {done.returncode}'}; name another --python"
        )


def _is_ours(path: Path) -> bool:
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError):
        return False
    if path.name == NAME:
        return str(executable.__doc__).splitlines()[0] in text
    try:
        return bool(json.loads(text)["plugins"][0]["type"] == NAME)
    except (ValueError, TypeError, LookupError):
        return False


def _write(path: Path, text: str, *, mode: int, approve: Callable[[Path], object] = lambda _: None) -> None:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        replace(path, [text], mode=mode, approve=approve)
    except PermissionError as error:
        raise PermissionRefused(f"cannot write {path}: {error.strerror}; run as root") from error
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}; choose another directory") from error
