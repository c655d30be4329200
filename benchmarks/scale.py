"""Compile time and peak memory for a network of ViT-B/16's size, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import vit_b

# The peak is VmHWM: ru_maxrss would count the process that started this one too.
MEASURE = """
import json, re, sys, time
from pathlib import Path
start = time.perf_counter()
import snnc
graph = snnc.compile(sys.argv[1])
compiled = time.perf_counter() - start
snnc.save(graph, sys.argv[2])
saved = time.perf_counter() - start - compiled
peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
print(json.dumps({"compile": compiled, "save": saved, "peak": peak,
                  "samples": graph.meta["calibration"]["samples"]}))
"""


@dataclass(frozen=True, slots=True)
class Scale:
    """Seconds of the whole process, imports included; bytes of the model file and at the peak."""

    model_bytes: int
    compile_seconds: float
    save_seconds: float
    peak_bytes: int
    samples: int

    @property
    def ratio(self) -> float:
        return self.peak_bytes / self.model_bytes


def measure() -> Scale:
    """Write the model, compile it without calibration data and save the result."""
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "vit_b.onnx"
        size = vit_b.write(model)
        command = [sys.executable, "-W", "ignore", "-c", MEASURE, str(model), str(Path(folder) / "vit_b.sir")]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return Scale(size, found["compile"], found["save"], found["peak"], found["samples"])
