"""Builds an environment with Lava: python environment.py .lava [PYTHON].

lava-nc 0.10 declares Python 3.10, so a Python 3.10 that runs is taken if there is one (the reference
environment), else the Python given or this one with the recipe for later versions. Where none can be had, the
reason is left in the folder's file `unavailable` and the exit code is 1.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LAVA = "lava-nc==0.10.0"
NEEDED = ("numpy", "scipy", "networkx>=3", "asteval>=1")  # on Python 3.11 and later, before Lava itself
VERSION = "import sys; print('%d.%d' % sys.version_info[:2])"
SECONDS = 300


def main(folder: Path, chosen: str | None) -> int:
    python = folder / "bin" / "python"
    if runs_lava(python):
        return 0
    shutil.rmtree(folder, ignore_errors=True)
    reasons = []
    for candidate in [chosen] if chosen else [*pythons_3_10(), sys.executable]:
        try:
            build(folder, candidate)
        except (subprocess.SubprocessError, OSError) as error:
            said = getattr(error, "stderr", None) or str(error)
            reasons.append(f"{candidate}: {said.strip().splitlines()[-1]}")
            shutil.rmtree(folder, ignore_errors=True)
        else:
            print(f"Lava is in {folder}, with Python {version_of(str(python))}")
            return 0
    folder.mkdir(parents=True, exist_ok=True)
    reason = "Lava cannot be installed: " + "; ".join(reasons)
    (folder / "unavailable").write_text(reason + "\n")
    print(f"error: {reason}", file=sys.stderr)
    return 1


def pythons_3_10() -> Iterator[str]:
    """Yield Pythons 3.10 that run: on the path, or installed by pyenv (whose shims need not run)."""
    root = os.environ.get("PYENV_ROOT", str(Path.home() / ".pyenv"))
    candidates = [shutil.which("python3.10"), *sorted(glob.glob(f"{root}/versions/3.10.*/bin/python"))]
    return (python for python in candidates if python and version_of(python) == "3.10")


def version_of(python: str) -> str | None:
    try:
        return run(python, "-c", VERSION).strip()
    except (subprocess.SubprocessError, OSError):
        return None


def build(folder: Path, python: str) -> None:
    run(python, "-m", "venv", folder)
    pip = (folder / "bin" / "python", "-m", "pip", "install", "--quiet")
    if version_of(python) == "3.10":
        run(*pip, LAVA)
    else:
        run(*pip, *NEEDED)
        run(*pip, "--no-deps", "--ignore-requires-python", LAVA)
    if not runs_lava(folder / "bin" / "python"):
        raise OSError("what was installed has no Lava in it")


def runs_lava(python: Path) -> bool:
    code = "import importlib.util, sys; sys.exit(not importlib.util.find_spec('lava.magma'))"
    try:
        run(python, "-c", code)
    except (subprocess.SubprocessError, OSError):
        return False
    return True


def run(*command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, check=True
    )
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
