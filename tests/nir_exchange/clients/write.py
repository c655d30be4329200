"""Build a network in a reader of NIR, export it with its own exporter, and record what it does itself.

    python write.py NETWORK net.nir record.npz STEPS

The record holds the input `x` [N, …] and the spikes or currents `y` [T, N, …] of the last layer. Runs in the
client's own environment (`make nir`), never beside snnc.
"""

import sys

import nir
import numpy as np
import torch

SAMPLES = 12


def spikingjelly(x: torch.Tensor, path: str, steps: int) -> list[torch.Tensor]:
    """Conv, IF, average pooling, flatten, LIF with a leaking input, linear, IF that resets below 0."""
    from spikingjelly.activation_based import layer, neuron, nir_exchange

    net = torch.nn.Sequential(
        layer.Conv2d(1, 4, 3, padding=1),
        neuron.IFNode(v_threshold=0.5),
        layer.AvgPool2d(2),
        layer.Flatten(),
        layer.Linear(64, 32),
        neuron.LIFNode(tau=2.0, decay_input=True, v_threshold=0.125),
        layer.Linear(32, 10, bias=False),
        neuron.IFNode(v_threshold=0.25, v_reset=-0.125),
    )
    for parameter in net.parameters():
        parameter.data *= 2
    nir_exchange.export_to_nir(net, x, path)
    return [net(x) for _ in range(steps)]


def norse_if(x: torch.Tensor, path: str, steps: int) -> list[torch.Tensor]:
    """Linear and IF, twice: norse writes r = 1 for its IF, so a time step is its unit of time."""
    from norse.torch import SequentialState, to_nir
    from norse.torch.module.iaf import IAFCell, IAFParameters

    net = SequentialState(
        torch.nn.Linear(64, 32),
        IAFCell(IAFParameters(v_th=torch.full((32,), 0.5))),
        torch.nn.Linear(32, 10),
        IAFCell(IAFParameters(v_th=torch.full((10,), 0.25))),
    )
    on_grid(net)
    nir.write(path, to_nir(net, x[0]))
    return stepped(net, x, steps)


def norse_lif(x: torch.Tensor, path: str, steps: int) -> list[torch.Tensor]:
    """Linear and LIF, twice: given dt = 1, it writes tau = 1 / tau_mem_inv, the time constant."""
    from norse.torch import LIFBoxCell, LIFBoxParameters, SequentialState, to_nir

    def lif(size: int, threshold: float) -> LIFBoxCell:
        zero, inverse = torch.zeros(size), torch.full((size,), 250.0)
        return LIFBoxCell(LIFBoxParameters(inverse, zero, torch.full((size,), threshold)), dt=0.001)

    net = SequentialState(torch.nn.Linear(64, 32), lif(32, 0.125), torch.nn.Linear(32, 10), lif(10, 0.0625))
    nir.write(path, to_nir(net, x[0], dt=1.0))
    return stepped(net, x, steps)


def stepped(net: torch.nn.Module, x: torch.Tensor, steps: int) -> list[torch.Tensor]:
    series, state = [], None
    for _ in range(steps):
        y, state = net(x, state)
        series.append(y)
    return series


def snntorch(x: torch.Tensor, path: str, steps: int) -> list[torch.Tensor]:
    """Linear and LIF, twice, reset to zero and at once: NIR's reset, whatever a Leaky's own was."""
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    def leaky(size: int, beta: float, threshold: float) -> snn.Leaky:
        return snn.Leaky(
            beta=torch.full((size,), beta),
            threshold=torch.full((size,), threshold),
            init_hidden=True,
            reset_mechanism="zero",
            reset_delay=False,
        )

    net = torch.nn.Sequential(
        torch.nn.Linear(64, 32), leaky(32, 0.75, 0.5), torch.nn.Linear(32, 10), leaky(10, 0.5, 0.25)
    )
    on_grid(net)
    nir.write(path, export_to_nir(net, x[0]))
    net[1].reset_mem()
    net[3].reset_mem()
    return [net(x) for _ in range(steps)]


def on_grid(net: torch.nn.Module) -> None:
    """Round weights to multiples of 1/64: sums are exact in single precision, membranes meet thresholds.

    Not for SpikingJelly, which fires at its threshold where NIR fires above it.
    """
    for parameter in net.parameters():
        parameter.data = (parameter.data * 128).round() / 64


NETWORKS = {
    "spikingjelly": spikingjelly,
    "norse-if": norse_if,
    "norse-lif": norse_lif,
    "snntorch": snntorch,
}


def main(network: str, path: str, record: str, steps: str) -> None:
    torch.manual_seed(7)
    torch.set_num_threads(1)
    x = (torch.rand(SAMPLES, 1, 8, 8) * 16).round() / 16
    x = x if network == "spikingjelly" else x.reshape(SAMPLES, -1)
    with torch.no_grad():
        series = NETWORKS[network](x, path, int(steps))
    np.savez(record, x=x.numpy(), y=torch.stack(series).numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
