"""Runs an integer network in Lava: writes its folder, starts `run.py` in a Python with Lava, reads outputs.

The supervisor in that folder watches this process through a pipe: when this one ends, however it ends,
nothing of the run is left.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from snnc.backends.inputs import check_run
from snnc.backends.lava.emit import write_lava
from snnc.backends.reference import Run
from snnc.ir.errors import BackendError, MissingPackageError, OptionError
from snnc.ir.output import write_npz

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from snnc.ir.graph import Graph
    from snnc.ir.kernel_types import Array

VARIABLE = "SNNC_LAVA_PYTHON"
OWN = Path(".lava", "bin", "python")  # what `make lava` makes, seen from the repository
LOOK_FOR_LAVA = "import importlib.util; importlib.util.find_spec('lava.magma') and print('lava')"
RECIPE = (
    "python3.10 -m venv .lava && .lava/bin/pip install lava-nc==0.10.0; for Python 3.11 and later, and for "
    "other places, see docs/loihi.md"
)
CLOSING = 30.0  # seconds for the supervisor to clean up
TIME_LIMIT = 3600.0


def find_lava_python(given: str | None = None) -> Path:
    """Return the Python that runs Lava: as given, as SNNC_LAVA_PYTHON says, this one, or .lava/bin/python."""
    chosen = given or os.environ.get(VARIABLE)
    if chosen:
        return checked_python(chosen, "--lava-python" if given else VARIABLE)
    with suppress(ModuleNotFoundError):
        if importlib.util.find_spec("lava.magma") is not None:
            return Path(sys.executable)
    if OWN.is_file() and has_lava(OWN):
        return OWN
    raise MissingPackageError(
        "there is no Lava here: neither in this Python nor in .lava",
        help=f"{RECIPE}; --lava-python or {VARIABLE} name another Python",
    )


def checked_python(given: str, source: str) -> Path:
    """Return the Python with Lava that `source` names; `OptionError` says what is there instead."""
    found = shutil.which(given)
    if found is None:
        reason = "is a folder" if Path(given).is_dir() else "cannot be executed"
        raise OptionError(
            f"{given} {reason if Path(given).exists() else 'does not exist'}",
            where=source,
            help="name the Python of the environment that has Lava, such as .lava/bin/python",
        )
    if not has_lava(Path(found)):
        raise OptionError(f"{given} is no Python with Lava", where=source, help=RECIPE)
    return Path(found)


def has_lava(python: Path) -> bool:
    with suppress(OSError, subprocess.TimeoutExpired):
        command = [str(python), "-c", LOOK_FOR_LAVA]
        said = subprocess.run(command, capture_output=True, timeout=60, check=False).stdout
        return said.split() == [b"lava"]
    return False


@dataclass(frozen=True, slots=True)
class Listener:
    """Whom to tell: `cost` a text before the run starts, `progress` the steps done and their total."""

    cost: Callable[[str], None] = lambda text: None
    progress: Callable[[int, int], None] = lambda done, total: None


class LavaSimulator:
    """Runs a network as the reference simulator does, in Lava; every run within `time_limit` seconds."""

    def __init__(
        self, graph: Graph, python: Path, *, time_limit: float = TIME_LIMIT, stock_steps: int | None = None
    ) -> None:
        """`stock_steps`: run it with Lava's own processes, at most so many steps per sample."""
        self.graph = graph
        self.python = python
        self.time_limit = time_limit
        self.folder = Path(tempfile.mkdtemp(prefix="snnc-lava-"))
        weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)
        write_lava(graph, stock_steps or 1, self.folder, stock=stock_steps is not None)

    def run(
        self,
        inputs: Array | Mapping[str, Array],
        steps: int,
        *,
        record: Path | None = None,
        listener: Listener | None = None,
    ) -> Run:
        """Present the inputs for `steps` steps; return the decoded outputs after every step.

        `record`: a folder for what every layer sends, NAME.npy [N T, …].
        """
        arrays, _ = check_run(self.graph, inputs, steps)
        with tempfile.TemporaryDirectory(prefix="snnc-lava-") as scratch:
            given, taken = Path(scratch, "inputs.npz"), Path(scratch, "outputs.npz")
            with given.open("wb") as file:
                write_npz(file, arrays)
            options = ["--input", given, "-o", taken, "-T", steps, "--time-limit", self.time_limit]
            if record is not None:
                options += ["--record", record]
            self._run_folder(list(map(str, options)), listener or Listener(), Path(scratch, "stderr"))
            with np.load(taken, allow_pickle=False) as archive:
                return Run({output.name: archive[output.name] for output in self.graph.outputs})

    def _run_folder(self, options: list[str], listener: Listener, errors: Path) -> None:
        command = [str(self.python), str(self.folder / "run.py"), *options, "--follow"]
        with errors.open("wb") as stderr:
            child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
            )
        assert child.stdin is not None
        try:
            failure = follow(facts(child), listener)
            child.wait()
        finally:
            child.stdin.close()  # the sign for the supervisor to end
            child.wait(CLOSING)
            assert child.stdout is not None
            child.stdout.close()
        if child.returncode != 0:
            said = failure or errors.read_text(errors="replace").strip() or f"exit code {child.returncode}"
            raise BackendError(f"the run in Lava failed: {said}", where=str(self.python))


def facts(child: subprocess.Popen[str]) -> Iterator[dict[str, Any]]:
    """Yield what the supervisor reports, one JSON object per line."""
    assert child.stdout is not None
    for line in child.stdout:
        with suppress(json.JSONDecodeError):
            yield json.loads(line)


def follow(reports: Iterator[dict[str, Any]], listener: Listener) -> str | None:
    """Pass reports on; return the error among them."""
    failure = None
    for fact in reports:
        if "cost" in fact:
            listener.cost(fact["cost"]["text"])
        elif "done" in fact:
            listener.progress(fact["done"], fact["total"])
        else:
            failure = str(fact.get("error"))
    return failure
