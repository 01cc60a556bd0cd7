"""Images in folders, one folder per class, as a Keras data set for any backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import check_positive
from keras_paca.preprocessing.pictures import read_picture
from keras_paca.preprocessing.transform import CROP, check_size, transform_rgb


class ImageFolder(keras.utils.PyDataset):
    """Batches of (RGB images 0..255, one-hot labels) from files, for `fit` and `evaluate`.

    For training each image is a random crop of 35 to 100 % of the picture's area, flipped half
    of the time, and the order changes with every epoch; else it is the official evaluation
    transform with the given `crop`. What is drawn depends on `seed`, epoch and index alone.

    A photograph that its camera marked as turned (EXIF orientation) is shown upright, in training
    and in validation. 16-bit pictures and transparency are treated as in
    `keras_paca.preprocessing.load_image`, but without its warning, which `find_images` gives once
    for all files.

    `keras.utils.image_dataset_from_directory` needs TensorFlow or grain, and resizes without
    antialias where TensorFlow does it; this needs Pillow and gives what `predict` will see.

    Args:
        files: Sequence of (path, class index) pairs, such as `find_images` returns.
        classes: int. Number of classes.
        image_size: int or tuple of int. Side of the images, or their (height, width).
        batch_size: int. Images per batch; the last batch may be smaller.
        training: bool. Whether to draw crops and the order.
        seed: int. Seed of what is drawn.
        crop: float. `image_size` over the resized short side, in validation; 0 < crop <= 1.
        **kwargs: Passed on to `keras.utils.PyDataset`, such as `workers`.

    Raises:
        ValueError: If there are no files, a class index isn't below `classes`, a size is not
            positive, or `crop` is out of its range; when a batch is made, if a file can't be read
            any more.

    Example:
    >>> import os, tempfile
    >>> from PIL import Image
    >>> from keras_paca.train import ImageFolder
    >>> path = os.path.join(tempfile.mkdtemp(), "0.png")
    >>> Image.new("RGB", (40, 30)).save(path)
    >>> images, labels = ImageFolder([(path, 1)], classes=2, image_size=32, batch_size=8)[0]
    >>> images.shape, labels.tolist()
    ((1, 32, 32, 3), [[0.0, 1.0]])
    """

    def __init__(
        self,
        files: Sequence[tuple[Path, int]],
        classes: int,
        image_size: int | tuple[int, int],
        batch_size: int,
        training: bool = False,
        seed: int = 0,
        *,
        crop: float = CROP,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.files = list(files)
        self.classes = check_positive("classes", classes)
        self.image_size = image_size
        self._size, self.crop = check_size(image_size, crop)
        self.batch_size = check_positive("batch_size", batch_size)
        self.training = training
        self.seed = seed
        self.epoch = 0
        if not self.files:
            raise ValueError("`files` must hold one (path, class index) pair or more. Received: []")
        for path, label in self.files:
            if not 0 <= label < classes:
                raise ValueError(
                    f"Class indices must lie in 0 to {classes - 1}, `classes` being {classes}. "
                    f"Received: {label} for {path}"
                )

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
        image, _ = read_picture(path, exif_transpose=True)
        if not self.training:
            return transform_rgb(image, str(path), self._size, self.crop)
        height, width = self._size
        box = random_box(image.width, image.height, draw)
        image = np.asarray(image.resize((width, height), resample=3, box=box))  # bicubic
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
