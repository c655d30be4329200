"""Train the plain digits CNN and export it to `digits_plain.onnx`.

    conv-ReLU-average-pool, twice, dense-ReLU-dense

Nothing but what every exchange format for spiking networks has a word for.
"""

from data import HERE, load_split
from torch import nn
from training import export, report, reproducible, train

SEED = 3
EPOCHS = 100
OUTPUT = HERE / "digits_plain.onnx"


def digits_plain() -> nn.Sequential:
    """(N, 1, 8, 8) -> logits (N, 10)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    model = digits_plain()
    train(model, training, epochs=EPOCHS, rate=2e-2, weight_decay=5e-2)
    export(model, OUTPUT)
    report(OUTPUT, test)


if __name__ == "__main__":
    main()
