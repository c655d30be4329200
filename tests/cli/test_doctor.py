"""`snnc doctor`: what it finds, and what it says of what is broken."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import TYPE_CHECKING

import pytest

from snnc import health

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc

INSTALLED = ["click>=8.1", "numpy>=2", "onnx>=1.17", 'no-such-package>=1; extra == "exotic"']
EXOTIC = 'pip install -e ".[exotic]" in a clone of snnc; pip install "snnc[exotic]" if it is installed'


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requirements that take no time to import."""
    monkeypatch.setattr(health, "requirements", lambda: INSTALLED)


@pytest.mark.usefixtures("few")
def test_all_is_well(snnc: Snnc) -> None:
    result = snnc("doctor")
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert lines["numpy"].split()[1:] == [metadata.version("numpy"), ">=2", "snnc", "ok"]
    assert f"not installed ({EXOTIC})" in lines["no-such-package"]
    assert lines["cores:"].startswith("cores: ")
    assert "a network of two layers compiles and runs" in result.stdout


@pytest.mark.usefixtures("few")
def test_json(snnc: Snnc) -> None:
    found = json.loads(snnc("doctor", "--json").stdout)
    assert (found["works"], found["problems"]) == (True, [])
    assert found["packages"][-1] == {
        "name": "no-such-package", "wanted": ">=1", "extra": "exotic", "version": None,
        "problem": f"not installed ({EXOTIC})",
    }  # fmt: skip
    assert found["threads"]["cores"] >= 1


def test_quiet_answers_by_exit_code_alone(snnc: Snnc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "requirements", lambda: ["click>=99"])
    result = snnc("doctor", "--quiet", code=1)
    assert (result.stdout, result.stderr) == ("", "")


def test_what_snnc_needs_and_cannot_have(snnc: Snnc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "requirements", lambda: ["click>=99", "nothing-of-the-kind"])
    result = snnc("doctor", code=1)
    assert f"problem: click: {metadata.version('click')} is not >=99" in result.stdout
    assert 'problem: nothing-of-the-kind: not installed (pip install -e "." in a clone' in result.stdout
    assert "compiles and runs" not in result.stdout


@pytest.mark.usefixtures("few")
def test_a_package_that_does_not_load(snnc: Snnc, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise OSError(f"{name}.so: cannot open shared object file\nat all")

    monkeypatch.setattr(health, "import_module", broken)
    result = snnc("doctor", code=1)
    assert (
        "problem: onnx: cannot be imported: OSError: onnx.so: cannot open shared object file\n"
        in result.stdout
    )


@pytest.mark.usefixtures("few")
def test_a_network_that_does_not_run(snnc: Snnc, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("illegal instruction")

    monkeypatch.setattr("snnc.driver.compile_model", fail)
    assert "does not run: RuntimeError: illegal instruction" in snnc("doctor", code=1).stdout


@pytest.mark.usefixtures("few")
def test_lava_lives_in_a_python_of_its_own(
    snnc: Snnc, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SNNC_LAVA_PYTHON", str(tmp_path / "none"))
    assert f"\nlava: {tmp_path}/none does not exist (SNNC_LAVA_PYTHON; name " in snnc("doctor").stdout
    monkeypatch.setenv("SNNC_LAVA_PYTHON", sys.executable)
    monkeypatch.setattr("snnc.backends.lava.session.has_lava", lambda python: True)
    assert f"\nlava: {sys.executable}\n" in snnc("doctor").stdout


def test_run_from_the_sources(snnc: Snnc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "requirements", list)
    assert "note: snnc is run from its sources, not installed" in snnc("doctor").stderr


def test_requirements_as_packages_state_them() -> None:
    assert health.read("click>=8.1") == ("click", ">=8.1", None)
    assert health.read('torch==2.13.0; extra == "torch"') == ("torch", "==2.13.0", "torch")
    assert health.read("mkdocs<2,>=1.6; extra == 'docs'") == ("mkdocs", "<2,>=1.6", "docs")
    marked = "atheris>=3; platform_system == 'Linux' and extra == 'fuzz'"
    assert health.read(marked) == ("atheris", ">=3", "fuzz")
    assert all(health.read(text)[2] not in health.FOR_DEVELOPERS for text in health.requirements())


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [
        ("8.5.1", ">=8.1", True),
        ("8.10", ">=8.9", True),
        ("8", ">=8.1", False),
        ("2.13.0+cpu", "==2.13.0", True),
        ("2.0.0", ">=1.6,<2", False),
        ("1.6.1", ">=1.6,<2", True),
        ("1.0rc1", "", True),
    ],
)
def test_versions(version: str, wanted: str, fits: bool) -> None:
    assert health.fits(version, wanted) is fits


def test_more_threads_than_cores_are_remarked() -> None:
    pool = {"library": "openblas", "version": "1", "threads": 64}
    (note,) = health.thread_notes({"cores": 2, "libraries": [pool]})
    assert note.startswith("openblas uses 64 threads on 2 cores")
