"""A target with every fault that fuzzing must notice; the tests fuzz it, `make fuzz` does not."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from snnc.ir.errors import ParseError
from tests.fuzz.target import MEMORY, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from random import Random

FAULTS = (b"accepts", b"refuses", b"raises", b"hangs", b"hoards", b"asks for terabytes", b"dies")


def feed(data: bytes, folder: Path) -> None:
    match data:
        case b"refuses":
            raise ParseError("no")
        case b"raises":
            raise OverflowError("as large as that")
        case b"hangs":
            time.sleep(60)
        case b"hoards":
            assert any(bytearray(b"x") * MEMORY)
        case b"asks for terabytes":
            bytearray(2**42)
        case b"dies":
            os.kill(os.getpid(), signal.SIGBUS)
        case _:
            pass


def seeds() -> Sequence[bytes]:
    return FAULTS


def mutate(data: bytes, rng: Random) -> bytes:
    return rng.choice(FAULTS)


TARGET = Target("faulty", feed, seeds, mutate)
