"""Scenes of real handwritten digits on real photographs, so that everything in them is known.

scikit-learn's digits are drawn, each in one light colour, on dimmed crops of scikit-image's
photographs. Training and test scenes share neither digits nor photographs. The notebooks begin with
a small PaCa-ViT that has learned to tell single digits.
"""

import keras
import numpy as np
import skimage.data
import skimage.transform
from sklearn.datasets import load_digits

from keras_paca import PaCaViT
from keras_paca.demo import SETTINGS

PHOTOGRAPHS = {
    "train": ("astronaut", "chelsea", "coffee", "rocket", "grass", "coins"),
    "test": ("camera", "brick", "gravel", "hubble_deep_field"),
}
SIDE = 96
DIMMED = 0.5  # of the photographs' brightness is left, so that light digits stand out


# --- Scenes -----------------------------------------------------------------------------------


def digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the digits (n, 8, 8), 0..1, and the labels of "train" or "test"."""
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.images))
    chosen = order[325:] if split == "train" else order[:325]
    return data.images[chosen] / 16, data.target[chosen]


def make_scenes(
    split: str, count: int, most: int = 3, side: int = SIDE, seed: int = 0
) -> dict[str, np.ndarray]:
    """Compose scenes.

    Args:
        split: "train" or "test".
        count: number of scenes.
        most: digits per scene, from 1 to this.
        side: height and width of the scenes; the digits are cut out of 36 to 56 pixels.
        seed: of the composition.

    Returns:
        "images" (count, side, side, 3), float32 in 0..255; "boxes" (count, most, 4), left, top,
        right, bottom in pixels; "labels" (count, most), -1 where there is no digit; "instances"
        (count, side, side), i + 1 where digit i shows; "classes" (count, side, side), 0 for the
        photograph and 1 to 10 for the digits 0 to 9.
    """
    draw = np.random.default_rng(seed)
    pictures, names = digits(split)
    photographs = [_rgb(getattr(skimage.data, name)()) for name in PHOTOGRAPHS[split]]
    scenes = {
        "images": np.zeros((count, side, side, 3), "float32"),
        "boxes": np.zeros((count, most, 4), "float32"),
        "labels": np.full((count, most), -1, "int32"),
        "instances": np.zeros((count, side, side), "int32"),
        "classes": np.zeros((count, side, side), "uint8"),
    }
    for i in range(count):
        image = _crop(photographs[draw.integers(len(photographs))], side, draw)
        taken = np.zeros((side, side), bool)
        for j in range(draw.integers(1, most + 1)):
            number = draw.integers(len(pictures))
            ink = _ink(pictures[number], int(draw.integers(36, 57)))
            for _ in range(20):  # a place that is free
                top, left = draw.integers(0, [side - n + 1 for n in ink.shape])
                place = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
                if not taken[place].any():
                    break
            else:
                continue
            taken[place] = True
            colour = draw.uniform(192, 255, 3)
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


def _crop(photograph: np.ndarray, side: int, draw: np.random.Generator) -> np.ndarray:
    top, left = (draw.integers(0, size - side + 1) for size in photograph.shape[:2])
    return DIMMED * photograph[top : top + side, left : left + side]


def _ink(picture: np.ndarray, side: int) -> np.ndarray:
    """Return a digit enlarged to a side and cut to what shows of it."""
    ink = np.clip(skimage.transform.resize(picture, (side, side), order=3), 0, 1)
    rows, columns = np.flatnonzero((ink > 0.4).any(1)), np.flatnonzero((ink > 0.4).any(0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


# --- What the notebooks begin with ------------------------------------------------------------


def train_classifier(epochs: int = 5) -> PaCaViT:
    """Train the demo's model on scenes of 64 x 64 with one digit each, as the demo does."""
    scenes = make_scenes("train", 3200, most=1, side=64, seed=1)
    classifier = PaCaViT(**SETTINGS)
    classifier.compile(
        adamw(2e-3, epochs * 50), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    classifier.fit(
        scenes["images"], scenes["labels"][:, 0], batch_size=64, epochs=epochs, verbose=2
    )
    return classifier


def backbone_of(classifier: PaCaViT) -> PaCaViT:
    """Return a backbone for scenes with the weights of the classifier's layers, name by name."""
    config = {**SETTINGS, "include_top": False, "input_shape": (SIDE, SIDE, 3)}
    backbone = PaCaViT(**{**config, "name": "backbone"})
    for layer in backbone.layers:
        if layer.weights:
            layer.set_weights(classifier.get_layer(layer.name).get_weights())
    return backbone


def adamw(rate: float, steps: int, **options: float) -> keras.optimizers.Optimizer:
    """Return AdamW whose rate rises for a tenth of the steps and falls as a cosine.

    The gradients' squares are averaged over fifty steps, not over a thousand: there are only a few
    hundred.
    """
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps - steps // 10, warmup_target=rate, warmup_steps=steps // 10
    )
    return keras.optimizers.AdamW(schedule, weight_decay=0.05, beta_2=0.98, **options)
