"""Wheels that install and work: built from the source archive, tried on every Python the machine has.

    python -m tests.wheels FOLDER python3.11 python3.12 /some/where/python3.13

builds both archives into FOLDER/dist, compares what they hold with the source tree, and installs the wheel
into an environment of its own for each Python, where it compiles and evaluates a network away from the
sources. A Python that is not there is skipped, and said to be. Needs `build` and `twine`.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"compiler": "snnc", "ir": "snnc/ir", "passes": "snnc/passes", "backends": "snnc/backends"}
DIGITS = ROOT / "examples" / "digits"
OLDEST = (3, 11)


def main(folder: Path, pythons: list[str]) -> int:
    """Build, compare and try; return the exit status."""
    shutil.rmtree(folder / "dist", ignore_errors=True)
    wheel, source = build(folder / "dist")
    compare(wheel, source)
    found = [interpreter for name in pythons if (interpreter := find(name)) is not None]
    for interpreter in found:
        attempt(interpreter, wheel, folder)
    print(f"{wheel.name}: works on {len(found)} of {len(pythons)} Pythons", flush=True)
    return 0 if found else 1


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command without the sources on its path; return what it prints, or end with it."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, cwd=cwd, env=environment, check=False
    )
    if result.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{result.stdout}{result.stderr}")
    return result.stdout


def build(dist: Path) -> tuple[Path, Path]:
    """Build the source archive, and of it the wheel; check what the package index would refuse."""
    run(sys.executable, "-m", "build", "--outdir", dist, ROOT)
    (wheel,), (source,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    run(sys.executable, "-m", "twine", "check", "--strict", wheel, source)
    return wheel, source


def tracked() -> list[str]:
    """Return the files of the packages, as version control knows them."""
    listed = run("git", "-C", ROOT, "ls-files", *PACKAGES)
    return [name for name in listed.splitlines() if (ROOT / name).is_file()]


def compare(wheel: Path, source: Path) -> None:
    """Refuse archives that lack a file of the packages: a module, a grammar, a style sheet, py.typed."""
    with zipfile.ZipFile(wheel) as archive:
        in_wheel = set(archive.namelist())
    with tarfile.open(source) as archive:
        in_source = {name.partition("/")[2] for name in archive.getnames()}
    homes = {name: PACKAGES[name.partition("/")[0]] + "/" + name.partition("/")[2] for name in tracked()}
    for what, missing in (
        (wheel.name, [home for home in homes.values() if home not in in_wheel]),
        (source.name, [name for name in [*homes, "README.md", "LICENSE"] if name not in in_source]),
    ):
        if missing:
            sys.exit(f"{what} lacks {', '.join(missing)}")
    print(f"{wheel.name}: all {len(homes)} files")


def find(name: str) -> Path | None:
    """Return an interpreter by name or path, or as pyenv keeps it; say why there is none."""
    root = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    version = name.removeprefix("python")
    found = [shutil.which(name), *sorted(glob.glob(f"{root}/versions/{version}.*/bin/python"))]
    reasons = []
    for path in filter(None, found):
        reason = unusable(path)
        if reason is None:
            return Path(path)
        reasons.append(reason)
    why = "; ".join(reasons) or "it is not on this machine (name those that are: make wheels PYTHONS=...)"
    print(f"SKIPPED {name}: {why}")
    return None


def unusable(path: str) -> str | None:
    """Return why an interpreter cannot be used, or None."""
    probe = [path, "-c", "import sys; print(*sys.version_info[:2])"]
    result = subprocess.run(probe, capture_output=True, text=True, check=False)
    if result.returncode != 0:  # what stands for a version that is not installed, as version managers have it
        return f"{path} does not run: {result.stderr.strip().partition(chr(10))[0]}"
    version = result.stdout.split()
    if tuple(map(int, version)) < OLDEST:
        return f"{path} is Python {'.'.join(version)}, older than 3.11"
    return None


def attempt(interpreter: Path, wheel: Path, folder: Path) -> None:
    """Install the wheel into a fresh environment; compile, evaluate and type there."""
    version = run(interpreter, "-c", "import platform; print(platform.python_version())").strip()
    home = folder / f"python{version}"
    shutil.rmtree(home, ignore_errors=True)
    run(interpreter, "-m", "venv", home)
    binaries = home / ("Scripts" if os.name == "nt" else "bin")
    run(binaries / "python", "-m", "pip", "install", "--quiet", wheel)
    snnc, model = binaries / "snnc", DIGITS / "digits_cnn.onnx"
    shown = run(snnc, "--version", cwd=home).strip()
    run(snnc, "doctor", cwd=home)
    data = ("--calibration", DIGITS / "digits_calibration.npz", "--scale", "1/16")
    run(snnc, "compile", model, "-o", "net.sir", "--quiet", *data, cwd=home)
    test = ("--model", model, "--data", DIGITS / "digits_test.npz", "--limit", "50", "-T", "1")
    run(snnc, "eval", "net.sir", *test, cwd=home)
    run(snnc, "report", "net.sir", "-o", "report.html", "--quiet", *test, cwd=home)
    typed = "import importlib.resources as r; print(r.files('snnc').joinpath('py.typed').is_file())"
    assert run(binaries / "python", "-c", typed, cwd=home).strip() == "True"
    shutil.rmtree(home)
    print(f"Python {version}: {shown} installs, compiles, evaluates and reports", flush=True)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
