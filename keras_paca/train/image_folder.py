"""Images in folders, one folder per class, as a Keras data set for any backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.preprocessing import evaluation_transform, load_image

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class ImageFolder(keras.utils.PyDataset):
    """Batches of (RGB images 0..255, one-hot labels) from files, for `fit` and `evaluate`.

    For training each image is a random crop of 35 to 100 % of the picture's area, flipped half
    of the time, and the order changes with every epoch; else it is the official evaluation
    transform. What is drawn depends on `seed`, epoch and index alone.

    `keras.utils.image_dataset_from_directory` needs TensorFlow or grain, and resizes without
    antialias where TensorFlow does it; this needs Pillow and gives what `predict` will see.

    Args:
        files: (path, class index) pairs.
        classes: number of classes.
        image_size: side of the images.
        batch_size: images per batch; the last may be smaller.
        training: whether to draw crops and the order.
        seed: of what is drawn.
        **kwargs: passed on to `keras.utils.PyDataset`, such as `workers`.
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, int]],
        classes: int,
        image_size: int,
        batch_size: int,
        training: bool = False,
        seed: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = list(files)
        self.classes = classes
        self.image_size = image_size
        self.batch_size = batch_size
        self.training = training
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.files) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.arange(len(self.files))
        if self.training:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        chosen = order[index * self.batch_size : (index + 1) * self.batch_size]
        draw = np.random.default_rng((self.seed, self.epoch, index))
        images = [self._image(self.files[i][0], draw) for i in chosen]
        labels = [self.files[i][1] for i in chosen]
        return np.stack(images).astype("float32"), np.eye(self.classes, dtype="float32")[labels]

    def on_epoch_end(self) -> None:
        """Draw anew in the next epoch."""
        self.epoch += 1

    def _image(self, path: Path, draw: np.random.Generator) -> np.ndarray:
        if not self.training:
            return evaluation_transform(path, self.image_size)
        image = load_image(path)
        box = random_box(image.width, image.height, draw)
        image = np.asarray(image.resize((self.image_size,) * 2, resample=3, box=box))  # bicubic
        return image[:, ::-1] if draw.random() < 0.5 else image


def random_box(width: int, height: int, draw: np.random.Generator) -> tuple[float, ...]:
    """Return (left, top, right, bottom) of 35 to 100 % of an image, of an aspect 3:4 to 4:3."""
    area = draw.uniform(0.35, 1.0) * width * height
    aspect = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_width = min(np.sqrt(area * aspect), width)
    box_height = min(np.sqrt(area / aspect), height)
    left = draw.uniform(0, width - box_width)
    top = draw.uniform(0, height - box_height)
    return left, top, left + box_width, top + box_height


def find_images(folder: str | Path) -> tuple[list[tuple[Path, int]], list[str]]:
    """List the images of a folder that has one folder per class.

    Args:
        folder: its path.

    Returns:
        (path, class index) of every image, sorted, and the names of the classes.

    Raises:
        FileNotFoundError: if there is no such folder.
        ValueError: if it is no folder, has fewer than two classes, a class without two images
            (one to train, one to validate), or a file that is no whole image.
    """
    folder = Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"No such folder: {folder}")
    if not folder.is_dir():
        raise ValueError(f"Expected a folder with one folder per class. Received: {folder}")
    visible = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    classes = [path.name for path in visible if path.is_dir()]
    if len(classes) < 2:
        raise ValueError(
            "Expected a folder with one folder per class, two classes or more. "
            f"Received: {folder}, with {len(classes)} folders"
        )
    files = []
    for label, name in enumerate(classes):
        found = sorted(
            path for path in (folder / name).rglob("*") if path.suffix.lower() in SUFFIXES
        )
        if len(found) < 2:
            raise ValueError(
                f"Expected two images or more per class ({', '.join(SUFFIXES)}). "
                f"Received: {folder / name}, with {len(found)}"
            )
        files.extend((path, label) for path in found)
    for path, _ in files:
        load_image(path)
    return files, classes


def split_files(
    files: Sequence[tuple[Path, int]], share: float = 0.2, seed: int = 0
) -> tuple[list[tuple[Path, int]], list[tuple[Path, int]]]:
    """Split files into training and validation, class by class.

    Args:
        files: (path, class index) pairs, two or more per class.
        share: of each class that goes to validation, 0 < share < 1; at least one image, and one
            is left to train.
        seed: of the draw.

    Returns:
        The files for training and those for validation.

    Raises:
        ValueError: if `share` lies outside (0, 1).
    """
    if not 0 < share < 1:
        raise ValueError(f"`share` must lie in (0, 1). Received: share={share}")
    training, validation = [], []
    for label in sorted({label for _, label in files}):
        members = [file for file in files if file[1] == label]
        order = np.random.default_rng((seed, label)).permutation(len(members))
        count = min(max(round(share * len(members)), 1), len(members) - 1)
        validation.extend(members[i] for i in sorted(order[:count]))
        training.extend(members[i] for i in sorted(order[count:]))
    return training, validation
