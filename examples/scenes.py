"""Scenes of real handwritten digits on real photographs, so that everything in them is known.

scikit-learn's digits are drawn in one colour each on crops of scikit-image's photographs. Training
and test scenes share neither digits nor photographs.
"""

import numpy as np
import skimage.data
import skimage.transform
from sklearn.datasets import load_digits

PHOTOGRAPHS = {
    "train": ("astronaut", "chelsea", "coffee", "rocket", "grass", "coins"),
    "test": ("camera", "brick", "gravel", "hubble_deep_field"),
}
SIDE = 128


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits (n, 8, 8), 0..1, and the labels of "train" or "test"."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    chosen = order[325:] if split == "train" else order[:325]
    return data.images[chosen] / 16, data.target[chosen]


def make_scenes(split: str, count: int, most: int = 3, seed: int = 0) -> dict[str, np.ndarray]:
    """Compose scenes.

    Args:
        split: "train" or "test".
        count: number of scenes.
        most: digits per scene, from 1 to this.
        seed: of the composition.

    Returns:
        "images" (count, 128, 128, 3), float32 in 0..255; "boxes" (count, most, 4), left, top,
        right, bottom in pixels; "labels" (count, most), -1 where there is no digit; "instances"
        (count, 128, 128), i + 1 where digit i shows; "classes" (count, 128, 128), 0 for the
        photograph and 1 to 10 for the digits 0 to 9.
    """
    draw = np.random.default_rng(seed)
    pictures, names = digits(split)
    photographs = [_rgb(getattr(skimage.data, name)()) for name in PHOTOGRAPHS[split]]
    scenes = {
        "images": np.zeros((count, SIDE, SIDE, 3), "float32"),
        "boxes": np.zeros((count, most, 4), "float32"),
        "labels": np.full((count, most), -1, "int32"),
        "instances": np.zeros((count, SIDE, SIDE), "int32"),
        "classes": np.zeros((count, SIDE, SIDE), "uint8"),
    }
    for i in range(count):
        image = _crop(photographs[draw.integers(len(photographs))], draw)
        taken = np.zeros((SIDE, SIDE), bool)
        for j in range(draw.integers(1, most + 1)):
            number = draw.integers(len(pictures))
            side = int(draw.integers(36, 57))
            picture = skimage.transform.resize(pictures[number], (side, side), order=3)
            ink = np.clip(picture, 0, 1)
            rows, columns = np.flatnonzero((ink > 0.4).any(1)), np.flatnonzero((ink > 0.4).any(0))
            ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            for _ in range(20):  # a place that is free
                top, left = (
                    draw.integers(0, SIDE - ink.shape[0]),
                    draw.integers(0, SIDE - ink.shape[1]),
                )
                place = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
                if not taken[place].any():
                    break
            else:
                continue
            taken[place] = True
            colour = draw.uniform(0, 255, 3)
            image[place] += ink[..., None] * (colour - image[place])
            scenes["boxes"][i, j] = left, top, left + ink.shape[1], top + ink.shape[0]
            scenes["labels"][i, j] = names[number]
            shown = ink > 0.4
            scenes["instances"][i][place][shown] = j + 1
            scenes["classes"][i][place][shown] = names[number] + 1
        scenes["images"][i] = image
    return scenes


def _rgb(image: np.ndarray) -> np.ndarray:
    image = image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
    return image[..., :3].astype("float32")


def _crop(photograph: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    top, left = (draw.integers(0, size - SIDE + 1) for size in photograph.shape[:2])
    return photograph[top : top + SIDE, left : left + SIDE].copy()
