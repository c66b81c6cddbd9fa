"""The fake kernel keeps the contract that the real one keeps: what is proven on it is worth something."""

from __future__ import annotations

from containernet.items import Item
from containernet.testing import FakeKernel, KernelBed, KernelContract


class TestFakeKernel(KernelContract):
    def bed(self) -> KernelBed:
        """Return an empty one; somebody else's items are known by their owner's name."""
        kernel = FakeKernel()
        kernel.add_namespace("/run/netns/c1")

        def occupy(item: Item) -> None:
            kernel.others[item.key] = "bird"

        return KernelBed(
            open=kernel.reopen,
            lose=lambda item: kernel.lose(item.key),
            occupy=occupy,
            netns="/run/netns/c1",
        )
