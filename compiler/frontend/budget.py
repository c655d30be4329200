"""How much memory the constants of an import may take: a tiny model can ask for terabytes of them."""

from __future__ import annotations

from dataclasses import dataclass

FREELY = 2**29
"""Bytes of constants that any model may compute, however small its own weights are."""

TIMES = 16
"""How many times its own weights it may compute beyond that: 4 bits become a float (8), moved once."""


@dataclass(slots=True)
class Budget:
    """Counts bytes: of the weights that were read, and of the constants that were computed."""

    read: int = 0
    computed: int = 0

    @property
    def left(self) -> int:
        return FREELY + TIMES * self.read - self.computed
