"""Source, layer and sink as Lava processes with their models for Loihi's protocol, simulated on the CPU.

A layer sends what it computed one step ago before it receives: a connection takes one step, as on the
chip, and no cycle of waiting can arise. Arithmetic and time are in `clock.Layer`.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.process.ports.ports import InPort, OutPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.resources import CPU
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from snnc.backends.lava.runtime.clock import Layer

MAX_PORTS = 16  # inputs of one layer


class SourceProcess(AbstractProcess):
    """Presents a series [samples T, …], one element per step, and zeros when it has ended."""

    def __init__(self, *, name: str, series: Any) -> None:
        super().__init__(name=name, series=series)
        self.out = OutPort(shape=series.shape[1:])


class LayerProcess(AbstractProcess):
    """One layer of the network: ports in0, in1, … and out."""

    def __init__(self, *, plan: Any, weights: Any, run: Any) -> None:
        super().__init__(name=plan["name"], plan=plan, weights=weights, run=run)
        for number, port in enumerate(plan["inputs"]):
            setattr(self, f"in{number}", InPort(shape=tuple(port["shape"])))
        self.out = OutPort(shape=tuple(plan["shape"]))


class SinkProcess(AbstractProcess):
    """Keeps one stream from step `start` on, writes it when the run ends, and tells how far that is."""

    def __init__(self, *, name: str, shape: Any, start: int, steps: int, file: str, progress: str) -> None:
        super().__init__(name=name, start=start, steps=steps, file=file, progress=progress)
        self.in0 = InPort(shape=tuple(shape))


def tell(path: str, text: str) -> None:
    """Write why the run ends: Lava itself only says that there was an exception."""
    with open(path, "a") as file:
        file.write(text + "\n")


def layer_model(ports: int, number: Any, sent: Any) -> Any:
    """Return the model of a layer with so many input ports of a type that sends another type."""

    class Model(PyLoihiProcessModel):
        out = LavaPyType(PyOutPort.VEC_DENSE, sent)

        def __init__(self, proc_params: Any) -> None:
            super().__init__(proc_params)
            self.layer = Layer(proc_params["plan"], proc_params["weights"], proc_params["run"])
            self.last = proc_params["run"]["steps"]

        def run_spk(self) -> None:
            self.out.send(self.layer.held)
            inputs = [getattr(self, f"in{i}").recv() for i in range(ports)]
            try:
                self.layer.advance(self.time_step, inputs)
            except Exception as error:  # raised again: Lava would not say what it was
                tell(self.proc_params["run"]["error"], f"{type(error).__name__}: {error}")
                raise
            if self.layer.record is not None and self.time_step == self.last:
                file = os.path.join(self.proc_params["run"]["record"], f"{self.layer.name}.npy")
                np.save(file, np.stack(self.layer.record), allow_pickle=False)

    for i in range(ports):
        setattr(Model, f"in{i}", LavaPyType(PyInPort.VEC_DENSE, number))
    decorated = tag("fixed_pt")(requires(CPU)(Model))
    return implements(proc=LayerProcess, protocol=LoihiProtocol)(decorated)


# One model per number of inputs and kind: chip (integers), host with an encoder at its end, host.
KINDS = {("chip", "int32"): np.int32, ("host", "int32"): np.float64, ("host", "float64"): np.float64}
MODELS: dict[tuple[str, str, int], Any] = {}
for (kind, sent), number in KINDS.items():
    for ports in range(1, MAX_PORTS + 1):
        model = layer_model(ports, number, np.dtype(sent).type)
        model.__name__ = f"{kind.title()}{sent.title()}Model{ports}"
        MODELS[kind, sent, ports] = globals()[model.__name__] = model


class SourceBase(PyLoihiProcessModel):
    """Shared by both sources; Lava cannot decorate a subclass of a decorated model."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.series = proc_params["series"]

    def run_spk(self) -> None:
        now = self.time_step - 1
        over = now >= len(self.series)
        self.out.send(np.zeros(self.series.shape[1:], self.series.dtype) if over else self.series[now])


@implements(proc=SourceProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class IntegerSourceModel(SourceBase):
    """Sends integers."""

    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)


@implements(proc=SourceProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class RealSourceModel(SourceBase):
    """Sends real numbers."""

    out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.float64)


@implements(proc=SinkProcess, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class SinkModel(PyLoihiProcessModel):
    """Receives without delay."""

    in0: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.float64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.kept: list[Any] = []

    def run_spk(self) -> None:
        given, x = self.proc_params, self.in0.recv()
        if self.time_step > given["start"]:
            self.kept.append(x)
        if given["progress"]:
            with open(given["progress"], "a") as file:
                file.write(".")  # as many as steps are done
        if self.time_step == given["steps"]:
            np.save(given["file"], np.stack(self.kept), allow_pickle=False)


class Configuration(Loihi2SimCfg):
    """Chooses the model whose ports fit the process."""

    def select(self, process: Any, proc_models: Any) -> Any:
        if isinstance(process, LayerProcess):
            plan = process.proc_params["plan"]
            return MODELS[plan["kind"], plan["dtype"], len(plan["inputs"])]
        if isinstance(process, SourceProcess):
            whole = process.proc_params["series"].dtype.kind == "i"
            return IntegerSourceModel if whole else RealSourceModel
        return super().select(process, proc_models)
