"""The program `containernetd`, as a service manager starts it: a thin door, and `serving` behind it.

Nothing is imported here but what the interpreter has anyway, so that the collector can be told first that
importing makes no garbage: it would look for some 150 times, a twentieth of the time to a host's last route.
"""

from __future__ import annotations

import gc


def main() -> None:
    """Run containernetd with the arguments of the command line; exits with the code of what ended it."""
    gc.disable()
    from . import serving

    calm_collector()
    gc.enable()
    serving.main()


def calm_collector() -> None:
    """Let Python look for garbage rarely: a large cluster is a million objects that stay, and no cycle."""
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)


if __name__ == "__main__":
    main()
