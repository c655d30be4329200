"""Digits as address events: what a sensor that reports changes of brightness sees while it moves over one.

A simulation, after the idea of N-MNIST (Orchard et al. 2015: a real event camera, moved in front of still
digits). Each 8x8 image is enlarged to 16x16 pixels of the sensor. The sensor's line of sight goes round a
square of `REACH` pixels (right, down, left, up), starting at a random corner, in `STEPS` frames of
`MOMENTS` moments each. A pixel remembers log(intensity + DARK); when the present value is CONTRAST or more
above (below) it, the pixel sends an ON (OFF) event and remembers the present value. An event is lost with
probability LOSS; a pixel sends one of its own accord with probability NOISE per frame and polarity. A frame
is 1 where a polarity sent any event in its time, else 0.

While the sensor moves along one axis, only edges across that axis send events, so a frame shows part of a
digit, and a static scene would show nothing at all: the digit has to be put together over time.
"""

import numpy as np
from numpy.typing import NDArray

STEPS = 8
SIZE = 16
REACH = 3.0
MOMENTS = 4
DARK = 0.2
CONTRAST = 0.3
LOSS = 0.3
NOISE = 0.01
CORNERS = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])  # rows, columns


def path(corner: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the line of sight [samples, STEPS · MOMENTS + 1, 2] of those who start at the given corners."""
    place = np.linspace(0, 4, STEPS * MOMENTS + 1) + corner[:, np.newaxis]
    side, along = place.astype(int) % 4, (place % 1)[..., np.newaxis]
    return REACH * ((1 - along) * CORNERS[side] + along * CORNERS[(side + 1) % 4] - 0.5)


def view(images: NDArray[np.float64], sight: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what the sensor sees, [samples, SIZE, SIZE], bilinear; around an image it is dark."""
    samples, size, _ = images.shape
    padded = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    centre = (np.arange(SIZE) + 0.5) / SIZE * size - 0.5 + 2
    rows, columns = (
        np.clip(centre + sight[:, axis : axis + 1] * size / SIZE, 0, padded.shape[1] - 1.001)
        for axis in (0, 1)
    )
    top, left = rows.astype(int), columns.astype(int)
    down, right = (rows - top)[:, :, np.newaxis], (columns - left)[:, np.newaxis]
    one = np.arange(samples)[:, np.newaxis, np.newaxis]
    top, left = top[:, :, np.newaxis], left[:, np.newaxis]
    upper = padded[one, top, left] * (1 - right) + padded[one, top, left + 1] * right
    lower = padded[one, top + 1, left] * (1 - right) + padded[one, top + 1, left + 1] * right
    return np.asarray(upper * (1 - down) + lower * down)


def events(images: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return frames [samples, STEPS, 2, SIZE, SIZE] of 0 and 1 (ON, OFF) for images 0..1 [samples, 8, 8]."""
    samples = len(images)
    sights = path(generator.integers(0, 4, samples))
    frames = np.zeros((samples, STEPS, 2, SIZE, SIZE), bool)
    remembered = np.log(view(images, sights[:, 0]) + DARK)
    for moment in range(1, STEPS * MOMENTS + 1):
        now = np.log(view(images, sights[:, moment]) + DARK)
        for polarity, sign in enumerate((1, -1)):
            sent = sign * (now - remembered) >= CONTRAST
            kept = sent & (generator.random(sent.shape) >= LOSS)
            frames[:, (moment - 1) // MOMENTS, polarity] |= kept
            remembered = np.where(sent, now, remembered)
    frames |= generator.random(frames.shape) < NOISE
    return frames.astype(np.uint8)
