"""What `containernetd` does: parse, load, run. All of it is public API; what is here is the order of it.

containernetd --config containernet.toml            SIGTERM stops it, and forwarding goes on
containernetd --config containernet.toml --leave    ... and gives the subnet back, with all that is ours
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from . import config as configuration, remembered, subnet_file
from .addresses import AddressBook
from .agent import Agent
from .assembly import Parts, assembled
from .config import Config
from .contracts import Settings
from .control import ControlServer
from .errors import AlreadyRunning, ConfigError, ContainernetError, PermissionRefused, StoreUnavailable
from .jsonform import endpoint_to_json
from .keeper import agreed
from .model import NetworkConfig, Node
from .printable import printable
from .rendering import check_node

if TYPE_CHECKING:
    from .cni.plugin import Plugin

log = logging.getLogger("containernet.daemon")

_T = TypeVar("_T")

_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def main() -> None:
    """Run containernetd with the arguments of the command line; exits with the code of what ended it."""
    path, leave = arguments(sys.argv[1:])
    give_memory_back()
    try:
        config = configuration.load(path)
        _log_to_stderr(config.daemon.log)
        allow_descriptors()
        run(config, leave=leave)
    except ContainernetError as error:
        print(f"containernetd: {printable(error)}", file=sys.stderr)
        sys.exit(error.exit_code)


def arguments(words: Sequence[str]) -> tuple[Path, bool]:
    """Return the path of the config file, and whether to leave when stopped; exits where `words` are wrong."""
    match words:
        case ["--config", path] if not path.startswith("-"):
            return Path(path), False  # as services have it, and argparse takes 6 ms to say the same
    import argparse

    parser = argparse.ArgumentParser(prog="containernetd", description="Keep one host's container network.")
    parser.add_argument("--config", type=Path, default=configuration.DEFAULT_PATH, help="default: %(default)s")
    parser.add_argument("--leave", action="store_true", help="when stopped, give the subnet back and clean up")
    parsed = parser.parse_args(words)
    return parsed.config, parsed.leave


def allow_descriptors() -> None:
    """Let this process have as many descriptors as it may: a store may have a socket for each host.

    The usual soft limit, 1024, is for programs that call select(2).
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(config: Config, *, leave: bool = False) -> None:
    """Run the daemon that `config` describes until SIGTERM or SIGINT; needs the main thread.

    Args:
        leave: see `Agent.run`.

    Raises:
        ContainernetError: it could not start, or with `leave` could not give everything back.
    """
    with contextlib.ExitStack() as stack:
        _make_directories(config)
        stack.enter_context(host_lock(config))
        parts = stack.enter_context(assembled(config))
        # Whatever is wrong here must be found before the store hears of this host.
        network = _network(config, parts)
        node = parts.node(network, config.node)
        check_node(node, network=network, local=parts.local, remote=parts.remote)
        addresses = AddressBook(config.addresses)
        stack.callback(addresses.close)
        agent = Agent(
            node=node,
            network=network,
            leases=parts.leases,
            routes=parts.routes,
            local=parts.local,
            remote=parts.remote,
            kernel=parts.kernel,
            addresses=addresses,
            state=config.view,
            ttl=config.daemon.lease_ttl,
            store=config.routes.name,
            lease_store=str(config.leases),
            settings=parts.settings
            or Settings(network=network, dataplane=parts.dataplane.name, options=parts.dataplane.options),
            subnets_taken=lambda node: _write_subnet_file(config, node, network),
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: agent.stop())
        plugin = _once(lambda: _plugin(agent, config, parts))
        commands = _commands(agent, config, parts, plugin)
        server = ControlServer(config.socket, commands, group=config.daemon.socket_group)
        stack.callback(server.close)
        log.info("started: node %s on %s", *_who(agent))
        # On a thread of its own: letters are opened one at a time, and who opens them asks the agent.
        ready = threading.Thread(target=_ready, args=(plugin,), name="containernet-ready", daemon=True)
        agent.run(leave=leave, when_ready=ready.start)
        notify("STOPPING=1")
        log.info("stopped; %s", "everything given back" if leave else "forwarding goes on")


def give_memory_back() -> None:
    """Let the C library give large blocks back to the kernel when they are freed, as mallopt(3) has it.

    By itself it keeps them, and for each thread apart: of a start with thousands of peers, 4 MB for ever.
    Nothing happens where there is no mallopt (musl).
    """
    with contextlib.suppress(AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 1 << 16)


def notify(state: str) -> None:
    """Tell the service manager, as sd_notify(3) does; nothing happens where there is none."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
        connection.sendto(state.encode(), address)


def _plugin(agent: Agent, config: Config, parts: Parts) -> Plugin:
    from .cni.plugin import Plugin  # 6 ms, and no runtime waits for them as the peers' routes would

    return Plugin(agent, local=parts.local, letters=config.letters)


def _once(make: Callable[[], _T]) -> Callable[[], _T]:
    """Return what makes a thing when it is first asked for, and returns that ever after, to any thread."""
    made: list[_T] = []
    lock = threading.Lock()

    def get() -> _T:
        with lock:
            if not made:
                made.append(make())
            return made[0]

    return get


def _ready(plugin: Callable[[], Plugin]) -> None:
    try:
        plugin().open_letters()
    except OSError as error:
        log.error("what was asked for while no daemon answered is not done yet: %s", error)
    notify("READY=1")


def _collect_gone(agent: Agent, plugin: Callable[[], Plugin]) -> Mapping[str, Any]:
    plugin().open_letters()
    return {"collected": [endpoint_to_json(endpoint) for endpoint in agent.collect_gone()]}


def _ask(stores: Mapping[str, object], request: Mapping[str, Any]) -> object:
    from . import questions  # an operator's, if ever

    return questions.answer(stores, request)


def _commands(agent: Agent, config: Config, parts: Parts, plugin: Callable[[], Plugin]) -> Mapping[str, Any]:
    stores = {config.leases.name: parts.leases, config.routes.name: parts.routes}
    return {
        "ask": lambda request: _ask(stores, request),
        "cni": lambda request: plugin().answer(request),
        "gc": lambda _request: _collect_gone(agent, plugin),
        "status": lambda _request: agent.status().to_json(),
        "attach": lambda request: endpoint_to_json(
            agent.attach(
                _text(request, "container"),
                _text(request, "netns"),
                interface=_text(request, "interface", "eth0"),
            )
        ),
        "detach": lambda request: {
            "detached": agent.detach(_text(request, "container"), interface=_text(request, "interface", "eth0"))
        },
    }


def _text(request: Mapping[str, Any], key: str, default: str = "") -> str:
    value = request.get(key, default)
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{key} = {value!r}: expected text")
    return value


def _write_subnet_file(config: Config, node: Node, network: NetworkConfig) -> None:
    if path := config.daemon.subnet_file:
        masquerade = all(config.edge.masquerades(subnet.version) for subnet in node.subnets)
        try:
            subnet_file.write(Path(path), node, network, masquerade=masquerade)
        except OSError as error:
            log.error("cannot write %s: %s; who reads it has the old subnet", path, error)


def _network(config: Config, parts: Parts) -> NetworkConfig:
    try:
        return agreed(parts.network(), config.network)
    except StoreUnavailable:
        known = config.network or _remembered_network(config.view)
        if known is None:
            raise
        return known  # the keeper asks again, and says so when the store disagrees


def _remembered_network(path: Path) -> NetworkConfig | None:
    try:
        return remembered.load(path).network
    except ValueError:
        return None


def _who(agent: Agent) -> tuple[str, str]:
    return agent.node.name, ", ".join(f"{own} dev {agent.node.interface}" for own in agent.node.addresses)


def _make_directories(config: Config) -> None:
    for path in (Path(config.daemon.state_dir), Path(config.daemon.run_dir)):
        try:
            path.mkdir(mode=0o755, parents=True, exist_ok=True)
        except PermissionError as error:
            raise PermissionRefused(
                f"cannot make {path}: {error.strerror}; run as root, or set another path"
            ) from error
        except OSError as error:
            raise ConfigError(
                f"cannot make {path}: {error.strerror}; set another path under [daemon]"
            ) from error


@contextlib.contextmanager
def host_lock(config: Config) -> Iterator[None]:
    """Hold the host's lock: two agents on one kernel would undo each other's work.

    Raises:
        AlreadyRunning: another process holds it.
        PermissionRefused: the lock file cannot be opened.
    """
    path = Path(config.daemon.run_dir) / "containernetd.lock"
    try:
        file = path.open("a+")
    except OSError as error:
        raise PermissionRefused(f"cannot open {path}: {error.strerror}; run as root, or set run_dir") from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise AlreadyRunning(
                f"another containernetd (pid {file.read().strip() or 'unknown'}) runs on this host and holds "
                f"{path}: stop it first, or give this one its own run_dir and namespace"
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


def _log_to_stderr(level: str) -> None:
    # One line an event, key=value, for a journal that adds the time by itself.
    handler = logging.StreamHandler()
    handler.setFormatter(_Logfmt())
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("stevedore").setLevel(logging.WARNING)  # its debugging is about itself


class _Logfmt(logging.Formatter):
    """A log line as logfmt: machine readable, and readable."""

    def format(self, record: logging.LogRecord) -> str:
        message = printable(record.getMessage().replace("\\", "\\\\").replace('"', '\\"'))
        line = f'level={record.levelname.lower()} logger={record.name} msg="{message}"'
        if not os.environ.get("JOURNAL_STREAM"):
            line = f"time={self.formatTime(record, '%Y-%m-%dT%H:%M:%S')}.{record.msecs:03.0f} {line}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
