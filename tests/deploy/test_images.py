"""Images for calibration and for the check: which are taken, and what is said of the others."""

import keras
import numpy as np
import pytest

from keras_paca.deploy.images import given_images
from keras_paca.warn import KerasPaCaWarning
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch
SHAPE = (1, 64, 64, 3)


@pytest.fixture
def data(images):
    return images(4, 64, 64, 3)


class Batches(keras.utils.PyDataset):
    """A data set of one batch."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        return np.zeros((2, 64, 64, 3)), np.zeros(2)


@pytest.mark.parametrize(
    "give",
    [
        lambda x: x,
        lambda x: x.astype("float64"),
        lambda x: x.astype("float16"),
        lambda x: x.astype("uint8"),
        lambda x: x.astype("int64"),
        list,
        lambda x: [x],
        lambda x: {"image": x},
        keras.ops.convert_to_tensor,
        lambda x: keras.ops.cast(x, "bfloat16"),
    ],
)
def test_what_is_taken(give, small, data):
    found = given_images("check_data", give(data), small(), SHAPE)
    assert found.shape == data.shape
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, data, atol=1.0)


def test_a_tensor_that_is_being_trained(small, data):
    tensor = keras.ops.convert_to_tensor(data)
    if keras.backend.backend() == "torch":
        tensor.requires_grad_()
    np.testing.assert_array_equal(given_images("check_data", tensor, small(), SHAPE), data)


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: x[:0], r"shape \(0, 64, 64, 3\)$"),
        (lambda x: [], r"shape \(0,\)$"),
        (lambda x: x[0], r"shape \(64, 64, 3\); one image needs a batch axis: image\[None\]$"),
        (lambda x: x[:, :32], r"input \(1, 64, 64, 3\).*shape \(4, 32, 64, 3\)$"),
        (lambda x: x[..., :1], r"shape \(4, 64, 64, 1\)$"),
        (lambda x: np.moveaxis(x, -1, 1), r"shape \(4, 3, 64, 64\)$"),
        (iter, r"np\.concatenate.*Received: an? \w*iterator$"),
        (lambda x: (image for image in x), r"np\.concatenate.*Received: a generator$"),
        (lambda x: Batches(), r"np\.concatenate.*Received: a Batches$"),
        (lambda x: lambda: x, "Received: a function$"),
        (lambda x: (x, np.zeros(4)), r"a tuple of 2 entries \(ndarray\)$"),
        (lambda x: {"a": x, "b": x}, r"a dict with the keys \['a', 'b'\]$"),
        (lambda x: [x[0], x[0, :32]], r"a list of 2 entries \(ndarray\)$"),
        (lambda x: "photographs", "load the files first.*Received: 'photographs'$"),
        (lambda x: ["a.png", "b.png"], r"a list of 2 entries \(str\)$"),
        (lambda x: x > 3, r"an array of bool of shape \(4, 64, 64, 3\)$"),
        (lambda x: x + 1j, "an array of complex64"),
        (lambda x: np.array(4 * [None]), "an array of object"),
        (lambda x: np.where(x > 250, np.nan, x), "finite numbers. Received: NaN"),
        (lambda x: np.full_like(x, 7), "constant images: .* of the value 7$"),
        (lambda x: x / 255, r"RGB in 0\.\.255, which the model normalises itself.*to 1$"),
        (lambda x: x / 127.5 - 1, r"RGB in 0\.\.255.*from -1 to 1$"),
    ],
)
def test_what_is_refused(give, message, small, data):
    for name in ("representative_data", "check_data"):
        with pytest.raises(ValueError, match=rf"^`{name}` must .*{message}") as error:
            given_images(name, give(data), small(), SHAPE)
        assert "\n" not in str(error.value)


def test_normalised_images(small, data):
    model = small(include_preprocessing=False)
    given_images("check_data", data / 255, model, SHAPE)
    for scaled in (data.astype("uint8"), np.round(data)):
        with pytest.warns(KerasPaCaWarning, match=r"looks like RGB in 0\.\.255"):
            given_images("check_data", scaled, model, SHAPE)
    given_images("check_data", data, model, SHAPE)  # another scale, such as of a sensor


def test_models_of_others_may_take_any_range(data):
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Dense(2)])
    given_images("check_data", data / 255, model, SHAPE)
    given_images("check_data", data.astype("uint8"), model, SHAPE)


def test_integers(data):
    model = keras.Sequential([keras.Input((64, 64, 3), dtype="uint8"), keras.layers.Rescaling(1)])
    found = given_images("check_data", np.round(data), model, SHAPE)
    assert found.dtype == np.uint8
    with pytest.raises(ValueError, match=r"input dtype, uint8.*an array of float32"):
        given_images("check_data", data, model, SHAPE)


def test_models_in_16_bits_have_files_in_float32(data):
    model = keras.Sequential([keras.Input((64, 64, 3), dtype="bfloat16"), keras.layers.Dense(2)])
    assert given_images("check_data", data, model, SHAPE).dtype == np.float32
