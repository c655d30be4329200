"""Which published architectures can be imported, and what the others lack: torchvision's and transformers'.

    make published
    python -P benchmarks/published.py [--write docs/published-models.md] [NAME …]

Each is built with random weights, transformers with two layers, exported with a batch of one, and checked as
`snnc check` does. Weights change nothing about which operators are there.
"""

from __future__ import annotations

import argparse
import re
import tempfile
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torchvision
import transformers

import snnc
from snnc.ir.errors import SnncError

if TYPE_CHECKING:
    from collections.abc import Iterable

CLASSIFIERS = """
    alexnet vgg16 resnet50 resnext50_32x4d wide_resnet50_2 densenet121 squeezenet1_1 googlenet mobilenet_v2
    mobilenet_v3_large shufflenet_v2_x1_0 mnasnet1_0 efficientnet_b0 efficientnet_v2_s regnet_y_400mf
    convnext_tiny vit_b_16 swin_t maxvit_t
"""
# These have a classifier inside, whose weights would be fetched.
OTHERS = """
    fcn_resnet50 deeplabv3_resnet50 lraspp_mobilenet_v3_large ssdlite320_mobilenet_v3_large
    retinanet_resnet50_fpn fasterrcnn_mobilenet_v3_large_320_fpn maskrcnn_resnet50_fpn
"""
IMAGE = (1, 3, 224, 224)
IMAGES: dict[str, tuple[tuple[int, ...], ...]] = dict.fromkeys((CLASSIFIERS + OTHERS).split(), (IMAGE,)) | {
    "inception_v3": ((1, 3, 299, 299),),
    "swin_v2_t": ((1, 3, 256, 256),),
    "r3d_18": ((1, 3, 8, 112, 112),),
    "raft_small": ((1, 3, 128, 128), (1, 3, 128, 128)),
}
SMALL_VOCABULARY = {"vocab_size": 1000, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXTS: dict[str, dict[str, Any]] = {
    "bert": {}, "distilbert": {}, "roberta": {}, "albert": {}, "electra": {}, "mpnet": {}, "deberta-v2": {},
    "modernbert": SMALL_VOCABULARY | {"cls_token_id": 1, "sep_token_id": 2},
    "gpt2": SMALL_VOCABULARY | {"use_cache": False}, "llama": SMALL_VOCABULARY | {"use_cache": False},
}  # fmt: skip
PIXELS = ("vit", "deit", "beit", "dinov2", "clip_vision_model", "segformer", "mobilevit", "resnet")
TOKENS, SHOWN = 16, 3


def image_model(name: str) -> tuple[Any, dict[str, Any]]:
    more = {"weights_backbone": None} if name in OTHERS.split() else {}
    model = torchvision.models.get_model(name, weights=None, **more)
    return model, {f"x{number}": torch.zeros(shape) for number, shape in enumerate(IMAGES[name])}


def transformer(name: str) -> tuple[Any, dict[str, Any]]:
    config = transformers.AutoConfig.for_model(name, **TEXTS.get(name, {}))
    if name not in ("segformer", "mobilevit", "resnet"):
        config.num_hidden_layers = 2
    if name in TEXTS:
        ids = torch.ones(1, TOKENS, dtype=torch.long)
        inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    else:
        inputs = {"pixel_values": torch.zeros(1, 3, 224, 224)}
    return First(transformers.AutoModel.from_config(config)), inputs


class First(torch.nn.Module):
    """A transformer's first output alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **inputs: Any) -> Any:
        return self.model(**inputs)[0]


def export(name: str, path: Path) -> str:
    """Write a model; return the exporter that did."""
    torch.manual_seed(0)
    if name in IMAGES:
        model, inputs = image_model(name)
        torch.onnx.export(model.eval(), tuple(inputs.values()), path, dynamo=False, opset_version=17)
        return "TorchScript"
    model, inputs = transformer(name)
    torch.onnx.export(
        model.eval(),
        (),
        path,
        kwargs=inputs,
        dynamo=True,
        opset_version=20,
        verbose=False,
        external_data=False,
    )
    return "dynamo"


def row(name: str) -> list[str]:
    """Return a model's row: exporter, nodes, neurons, expectation nodes, coverage, and what is missing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        try:
            exporter = export(name, path)
            report = snnc.check(path)
        except SnncError as error:
            return [name, exporter, "", "", "", "refused", one_line(error.message)]
        except Exception as error:  # noqa: BLE001  # whatever an exporter raises is the finding
            return [name, "none", "", "", "", "", f"not exported: {type(error).__name__}"]
    fates = Counter(node.outcome.value for node in report.nodes)
    counts = [str(fates[fate] or "") for fate in ("neuron", "expectation", "rejected")]
    return [name, exporter, str(len(report.nodes)), *counts, missing(report)]


def missing(report: Any) -> str:
    """Return the operators that were rejected, each with how many nodes and why."""
    found: dict[str, Counter[str]] = {}
    for node in report.rejected:
        reason = re.sub(r" \('[^']*'\)", "", node.reason)  # without the tensor's name
        found.setdefault(node.op_type, Counter())[reason] += 1
    return "; ".join(
        f"{sum(reasons.values())} `{op}`: {' or '.join(why for why, _ in reasons.most_common(SHOWN))}"
        for op, reasons in sorted(found.items())
    )


def one_line(text: str) -> str:
    return " ".join(text.split())


TITLES = ("model", "exporter", "nodes", "neurons", "expectation nodes", "rejected", "what is missing")


def table(rows: Iterable[list[str]]) -> str:
    lines = [TITLES, ["---"] * len(TITLES), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', '¦') for cell in line)} |" for line in lines)


def page(rows: list[list[str]]) -> str:
    whole = sum(row[6] == "" for row in rows)
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "transformers"))
    return f"""# Published models

<!-- Written by `make published`; edit benchmarks/published.py instead. -->

Of {len(rows)} published architectures {whole} compile as a whole. Each is built by torchvision or
transformers ({versions}) with random weights,
transformers with two layers, exported with a batch of one, and looked at by `snnc check`. What is
rejected is listed with the reason; nodes that read it are not counted. Weights decide about accuracy,
not about which operators there are. What an operator needs to be imported is in [frontend](frontend.md)
and, case by case, in [conformance](conformance.md).

{table(rows)}

Detectors end in steps that choose and sort boxes, which have no mean over time: cut the model in front
of them (`onnx.utils.extract_model`), compile the part that computes, and do these steps on its decoded
outputs.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="these models only")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the page instead of printing it")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    rows = []
    for name in options.names or [*IMAGES, *TEXTS, *PIXELS]:
        rows.append(row(name))
        print(" | ".join(rows[-1]), flush=True)
    if options.write:
        options.write.write_text(page(rows))


if __name__ == "__main__":
    main()
