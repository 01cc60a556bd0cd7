import keras
import numpy as np
import pytest

from keras_paca import PaCaViT


@pytest.fixture(autouse=True)
def _clean_state():
    """Leave global settings as they were, so that no test depends on another."""
    policy, layout = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(layout)


@pytest.fixture
def small():
    """Return a function that builds a small PaCaViT of any options, 32 x 32 and up."""

    def build(**options):
        return PaCaViT(
            **{
                "hidden_dims": (16, 24, 32, 40),
                "depths": (1, 2, 2, 1),
                "num_heads": (1, 2, 2, 4),
                "clusters": (7, 6, 5, 0),
                "kernel_size": 3,
                "classes": 5,
                **options,
            }
        )

    return build


@pytest.fixture
def images():
    """Return a function that draws images 0..255 of a shape."""

    def draw(*shape, seed=0):
        return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")

    return draw
