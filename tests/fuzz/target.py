"""What is fuzzed, and what counts as a finding.

A target feeds bytes to one of the places where files and words from outside enter. It may return or raise a
`SnncError`; anything else is a finding: another exception, more memory or time than the limits, a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.fuzz.mutation import flipped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path
    from random import Random

MEMORY = 2**30
"""Bytes that a process may hold at most, the interpreter and its libraries (about 200 MiB) included."""

SECONDS = 10
"""Wall-clock seconds that one input may take; nearly all take milliseconds."""

LONGEST = 2**19
"""Bytes of the longest input: what is expensive must be so for its claims, not for its size."""


@dataclass(frozen=True, slots=True)
class Target:
    """One entrance. `feed(data, folder)` hands it the input; `seeds` are sound inputs."""

    name: str
    feed: Callable[[bytes, Path], None]
    seeds: Callable[[], Sequence[bytes]]
    mutate: Callable[[bytes, Random], bytes] = flipped


class FindingError(Exception):
    """A refusal that hides what should not have happened: an allocation that failed, a pass that crashed."""
