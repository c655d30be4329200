"""Train the digits VGG and export it to `digits_vgg.onnx`.

    (conv-BN-ReLU twice, max-pool) three times, dense

What VGG is, scaled down: a plain stack without residuals. Batch norm stays in the file as its own nodes.
"""

from itertools import pairwise

from data import HERE, load_split
from torch import nn
from train_cnn import conv_bn
from training import export, report, reproducible, train

SEED = 3
EPOCHS = 100
WIDTHS = (16, 32, 32)  # of the three stages, on 8x8, 4x4 and 2x2
OUTPUT = HERE / "digits_vgg.onnx"


def digits_vgg() -> nn.Sequential:
    """(N, 1, 8, 8) -> logits (N, 10)."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((1, *WIDTHS)):
        layers += [conv_bn(inputs, outputs), nn.ReLU(), conv_bn(outputs, outputs), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1], 10))


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    model = digits_vgg()
    train(model, training, epochs=EPOCHS, rate=5e-3, weight_decay=5e-2)
    export(model, OUTPUT)
    report(OUTPUT, test)


if __name__ == "__main__":
    main()
