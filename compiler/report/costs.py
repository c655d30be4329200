"""The sections about what a network costs: energy and operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snnc.cli.eval import STEPPED, losses
from snnc.cli.show import show_energy, size
from snnc.cli.traffic import memory_remarks
from snnc.energy import AC_FP32, AC_INT8, MAC_FP32, MAC_INT8
from snnc.memory import ASSUMPTIONS
from snnc.report.charts import Bar, bar_chart
from snnc.report.markup import details, paragraph, table, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from snnc.evaluation import Evaluation, StepResult
    from snnc.memory import MemoryStep, Traffic
    from snnc.operations import Operations
    from snnc.report.measure import Report

MOST_BARS = 10  # time steps drawn; the table has all of them
KINDS = (
    ("binary", "binary spikes (payload 1)"),
    ("multi", "multi-spikes (payload above 1)"),
    ("negative", "negative spikes"),
    ("analog", "multiplications of layers that read a real stream"),
    ("expectation", "multiplications of expectation nodes"),
    ("other", "other multiplications"),
)
PARTS = (("spikes", "spikes"), ("macs", "multiplications"), ("neurons", "neurons, biases"))


def verdict(report: Report) -> list[str]:
    """Say plainly what the spiking network costs, and where it loses."""
    result = report.evaluation
    first, last = result.steps[0], result.steps[-1]
    said = f"In float32 it needs {first.energy.ratio_fp32:.3f} of the ANN's energy at t = 1"
    if last is not first:
        said += f" and {last.energy.ratio_fp32:.3f} at t = {last.t}"
    remarks = [*losses(result), at_int8(result)]
    return [said + ".", *map(sentence, remarks)]


def sentence(remark: str) -> str:
    return remark[0].upper() + remark[1:] + "."


def at_int8(result: Evaluation) -> str:
    """Compare both networks at int8 prices."""
    more = [step.t for step in result.steps if step.energy.snn_int8_pj > step.energy.ann_int8_pj]
    if not more:
        return "with both in int8 it needs less at every t"
    when = "at every t" if len(more) == len(result.steps) else f"from t = {more[0]} on"
    return f"with both in int8 it needs MORE {when}"


def energy_section(report: Report) -> str:
    """Bars at float32 and at int8 prices, the source network's bar first."""
    steps = report.evaluation.steps
    last = steps[-1].energy
    drawn = chosen(steps)
    ann = f"ANN, t = {len(steps)}" if report.evaluation.stepped else "ANN"
    charts = [
        energy_chart("float32", ann, last.ann_fp32_pj, drawn, accumulate=AC_FP32, multiply=MAC_FP32),
        energy_chart("int8", ann, last.ann_int8_pj, drawn, accumulate=AC_INT8, multiply=MAC_INT8),
    ]
    names = "".join(f'<li><span class="swatch {kind}"></span>{text(name)}</li>' for kind, name in PARTS)
    note = (
        "Per sample; every accumulate, multiply-accumulate and neuron update at 45 nm prices (Horowitz "
        "2014). The line is the ANN at the same precision. Not priced: "
    )
    listed = ", ".join(steps[-1].energy.not_priced)
    return (
        paragraph(" ".join(verdict(report)), "verdict")
        + f'<ul class="legend"><li><span class="swatch source"></span>ANN</li>{names}</ul>'
        + f'<div class="charts">{"".join(charts)}</div>'
        + paragraph(note + listed + ".")
        + (paragraph(STEPPED[0].upper() + STEPPED[1:] + ".") if report.evaluation.stepped else "")
        + energy_table(steps)
        + memory_part(report.evaluation.memory or [])
    )


def memory_part(steps: Sequence[MemoryStep]) -> str:
    """Return bytes moved, to be opened; nothing if they were not measured."""
    if not steps:
        return ""
    rows = [memory_row("", "ANN fp32", steps[-1].ann_fp32), memory_row("", "ANN int8", steps[-1].ann_int8)]
    for step in steps:
        rows.append(memory_row(str(step.t), "SNN fp32", step.snn_fp32))
        rows.append(memory_row(str(step.t), "SNN int8", step.snn_int8))
    titles = ("t", "network", "weights", "streams", "state", "moved", "on chip", "weights in DRAM")
    said = "".join(paragraph(sentence(remark), "verdict") for remark in memory_remarks(steps))
    assumed = "".join(f"<li>{text(assumption)}</li>" for assumption in ASSUMPTIONS)
    listed = table("Bytes moved per sample, and the energy of moving them", titles, rows, words=2)
    content = f'{said}{listed}<p>Assumed:</p><ul class="facts-list">{assumed}</ul>'
    return details("Memory traffic, an estimate that the energy above leaves out", content)


def memory_row(t: str, name: str, moved: Traffic) -> list[str]:
    amounts = (moved.weights, moved.streams, moved.state, moved.bytes)
    energies = (moved.on_chip_pj, moved.weights_off_chip_pj)
    return [t, name, *(size(round(amount)) for amount in amounts), *map(show_energy, energies)]


def chosen(steps: Sequence[StepResult]) -> list[StepResult]:
    """Return the steps to draw: all of a few, else powers of two and the last."""
    if len(steps) <= MOST_BARS:
        return list(steps)
    return [step for step in steps if step.t & (step.t - 1) == 0 or step.t == len(steps)]


def energy_chart(
    precision: str,
    ann: str,
    source: float,
    steps: Sequence[StepResult],
    *,
    accumulate: float,
    multiply: float,
) -> str:
    """Return one bar for the source network, named `ann`, and one per step in parts."""
    bars = [Bar(ann, [("source", source)], show_energy(source))]
    for step in steps:
        done = step.operations
        parts = [
            ("spikes", (done.binary + done.multi + done.negative) * accumulate),
            ("macs", done.multiplications * multiply),
            ("neurons", done.neurons * accumulate),
        ]
        bars.append(Bar(f"SNN, t = {step.t}", parts, show_energy(sum(amount for _, amount in parts))))
    label = f"Energy at {precision} prices; the table has the numbers"
    return f"<figure><h3>At {precision} prices</h3>{bar_chart(label, bars, source)}</figure>"


def energy_table(steps: Sequence[StepResult]) -> str:
    last = steps[-1].energy
    rows = [["ANN", "", "", show_energy(last.ann_fp32_pj), "1", show_energy(last.ann_int8_pj), "1", "", ""]]
    for step in steps:
        spent = step.energy
        int8 = spent.snn_int8_pj / spent.ann_int8_pj if spent.ann_int8_pj else float("nan")
        rows.append(
            [
                str(step.t),
                f"{spent.accumulates:,.0f}",
                f"{spent.multiply_accumulates:,.0f}",
                ratio_cell(show_energy(spent.snn_pj), spent.ratio_fp32),
                ratio_cell(f"{spent.ratio_fp32:.3f}", spent.ratio_fp32),
                ratio_cell(show_energy(spent.snn_int8_pj), int8),
                ratio_cell(f"{int8:.3f}", int8),
                ratio_cell(f"{spent.ratio_int8:.3f}", spent.ratio_int8),
                show_energy(spent.snn_synapses_pj),
            ]
        )
    titles = (
        "t", "AC", "MAC", "fp32", "/ ANN fp32", "int8", "/ ANN int8", "fp32 / ANN int8", "synapses alone",
    )  # fmt: skip
    return table("Energy at every time step; ▲ where it is above the ANN's", titles, rows)


def ratio_cell(shown: str, ratio: float) -> str:
    """Return a number, marked where the spiking network needs more."""
    return (
        f'<td class="num loses">▲ {text(shown)}</td>' if ratio > 1 else f'<td class="num">{text(shown)}</td>'
    )


def amounts(done: Operations) -> list[float]:
    """Return the operations of every kind, in the order of KINDS."""
    return [
        done.binary,
        done.multi,
        done.negative,
        done.analog_synapses,
        done.expectation,
        done.other_multiplications,
    ]


def operations_section(report: Report) -> str:
    """One bar of shares, the numbers at every step, and how far spikes reach."""
    steps, last = report.evaluation.steps, report.evaluation.steps[-1].operations
    names = [kind for kind, _ in KINDS]
    parts = list(zip(names, amounts(last), strict=True))
    bar = Bar(f"up to t = {len(steps)}", parts, f"{last.counted:,.0f}")
    legend = "".join(
        f'<li><span class="swatch {kind}"></span>{text(name)}: {share(amount, last)}</li>'
        for (kind, name), amount in zip(KINDS, amounts(last), strict=True)
    )
    rows = [
        [
            str(step.t),
            f"{step.operations.counted:,.0f}",
            *(share(amount, step.operations) for amount in amounts(step.operations)),
            f"{step.operations.neurons:,.0f}",
        ]
        for step in steps
    ]
    titles = ("t", "operations", *names, "neurons")
    reach = "".join(f"<li>{text(said)}</li>" for said in report.evaluation.coverage.sentences())
    said = (
        "Accumulates that spikes cause, by the payload of the spike, and multiply-accumulates, per sample. "
        "Accumulates of neurons and biases stand beside them."
    )
    return (
        f'<ul class="facts-list">{reach}</ul>'
        + bar_chart("Shares of operations; the list below has the numbers", [bar])
        + f'<ul class="legend rows">{legend}</ul>'
        + paragraph(said)
        + table("Shares of operations", titles, rows)
    )


def share(amount: float, done: Operations) -> str:
    return f"{100 * amount / done.counted:.1f} %" if done.counted else "0 %"
