"""Files that change while read, full disks, killed processes: what is there is old or new, never half."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import TensorProto, helper, save_model

from snnc.data import load_data
from snnc.frontend import import_onnx
from snnc.ir.archive import load, save
from snnc.ir.errors import DataError, ModelError, OutputError
from snnc.ir.graph import Graph
from snnc.ir.types import TensorType
from tests.harness import onnx_model
from tests.ir.sample_graphs import small_network

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals and limits")


def network(value: int, elements: int = 2**20) -> Graph:
    """A network whose one weight holds one number everywhere: a mixture of two would show."""
    graph = Graph("g")
    ref = graph.add_tensor("w", np.full(elements, value, np.float32))
    graph.add_output(graph.append("constant", [], {"value": ref}), "y")
    graph.add_input("x", TensorType("f32", (1,)))
    return graph


def number_in(path: Path) -> float:
    """Return the one number that a saved network holds; the load checks that it is whole."""
    (weight,) = load(path, check_weights=True).graph.tensors.values()
    assert weight.min() == weight.max()
    return float(weight[0])


# Files that change while they are read.


def emptied(path: Path) -> None:
    os.truncate(path, 0)


def overwritten(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"something else")
    other.replace(path)


CHANGES = pytest.mark.parametrize("change", [emptied, overwritten, replaced])


@CHANGES
def test_a_network_in_use_does_not_notice_what_happens_to_its_file(
    change: Callable[[Path], None], tmp_path: Path
) -> None:
    """Of a file mapped into memory, an emptied page ends the process: Bus error."""
    path = tmp_path / "net.sir"
    save(network(3), path)
    graph = load(path).graph
    change(path)
    assert float(graph.tensors["w"].sum()) == 3 * 2**20


@CHANGES
def test_nor_do_external_weights(change: Callable[[Path], None], tmp_path: Path) -> None:
    weight = np.full((4, 4), 3, np.float32)
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    model = onnx_model([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": ["N", 4]}, ["y"], {"w": weight})
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    save_model(model, tmp_path / "model.onnx")
    graph = import_onnx(tmp_path / "model.onnx")
    change(tmp_path / "w.bin")
    (array,) = graph.tensors.values()
    np.testing.assert_array_equal(array, weight)
    if change is not overwritten:
        with pytest.raises(ModelError, match="'w' needs bytes 0 to 64"):
            import_onnx(tmp_path / "model.onnx")


@CHANGES
@pytest.mark.parametrize("name", ["data.npy", "data.npz"])
def test_nor_do_data(change: Callable[[Path], None], name: str, tmp_path: Path) -> None:
    path, x = tmp_path / name, np.full((50, 4), 3, np.float32)
    if path.suffix == ".npy":
        np.save(path, x)
    else:
        np.savez(path, x=x)
    data = load_data(path)
    change(path)
    np.testing.assert_array_equal(data.arrays["x"], x)
    with pytest.raises(DataError):
        load_data(path)


# Saving.

LIMIT = """
import resource, sys
from pathlib import Path
from tests.test_files_under_attack import network
from snnc.ir.archive import save, save_text
from snnc.ir.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    {save}
except OutputError as error:
    print(error)
"""

FOREVER = """
import sys
from tests.test_files_under_attack import network
from snnc.ir.archive import save
numbers = [int(number) for number in sys.argv[2:]]
networks = [network(number) for number in numbers]
print("ready", flush=True)
while True:
    for graph in networks:
        save(graph, sys.argv[1])
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def started(code: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process and wait until it says that it is ready."""
    process = python(code, *arguments)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n", process.communicate()[1]
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


def leftovers(folder: Path) -> list[str]:
    """Return what lies in the folder and could be taken for a result: temporary files are hidden."""
    return [path.name for path in folder.iterdir() if not path.name.startswith((".snnc-", ".tmp"))]


@pytest.mark.parametrize("limit", [0, 1000, 2**21])
@pytest.mark.parametrize("call", ["save(network(4), sys.argv[1])", "save_text(network(4), sys.argv[1])"])
def test_a_disk_that_is_full(call: str, limit: int, tmp_path: Path) -> None:
    """The system refuses to write more than so many bytes, as it does when the disk is full."""
    path = tmp_path / "net.sir"
    save(network(3), path)
    output, error = python(LIMIT.format(save=call), path, limit).communicate(timeout=60)
    assert error == ""
    assert output.startswith(f"{path} cannot be written: ")
    assert number_in(path) == 3
    assert [file.name for file in tmp_path.iterdir()] == ["net.sir"]


def test_a_process_killed_while_it_saves(tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    save(network(0), path)
    for number in range(4):
        process = started(FOREVER, path, 1, 2)
        time.sleep(0.02 * number)
        end(process)
        assert number_in(path) in (0, 1, 2)
        assert leftovers(tmp_path) == ["net.sir"]


def test_several_processes_that_save_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "net.sir"
    save(network(0), path)
    processes = [started(FOREVER, path, 1, 2), started(FOREVER, path, 3, 4)]
    seen = {number_in(path) for _ in range(25)}
    assert all(process.poll() is None for process in processes)
    for process in processes:
        end(process)
    assert len(seen) > 1
    assert seen <= {0, 1, 2, 3, 4}
    assert leftovers(tmp_path) == ["net.sir"]


def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    """Not even the superuser may make a file in /proc."""
    with pytest.raises(OutputError, match="cannot be written"):
        save(small_network(), "/proc/net.sir")


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed_and_stays(there: bool, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "net.sir"
    target.parent.mkdir()
    if there:
        save(network(1), target)
    link = tmp_path / "net.sir"
    link.symlink_to(target)
    save(network(2), link)
    assert link.is_symlink()
    assert number_in(target) == 2


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a.sir").symlink_to(tmp_path / "b.sir")
    (tmp_path / "b.sir").symlink_to(tmp_path / "a.sir")
    with pytest.raises(OutputError, match="links in a circle"):
        save(small_network(), tmp_path / "a.sir")
