"""Pictures as a whole, resized as the official detectors resize them."""

import numpy as np
import skimage.data
from PIL import Image

from keras_paca.preprocessing.whole import resize_bilinear, resized_size


def test_sizes():
    for size, expected in (
        ((480, 640), (800, 1067)),
        ((640, 480), (1067, 800)),
        ((427, 640), (800, 1199)),
        ((300, 640), (625, 1333)),
        ((1000, 1000), (800, 800)),
    ):
        assert resized_size(*size, 800, 1333) == expected


def test_bilinear():
    image = skimage.data.astronaut()[:50, :70]
    ours = resize_bilinear(image, (80, 112))
    pillow = Image.fromarray(image).resize((112, 80), Image.Resampling.BILINEAR)
    assert np.abs(ours - np.asarray(pillow, "float32")).max() <= 1
    # halving without antialiasing: the mean of the two nearest pixels on each axis
    half = resize_bilinear(image, (25, 35))
    mean = image.reshape(25, 2, 35, 2, 3).mean(axis=(1, 3))
    assert np.abs(half - mean).max() <= 0.5
