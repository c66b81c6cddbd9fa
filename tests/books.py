"""An address book asked in few words."""

from __future__ import annotations

from collections.abc import Sequence

from containernet.addresses import AddressBook
from containernet.model import Endpoint, Interface, Prefix


def assign(
    book: AddressBook,
    container: str,
    interface: str,
    subnets: tuple[Prefix, ...],
    *,
    netns: str = "",
    wishes: Sequence[Interface] = (),
) -> tuple[Interface, ...]:
    """Have a container's interface in the book; return its addresses."""
    wished = Endpoint(container=container, interface=interface, netns=netns, addresses=wishes)
    return book.assign(wished, subnets).addresses
