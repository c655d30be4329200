"""A bar on stderr for work that takes long; nothing where stderr is not a terminal."""

from __future__ import annotations

import sys
from threading import Timer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from rich.progress import Progress

PATIENCE = 1.0  # seconds before a bar appears


class Activity:
    """Shows what is going on and how far it is, once it has lasted a moment.

    `stage` renames the work and forgets its progress; `update` takes the samples done and their total.
    """

    def __init__(self, label: str, *, quiet: bool = False) -> None:
        self._label = label
        self._shown = not quiet and sys.stderr.isatty()
        self._bar: Progress | None = None
        self._timer: Timer | None = None

    def __enter__(self) -> Activity:
        if self._shown:
            self._bar = new_bar()
            self._task = self._bar.add_task(self._label, total=None)
            self._timer = Timer(PATIENCE, self._bar.start)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None and self._timer is not None:
            self._timer.cancel()
            self._timer.join()
            if self._bar.live.is_started:
                self._bar.stop()

    def stage(self, label: str) -> None:
        if self._bar is not None:
            self._bar.remove_task(self._task)
            self._task = self._bar.add_task(label, total=None)

    def update(self, done: int, total: int) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total)


def new_bar() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    )
