"""What the user sees when something is refused: one message on stderr and an exit code."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

from click.exceptions import Exit

from snnc.cli.show import show_error
from snnc.ir.errors import SnncError

if TYPE_CHECKING:
    from collections.abc import Iterator

USERS_PROBLEM = 1
INTERRUPTED = 130  # what shells expect after Ctrl-C: 128 + SIGINT


@contextmanager
def reported_failures() -> Iterator[None]:
    """Turn refusals and failures of the machine into a message and an exit code."""
    try:
        yield
    except SnncError as error:
        show_error(error.report())
        raise Exit(error.exit_code) from error
    except KeyboardInterrupt as error:
        show_error("interrupted")
        raise Exit(INTERRUPTED) from error
    except MemoryError as error:
        show_error("error[out-of-memory]: there is not enough memory for this")
        raise Exit(USERS_PROBLEM) from error
    except OSError as error:
        if error.errno == errno.EPIPE:  # the reader of our output has seen enough; click ends quietly
            raise
        place = f"\n  --> {error.filename}" if error.filename is not None else ""
        show_error(f"error[file]: {error.strerror or error}{place}")
        raise Exit(USERS_PROBLEM) from error
