"""A certificate authority for one test run: P-256 keys, so a certificate takes openssl about 10 ms."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

import attrs

from containernet.model import Address

DAYS = "2"


@attrs.frozen(kw_only=True)
class Credentials:
    """A certificate and its key, and the authority that signed it and its peers; PEM files.

    In a client's certificate the CN is the user's name.
    """

    ca: Path
    cert: Path
    key: Path


class Authority:
    """Signs certificates for servers on 127.0.0.1 and for users.

    Args:
        directory: where the files are written; stays the caller's.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._issued: dict[str, Credentials] = {}
        self._ca = directory / "ca.pem"
        self._ca_key = directory / "ca.key"
        _make(self._ca, self._ca_key, "test authority", "basicConstraints=critical,CA:TRUE")

    @property
    def ca(self) -> Path:
        """The authority's own certificate."""
        return self._ca

    def server(self) -> Credentials:
        """Return what every member shows, whichever port it is reached through."""
        return self._issue("server", "subjectAltName=IP:127.0.0.1,IP:::1,DNS:localhost")

    def station(self, name: str, addresses: Iterable[Address]) -> Credentials:
        """Return what a host or a member shows that others reach at those addresses, as server and as user."""
        own = "".join(f",IP:{address}" for address in addresses)
        return self._issue(name, f"subjectAltName=IP:127.0.0.1,DNS:localhost{own}")

    def user(self, name: str) -> Credentials:
        """Return what the client shows whom etcd shall take for that user."""
        return self._issue(name, "extendedKeyUsage=clientAuth")

    def jwt(self, *, ttl: int) -> str:
        """Return the flag by which members sign tokens that end `ttl` seconds after they were given."""
        public = self._directory / "jwt.pub"
        _openssl("pkey", "-in", str(self._ca_key), "-pubout", "-out", str(public))
        return f"--auth-token=jwt,pub-key={public},priv-key={self._ca_key},sign-method=ES256,ttl={ttl}s"

    def _issue(self, name: str, extension: str) -> Credentials:
        if name not in self._issued:
            cert, key = (self._directory / f"{name}.{ending}" for ending in ("pem", "key"))
            _make(cert, key, name, extension, "-CA", str(self._ca), "-CAkey", str(self._ca_key))
            self._issued[name] = Credentials(ca=self._ca, cert=cert, key=key)
        return self._issued[name]


def _make(cert: Path, key: Path, name: str, extension: str, *signer: str) -> None:
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc", "-keyout", str(key))
    subject = ("-subj", f"/CN={name}", "-addext", extension, "-days", DAYS)
    _openssl("req", "-x509", *curve, *subject, *signer, "-out", str(cert))


def _openssl(*words: str) -> None:
    done = subprocess.run(["openssl", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"openssl {' '.join(words)}: {done.stderr}"
