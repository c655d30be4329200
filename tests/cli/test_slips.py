"""Slips of the finger: what is wrong is named, and what was probably meant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from conftest import Snnc

MODEL, DATA = "digits_cnn.onnx", "digits_test.npz"


@pytest.mark.parametrize(
    ("line", "code", "says"),
    [
        ("compile MODEL -o -", 1, "results go to files, not to standard output"),
        ("run NET --input DATA -o -", 1, "results go to files, not to standard output"),
        ("check /dev/null", 1, "this is not a regular file\n  --> /dev/null"),
        ("run NET --input /dev/null -o OUT.npy", 1, "this is not a regular file\n  --> /dev/null"),
        ("print DATA", 1, "this is a .npz file of arrays, not a .sir file"),
        ("print KERAS", 1, "this is an HDF5 file, not a .sir file\n  --> OUT.h5\n  help: if it is a NIR"),
        ("run NET --input MODEL -o OUT.npy", 1, 'help: numpy.savez("data.npz", x=samples, y=labels)'),
        ("compile MODEL -o OUT.sir --calibration DATA --scale 0", 2, "--scale 0 makes every sample 0"),
        ("compile MODEL -o OUT.sir -T 65537", 2, "65537 is not in the range 1<=x<=65536"),
        ("emit NET --backend onnx -o OUT.onnx -T 65537", 2, "65537 is not in the range 1<=x<=65536"),
        ("run NET --input LAST -o OUT.npy", 1, "help: channels come first: numpy.moveaxis(x, -1, 1)"),
        ("run NET --input FLAT -o OUT.npy", 1, "help: reshape it: x.reshape(-1, 1, 8, 8)"),
        ("run NET --input ONE -o OUT.npy", 1, "help: samples come first: x[None]"),
    ],
)  # fmt: skip
def test_what_is_wrong_and_what_was_meant(
    line: str, code: int, says: str, snnc: Snnc, digits: Path, compiled: Path, out: Path
) -> None:
    (out / "result.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(600))
    for name, sizes in (("last", (3, 8, 8, 1)), ("flat", (3, 64)), ("one", (1, 8, 8))):
        np.save(out / f"{name}.npy", np.zeros(sizes, np.float32))
    before = sorted(out.iterdir())
    places = {"MODEL": digits / MODEL, "DATA": digits / DATA, "NET": compiled / "cnn.sir"}
    places |= {path.stem.upper(): path for path in before if path.suffix == ".npy"}
    places["KERAS"] = out / "result.h5"
    result = str(out / "result")
    words = [str(places.get(word, word.replace("OUT", result))) for word in line.split()]
    stderr = snnc(*words, code=code).stderr
    assert says.replace("OUT", result) in stderr
    assert sorted(out.iterdir()) == before
    assert not Path("-").exists()
