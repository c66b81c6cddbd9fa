"""A network for the members of one cluster, in which each can be cut off from the others without a word.

Every member has a network namespace of its own, with a veth to a bridge in one more. Only what members say to
each other goes there; a client enters by a `Proxy`. So a member may be cut off from its peers, from its
clients, or from both.

To cut it off, its port of the bridge stops forwarding. Its link stays up, nobody is told, and packets vanish.
"""

from __future__ import annotations

from contextlib import ExitStack

from tests.kernel.conftest import Netns


class Peers:
    """Namespaces on one bridge; needs the right to make them. The caller closes it.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._stack = ExitStack()
        self._switch = self._namespace()
        self._members = [self._namespace() for _ in range(size)]
        self._switch.ip("link add name switch type bridge")
        self._switch.ip("link set switch up")
        for number, member in enumerate(self._members):
            self._switch.ip(f"link add name {port(number)} type veth peer name eth0 netns {member.path}")
            self._switch.ip(f"link set {port(number)} master switch up")
            member.ip(f"address add {self.address(number)}/24 dev eth0")
            member.ip("link set eth0 up")

    def _namespace(self) -> Netns:
        made = Netns()
        self._stack.callback(made.close)
        return made

    def netns(self, number: int) -> str:
        """Return the path of a member's namespace."""
        return self._members[number].path

    def address(self, number: int) -> str:
        """Return a member's address in it."""
        return f"10.0.0.{number + 1}"

    def cut(self, number: int) -> None:
        """Let no packet from or to that member pass; may be called twice."""
        self._switch.bridge(f"link set dev {port(number)} state disabled")

    def mend(self, number: int) -> None:
        """Let packets pass again; may be called twice."""
        self._switch.bridge(f"link set dev {port(number)} state forwarding")

    def close(self) -> None:
        """Let the namespaces go; they end with the last process in them."""
        self._stack.close()


def port(number: int) -> str:
    """Return the name of a member's port of the bridge."""
    return f"member{number}"
