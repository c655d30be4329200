"""Train the digits MLP and export it to `digits_mlp.onnx`.

dense-ReLU, twice, dense
"""

from data import HERE, load_split
from torch import nn
from training import export, report, reproducible, train

SEED = 4
EPOCHS = 100
OUTPUT = HERE / "digits_mlp.onnx"


def digits_mlp() -> nn.Sequential:
    """(N, 1, 8, 8) -> logits (N, 10)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(64, 128),
        nn.ReLU(),
        nn.Linear(128, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    model = digits_mlp()
    train(model, training, epochs=EPOCHS, rate=5e-3, weight_decay=5e-2)
    export(model, OUTPUT)
    report(OUTPUT, test)


if __name__ == "__main__":
    main()
