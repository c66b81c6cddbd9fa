"""A network for the members of one cluster, in which each can be cut off from the others without a word.

Only what members say to each other goes there; a client enters by a `Proxy`. So a member may be cut off from
its peers, from its clients, or from both.
"""

from __future__ import annotations

from tests.bgp.topology import Segment


class Peers:
    """Hosts on one wire; needs the right to make namespaces. The caller closes it.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._segment = Segment()
        self._members = [
            self._segment.host(f"member{number}", f"{self.address(number)}/24") for number in range(size)
        ]

    def netns(self, number: int) -> str:
        """Return the path of a member's namespace."""
        return str(self._members[number].path)

    def address(self, number: int) -> str:
        """Return a member's address in it."""
        return f"10.0.0.{number + 1}"

    def cut(self, number: int) -> None:
        """Let no packet from or to that member pass; may be called twice."""
        self._segment.cut(self._members[number])

    def mend(self, number: int) -> None:
        """Let packets pass again; may be called twice."""
        self._segment.mend(self._members[number])

    def close(self) -> None:
        """Let the namespaces go; they end with the last process in them."""
        self._segment.close()
