"""Load a NIR file in a reader that is not ours, step it, and write what every layer sent.

    python run.py CLIENT net.nir input.npy STEPS record.npz

The input is [N, …], the record one array [T, N, …] per NIR node that the client turned into a module. Runs in
the client's own environment (`make nir`), never beside snnc. The clients are used as their documentation
says; nothing about neurons is set here but the time step, where a client asks for one.
"""

import sys

import nir
import numpy as np
import torch

DT = 1e-4


class Recorder:
    """Keeps what every child of a network sends, step by step."""

    def __init__(self, net: torch.nn.Module) -> None:
        self.series: dict[str, list[np.ndarray]] = {}
        for name, module in net.named_children():
            module.register_forward_hook(self.hook(name))

    def hook(self, name: str):
        def keep(module: torch.nn.Module, inputs: object, output: object) -> None:
            sent = output[0] if isinstance(output, tuple) else output
            self.series.setdefault(name, []).append(sent.detach().numpy().copy())

        return keep

    def stacked(self) -> dict[str, np.ndarray]:
        return {name: np.stack(steps) for name, steps in self.series.items()}


def spikingjelly(path: str, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    """A batch at a time; the state goes round by hand."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    net = import_from_nir(path, dt=DT)
    recorder, state = Recorder(net), None
    for _ in range(steps):
        _, state = net(x, state)
    return recorder.stacked()


def norse(path: str, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    """A sample at a time, without a batch: norse's Flatten would join it too."""
    from norse.torch import from_nir

    runs = []
    for sample in x:
        net = from_nir(nir.read(path), ignore_warnings=True, dt=DT)
        recorder, state = Recorder(net), None
        for _ in range(steps):
            _, state = net(sample, state)
        runs.append(recorder.stacked())
    return {name: np.stack([run[name] for run in runs], axis=1) for name in runs[0]}


def snntorch(path: str, x: torch.Tensor, steps: int) -> dict[str, np.ndarray]:
    """A batch at a time; neurons keep their own state."""
    from snntorch.import_nir import import_from_nir

    net = import_from_nir(nir.read(path))
    recorder = Recorder(net)
    for _ in range(steps):
        net(x)
    return recorder.stacked()


CLIENTS = {"spikingjelly": spikingjelly, "norse": norse, "snntorch": snntorch}


def main(client: str, path: str, data: str, steps: str, record: str) -> None:
    torch.set_num_threads(1)
    with torch.no_grad():
        found = CLIENTS[client](path, torch.from_numpy(np.load(data)), int(steps))
    np.savez(record, **found)


if __name__ == "__main__":
    main(*sys.argv[1:])
