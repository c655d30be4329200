"""Train the digits CNN and export it to `digits_cnn.onnx`.

    conv-BN-ReLU, residual block, max-pool, conv-BN-ReLU, residual block, average-pool, dense-ReLU-dense

Batch norm stays in the file as its own nodes: folding it is the compiler's work.
"""

from data import HERE, load_split
from torch import Tensor, nn
from torch.nn import functional
from training import export, report, reproducible, train

SEED = 1
EPOCHS = 100
OUTPUT = HERE / "digits_cnn.onnx"


def conv_bn(inputs: int, outputs: int) -> nn.Sequential:
    """3x3 convolution that keeps the size, then batch norm."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))


class ResidualBlock(nn.Module):
    """y = relu(x + BN(conv(relu(BN(conv(x))))))"""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn(channels, channels)
        self.second = conv_bn(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(functional.relu(self.first(x))))


def digits_cnn() -> nn.Sequential:
    """(N, 1, 8, 8) -> logits (N, 10)."""
    return nn.Sequential(
        conv_bn(1, 16),
        nn.ReLU(),
        ResidualBlock(16),
        nn.MaxPool2d(2),
        conv_bn(16, 32),
        nn.ReLU(),
        ResidualBlock(32),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * 2 * 2, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    model = digits_cnn()
    train(model, training, epochs=EPOCHS, rate=5e-3, weight_decay=5e-2)
    export(model, OUTPUT)
    report(OUTPUT, test)


if __name__ == "__main__":
    main()
