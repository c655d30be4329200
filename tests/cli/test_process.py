"""Real processes: what is imported, torch absent, pipes that close, Ctrl-C, odd encodings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Snnc


def python(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


def test_importing_the_library_imports_nothing_heavy() -> None:
    code = (
        "import sys, snnc, snnc.cli; dir(snnc); snnc.__version__;"
        "print({'numpy', 'onnx', 'onnxruntime', 'torch', 'rich', 'networkx', 'lark'} & set(sys.modules))"
    )
    assert python("-c", code).stdout == "set()\n"


def test_networks_run_without_torch(digits: Path, compiled: Path, out: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['onnxscript'] = None\n"
        "from snnc.cli import main\n"
        "main(sys.argv[1:])"
    )
    arguments = ["run", compiled / "vit.sir", "--input", digits / "digits_test.npz", "--limit", "2", "-o"]
    result = python("-c", code, *arguments, out / "y.npy")
    assert result.returncode == 0, result.stderr
    assert np.load(out / "y.npy").shape == (4, 2, 10)


def test_module_is_the_command(digits: Path, out: Path) -> None:
    result = python("-m", "snnc", "check", digits / "none.onnx")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("error[bad-model]: there is no such model file\n")
    assert python("-m", "snnc").returncode == 2
    assert python("-m", "snnc", "--help").stdout.startswith("Usage: snnc [OPTIONS]")


def test_a_reader_that_has_seen_enough(compiled: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "snnc", "print", compiled / "vit.sir", "--weights"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == b"sir 1\n"
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    process.wait(timeout=30)


@pytest.mark.parametrize("closed", ["sys.stdout", "sys.stderr"])
def test_a_stream_that_was_never_open(closed: str, compiled: Path) -> None:
    """Python sets a stream that the shell closed (`>&-`) to None."""
    code = f"import sys; {closed} = None\nfrom snnc.cli import main\nmain(sys.argv[1:])"
    result = python("-c", code, "ops")
    assert (result.returncode, result.stderr) == (0, "")
    failing = python("-c", code, "print", compiled / "none.sir")
    assert failing.returncode == 1
    assert "Traceback" not in failing.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"], ["ops"]])
def test_an_output_that_is_full(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "snnc", *words]
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "error[file]: No space left on device\n")


def test_any_encoding() -> None:
    result = python("-m", "snnc", "ops", "softmax", PYTHONIOENCODING="latin-1")
    assert result.returncode == 0, result.stderr
    assert "\\u03a3 exp(x)" in result.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "ended by SIGTERM"),
        (signal.SIGHUP, "ended by SIGHUP"),
    ],
)
def test_interrupt(number: signal.Signals, said: str, digits: Path, out: Path) -> None:
    """A pass that never ends is ended; nothing is left behind."""
    (out / "forever.py").write_text(
        "import sys, time\n"
        "from dataclasses import dataclass\n"
        "from typing import ClassVar\n"
        "from snnc.passes import Pass\n\n"
        "@dataclass(frozen=True)\n"
        "class Forever(Pass):\n"
        "    name: ClassVar[str] = 'forever'\n\n"
        "    def run(self, graph, context):\n"
        "        print('waiting', flush=True)\n"
        "        time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "snnc", "compile", digits / "digits_cnn.onnx", "-o", out / "net.sir",
         "-p", "forever", "--load", out / "forever.py"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=out,
        # A shell's background jobs ignore the signal, and so would their children.
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert error == f"{said}\n"
    assert {path.name for path in out.iterdir()} <= {"forever.py", "__pycache__"}


WAIT = """
import os, sys, time

def wait(*arguments, **options):
    print("waiting", flush=True)
    time.sleep(60)

{patch}
from snnc.cli import main
main(sys.argv[1:])
"""
# Right before a file that is written in full takes its place; in the middle of a simulation.
WRITTEN = "os.fsync = wait"
OLD = b"the file of before"
RUNNING = "from snnc.backends.reference import Simulator; Simulator.run = wait"


WORK = [
    (WRITTEN, "compile MODEL -o OUT.sir -q", None),
    (WRITTEN, "compile MODEL -o OUT.sir -q", OLD),
    (WRITTEN, "emit NET --backend onnx -o OUT.onnx", OLD),
    (WRITTEN, "run NET --input DATA -o OUT.npy -T 1 --limit 2", OLD),
    (WRITTEN, "opt NET -p dce -o OUT.sir", OLD),
    (WRITTEN, "report NET --model MODEL --data DATA -o OUT.html -T 1 --limit 2 -q", OLD),
    (RUNNING, "run NET --input DATA -o OUT.npy -q", None),
    (RUNNING, "eval NET --model MODEL --data DATA -q", None),
]


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
@pytest.mark.parametrize(
    ("number", "patch", "line", "old"),
    [(signal.SIGINT, *work) for work in WORK] + [(signal.SIGTERM, *work) for work in (WORK[1], WORK[-1])],
)
def test_interrupted_work_leaves_what_was_there(
    number: signal.Signals,
    patch: str,
    line: str,
    old: bytes | None,
    digits: Path,
    compiled: Path,
    out: Path,
) -> None:
    places = {
        "MODEL": digits / "digits_cnn.onnx",
        "DATA": digits / "digits_test.npz",
        "NET": compiled / "cnn.sir",
    }
    words = [str(places.get(word, word.replace("OUT", str(out / "result")))) for word in line.split()]
    results = [word for word in words if word.startswith(str(out))]
    for result in results if old is not None else ():
        Path(result).write_bytes(old or b"")
    process = subprocess.Popen(
        [sys.executable, "-c", WAIT.format(patch=patch), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=out,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # noqa: PLW1509  # no threads here
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert error.splitlines()[-1] == ("interrupted" if number == signal.SIGINT else "ended by SIGTERM")
    assert "Traceback" not in error
    left = {str(path): path.read_bytes() for path in out.iterdir()}
    assert left == ({} if old is None else dict.fromkeys(results, old))


@pytest.mark.skipif(sys.platform == "win32", reason="opens a POSIX terminal")
@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_on_a_terminal(environment: dict[str, str], coloured: bool) -> None:
    """A terminal of its own: colours there, none with NO_COLOR; without one, never."""
    import pty

    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "snnc", "passes", "no-such-pass"]
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        command, stderr=follower, env={**plain, "TERM": "xterm-256color", **environment}, close_fds=True
    )
    assert process.wait(timeout=60) == 2
    os.close(follower)
    shown = os.read(leader, 10_000).decode()
    os.close(leader)
    assert "there is no pass 'no-such-pass'" in shown
    assert bool(re.search("\x1b\\[[0-9;]*3[0-7]m", shown)) is coloured
    assert (
        "\x1b" not in subprocess.run(command, capture_output=True, text=True, env=plain, check=False).stderr
    )


def test_files_that_cannot_be_opened(snnc: Snnc, digits: Path, out: Path) -> None:
    (out / "file").touch()
    command = ["compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", "-p", "dce", "--dump-ir"]
    result = snnc(*command, out / "file", code=1)
    assert result.stderr == f"error[file]: File exists\n  --> {out / 'file'}\n"
    assert not (out / "net.sir").exists()


def test_not_enough_memory(snnc: Snnc, digits: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("snnc.driver.import_network", fail)
    result = snnc("compile", digits / "digits_cnn.onnx", "-o", out / "net.sir", code=1)
    assert result.stderr.startswith("error[out-of-memory]: ")
