from importlib.util import find_spec

import keras
import numpy as np
import pytest

from keras_paca import PaCaViT
from tests.stand_ins import released_tensors, write_released


def pytest_runtest_setup(item):
    """Leave out, in an environment with one backend, what needs several."""
    missing = [name for name in ("tensorflow", "jax", "torch") if find_spec(name) is None]
    if missing and item.get_closest_marker("together"):
        pytest.skip(f"needs {', '.join(missing)} too")


@pytest.fixture(autouse=True)
def _clean_state():
    """Leave global settings as they were, so that no test depends on another."""
    policy, layout = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.utils.set_random_seed(0)
    yield
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format(layout)


@pytest.fixture(scope="session")
def small():
    """Return a function that builds a small PaCaViT of any options, 32 x 32 and up."""

    def build(**options):
        return PaCaViT(
            **{
                "hidden_dims": (16, 24, 32, 40),
                "depths": (1, 2, 1, 1),
                "num_heads": (1, 2, 2, 4),
                "clusters": (7, 6, 5, 0),
                "kernel_size": 3,
                "teacher_depths": 1,
                "classes": 5,
                **options,
            }
        )

    return build


@pytest.fixture(scope="session")
def images():
    """Return a function that draws images 0..255 of a shape."""

    def draw(*shape, seed=0):
        return np.random.default_rng(seed).uniform(0, 255, shape).astype("float32")

    return draw


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """Return the path of a file like the released one of PaCa-Tiny."""
    path = tmp_path_factory.mktemp("weights") / "tiny.pth"
    write_released(path, released_tensors("tiny"))
    return str(path)
