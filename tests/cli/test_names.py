"""Every name a user can type is answered, where it is nearly right, with the one that was meant."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc as library
from snnc.ir.errors import closest, nearest

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Snnc

MODEL, DATA = "digits_cnn.onnx", "digits_test.npz"


@pytest.mark.parametrize(
    ("line", "meant", "code"),
    [
        ("complie", "compile", 2),
        ("compile MODEL -o OUT.sir --method multispike", "multi-spike", 2),
        ("compile MODEL -o OUT.sir --coding differentail", "differential", 2),
        ("compile MODEL -o OUT.sir --thresholds percentil", "percentile", 2),
        ("compile MODEL -o OUT.sir --per chanel", "channel", 2),
        ("compile MODEL -o OUT.sir --batch-norm weight", "weights", 2),
        ("compile MODEL -o OUT.sir --reset substract", "subtract", 2),
        ("compile MODEL -o OUT.sir --decode maen", "mean", 2),
        ("compile MODEL -o OUT.sir --shape imgae=N,1,8,8", "image", 1),
        ("compile MODEL -o OUT.sir --calibratoin x.npz", "--calibration", 2),
        ("check MODEL --shape imgae=N,1,8,8", "image", 1),
        ("opt NET -p simplfy", "simplify", 2),
        ("opt NET -p choose-thresholds{rul=max}", "rule", 2),
        ("opt NET -p choose-thresholds{rule=maxx}", "max", 2),
        ("passes simplfy", "simplify", 2),
        ("ops neuorn", "neuron", 2),
        ("run NET --input DATA -o OUT.npz --record /2/Rel_1", "/2/Relu_1", 2),
        ("run NET --input DATA -o OUT.npz --backend refrence", "reference", 2),
        ("run NET --input DATA -o OUT.npz --decode lst", "last", 2),
        ("run NET --input OTHER -o OUT.npz", "imgae", 1),
        ("emit NET --backend onxn -o OUT.onnx", "onnx", 2),
        ("emit NET --backend onnx -o OUT.onnx --varying imgae", "image", 2),
        ("eval NET --model MODEL --data DATA --metric acuracy", "accuracy", 2),
        ("completion bahs", "bash", 2),
    ],
)
def test_did_you_mean(
    line: str, meant: str, code: int, snnc: Snnc, digits: Path, compiled: Path, out: Path
) -> None:
    np.savez(out / "other.npz", imgae=np.zeros((2, 1, 8, 8), np.float32), b=np.zeros((2, 3), np.float32))
    places = {
        "MODEL": digits / MODEL,
        "DATA": digits / DATA,
        "NET": compiled / "cnn.sir",
        "OTHER": out / "other.npz",
    }
    words = [places.get(word, word.replace("OUT", str(out / "result"))) for word in line.split()]
    result = snnc(*words, code=code)
    question = result.stderr.lower().partition("did you mean")[2]
    assert f"'{meant.lower()}'" in question, result.stderr


@pytest.mark.parametrize(
    ("words", "question"),
    [
        (["compil"], "'compil'. Did you mean 'compile'?"),  # completion is less like it
        (["xyz"], "'xyz'."),
        (["compile", "--thresh"], "'--thresh'. Did you mean '--thresholds'?"),  # --reset is less like it
        (["compile", "--zzzzzzzz"], "'--zzzzzzzz'."),
        (["passes", "bachnorm"], "did you mean 'fuse-batch-norm'?"),
    ],
)
def test_only_what_is_closest_is_meant(words: list[str], question: str, snnc: Snnc) -> None:
    assert snnc(*words, code=2).stderr.rstrip().endswith(question)


def test_names_that_are_as_close_are_all_offered() -> None:
    assert nearest("conv3", ["conv1", "conv2", "corn", "relu"]) == ["conv2", "conv1"]
    assert nearest("zzz", ["relu"]) == []
    assert closest("a", ["A", "aB", "aC"]) == "did you mean 'aC' or 'aB'?"


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        ({"method": "multispike"}, "multi-spike"),
        ({"thresholds": "msee"}, "mse"),
        ({"coding": "differentail"}, "differential"),
        ({"decode": "maen"}, "mean"),
        ({"reset": "restrat"}, "restart"),
        ({"pipeline": "simplfy"}, "simplify"),
    ],
)
def test_in_python(options: dict[str, str], meant: str, digits: Path) -> None:
    with pytest.raises(library.SnncError, match=f"did you mean '{meant}'"):
        library.compile(digits / MODEL, **options)  # type: ignore[arg-type]  # wrong on purpose


def test_inputs_by_name_in_python(compiled: Path) -> None:
    graph = library.load(compiled / "cnn.sir")
    x = np.zeros((1, 1, 8, 8), np.float32)
    with pytest.raises(library.SnncError, match="did you mean 'imgae'"):
        library.Simulator(graph).run({"imgae": x, "more": x}, steps=1)


def test_a_name_unlike_all_others_is_answered_with_all_of_them(snnc: Snnc, digits: Path, out: Path) -> None:
    result = snnc("compile", digits / MODEL, "-o", out / "net.sir", "--method", "zzz", code=2)
    assert (
        "help: known: direct, ecmt, ecmt-top, if, multi-spike, pmsm, qcfs, signed-memory, ternary"
        in result.stderr
    )
