"""A runtime in few words: executes a plugin as libcni does, and remembers nothing."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from tests.kernel.conftest import Netns

DEADLINE = 120.0  # seconds; longer than any plugin of ours waits


@attrs.frozen(kw_only=True)
class Done:
    """How a plugin ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)

    @property
    def result(self) -> Any:
        """The document of a plugin that succeeded, or null where it had nothing to say."""
        assert self.code == 0, f"{self.out}{self.err}"
        assert self.err == ""
        return json.loads(self.out) if self.out else None

    @property
    def error(self) -> Mapping[str, Any]:
        """The document of a plugin that failed: SPEC, section 5, Error."""
        assert self.code != 0, self.out
        document: Mapping[str, Any] = self.document
        assert isinstance(document["code"], int)
        assert isinstance(document["msg"], str)
        return document


@attrs.frozen(kw_only=True)
class Runtime:
    """Asks one plugin for one network, on one host.

    Args:
        host: the namespace that the plugin runs in.
        plugin: its path.
        config: the plugin's part of the network configuration.
        versions: of the specification, oldest first, that it is to be asked in.
        variables: of the environment, beside those of CNI.
    """

    host: Netns
    plugin: Path
    config: Mapping[str, Any]
    versions: tuple[str, ...] = ("0.3.1", "0.4.0", "1.0.0", "1.1.0")
    variables: Mapping[str, str] = attrs.Factory(dict)

    @property
    def version(self) -> str:
        """What containerd and podman speak today."""
        return "1.0.0"

    def environment(self, command: str, container: str, netns: str, interface: str) -> dict[str, str]:
        """Return the variables of a request."""
        return {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": netns,
            "CNI_IFNAME": interface,
            "CNI_PATH": f"{self.plugin.parent}:/usr/lib/cni",
        }

    def ask(
        self,
        command: str,
        container: str = "c1",
        netns: str = "",
        *,
        interface: str = "eth0",
        version: str = "",
        args: str = "",
        **more: Any,
    ) -> Done:
        """Execute the plugin for one attachment.

        Args:
            args: CNI_ARGS.
            more: of the network configuration.
        """
        environment = self.environment(command, container, netns, interface)
        return self.execute(
            {**environment, "CNI_ARGS": args}, json.dumps(self.configured(version or self.version, **more))
        )

    def words(self, command: str, container: str, netns: str) -> dict[str, Any]:
        """Return what the executable would ask the daemon; an interpreter for each request takes its time."""
        return {
            "plugin": self.plugin.name,
            "environment": self.environment(command, container, netns, "eth0"),
            "config": json.dumps(self.configured(self.version)),
        }

    def configured(self, version: str, **more: Any) -> dict[str, Any]:
        """Return the network configuration as the runtime passes it on."""
        return {"cniVersion": version, "name": "net", **self.config, **more}

    def execute(self, environment: Mapping[str, str], stdin: str | bytes) -> Done:
        """Execute the plugin with exactly these variables, and this on its stdin."""
        with self.start(environment) as process:
            out, err = process.communicate(stdin.encode() if isinstance(stdin, str) else stdin, DEADLINE)
        return Done(code=process.returncode, out=out.decode(), err=err.decode())

    def start(self, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        """Begin to execute the plugin; its stdin is the caller's to write."""
        return subprocess.Popen(
            ["nsenter", f"--net={self.host.path}", self.plugin],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**self.variables, **environment, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )

    def ask_all(self, command: str, containers: Mapping[str, str], directory: Path) -> list[Done]:
        """Execute the plugin for all those containers (id to namespace) at once, by one shell."""
        (directory / "config").write_text(json.dumps(self.configured(self.version)))
        lines = []
        for container, netns in containers.items():
            variables = self.environment(command, container, netns, "eth0")
            words = " ".join(f"{name}={value}" for name, value in variables.items())
            lines.append(f"({words} {self.plugin} <config >{container}; echo $? >{container}.code) &")
        self.host.run("sh", "-c", f"cd {directory}; {' '.join(lines)} wait")
        return [
            Done(code=int((directory / f"{name}.code").read_text()), out=(directory / name).read_text(), err="")
            for name in containers
        ]
