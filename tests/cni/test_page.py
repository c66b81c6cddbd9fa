"""docs/runtimes.md: its commands are run, and its files are those that are written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from containernet.cni.install import configuration, uninstall
from tests.docs.pages import TOP, blocks, commands

from . import hosts
from .podman import CONTAINERS_CONF, PARENT, podmen

pytestmark = pytest.mark.kernel
PAGE = "docs/runtimes.md"


def test_the_commands_of_the_page_do_what_it_shows(tmp_path: Path) -> None:
    """From top to bottom, on a host as the reader's; but files are in the test's own directories."""
    with hosts.host(tmp_path) as host, podmen([host]) as [podman]:
        uninstall(host.places)
        directories = f"--executables {host.places.executables} --configurations {host.places.configurations}"
        ours = f"{sys.executable} -m containernet.cli.main --config {host.config_file}"
        theirs = [str(shutil.which("podman")), *podman.command[1:]]
        programs = {
            "podman": f'case $1 in run) shift; set -- run --cgroup-parent {PARENT} "$@";; esac\n'
            f'exec {shlex.join(theirs)} "$@"',
            "containernet": f'case $1 in cni) set -- "$@" {directories};; esac\nexec {ours} "$@"',
        }
        for name, text in programs.items():
            (host.home / name).write_text(f"#!/bin/sh\n{text}\n")
            (host.home / name).chmod(0o755)
        path = f"PATH={host.home}:{os.environ['PATH']}"
        conf = f"CONTAINERS_CONF={host.home}/containers.conf"
        for each in commands(PAGE):
            said = host.netns.run("env", path, conf, "sh", "-c", each.command)
            said = said.replace(str(host.places.executables), "/opt/cni/bin")
            said = said.replace(str(host.places.configurations), "/etc/cni/net.d")
            assert not each.output or said == each.output, each
        assert host.endpoints() == {}


def test_the_files_of_the_page_are_those_of_the_program() -> None:
    """The network configuration word for word; and what podman needs is what the tests give it."""
    first, _ = blocks(PAGE, "json")
    assert first.text == json.dumps(configuration("containernet"), indent=2) + "\n"
    [shown] = blocks(PAGE, "toml")
    given = tomllib.loads(CONTAINERS_CONF.replace("{", "").replace("}", ""))["network"]
    assert tomllib.loads(shown.text)["network"].items() <= given.items()


def test_the_page_is_found() -> None:
    """From the front page and from the operator's."""
    for page in ("README.md", "docs/operate.md"):
        assert "runtimes.md" in (TOP / page).read_text()
