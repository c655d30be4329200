"""`python -m tests.fuzz`: fuzz every target in processes of its own and list what was found.

A process that ends early, killed by the time limit or by a signal, is a finding too; the next one goes on
behind the input that did it. The exit code is 1 if there are findings.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.fuzz.session import CURRENT, FIGURES
from tests.fuzz.target import LONGEST, MEMORY, SECONDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]
NOT_GUIDED = """\
######################################################################################################
# atheris is not installed: inputs are mutated blindly, without regard to the code that they reach.  #
# It needs Linux and a Python that it has a wheel for; then: pip install atheris                     #
######################################################################################################"""


@dataclass(slots=True)
class Result:
    """What happened to one target, all its processes together."""

    target: str
    inputs: int = 0
    accepted: int = 0
    peak: int = 0
    slowest: float = 0.0
    findings: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, figures: dict[str, Any]) -> None:
        self.inputs += figures["inputs"]
        self.accepted += figures["accepted"]
        self.peak = max(self.peak, figures["peak"])
        self.slowest = max(self.slowest, figures["slowest"])
        for key, finding in figures["findings"].items():
            self.findings.setdefault(key, finding)


def fuzz(
    target: str,
    folder: Path,
    *,
    seconds: float,
    runs: int,
    seed: int = 0,
    guided: bool = False,
    patience: float = SECONDS,
) -> Result:
    """Fuzz one target until the time or the number of inputs is used up; `patience` is for one input."""
    folder = folder / target
    folder.mkdir(parents=True, exist_ok=True)
    result, end, finished = Result(target), time.monotonic() + seconds, False
    while not finished and result.inputs < runs and (left := end - time.monotonic()) > 0:
        (folder / FIGURES).unlink(missing_ok=True)
        arguments = {
            "target": target,
            "folder": str(folder),
            "seed": seed + (result.inputs if guided else 0),
            "start": result.inputs,
            "runs": runs,
            "seconds": max(1, round(left)),
            "guided": guided,
            "patience": patience,
        }
        process = run_session(arguments)
        finished = collect(result, folder, process)
    return result


def run_session(arguments: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run one process with one thread, so that its figures are its own."""
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.session", json.dumps(arguments)],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def collect(result: Result, folder: Path, process: subprocess.CompletedProcess[str]) -> bool:
    """Add what a process found, its own death included; tell whether it came to its end."""
    path = folder / FIGURES
    if not path.exists():
        raise SystemExit(f"the process for {result.target} did not start:\n{process.stderr}")
    figures = json.loads(path.read_text())
    result.add(figures)
    if figures.get("finished"):
        return True
    if process.returncode:
        name = signal.Signals(-process.returncode).name if process.returncode < 0 else str(process.returncode)
        kept = folder / f"finding-{name}-{result.inputs}"
        kept.write_bytes((folder / CURRENT).read_bytes())
        why = "took too long" if name == "SIGALRM" else process.stderr.strip()[-200:]
        result.findings[f"died of {name} #{result.inputs}"] = {"message": why, "input": str(kept), "count": 1}
        result.inputs += 1
    return False


def show(result: Result, seconds: float) -> None:
    print(
        f"{result.target:13} {result.inputs:9,} inputs  {result.inputs / max(seconds, 0.1):7,.0f}/s  "
        f"{100 * result.accepted / max(result.inputs, 1):3.0f} % accepted  slowest {result.slowest:5.2f} s  "
        f"peak {result.peak / 2**20:4.0f} MiB  {len(result.findings)} findings",
        flush=True,
    )
    for key, finding in result.findings.items():
        print(f"  {key} ({finding['count']} times): {finding['message']}\n    {finding['input']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: 60)")
    parser.add_argument("--runs", type=int, default=sys.maxsize, help="most inputs for each target")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other inputs (default: 0)")
    parser.add_argument(
        "--target", choices=sorted(TARGETS), action="append", help="only this one; may be repeated"
    )
    parser.add_argument("--blind", action="store_true", help="do without atheris even where it is installed")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "fuzz", help="for findings")
    given = parser.parse_args()
    guided = not given.blind and importlib.util.find_spec("atheris") is not None
    if not guided and not given.blind:
        print(NOT_GUIDED, file=sys.stderr)
    print(
        f"seed {given.seed}, {'guided by coverage (atheris)' if guided else 'blind'}; limits for one input: "
        f"{SECONDS} s, {MEMORY / 2**20:.0f} MiB, {LONGEST // 1024} KiB long",
        flush=True,
    )
    found = 0
    for target in given.target or TARGETS:
        started = time.monotonic()
        result = fuzz(
            target, given.folder, seconds=given.seconds, runs=given.runs, seed=given.seed, guided=guided
        )
        show(result, time.monotonic() - started)
        found += len(result.findings)
    raise SystemExit(1 if found else 0)


if __name__ == "__main__":
    main()
