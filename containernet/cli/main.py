"""The program `containernet`: a few lines of public API for each word that an operator types.

What asks the daemon goes over its socket; what only looks at the store or at the kernel does so by itself, and
needs no daemon. Whatever prints a table prints JSON with --json.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from containernet.errors import ContainernetError
from containernet.printable import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

EXIT_CODES = """\
exit codes: 0 done; 1 failed; 2 wrong configuration or arguments; 3 no permission; 4 store; 5 nothing left to
give; 6 kernel; 7 already running; 8 no daemon; 9 not ready; 10 the node's own files"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command of the command line; exits with its code."""
    gc.disable()  # what is imported is no garbage
    from containernet.cli import ask, cni, inspect, lab, network, operate

    gc.enable()
    parser = argparse.ArgumentParser(
        prog="containernet",
        description="Container networking that can be planned, shown and explained.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, help="default: /etc/containernet/containernet.toml")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in (operate, inspect, network, cni, lab):
        module.add_parser(commands)
    ask.add_parser(commands, sys.argv[1:] if arguments is None else arguments)
    chosen = parser.parse_args(arguments)
    try:
        code = chosen.run(chosen)
        sys.stdout.flush()
    except ContainernetError as error:
        if getattr(chosen, "json", False):
            print(json.dumps({"error": {"type": type(error).__name__, "message": str(error)}}))
        print(f"containernet: {printable(error)}", file=sys.stderr)
        code = error.exit_code
    except BrokenPipeError:
        # The reader has seen enough; `containernet routes | head` is no error. What is left in the buffer would
        # be written at the interpreter's end, and fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except KeyboardInterrupt:
        # What was begun has been taken back. Who dies of the signal ends the loop of a shell around it too.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
        raise
    sys.exit(code)


if __name__ == "__main__":
    main()
