"""Compile time, load time and peak memory for networks of published sizes, in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import vit

# The peak is VmHWM: ru_maxrss would count the process that started this one too.
MEASURE = """
import json, re, sys, time
from pathlib import Path
start = time.perf_counter()
import snnc
graph = snnc.compile(sys.argv[1])
compiled = time.perf_counter() - start
processor = time.process_time()
snnc.save(graph, sys.argv[2])
saved = time.perf_counter() - start - compiled
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"compile": compiled, "processor": processor, "save": saved, "peak": peak,
                  "samples": graph.meta["calibration"]["samples"]}))
"""
LOAD = """
import json, sys, time
import snnc
snnc.load(sys.argv[1], check_weights=False)  # what every first call pays: modules, the grammar
start = time.process_time()
snnc.load(sys.argv[1], check_weights=False)
mapped = time.process_time() - start
snnc.load(sys.argv[1])
print(json.dumps({"mapped": mapped, "checked": time.process_time() - start - mapped}))
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds of the whole process, imports included, and of all its threads (`processor_seconds`) until the
    network is compiled; processor seconds of loading it, weights mapped or checked; bytes of the model and at
    the peak."""

    network: str
    model_bytes: int
    compile_seconds: float
    processor_seconds: float
    save_seconds: float
    load_seconds: float
    checked_load_seconds: float
    peak_bytes: int
    samples: int

    @property
    def ratio(self) -> float:
        return self.peak_bytes / self.model_bytes


def measure(size: vit.Size) -> Scale:
    """Write the model, compile it without calibration data, save the result and load it."""
    with tempfile.TemporaryDirectory() as folder:
        model, network = Path(folder) / "vit.onnx", Path(folder) / "vit.sir"
        written = vit.write(size, model)
        found = run(MEASURE, model, network)
        loaded = run(LOAD, network)
    return Scale(
        size.name,
        written,
        found["compile"],
        found["processor"],
        found["save"],
        loaded["mapped"],
        loaded["checked"],
        found["peak"],
        found["samples"],
    )


def run(script: str, *paths: Path) -> dict[str, Any]:
    """Run a script in a process of its own; return the object it prints."""
    command = [sys.executable, "-W", "ignore", "-c", script, *map(str, paths)]
    found: dict[str, Any] = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return found
