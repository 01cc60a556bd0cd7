"""A Keras data set of image files and their classes, for any backend."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import check_positive
from keras_paca.preprocessing.pictures import read_picture
from keras_paca.preprocessing.transform import CROP, check_size, transform_rgb


class ImageFolder(keras.utils.PyDataset):
    """Batches of RGB images and one-hot labels from image files, for `fit` and `evaluate`.

    For training, each image is a random crop of 35 to 100 % of the area of the picture, flipped
    with a probability of 1/2, and the order of the images changes with every epoch. Otherwise the
    images are prepared by the official evaluation transform with the given `crop`. The random
    draws depend only on the seed, the epoch and the index of the batch.

    Photographs are rotated according to their EXIF orientation, both for training and for
    validation. 16-bit images and transparency are treated as in
    `keras_paca.preprocessing.load_image`, but without its warning, which `find_images` gives once
    for all files.

    `keras.utils.image_dataset_from_directory` needs TensorFlow or grain, and resizes without
    antialiasing if TensorFlow does it. This class needs Pillow, and prepares images for validation
    exactly as `keras-paca predict` does.

    Args:
        files: Sequence of (Path, int). The path and the class index of each image, such as
            `find_images` returns.
        classes: int. Number of classes.
        image_size: int or tuple of int. Side of the images, or their (height, width).
        batch_size: int. Images per batch. The last batch may be smaller.
        training: bool. Whether to draw random crops and a random order.
        seed: int. Seed of the random draws.
        crop: float. `image_size` divided by the resized short side, in (0, 1]. It has no effect on
            training.
        **kwargs: Arguments of `keras.utils.PyDataset`, such as `workers`.

    Output shape:
        A batch is a tuple of images (batch, height, width, 3), float32 RGB in 0..255, and labels
        (batch, classes), float32.

    Raises:
        ValueError: If there are no files, a class index isn't below `classes`, a size isn't
            positive, or `crop` isn't in (0, 1]. Also if a file can't be read when its batch is
            computed.

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
                    f"Class indices must lie in 0 to {classes - 1}, as `classes` is {classes}. "
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
        """Advance to the next epoch, whose crops and order are drawn anew."""
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
    """Draw a random box in an image, for a crop.

    Its area is 35 to 100 % of that of the image and its aspect ratio from 3:4 to 4:3. If such a box
    doesn't fit, its longer side is shortened to that of the image.

    Args:
        width: int. Width of the image.
        height: int. Height of the image.
        draw: np.random.Generator. The source of the random numbers.

    Returns:
        tuple of float. (left, top, right, bottom) in pixels.

    Example:
    >>> left, top, right, bottom = random_box(40, 30, np.random.default_rng(0))
    >>> 0 <= left < right <= 40 and 0 <= top < bottom <= 30
    True
    """
    area = draw.uniform(0.35, 1.0) * width * height
    aspect = np.exp(draw.uniform(np.log(3 / 4), np.log(4 / 3)))
    box_width = min(np.sqrt(area * aspect), width)
    box_height = min(np.sqrt(area / aspect), height)
    left = draw.uniform(0, width - box_width)
    top = draw.uniform(0, height - box_height)
    return left, top, left + box_width, top + box_height
