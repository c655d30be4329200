"""`run.py`: runs an emitted network under supervision.

The Lava network runs in a process group of its own. When it ends, fails, takes too long, or when this
process is interrupted or its caller is gone, the whole group is killed and its shared memory removed. A
guard in a session of its own does the same should this process be killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.lava.runtime.cost import describe_cost

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHARED_MEMORY = Path("/dev/shm")
PATIENCE = 5.0  # seconds for killed processes to go away
TIME_LIMIT = 3600.0
POLL = 0.05


class EndedError(Exception):
    """The run ends early; the message says why."""


def main(folder: Path, arguments: Sequence[str]) -> int:
    """Run the network in `folder` as the command line says; return the exit code."""
    if arguments[:1] == ["--worker"]:
        work_or_end(folder, Path(arguments[1]))
        return 0
    options = parse(arguments)
    network = json.loads((folder / "network.json").read_text())
    with tempfile.TemporaryDirectory(prefix="snnc-lava-") as scratch:
        try:
            steps = options.steps or network["steps"]
            job = prepare(network, options, Path(scratch), steps)
            supervise(folder, job, options)
        except (EndedError, OSError, KeyError, ValueError) as error:
            report(options, {"error": str(error)}, f"error: {error}")
            return 1
    return 0


def work_or_end(folder: Path, job_file: Path) -> None:
    """Do a job; end the process at once if it fails: leaving it in order would wait for Lava's processes."""
    from snnc.backends.lava.runtime.worker import work

    try:
        work(folder, job_file)
    except Exception:  # noqa: BLE001  # whatever it is, Lava's processes are waiting
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Run the network in Lava, on the CPU.")
    parser.add_argument("--input", required=True, help="samples: .npy, or .npz with one array per input")
    parser.add_argument("-T", "--steps", type=int, help="time steps per sample [as recorded]")
    parser.add_argument("-o", "--output", required=True, help="the .npz file to write: outputs [T, N, ...]")
    parser.add_argument("--record", help="a folder for what every layer sends: NAME.npy [N T, ...]")
    parser.add_argument("--time-limit", type=float, default=TIME_LIMIT, metavar="SECONDS")
    parser.add_argument("--follow", action="store_true", help="end when standard input ends; report as JSON")
    return parser.parse_args(arguments)


def prepare(network: Any, options: argparse.Namespace, scratch: Path, steps: int) -> dict[str, Any]:
    """Write the job's files and return it."""
    inputs = read_inputs(Path(options.input), [one["name"] for one in network["inputs"]])
    np.savez(scratch / "inputs.npz", **inputs)
    if options.record:
        Path(options.record).mkdir(parents=True, exist_ok=True)
    job = {
        "inputs": str(scratch / "inputs.npz"),
        "steps": steps,
        "output": str(Path(options.output).resolve()),
        "record": str(Path(options.record).resolve()) if options.record else "",
        "folder": str(scratch),
        "token": f"snnc{secrets.token_hex(6)}",
    }
    (scratch / "job.json").write_text(json.dumps(job))
    told = describe_cost(network, inputs, steps)
    report(options, {"cost": told}, f"{told['text']}")
    return job | {"total": told["steps"]}


def read_inputs(path: Path, names: Sequence[str]) -> dict[str, Any]:
    """Return one array per input."""
    if path.suffix == ".npy":
        if len(names) != 1:
            raise ValueError(f"the network has the inputs {', '.join(names)}: give an .npz file")
        return {names[0]: np.load(path, allow_pickle=False)}
    with np.load(path, allow_pickle=False) as archive:
        if len(names) == len(archive.files) == 1:
            return {names[0]: archive[archive.files[0]]}
        return {name: archive[name] for name in names}


def report(options: argparse.Namespace, fact: dict[str, Any], text: str) -> None:
    """Tell the caller something: as a line of JSON, or as text."""
    if options.follow:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(fact), flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


# Supervision.


def supervise(folder: Path, job: dict[str, Any], options: argparse.Namespace) -> None:
    """Run the worker; `EndedError` if it fails or must be ended. Nothing of it is left afterwards."""
    scratch = Path(job["folder"])
    reading, writing = os.pipe()
    log = scratch / "log"
    with caught_signals(), log.open("wb") as file:
        command = [
            sys.executable,
            "-W",
            "ignore",
            str(folder / "run.py"),
            "--worker",
            str(scratch / "job.json"),
        ]
        worker = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
            env=environment(),
        )
        try:
            start_guard(worker.pid, job["token"], reading, writing)
            watch(worker, job, options)
        finally:
            kill_group(worker.pid)
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(PATIENCE)
            remove_shared_memory(job["token"])
            os.close(writing)  # the guard finds nothing left to do
            os.close(reading)
    if worker.returncode != 0 or (scratch / "error").exists():
        raise EndedError(why(scratch))


def environment() -> dict[str, str]:
    """Return the worker's environment: one process per layer leaves nothing to gain from threads."""
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    return {**os.environ, **threads}


def watch(worker: subprocess.Popen[bytes], job: dict[str, Any], options: argparse.Namespace) -> None:
    """Return when the worker has ended; `EndedError` when it must not go on. Reports progress."""
    deadline = time.monotonic() + options.time_limit
    scratch = Path(job["folder"])
    progress, told = scratch / "progress", 0
    while worker.poll() is None:
        if (scratch / "error").exists():
            return
        if told and not (scratch / "finished").exists():
            check_members(worker.pid, scratch)
        if time.monotonic() > deadline:
            raise EndedError(f"the run took longer than {options.time_limit:g} seconds; see --time-limit")
        if options.follow:
            ready, _, _ = select.select([0], [], [], POLL)
            if ready and not os.read(0, 1):
                raise EndedError("the caller is gone")
        else:
            time.sleep(POLL)
        done = progress.stat().st_size if progress.exists() else 0
        if done > told:
            told = done
            show_progress(options, done, job["total"])


def check_members(group: int, scratch: Path) -> None:
    """Refuse to go on without a process of the network: the others would wait for it for ever.

    Lava buries its processes when it stops; until then a dead one can be seen.
    """
    if "Z" in states(group) and not any((scratch / name).exists() for name in ("finished", "error")):
        raise EndedError("a process of the Lava network died")


def show_progress(options: argparse.Namespace, done: int, total: int) -> None:
    if options.follow:
        report(options, {"done": done, "total": total}, "")
    elif sys.stderr.isatty():
        end = "\n" if done == total else ""
        print(f"\rstep {done} of {total}", end=end, file=sys.stderr, flush=True)


def why(scratch: Path) -> str:
    """Return what the worker left: its own words, else the end of its log."""
    error = scratch / "error"
    if error.exists():
        return error.read_text().strip().splitlines()[0]
    lines = (scratch / "log").read_text(errors="replace").strip().splitlines()
    return "the Lava network ended:\n" + "\n".join(lines[-15:])


@contextlib.contextmanager
def caught_signals() -> Iterator[None]:
    """Turn SIGINT, SIGTERM and SIGHUP into `EndedError` while the worker lives."""

    def end(number: int, frame: Any) -> None:
        for each in numbers:  # once is enough: what follows must not be interrupted
            signal.signal(each, signal.SIG_IGN)
        raise EndedError(f"ended by {signal.Signals(number).name}")

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def start_guard(group: int, token: str, reading: int, writing: int) -> None:
    """Fork a process that waits until this one is gone, then kills the group and removes its memory."""
    if os.fork():
        return
    try:
        os.setsid()
        os.close(writing)
        os.closerange(0, 3)
        while os.read(reading, 1):
            pass
        kill_group(group)
        remove_shared_memory(token)
    finally:
        os._exit(0)


def kill_group(group: int) -> None:
    """Kill every process of the group and wait until they are gone."""
    deadline = time.monotonic() + PATIENCE
    try:
        os.killpg(group, signal.SIGKILL)
        while time.monotonic() < deadline and any(state not in "ZX" for state in states(group)):
            time.sleep(0.01)
    except ProcessLookupError:
        return


def states(group: int) -> list[str]:
    """Return the state of every process of a group, as /proc has it; Z is dead and not buried yet."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, ValueError):
            state, _, leader = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(leader) == group:
                found.append(state)
    return found


def remove_shared_memory(token: str) -> None:
    for file in SHARED_MEMORY.glob(f"psm_{token}_*"):
        with contextlib.suppress(OSError):
            file.unlink()
