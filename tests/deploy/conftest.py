"""What several tests of exports have in common."""

import numpy as np
import pytest

from keras_paca.warn import KerasPaCaWarning


@pytest.fixture
def their_warnings():
    """Warnings of the converters are theirs."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.filterwarnings("error", module="keras_paca")
        warnings.filterwarnings("error", category=KerasPaCaWarning)
        yield


@pytest.fixture(scope="module")
def classifier(small):
    model = small(input_shape=(None, None, 3))
    draw = np.random.default_rng(0)
    for weight in model.weights:  # fresh norms would hide what was folded wrongly
        weight.assign(weight + 0.1 * draw.standard_normal(weight.shape).astype("float32"))
    return model
