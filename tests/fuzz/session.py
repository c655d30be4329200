"""One process that fuzzes one target: limits, the judgement on every input, the figures for the driver."""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snnc.ir.errors import SnncError
from tests.fuzz.target import LONGEST, MEMORY, SECONDS, FindingError

if TYPE_CHECKING:
    from tests.fuzz.target import Target

HEADROOM = 4 * 2**30
"""Address space beyond what the process has at the start: what asks for more fails at once, harmlessly."""

FIGURES, CURRENT = "figures.json", "current"


@dataclass(slots=True)
class Session:
    """Feeds inputs to a target and records what happens in `folder`."""

    target: Target
    folder: Path
    patience: float = SECONDS
    figures: dict[str, Any] = field(
        default_factory=lambda: {"inputs": 0, "accepted": 0, "peak": 0, "slowest": 0.0, "findings": {}}
    )

    def prepare(self) -> None:
        """Set the limits of this process; an input that takes too long ends it, whatever it is doing."""
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + HEADROOM, size + HEADROOM))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        warnings.simplefilter("error")
        (self.folder / "files").mkdir(exist_ok=True)
        self.write()

    def feed(self, data: bytes) -> None:
        """Judge one input. It lies in `CURRENT` meanwhile, in case this process does not survive it."""
        data = data[:LONGEST]
        (self.folder / CURRENT).write_bytes(data)
        started = time.perf_counter()
        signal.setitimer(signal.ITIMER_REAL, self.patience)
        try:
            self.target.feed(data, self.folder / "files")
            self.figures["accepted"] += 1
        except SnncError as refusal:
            if "Unable to allocate" in str(refusal):
                self.found(FindingError(str(refusal)).with_traceback(refusal.__traceback__), data)
        except Exception as problem:  # noqa: BLE001  # anything else is what is looked for
            self.found(problem, data)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.figures["inputs"] += 1
        self.figures["slowest"] = max(self.figures["slowest"], time.perf_counter() - started)
        self.figures["peak"] = peak_memory()
        if self.figures["peak"] > MEMORY:
            self.found(FindingError(f"{self.figures['peak'] / 2**20:.0f} MiB in memory"), data)
            self.write()
            os._exit(0)  # the peak stays; the driver goes on in a fresh process
        self.write()

    def found(self, problem: Exception, data: bytes) -> None:
        """Keep one input for every kind of finding and place in the code."""
        key = f"{type(problem).__name__} in {place_of(problem)}"
        findings = self.figures["findings"]
        if key not in findings:
            path = self.folder / f"finding-{len(findings)}-{os.getpid()}"
            path.write_bytes(data)
            text = str(problem).splitlines()[:1] or [""]
            findings[key] = {"message": text[0][:200], "input": str(path), "count": 0}
            (path.with_suffix(".txt")).write_text("".join(traceback.format_exception(problem)))
        findings[key]["count"] += 1

    def finish(self) -> None:
        """Say that time or inputs were used up."""
        self.figures["finished"] = True
        self.write()

    def write(self) -> None:
        (self.folder / FIGURES).write_text(json.dumps(self.figures))


def peak_memory() -> int:
    """Return the most bytes this process had in memory.

    Not `ru_maxrss`: a process begins with that of the one it was started from, here the test run's.
    """
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")
    ]
    return 1024 * int(line.split()[1])


def place_of(problem: Exception) -> str:
    """Return where in snnc an exception comes from: file and line of the innermost frame there."""
    frames = [
        frame
        for frame in traceback.extract_tb(problem.__traceback__)
        if f"{os.sep}snnc{os.sep}" in frame.filename
        or any(part in frame.filename for part in ("/compiler/", "/ir/", "/passes/", "/backends/"))
    ]
    if not frames:
        return "no place"
    return f"{'/'.join(Path(frames[-1].filename).parts[-3:])}:{frames[-1].lineno}"


def run_blind(target: Target, folder: Path, arguments: dict[str, Any]) -> None:
    """Run inputs `start` to `runs`, each by its number and the seed alone."""
    from random import Random

    session = Session(target, folder, arguments["patience"])
    session.prepare()
    seeds = target.seeds()
    end = time.monotonic() + arguments["seconds"]
    for number in range(arguments["start"], arguments["runs"]):
        if time.monotonic() > end:
            break
        rng = Random(f"{arguments['seed']}/{target.name}/{number}")
        data = seeds[number] if number < len(seeds) else target.mutate(rng.choice(seeds), rng)
        while number >= len(seeds) and rng.random() < 0.3:
            data = target.mutate(data, rng)
        session.feed(data)
    session.finish()


def run_guided(target: Target, folder: Path, arguments: dict[str, Any]) -> None:
    """Run atheris: inputs that reach new code are kept and mutated further."""
    import atexit
    from random import Random

    import atheris

    session = Session(target, folder, arguments["patience"])
    session.prepare()
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    seeds = target.seeds()
    for number, seed in enumerate(seeds):
        (corpus / f"seed-{number}").write_bytes(seed)

    def feed(data: bytes) -> None:
        session.feed(data)

    def mutate(data: bytes, longest: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.3:
            data = rng.choice(seeds)  # sound again: what is damaged over and over is refused at the door
        changed = target.mutate(data, rng) if rng.random() < 0.7 else atheris.Mutate(data, longest)
        return changed[:longest]

    atexit.register(session.finish)
    options = {
        "seed": arguments["seed"] + 1,  # 0 means any
        "max_total_time": arguments["seconds"],
        "max_len": LONGEST,
        "timeout": 0,
        "rss_limit_mb": 0,
        "print_final_stats": 0,
    }
    if arguments["runs"] < sys.maxsize:
        options["runs"] = arguments["runs"]
    flags = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], feed, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    if given["guided"]:
        import atheris

        with atheris.instrument_imports(include=["snnc"]):
            from tests.fuzz.targets import TARGETS
        run_guided(TARGETS[given["target"]], Path(given["folder"]), given)
    else:
        from tests.fuzz import faulty
        from tests.fuzz.targets import TARGETS

        target = faulty.TARGET if given["target"] == faulty.TARGET.name else TARGETS[given["target"]]
        run_blind(target, Path(given["folder"]), given)
