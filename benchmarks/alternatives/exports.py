"""What every tool's exporters make of the converted digits CNN."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from converters import CPU, loader, quiet
from networks import without_batch_norm

import snnc
from snnc.driver import Options, compile_model
from snnc.emission import TARGETS, EmitOptions, Target
from snnc.methods import Settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from networks import Network


def attempt(export: Callable[[], str]) -> str:
    """Return what an exporter made, or why it made nothing."""
    try:
        return export()
    except Exception as reason:  # noqa: BLE001 - exporters fail in ways of their own; the reason is the result
        return f"refused: {type(reason).__name__}: {' '.join(str(reason).split())[:160]}".replace("|", "\\|")


def spikingjelly_nir(network: Network) -> str:
    from spikingjelly.activation_based import ann2snn, nir_exchange

    recipe = ann2snn.RateCodingRecipe(dataloader=loader(network), mode="99.9%")
    with quiet():
        spiking = ann2snn.Converter(recipe=recipe, device=CPU).convert(network.module())
    x, _ = network.images(network.test, 1)
    return attempt(lambda: nodes(nir_exchange.export_to_nir(spiking, x)))


def sinabs_nir(network: Network) -> str:
    from sinabs.from_torch import from_model
    from sinabs.nir import to_nir

    module = without_batch_norm(network.module())
    spiking = from_model(module, num_timesteps=1).spiking_model
    x, _ = network.images(network.test, 1)
    return attempt(lambda: nodes(to_nir(spiking, x)))


def nodes(graph: object) -> str:
    return f"{len(getattr(graph, 'nodes', ()))} nodes"


def by_snnc(backend: str, method: str) -> Callable[[Network], str]:
    """Return snnc's exporter of that name, for networks that a method compiled."""

    def export(network: Network) -> str:
        target = TARGETS[backend]
        assert isinstance(target, Target)
        data = snnc.load_data(network.calibration, normalise=snnc.Normalise(network.scale))
        graph = compile_model(network.model, data, Options(method, Settings(reset="subtract"))).graph
        return attempt(lambda: target.write(graph, EmitOptions(4, feedback=True), io.BytesIO()))

    return export


EXPORTS = (
    ("snnc", "ONNX, all time steps in one standard model", by_snnc("onnx", "multi-spike")),
    ("snnc", "NIR, binary spikes (`if`), resets as feedback", by_snnc("nir", "if")),
    ("SpikingJelly", "NIR, `nir_exchange.export_to_nir`", spikingjelly_nir),
    ("sinabs", "NIR, `nir.to_nir`, batch norm folded", sinabs_nir),
)
