"""A container image without a registry: busybox, from Debian's package busybox-static."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import tarfile
from pathlib import Path

import pytest

BUSYBOX = Path("/bin/busybox")
APPLETS = ("sh", "sleep", "ping", "httpd", "wget", "cat", "ip")


def add(archive: tarfile.TarFile, name: str, content: bytes, *, mode: int = 0o644) -> None:
    """Put a file into an archive."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(content), mode
    archive.addfile(entry, io.BytesIO(content))


@functools.cache
def root() -> bytes:
    """Return the root of a file system as an archive: busybox, and a page that says who it is from."""
    if not BUSYBOX.exists():
        pytest.skip("no busybox: install Debian's busybox-static")
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        add(archive, "bin/busybox", BUSYBOX.read_bytes(), mode=0o755)
        add(archive, "www/index.html", b"hello\n")
        for applet in APPLETS:
            entry = tarfile.TarInfo(f"bin/{applet}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
    return file.getvalue()


def image(path: Path, name: str) -> Path:
    """Write an image of that name, whose containers sleep, in docker's format."""
    layer = root()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/bin/sleep", "3600"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as archive:
        add(archive, "layer.tar", layer)
        add(archive, "config.json", json.dumps(config).encode())
        add(archive, "manifest.json", json.dumps(manifest).encode())
    return path
