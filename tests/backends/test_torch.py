"""The torch backend by itself; that it computes what the reference simulator does: test_fast_and_torch.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import snnc
from snnc.ir.codebooks import Binary
from snnc.ir.errors import BackendError, OptionError
from snnc.passes.base import PassContext
from snnc.passes.set_coding import SetCoding
from snnc.simulation import open_runner
from tests.backends.against_reference import run_both
from tests.backends.test_onnx_spiking import CODEBOOKS, FORMS, REAL, classifier, dyadic, neuron
from tests.backends.test_onnx_spiking_networks import DIGITS, compiled, in_steps_of
from tests.passes.build import Builder, N

pytest.importorskip("torch", reason='needs PyTorch: pip install -e ".[torch]"')

from snnc.backends.torch.kernels import KERNELS
from snnc.backends.torch.simulator import TorchSimulator

if TYPE_CHECKING:
    from pathlib import Path

    from snnc.ir.kernel_types import Array


@pytest.mark.parametrize("form", [form for form in FORMS if form != "restarting"])
@pytest.mark.parametrize("codebook", CODEBOOKS)
def test_a_neuron_of_changes_sends_the_references_payloads(codebook: str, form: str) -> None:
    graph = neuron((N, 2, 40), codebook=CODEBOOKS[codebook], **FORMS[form])
    SetCoding("differential").run(graph, PassContext())
    graph.retype()
    found, wanted = run_both("torch", graph, {"x": dyadic(3, 2, 40)})
    # A change is weighted by t, which is exact for t = 1, 2 and 4.
    np.testing.assert_array_equal(found["y"][:2], wanted["y"][:2])
    assert (np.abs(found["y"] - wanted["y"]) < 1e-5).mean() > 0.99


def test_only_these_ops_are_refused_where_they_vary() -> None:
    lacking = {case.op for case in REAL} - KERNELS.keys()
    assert lacking == {
        "cast", "gather_elements", "gather_nd", "is_nan", "less", "quantise", "resize", "take",
    }  # fmt: skip


# Refusals.


def test_what_cannot_run_is_named_at_once() -> None:
    b = Builder(N, 6)
    spikes = b("neuron", b.x, codebook=Binary(), quantum=np.ones((1, 1), np.float32))
    graph = b.outputs(y=b("cast", spikes, to="i64", name="a"), z=b("cast", spikes, to="i32", name="b"))
    with pytest.raises(BackendError) as caught:
        TorchSimulator(graph)
    assert str(caught.value) == (
        "this network cannot be run with PyTorch:\n"
        "  a: the torch backend does not know cast\n"
        "  b: the torch backend does not know cast\n"
        "  help: --backend reference runs every network"
    )


def test_devices_that_are_not_there() -> None:
    with pytest.raises(BackendError, match="the device 'gpu' cannot be used"):
        TorchSimulator(classifier(), device="gpu")
    with pytest.raises(BackendError, match="there is no device 'meta' for networks"):
        TorchSimulator(classifier(), device="meta")
    with pytest.raises(OptionError, match="reference runs on the processor"):
        open_runner(classifier(), "reference", "cuda")


def test_the_command_line_evaluates_with_it(tmp_path: Path, images: Array) -> None:
    from click.testing import CliRunner

    from snnc.cli import main

    network, data = tmp_path / "net.sir", tmp_path / "x.npy"
    snnc.save(in_steps_of(compiled("digits_cnn"), 2**-8), network)
    np.save(data, images)
    arguments = ["eval", network, "--model", DIGITS / "digits_cnn.onnx", "--data", data, "--scale", "1"]
    result = CliRunner().invoke(main, [*map(str, arguments), "--backend", "torch", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert "24 samples" in result.output
