"""What the user sees when something is refused: one message on stderr and an exit code."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from click.exceptions import Exit, NoSuchOption

from snnc.cli.show import show_error
from snnc.ir.errors import SnncError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

USERS_PROBLEM = 1
BY_SIGNAL = 128  # what shells add to the number of the signal that ended a command
INTERRUPTED = BY_SIGNAL + signal.SIGINT


class EndedBySignal(BaseException):  # like KeyboardInterrupt, it is no error
    """SIGTERM or SIGHUP: as after Ctrl-C, every `finally` has its turn."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.signal = signal.Signals(number)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise `EndedBySignal`, unless somebody handles or ignores them already."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    taken = [number for number in numbers if signal.getsignal(number) is signal.SIG_DFL]

    def end(number: int, frame: FrameType | None) -> None:
        for each in taken:  # once is enough, and `timeout` sends two: cleaning up must not be interrupted
            signal.signal(each, signal.SIG_IGN)
        raise EndedBySignal(number)

    for number in taken:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in taken:
            if signal.getsignal(number) is end:
                signal.signal(number, signal.SIG_DFL)


@contextmanager
def reported_failures() -> Iterator[None]:
    """Turn refusals and failures of the machine into a message and an exit code."""
    try:
        with ended_by_signals():
            yield
    except SnncError as error:
        show_error(error.report())
        raise Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        show_error("interrupted")
        raise Exit(INTERRUPTED) from error
    except EndedBySignal as error:
        show_error(f"ended by {error.signal.name}")
        raise Exit(BY_SIGNAL + error.signal) from error
    except NoSuchOption as error:
        meant = nearest(error.option_name, error.possibilities or ())
        raise NoSuchOption(error.option_name, possibilities=meant, ctx=error.ctx) from error
    except MemoryError as error:
        show_error("error[out-of-memory]: there is not enough memory for this")
        raise Exit(USERS_PROBLEM) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output has seen enough; click ends quietly
            raise
        show_os_error(error)
        raise Exit(USERS_PROBLEM) from error


@contextmanager
def the_last_word() -> Iterator[None]:
    """End the process with a message where writing fails outside of any command."""
    try:
        yield
    except OSError as error:
        show_os_error(error)
        sys.exit(USERS_PROBLEM)


def show_os_error(error: OSError) -> None:
    place = f"\n  --> {error.filename}" if error.filename is not None else ""
    show_error(f"error[file]: {error.strerror or error}{place}")
