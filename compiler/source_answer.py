"""The source network's answer after every step, decoded as the spiking network's is.

A source that is one time step with states (see `snnc.frontend.recurrent_state`) is stepped on the data. Any
other is a function F of its inputs: where these vary in time, its answer after t steps is F of their mean
until then, which is what a compiled network decodes to (F of step t alone where the last step is asked for).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from snnc.backends.inputs import at_step, timed_inputs
from snnc.backends.reference.program import decode
from snnc.ir.errors import DataError
from snnc.nir_model import NirModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from snnc.ir.graph import Graph, Output
    from snnc.ir.kernel_types import Array
    from snnc.source_model import SourceModel


def answers(
    source: SourceModel | NirModel, graph: Graph, inputs: Mapping[str, Array], steps: int, output: Output
) -> Array:
    """Return one output's answer of one batch after every step, [T, N, …]; [N, …] where all are the same."""
    if isinstance(source, NirModel):
        return source.answers(inputs, steps, output)
    name, how = output.name, output.decode
    timed = timed_inputs(graph, inputs)
    if source.states:
        series: list[Array] = []
        total: Array = np.zeros((), np.float32)
        for t, outputs in enumerate(stepped(source, inputs, timed, steps), start=1):
            y = named(outputs, name, source)
            total = total + y
            series.append(decode(how, total, y, t))
        return np.stack(series)
    if not timed:
        y = named(source.run(inputs), name, source)
        return y if how != "sum" else np.stack([t * y for t in range(1, steps + 1)])
    seen = frames(inputs, timed, steps) if how == "last" else means(inputs, timed, steps)
    factors = range(1, steps + 1) if how == "sum" else [1] * steps
    pairs = zip(factors, seen, strict=True)
    return np.stack([factor * named(source.run(x), name, source) for factor, x in pairs])


def named(outputs: Mapping[str, Array], name: str, source: SourceModel) -> Array:
    """Return an output of the source; `DataError` if it has none of that name."""
    if name not in outputs:
        raise DataError(
            f"the model has no output {name!r}; is it the one the .sir was compiled from?", where=source.path
        )
    return outputs[name]


def mean_tensors(
    source: SourceModel, graph: Graph, inputs: Mapping[str, Array], steps: int
) -> dict[str, Array]:
    """Return the mean over `steps` steps of all the source's outputs and observed tensors, of one batch."""
    timed = timed_inputs(graph, inputs)
    if not source.states:
        return source.run(list(means(inputs, timed, steps))[-1] if timed else inputs)
    totals: dict[str, Array] = {}
    for outputs in stepped(source, inputs, timed, steps):
        totals = {name: totals[name] + y if totals else y for name, y in outputs.items()}
    return {name: total / np.float32(steps) for name, total in totals.items()}


def stepped(
    source: SourceModel, inputs: Mapping[str, Array], timed: frozenset[str], steps: int
) -> Iterator[dict[str, Array]]:
    """Yield the outputs of every step of a source with states, these at 0 before the first."""
    states = source.zero_states(at_step(inputs, timed, 1))
    for x in frames(inputs, timed, steps):
        outputs = source.run({**x, **states})
        states = {state: outputs[successor] for state, successor in source.states.items()}
        yield outputs


def frames(inputs: Mapping[str, Array], timed: frozenset[str], steps: int) -> Iterator[dict[str, Array]]:
    """Yield the inputs of every step."""
    for t in range(1, steps + 1):
        yield at_step(inputs, timed, t)


def means(inputs: Mapping[str, Array], timed: frozenset[str], steps: int) -> Iterator[dict[str, Array]]:
    """Yield the mean of the inputs until every step."""
    totals: dict[str, Array] = {}
    for t, x in enumerate(frames(inputs, timed, steps), start=1):
        totals = {name: totals[name] + x[name] if totals else x[name] for name in timed}
        yield {**x, **{name: total / np.float32(t) for name, total in totals.items()}}
