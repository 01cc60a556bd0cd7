"""Random boxes."""

import numpy as np


def random_boxes(draw, *shape, size=100.0, least=1.0):
    corner = draw.uniform(0, 0.7 * size, (*shape, 2))
    sides = draw.uniform(least, 0.3 * size, (*shape, 2))
    return np.concatenate([corner, corner + sides], axis=-1).astype("float32")
