"""Train the digits vision transformer and export the same weights twice.

`digits_vit.onnx` comes from PyTorch's TorchScript exporter, `digits_vit_dynamo.onnx` from the dynamo
exporter: they spell one network with different nodes (GELU as an erf formula or as one node, for example).
"""

import torch
from data import HERE, load_split
from torch import Tensor, nn
from torch.nn import functional
from training import report, reproducible, strip, train

SEED = 2
EPOCHS = 200
WIDTH = 48
HEADS = 4
BLOCKS = 3
PATCH = 2
TOKENS = (8 // PATCH) ** 2 + 1  # the class token comes first
DROPOUT = 0.1
OUTPUT = HERE / "digits_vit.onnx"
OUTPUT_DYNAMO = HERE / "digits_vit_dynamo.onnx"


class Attention(nn.Module):
    """softmax(Q Kᵀ / √d) V in every head, then a projection: (N, tokens, width) -> (N, tokens, width)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.project = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).reshape(-1, TOKENS, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        heads = functional.scaled_dot_product_attention(qkv[0], qkv[1], qkv[2])
        joined: Tensor = self.project(heads.transpose(1, 2).reshape(-1, TOKENS, WIDTH))
        return joined


class Block(nn.Module):
    """Pre-norm transformer block: x += attention(LN(x)); x += MLP(LN(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention(), nn.Dropout(DROPOUT))
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 2 * WIDTH),
            nn.GELU(),
            nn.Linear(2 * WIDTH, WIDTH),
            nn.Dropout(DROPOUT),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(x)
        x = x + self.mlp(x)
        return x


class DigitsViT(nn.Module):
    """(N, 1, 8, 8) -> logits (N, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, WIDTH, PATCH, stride=PATCH)
        self.class_token = nn.Parameter(torch.randn(1, 1, WIDTH) * 0.02)
        self.positions = nn.Parameter(torch.randn(1, TOKENS, WIDTH) * 0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, 10)

    def forward(self, image: Tensor) -> Tensor:
        patches = self.patches(image).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(image.shape[0], -1, -1), patches], dim=1)
        tokens = self.blocks(tokens + self.positions)
        logits: Tensor = self.head(self.norm(tokens[:, 0]))
        return logits


def export(model: nn.Module) -> None:
    """Export with both of PyTorch's exporters, dynamic in the batch."""
    example = (torch.zeros(2, 1, 8, 8),)
    torch.onnx.export(
        model,
        example,
        OUTPUT,
        dynamo=False,
        opset_version=17,
        input_names=["image"],
        output_names=["logits"],
        dynamic_axes={"image": {0: "N"}, "logits": {0: "N"}},
    )
    torch.onnx.export(
        model,
        example,
        OUTPUT_DYNAMO,
        dynamo=True,
        opset_version=20,
        external_data=False,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes={"image": {0: torch.export.Dim("N")}},
    )


def main() -> None:
    reproducible(SEED)
    training, test = load_split()
    model = DigitsViT()
    train(model, training, epochs=EPOCHS, rate=2e-3, weight_decay=5e-2)
    export(model)
    for path in (OUTPUT, OUTPUT_DYNAMO):
        strip(path)
        report(path, test)


if __name__ == "__main__":
    main()
