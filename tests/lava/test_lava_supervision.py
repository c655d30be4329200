"""A run in Lava that fails, or is ended in whatever way, leaves no process and no shared memory."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc
from snnc.backends.lava.emit import write_lava
from snnc.backends.lava.session import LavaSimulator
from snnc.ir.codebooks import MultiSpike
from snnc.ir.errors import BackendError
from tests.lava.networks import Builder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from snnc.ir.graph import Graph

PATIENCE = 30.0


def small(bias: int = 0) -> Graph:
    """Two layers; with a large bias the second one's current leaves its 32 bits."""
    net = Builder("small")
    hidden = net.neuron(net.synapse("linear", net.encode(net.input(4)), 5, 4), "hidden", MultiSpike(0, 7))
    current = net.synapse("linear", hidden, 3, 5, exponent=1)
    if bias:
        node = current.node
        assert node is not None
        tensor = net.graph.add_tensor("bias", np.full(3, bias, np.int32))
        net.graph.set_attributes(node, bias=tensor)
    net.answer(net.neuron(current, "last", MultiSpike(-7, 7)))
    return net.done()


class Running:
    """`snnc run --backend lava` on many steps, in a folder that names all of its processes."""

    def __init__(self, folder: Path, python: Path) -> None:
        self.folder = folder
        snnc.save(small(), folder / "net.sir")
        np.save(folder / "x.npy", np.ones((1, 4), np.float32))
        command = [sys.executable, "-m", "snnc", "run", folder / "net.sir", "--backend", "lava", "--input"]
        command += [folder / "x.npy", "-T", "20000", "-o", folder / "y.npy", "--lava-python", python]
        self.process = subprocess.Popen(
            list(map(str, command)),
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            # A shell's background job, as a test run may be, starts with SIGINT ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
        )
        self.wait(lambda: any(folder.glob("*/progress")))
        (job,) = folder.glob("*/job.json")
        self.token = json.loads(job.read_text())["token"]
        assert len(self.members()) > 5
        assert self.memory()

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < end, f"still there: {self.members()}"
            time.sleep(0.05)

    def members(self) -> dict[int, str]:
        """Return the running processes that have the folder's name in their command line."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
                if str(self.folder) in command and state != "Z":
                    found[int(entry.name)] = command
        return found

    def memory(self) -> list[Path]:
        return list(Path("/dev/shm").glob(f"psm_{self.token}_*"))

    def pids(self, part: str) -> list[int]:
        return sorted(pid for pid, command in self.members().items() if part in command)

    def assert_nothing_is_left(self) -> None:
        self.wait(lambda: not self.members())
        self.wait(lambda: not self.memory())


@pytest.fixture
def running(tmp_path: Path, lava_python: Path) -> Iterator[Running]:
    run = Running(tmp_path, lava_python)
    yield run
    for pid in run.members():
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    run.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda n: n.name)
def test_ending_the_command_ends_everything(running: Running, number: signal.Signals) -> None:
    running.process.send_signal(number)
    running.process.wait(PATIENCE)
    assert not (running.folder / "y.npy").exists()
    running.assert_nothing_is_left()
    if number != signal.SIGKILL:  # which leaves no time to remove the network
        assert not list(running.folder.glob("snnc-lava-*"))


def test_killing_the_supervisor_ends_everything(running: Running) -> None:
    os.kill(running.pids("--follow")[0], signal.SIGKILL)
    _, said = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 1
    assert "error[backend]: the run in Lava failed: exit code -9" in said
    running.assert_nothing_is_left()


def test_a_process_of_the_network_that_dies_is_noticed(running: Running) -> None:
    os.kill(running.pids("--worker")[-1], signal.SIGKILL)
    _, said = running.process.communicate(timeout=PATIENCE)
    assert running.process.returncode == 1
    assert "error[backend]: the run in Lava failed: a process of the Lava network died" in said
    running.assert_nothing_is_left()


def test_an_overflow_is_named(lava_python: Path) -> None:
    simulator = LavaSimulator(small(bias=2**31 - 1), lava_python)
    with pytest.raises(BackendError, match=r"last: 21\d+ does not fit 32 bits \(step 1 of the network\)"):
        simulator.run(np.full((2, 4), 3, np.float32), 4)


def test_why_a_network_cannot_be_built_is_said(lava_python: Path, tmp_path: Path) -> None:
    folder = tmp_path / "net"
    folder.mkdir()
    write_lava(small(), 4, folder)
    plan = folder / "network.json"
    plan.write_text(plan.read_text().replace('"op": "linear"', '"op": "nonsense"', 1))
    np.save(tmp_path / "x.npy", np.ones((1, 4), np.float32))
    command = [lava_python, "net/run.py", "--input", "x.npy", "-o", "y.npz", "--time-limit", "60"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "error: the Lava network ended:" in done.stderr
    assert "nonsense" in done.stderr


def test_a_run_that_takes_too_long_is_ended(lava_python: Path) -> None:
    simulator = LavaSimulator(small(), lava_python, time_limit=1)
    with pytest.raises(BackendError, match="the run took longer than 1 seconds"):
        simulator.run(np.ones((1, 4), np.float32), 20000)
