"""Other readers of NIR, each in a folder of its own that `make nir` fills, run in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from snnc.ir.kernel_types import Array

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("SNNC_NIR_CLIENTS", REPOSITORY / ".nir"))
SCRIPTS = Path(__file__).parent / "clients"
CLIENTS = ("spikingjelly", "norse", "snntorch")


def missing(client: str) -> str | None:
    """Return why a client cannot run, or None."""
    if not (FOLDER / client).is_dir():
        return f"{client} is not at {FOLDER / client}; make nir installs it"
    try:
        metadata.version("torch")
    except metadata.PackageNotFoundError:
        return f'{client} needs torch; pip install -e ".[torch]"'
    return None


def needs(client: str) -> pytest.MarkDecorator:
    """Skip a test, with the reason, where its client is absent."""
    reason = missing(client)
    return pytest.mark.skipif(reason is not None, reason=reason or "")


def version(client: str) -> str:
    (found,) = metadata.distributions(name=client, path=[str(FOLDER / client)])
    return found.version


def call(script: str, client: str, *arguments: str | Path) -> None:
    """Run one of the scripts with a client's packages in front of this environment's."""
    environment = {**os.environ, "PYTHONPATH": str(FOLDER / client), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", str(SCRIPTS / script), *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def run_client(client: str, network: Path, x: Array, steps: int) -> dict[str, Array]:
    """Return what every module of a NIR file sends at every step in a client, [T, N, …]."""
    data, record = network.with_suffix(".npy"), network.with_suffix(f".{client}.npz")
    np.save(data, x)
    call("run.py", client, client, network, data, str(steps), record)
    with np.load(record) as found:
        return dict(found)


def write_network(network: str, folder: Path, steps: int) -> tuple[Path, Array, Array]:
    """Return a NIR file that a client wrote, its input, and what its last layer sent, [T, N, …]."""
    client = network.partition("-")[0]
    path, record = folder / f"{network}.nir", folder / f"{network}.npz"
    call("write.py", client, network, path, record, str(steps))
    with np.load(record) as found:
        return path, found["x"], found["y"]
