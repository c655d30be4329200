"""Damage to bytes, seeded; and bytes as choices, so that generators can be fuzzed like files."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

T = TypeVar("T")

# At the borders of types, and around the limits of snnc.
ABSURD_INTEGERS = (
    0, 1, -1, 2, 3, 7, 127, 255, 256, 32767, 2**16, 2**20, 2**31 - 1, 2**31, -(2**31), 2**32, 2**40,
    2**40 + 1, 2**62, 2**63 - 1, -(2**63), 2**33 + 1, -2, 10**9,
)  # fmt: skip
ABSURD_NAMES = (
    "", "x", "x" * 3000, "\x1b[31mred", "a\nb", "\0", "../../x", "<script>alert(1)</script>", "\u202egnp",
    "%s%n", "[bold]b", "é", "\ufeff", "N", "__metadata__",
)  # fmt: skip
ABSURD_REALS = (
    0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-310, 3.4e38, -3.4e38, 1e300, float("inf"), float("-inf"),
    float("nan"),
)  # fmt: skip


class Choices:
    """Reads decisions off bytes; when they run out, every further decision is the first option."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def below(self, count: int) -> int:
        """Return a number from 0 to count - 1."""
        if count <= 1 or self.place >= len(self.data):
            return 0
        width = 1 if count <= 256 else 2
        number = int.from_bytes(self.data[self.place : self.place + width], "little")
        self.place += width
        return number % count

    def pick(self, options: Sequence[T]) -> T:
        return options[self.below(len(options))]

    def sometimes(self, one_in: int) -> bool:
        return self.below(one_in) == one_in - 1


def flipped(data: bytes, rng: Random) -> bytes:
    """Return the data with a few bytes changed, dropped, repeated or cut off."""
    result = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8, 20))):
        if not result:
            return bytes(rng.randrange(256) for _ in range(rng.randrange(64)))
        place = rng.randrange(len(result))
        match rng.randrange(10):
            case 0 | 1 | 2:
                result[place] = rng.randrange(256)
            case 3:
                result[place] ^= 1 << rng.randrange(8)
            case 4:
                number = rng.choice(ABSURD_INTEGERS) & (2**64 - 1)
                width = rng.choice((1, 2, 4, 8))
                result[place : place + width] = (number % 2 ** (8 * width)).to_bytes(width, "little")
            case 5:
                del result[place : place + rng.choice((1, 2, 8, 64))]
            case 6:
                other = rng.randrange(len(result))
                result[place:place] = result[other : other + rng.choice((1, 4, 32))]
            case 7:
                result[place:place] = bytes([rng.randrange(256)]) * rng.choice((1, 3, 100))
            case 8:
                result[place:place] = rng.choice(ABSURD_NAMES).encode()
            case _:
                if rng.random() < 0.2:
                    del result[place:]
    return bytes(result)


def reworded(data: bytes, rng: Random, words: Sequence[str]) -> bytes:
    """Return text with words of its language put in, doubled, dropped or nested; or damaged like bytes."""
    if rng.random() < 0.3:
        return flipped(data, rng)
    text = data.decode("utf-8", "replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        place = rng.randrange(len(text) + 1)
        end = min(len(text), place + rng.choice((0, 1, 5, 30)))
        word = rng.choice((*words, *map(str, ABSURD_INTEGERS), *map(str, ABSURD_REALS), *ABSURD_NAMES))
        match rng.randrange(5):
            case 0:
                new = word
            case 1:
                new = text[place:end] * 2
            case 2:
                new = ""
            case 3:
                new = word * rng.choice((2, 50, 2000))
            case _:
                other = rng.randrange(len(text) + 1)
                new = text[other : other + rng.choice((1, 10, 80))]
        text = text[:place] + new + text[end:]
    return text.encode("utf-8", "surrogatepass")
