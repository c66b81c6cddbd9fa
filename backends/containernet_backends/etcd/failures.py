"""What the errors of a call mean, in our words: one line with the endpoint, what it said, and the next step.

etcd tells its errors by a code and a text, and the code alone is not enough: a full disk and a busy server
share one, and so do an unknown user and a transaction that is too long. The texts are those of etcd's
api/v3rpc/rpctypes/error.go, alike in 3.4 and later. What TLS has to say comes from OpenSSL.

Pure.
"""

from __future__ import annotations

import re

from containernet.errors import ConfigError, ContainernetError, StoreError, StoreRefused, StoreUnavailable

from .options import EtcdOptions

SHOWN = 200  # characters of an error's details

# What Python puts around the words of OpenSSL.
_AROUND = re.compile(r"\[SSL[^]]*\] | \(_ssl\.c:\d+\)")
# Failed handshakes: a word of OpenSSL's, and what to do.
_HANDSHAKES = {
    "mismatch": "its certificate is for another name: write one of its names in endpoints",
    "verify failed": "its certificate is not from {ca}, or not valid now: correct ca, or renew the certificate",
    "wrong version": "no TLS is spoken there: write http in endpoints",
    "record layer": "no TLS is spoken there: write http in endpoints",
    "closed during the tls handshake": "perhaps no TLS is spoken there: if so, write http in endpoints",
}
# A server refuses our certificate, in TLS 1.3 after we believe that all is well (RFC 8446 s4.4.2.4).
_NOT_LET_IN = " alert "
# No TLS, and what a server does that waits for it.
_SILENT = ("without a word", "is http/2 spoken there?")


class NotThere(StoreError):
    """What was asked for by its id or revision is not there."""


class StaleToken(StoreUnavailable):
    """etcd does not know the token, or not any more; another one can be had."""


class NoSpace(StoreUnavailable):
    """etcd takes no record any more: an alarm of the whole cluster, so no other member would take one."""


def translated(code: str, details: str, *, where: object, options: EtcdOptions) -> ContainernetError:
    """Return the error to raise.

    Args:
        code: the name of gRPC's status code. details: its text.
        where: the endpoint.
    """
    said = _AROUND.sub("", " ".join(details.split()))[:SHOWN]
    line, lower = f"etcd {where}: {said or code}", said.lower()
    if code == "UNAUTHENTICATED" or "auth token" in lower or "revision of auth store" in lower:
        return StaleToken(line) if options.username else _unnamed(line)
    match code:
        case "PERMISSION_DENIED":
            who = options.username or options.cert or "a client without a name"
            return StoreRefused(f"{line}; give the role of {who} readwrite on {options.prefix}/")
        case "INVALID_ARGUMENT" if "invalid user id or password" in lower:
            return StoreRefused(f"{line}; correct username, or what is in {options.password_file}")
        case "INVALID_ARGUMENT" if "user name is empty" in lower:
            return _unnamed(line)
        case "FAILED_PRECONDITION" if "authentication is not enabled" in lower:
            return ConfigError(f"{line}; leave username and password_file out, or: etcdctl auth enable")
        case "NOT_FOUND":
            return NotThere(line)
        case "OUT_OF_RANGE" if "revision" in lower:
            return NotThere(line)
        case "RESOURCE_EXHAUSTED" if "space" in lower:
            return NoSpace(
                f"{line}; make room: etcdctl compact and defrag, then alarm disarm; or raise "
                "--quota-backend-bytes"
            )
        case "UNIMPLEMENTED":
            return ConfigError(f"{line}; is this an etcd of version 3.4 or later?")
        case "INVALID_ARGUMENT" | "OUT_OF_RANGE" | "FAILED_PRECONDITION":
            return StoreError(line)
    return _unreachable(line, lower, options)


def _unnamed(line: str) -> ContainernetError:
    return StoreRefused(f"{line}; set username and password_file, or cert and key, under [store.etcd]")


def _unreachable(line: str, lower: str, options: EtcdOptions) -> ContainernetError:
    if not options.members[0].secure:
        silent = any(word in lower for word in _SILENT)
        hint = "; if TLS is spoken there, write https in endpoints" if silent else ""
        return StoreUnavailable(f"{line}{hint}")
    if _NOT_LET_IN in lower:
        ours = f"cert = {options.cert!r} is not accepted" if options.cert else "it wants a certificate"
        return StoreUnavailable(f"{line}; {ours}: set cert and key of a CA that etcd trusts, in date")
    hints = [hint for word, hint in _HANDSHAKES.items() if word in lower]
    ca = f"ca = {options.ca!r}" if options.ca else "a CA that this system trusts"
    return StoreUnavailable("; ".join([line, *hints[:1]]).replace("{ca}", ca))
