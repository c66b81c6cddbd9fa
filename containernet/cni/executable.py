"""containernet-cni, as container runtimes execute it: asks containernetd, and says what that answers.

A container waits for this program, so it costs the start of an interpreter and little more: it imports nothing
but what is compiled into one, least of all this package, and understands nothing that containernetd can
understand. `containernet cni install` writes it with the paths of the daemon's config file.

Where no daemon answers, ADD, CHECK and GC fail with code 11 (try again later), and STATUS with code 50. DEL
succeeds, as the specification wants it to; what it should have done is left as a letter for the next daemon.
"""

import _json
import _socket
import posix
import sys
import time

MYPY = False  # as typing.TYPE_CHECKING, and that module takes longer than all of this
if MYPY:
    from typing import Any

SOCKET = "/run/containernet/containernet.sock"
LETTERS = "/run/containernet/letters"

VERSIONS = ["0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
COMMANDS = ["ADD", "DEL", "CHECK", "GC", "STATUS"]
PATIENCE = 90  # seconds; the daemon itself gives up after 60
LARGEST = 768 * 1024  # octets of a network configuration
TRY_AGAIN, UNAVAILABLE, DECODING, ENVIRONMENT = 11, 50, 6, 4


def main() -> int:
    """Do what CNI_COMMAND says; return the exit code."""
    environment = {
        _text(name): _text(value) for name, value in posix.environ.items() if name.startswith(b"CNI_")
    }
    command = environment.get("CNI_COMMAND", "")
    config = _read(0)
    if len(config) > LARGEST:
        return _fail(config, DECODING, f"the network configuration is longer than {LARGEST} octets")
    if command == "VERSION":
        return _say(0, f'{{"cniVersion": {_quote(_version(config))}, "supportedVersions": {_list(VERSIONS)}}}')
    if command not in COMMANDS:
        return _fail(config, ENVIRONMENT, f"CNI_COMMAND {command!r}: expected {', '.join(COMMANDS)} or VERSION")
    request = _request(environment, config)
    try:
        answer = _parse(_ask(request))
    except OSError as error:
        return _alone(command, request, config, error.strerror or str(error))
    result, failed = _table(answer.get("result")), _table(answer.get("error"))
    if "output" in result:
        return _say(result["exit"], result["output"])
    if "message" in failed:
        return _fail(config, TRY_AGAIN, "containernetd failed", failed["message"])
    return _alone(command, request, config, "it hung up without an answer, and its log may say why")


def _alone(command: str, request: bytes, config: bytes, reason: str) -> int:
    """Do without a daemon what can be done without one."""
    if command == "DEL":
        _leave(request)
        return 0
    code = UNAVAILABLE if command == "STATUS" else TRY_AGAIN
    return _fail(
        config, code, "containernetd does not answer", f"{SOCKET}: {reason}; does it run, and may you ask it?"
    )


def _request(environment: dict[str, str], config: bytes) -> bytes:
    pairs = ", ".join(f"{_quote(name)}: {_quote(value)}" for name, value in environment.items())
    plugin = sys.argv[0].rpartition("/")[2]
    words = f'"plugin": {_quote(plugin)}, "environment": {{{pairs}}}, "config": {_quote(_text(config))}'
    return f'{{"version": 1, "command": "cni", {words}}}\n'.encode()


def _ask(request: bytes) -> bytes:
    """Return the daemon's answer; nothing if it hung up before it had one."""
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    # Not settimeout: under it connect(2) would fail at once where a hundred others are waiting in line.
    patience = PATIENCE.to_bytes(8, sys.byteorder) + bytes(8)
    server.setsockopt(_socket.SOL_SOCKET, _socket.SO_SNDTIMEO, patience)
    server.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, patience)
    server.connect(SOCKET)
    server.sendall(request)
    answer = b""
    while answer[-1:] != b"\n" and (more := server.recv(1 << 16)):
        answer += more
    return answer


def _leave(request: bytes) -> None:
    """Leave the request as a letter, all of it or nothing; it finds its name when it is written."""
    try:
        file = posix.open(LETTERS, posix.O_TMPFILE | posix.O_WRONLY, 0o600)
        _write(file, request)
        name = f"{LETTERS}/{time.time_ns()}-{posix.getpid()}"
        # Only with a directory does Python ask for the link to be followed; the path is absolute all the same.
        posix.link(f"/proc/self/fd/{file}", name, src_dir_fd=file, follow_symlinks=True)
    except OSError:
        pass  # no daemon has ever run here, or the disk is full: a namespace that is gone is collected anyway


def _fail(config: bytes, code: int, message: str, details: str = "") -> int:
    words = f'"code": {code}, "msg": {_quote(message)}, "details": {_quote(details)}'
    return _say(1, f'{{"cniVersion": {_quote(_version(config))}, {words}}}')


def _say(code: int, output: str) -> int:
    _write(1, output.encode())
    return code


def _version(config: bytes) -> str:
    version = _parse(config).get("cniVersion")
    return version if isinstance(version, str) else VERSIONS[-2]


class _Reading:
    """What the parser of the standard library's json asks of its owner."""

    strict = True
    object_hook = object_pairs_hook = None
    parse_float = parse_constant = float
    parse_int = int
    memo: dict[str, str] = {}  # noqa: RUF012 - the parser's own


def _parse(octets: bytes) -> "dict[str, Any]":
    """Return the JSON object that the octets are; whatever else they are is an empty one."""
    try:
        return _table(_json.make_scanner(_Reading)(_text(octets).lstrip(), 0)[0])  # type: ignore[arg-type]
    except (ValueError, StopIteration, RecursionError, SystemError):  # the last: without `json` it has no words
        return {}


def _table(value: "Any") -> "dict[str, Any]":
    return value if isinstance(value, dict) else {}


def _quote(text: str) -> str:
    return _json.encode_basestring_ascii(text)


def _list(words: list[str]) -> str:
    return "[" + ", ".join(map(_quote, words)) + "]"


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")


def _read(file: int) -> bytes:
    octets = b""
    while len(octets) <= LARGEST and (more := posix.read(file, 1 << 16)):
        octets += more
    return octets


def _write(file: int, octets: bytes) -> None:
    while octets:
        octets = octets[posix.write(file, octets) :]


if __name__ == "__main__":
    posix._exit(main())  # noqa: SLF001 - without taking an interpreter apart that nobody needs any more
