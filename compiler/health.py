"""What `snnc doctor` looks at: the packages snnc needs or can use, threads, and whether it works at all."""

from __future__ import annotations

import os
import platform
import re
import time
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

import snnc
from snnc.ir.errors import how_to_install

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Extras for people who work on snnc itself: nothing it does for its users needs them.
FOR_DEVELOPERS = ("dev", "docs", "fuzz")
# What decides how fast numpy's products are: threads, and the kernels that OpenBLAS takes.
BLAS_VARIABLES = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE")
REQUIREMENT = re.compile(
    r"""(?P<name>[\w.-]+)\s*(?P<wanted>[^;]*?)\s*(;.*?(extra\s*==\s*["'](?P<extra>[\w-]+)["'])?[^"']*)?$"""
)


@dataclass(frozen=True, slots=True)
class Package:
    """A package that snnc needs, or that one of its extras brings; `problem` is why it cannot be used."""

    name: str
    wanted: str
    extra: str | None
    version: str | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class Health:
    """What was found. `lava` is the Python that has it, `no_lava` why there is none.

    `problems` are what keeps snnc from working.
    """

    snnc: str
    python: str
    platform: str
    packages: tuple[Package, ...]
    lava: str | None
    no_lava: str | None
    threads: Mapping[str, Any]
    trial: str | None
    seconds: float
    notes: tuple[str, ...]

    @property
    def problems(self) -> list[str]:
        needed = [package for package in self.packages if package.extra is None]
        found = [f"{package.name}: {package.problem}" for package in needed if package.problem]
        return found + ([f"a network of two layers does not run: {self.trial}"] if self.trial else [])


def examine() -> Health:
    """Look at everything; nothing is written."""
    modules = modules_by_package()
    packages = tuple(package_of(text, modules) for text in requirements())
    broken = [package for package in packages if package.extra is None and package.problem]
    started = time.perf_counter()
    trial = None if broken else try_network()
    seconds = time.perf_counter() - started
    threads = {} if broken else describe_threads()
    notes = [] if packages else ["snnc is run from its sources, not installed: what it needs is not known"]
    return Health(
        snnc.__version__,
        platform.python_version(),
        platform.platform(),
        packages,
        *((None, "not looked for") if broken else look_for_lava()),
        threads,
        trial,
        seconds,
        (*notes, *thread_notes(threads)),
    )


# Packages.


def requirements() -> list[str]:
    """Return what the installed snnc says it needs, but for what only its developers need."""
    try:
        declared = metadata.requires("snnc") or []
    except metadata.PackageNotFoundError:
        return []
    return [text for text in declared if read(text)[2] not in FOR_DEVELOPERS]


def read(requirement: str) -> tuple[str, str, str | None]:
    """Return name, version and extra of `torch==2.13.0; extra == "torch"`."""
    found = REQUIREMENT.match(requirement)
    assert found is not None, requirement
    return found["name"], found["wanted"].replace(" ", ""), found["extra"]


def package_of(requirement: str, modules: Mapping[str, Sequence[str]]) -> Package:
    """Look for a package, and import it: many are there and still do not load."""
    name, wanted, extra = read(requirement)
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return Package(name, wanted, extra, None, f"not installed ({how_to_install(extra)})")
    problem = None if fits(version, wanted) else f"{version} is not {wanted}"
    for module in () if problem else modules.get(normal(name), ()):
        try:
            import_module(module)
        except Exception as error:  # noqa: BLE001  a broken package may fail in any way: that is the answer
            problem = f"cannot be imported: {type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return Package(name, wanted, extra, version, problem)


def modules_by_package() -> dict[str, list[str]]:
    """Return the module to import of every installed package that is named like one of its modules."""
    found: dict[str, list[str]] = {}
    for module, homes in metadata.packages_distributions().items():  # which reads the records of them all
        for home in {normal(home) for home in homes} & {module.lower()}:
            found.setdefault(home, []).append(module)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "_", name).lower()


def fits(version: str, wanted: str) -> bool:
    """Tell whether a version meets `>=1.17,<2`, by its numbers."""
    return all(meets(numbers(version), clause) for clause in wanted.split(",") if clause)


def meets(found: tuple[int, ...], clause: str) -> bool:
    sign, limit = re.split(r"(?<=[<>=!~])(?=\d)", clause, maxsplit=1)
    other = numbers(limit)
    length = max(len(found), len(other))
    one, two = (part + (0,) * (length - len(part)) for part in (found, other))
    return {"==": one == two, ">=": one >= two, "<=": one <= two, ">": one > two, "<": one < two}.get(
        sign, True
    )


def numbers(version: str) -> tuple[int, ...]:
    """Return 2.13.0 of `2.13.0+cpu`."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def look_for_lava() -> tuple[str | None, str | None]:
    """Return the Python that has Lava, which lives in an environment of its own; or why there is none."""
    from snnc.backends.lava.session import find_lava_python
    from snnc.ir.errors import SnncError

    try:
        return str(find_lava_python()), None
    except SnncError as error:
        return None, f"{error.message} ({'; '.join(part for part in (error.where, error.help) if part)})"


# Threads.


def describe_threads() -> dict[str, Any]:
    """Return how many cores there are, and how many threads numpy's products use."""
    import numpy as np  # noqa: F401  loads the library that is looked at
    from threadpoolctl import threadpool_info

    libraries = [
        {
            "library": pool.get("internal_api"),
            "version": pool.get("version"),
            "kernels": pool.get("architecture"),
            "threads": pool["num_threads"],
        }
        for pool in threadpool_info()
    ]
    variables = {name: os.environ[name] for name in BLAS_VARIABLES if name in os.environ}
    return {"cores": cores(), "libraries": libraries, "variables": variables}


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def thread_notes(threads: Mapping[str, Any]) -> list[str]:
    busy = [pool for pool in threads.get("libraries", ()) if pool["threads"] > threads["cores"]]
    return [
        f"{pool['library']} uses {pool['threads']} threads on {threads['cores']} cores, which wait for each "
        "other: set OPENBLAS_NUM_THREADS and OMP_NUM_THREADS"
        for pool in busy
    ]


# A trial.


def try_network() -> str | None:
    """Compile and run a network of two layers; return what went wrong."""
    try:
        import numpy as np
        from onnx import TensorProto, helper, numpy_helper

        from snnc.backends.reference import Simulator
        from snnc.data import Dataset
        from snnc.driver import compile_model

        weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
        nodes = [
            helper.make_node("MatMul", ["x", "w"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("MatMul", ["r", "w"], ["y"]),
        ]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4]) for name in "xy"]
        graph = helper.make_graph(nodes, "trial", ends[:1], ends[1:], [weight])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        x = np.linspace(-1, 1, 32, dtype=np.float32).reshape(8, 4)
        answer = Simulator(compile_model(model, Dataset({"x": x})).graph).run(x, 8).outputs["y"][-1]
    except Exception as error:  # noqa: BLE001  whatever fails here is the finding
        return f"{type(error).__name__}: {error}"
    return None if np.abs(answer - np.maximum(x, 0)).max() < 0.1 else "its answer is wrong"
