"""Small data that several tests train on."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image


class Stream(keras.utils.PyDataset):
    """Batches, from a data set.

    Args:
        batches: What each index gives.
    """

    def __init__(self, *batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def save_bright_and_dark(folder: Path, count: int, sizes=lambda i: (40, 40)) -> Path:
    """Save pictures of two classes, which their mean tells apart.

    Args:
        folder: Path. The folder that gets one folder per class.
        count: int. The number of pictures per class.
        sizes: Callable. From a picture's number to its (height, width).

    Returns:
        Path. The folder.
    """
    draw = np.random.default_rng(0)
    for name, level in (("bright", 190), ("dark", 60)):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            pixels = draw.normal(level, 25, (*sizes(i), 3)).clip(0, 255).astype("uint8")
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder
