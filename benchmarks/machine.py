"""Says what the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

# Of what /proc/cpuinfo lists, the instructions that matrix products use.
VECTORS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_int8")


def describe(threads: int) -> str:
    """Return a sentence on processor, memory, versions and threads, and how busy the machine was."""
    fields = processor()
    flags = fields.get("flags", "").split()
    known = ", ".join(name for name in VECTORS if name in flags)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    libraries = ", ".join(f"{name} {version(name)}" for name in ("numpy", "onnxruntime"))
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # type: ignore[index,call-overload]  # a dict
    return (
        f"{fields.get('model name', platform.machine())} (family {fields.get('cpu family', '?')}; {known}), "
        f"{os.cpu_count()} virtual cores at {float(fields.get('cpu MHz', 0)) / 1e3:.1f} GHz, "
        f"{caches()}, {memory:.0f} GiB, {platform.system()}; "
        f"Python {platform.python_version()}, {libraries}, "
        f"{blas['name']} {blas['version']} ({kernels()} kernels). "
        f"{threads} thread(s) on either side; load average at the start {os.getloadavg()[0]:.1f}."
    )


def kernels() -> str:
    """Return whose kernels OpenBLAS takes: by the processor, or by OPENBLAS_CORETYPE."""
    return ", ".join(
        pool.get("architecture", "unknown") for pool in threadpool_info() if pool["user_api"] == "blas"
    )


def caches() -> str:
    """Return the sizes of the second and third level: "L2 1024K, L3 32768K"."""
    folder = Path("/sys/devices/system/cpu/cpu0/cache")
    found = {
        (index / "level").read_text().strip(): (index / "size").read_text().strip()
        for index in sorted(folder.glob("index*"))
    }
    return ", ".join(f"L{level} {found[level]}" for level in ("2", "3") if level in found)


def processor() -> dict[str, str]:
    """Return what the system says about the first core."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return {}
    lines = path.read_text().partition("\n\n")[0].splitlines()
    return {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
