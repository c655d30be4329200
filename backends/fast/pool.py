"""Programs that nobody runs at the moment: their memory serves the next run."""

from __future__ import annotations

from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Generic, TypeVar

from snnc.backends.fast.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snnc.backends.fast.program import Code

P = TypeVar("P", bound=Layout)
# A full group and the last, smaller one are worth keeping.
KEPT = 2


class Pool(Generic[P]):
    """Programs by what they are made for; safe to use from several threads."""

    def __init__(self, make: Callable[..., P]) -> None:
        self._make = make
        self._idle: dict[tuple[Code, tuple[int, ...]], list[P]] = {}
        self._lock = Lock()

    @contextmanager
    def borrowed(self, code: Code, *sizes: int) -> Iterator[P]:
        """Yield a program for groups of these sizes that nobody else has."""
        key = code, sizes
        with self._lock:
            idle = self._idle.get(key)
            program = idle.pop() if idle else None
        program = program or self._make(code, *sizes)
        try:
            yield program
        finally:
            with self._lock:
                if key not in self._idle and len(self._idle) >= KEPT:
                    self._idle.clear()
                self._idle.setdefault(key, []).append(program)

    @property
    def planned_bytes(self) -> int:
        """Return the bytes of the streams, sums and membranes that are kept for the next run."""
        return sum(program.planned_bytes for programs in self._idle.values() for program in programs)
