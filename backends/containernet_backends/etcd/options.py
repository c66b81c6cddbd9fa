"""The table [store.etcd]: where etcd is, who we are to it, and under which prefix the network lives."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import attrs

from containernet.contracts import Options
from containernet.errors import ConfigError
from containernet.options import build
from containernet.values import shown

if TYPE_CHECKING:
    import ssl

PREFIX = "/coreos.com/network"


@attrs.frozen(kw_only=True)
class Endpoint:
    """One member of the cluster, as a client reaches it."""

    host: str
    port: int
    secure: bool
    __repr__ = shown

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the endpoint that a URL names, such as https://10.0.0.1:2379.

        Raises:
            ConfigError: it is not http or https, names no host, or more than host and port.
        """
        wrong = ConfigError(
            f"endpoints: {text!r} is not the URL of an etcd member, such as https://10.0.0.1:2379"
        )
        try:
            url = urlsplit(text if isinstance(text, str) else "")
            host, port = url.hostname, url.port
        except ValueError as error:
            raise wrong from error
        if url.scheme not in {"http", "https"} or not host or url.path.strip("/") or url.query or url.username:
            raise wrong
        return cls(host=host, port=port or 2379, secure=url.scheme == "https")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


@attrs.frozen(kw_only=True)
class EtcdOptions:
    """The options, checked.

    Args:
        endpoints: URLs of the cluster's members; all https, or all http.
        prefix: under which all keys lie; flannel's --etcd-prefix.
        ca, cert, key: PEM files: the CA that signed the servers' certificates (default: those of the system),
            and our own certificate, whose CN is our user name where etcd has --client-cert-auth.
        username, password_file: a user of etcd's own; the file holds the password alone.
        timeout: seconds for a call, over all endpoints together.
        announce_again: seconds after which the record is put again unchanged, which heals flannel's watchers
            that lost events; 0: never.
    """

    endpoints: list[str] = attrs.Factory(lambda: ["http://127.0.0.1:2379"])
    prefix: str = PREFIX
    ca: str = ""
    cert: str = ""
    key: str = ""
    username: str = ""
    password_file: str = ""
    timeout: float = 5.0
    announce_again: float = 600.0
    __repr__ = shown

    def __attrs_post_init__(self) -> None:
        if not self.endpoints:
            raise ConfigError("endpoints is empty: name at least one member's URL")
        if len({endpoint.secure for endpoint in self.members}) > 1:
            raise ConfigError(
                f"endpoints {', '.join(self.endpoints)}: use https for all of them, or http for all"
            )
        files = [name for name in ("ca", "cert", "key") if getattr(self, name)]
        if files and not self.members[0].secure:
            raise ConfigError(f"{files[0]} is set, but the endpoints are http: write https")
        if bool(self.cert) != bool(self.key):
            raise ConfigError("cert and key belong together: set both or none")
        if bool(self.username) != bool(self.password_file):
            raise ConfigError("username and password_file belong together: set both or none")
        if not self.prefix.startswith("/") or self.prefix.endswith("/") or "//" in self.prefix:
            raise ConfigError(f"prefix = {self.prefix!r}: expected a path such as {PREFIX}")
        if not 0 < self.timeout <= 600:
            raise ConfigError(f"timeout = {self.timeout}: expected seconds, above 0 and up to 600")
        if not (self.announce_again == 0 or 1 <= self.announce_again <= 10**8):
            raise ConfigError(f"announce_again = {self.announce_again}: expected 0, or 1 to 100000000 seconds")

    @classmethod
    def read(cls, options: Options) -> Self:
        """Check the table of the config file."""
        return build(cls, options, table="store.etcd")

    @property
    def members(self) -> Sequence[Endpoint]:
        """The endpoints, parsed."""
        return [Endpoint.parse(text) for text in self.endpoints]

    def password(self) -> str:
        """Return what the password file holds, without the end of its line."""
        return str(_read("password_file", self.password_file), "utf-8").rstrip("\r\n")

    def files(self) -> Sequence[bytes | None]:
        """Return what CA, key and certificate hold; None: not given.

        Raises:
            ConfigError: one cannot be read.
        """
        return [_read(name, path) if (path := getattr(self, name)) else None for name in ("ca", "key", "cert")]

    def tls(self) -> ssl.SSLContext:
        """Return what TLS connections are made by.

        Raises:
            ConfigError: a file cannot be read, is no PEM, or key and certificate are not a pair.
        """
        import ssl  # 16 ms, which http needs not

        self.files()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 9113 s9.2
        context.options |= ssl.OP_NO_RENEGOTIATION  # s9.2.1
        context.set_alpn_protocols(["h2"])
        try:
            if self.ca:
                context.load_verify_locations(self.ca)
            else:
                context.load_default_certs()
        except (OSError, ValueError) as error:
            raise ConfigError(f"ca = {self.ca!r} holds no certificate in PEM ({error})") from error
        try:
            if self.cert:
                context.load_cert_chain(self.cert, self.key, password="")  # or it would ask at the terminal
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cert = {self.cert!r}, key = {self.key!r}: expected a certificate and its own key, both in "
                f"PEM and without a password ({error})"
            ) from error
        return context


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{name} = {path!r}: {error.strerror}") from error
