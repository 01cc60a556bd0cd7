"""Every parity case: the same function as the official code from the same checkpoint."""

import keras
import numpy as np
import pytest
import skimage.data

from keras_paca import decode_predictions, evaluation_transform
from tests.parity import official
from tests.reference import paca_tiny
from tests.reference.transform import PILLOW_WEIGHT_BITS, evaluation_transform_float64


@pytest.mark.parametrize(
    "name",
    [*official.SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in official.LARGE)],
)
def test_case(name):
    errors = list(official.errors(name))
    assert len(errors) >= 7
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@pytest.mark.parametrize("name", [*official.SMALL, *official.LARGE])
def test_parameters(name):
    description, _, _ = official.case(name)
    model = official.build(name, description)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count == description["parameters"]


def test_case_under_channels_first():
    keras.config.set_image_data_format("channels_first")
    description, checkpoint, expected = official.case("tiny_options_a")
    model = official.build("tiny_options_a", description)
    official.load(model, checkpoint)
    errors = official.forward_errors(model, description, expected)
    assert max(errors.values()) < official.BAR, errors


def test_reference_is_the_case():
    """The independent float64 network computes the visible case."""
    description, checkpoint, expected = official.case("pacavit_tiny_p2cconv_100_0")
    image = official.recipe.image((1, 3, 96, 128), description["seed"])
    found = paca_tiny.forward(image, checkpoint)
    assert official.relative_error(found, expected["logits_96x128"]) < 1e-6


@pytest.mark.parametrize("photograph", ["astronaut", "coffee", "rocket"])
def test_photograph_end_to_end(photograph):
    """uint8 in, logits out: host transform and model, against float64 from another hand."""
    image = getattr(skimage.data, photograph)()
    description, checkpoint, _ = official.case("pacavit_tiny_p2cconv_100_0")
    model = official.build("pacavit_tiny_p2cconv_100_0", description, include_preprocessing=True)
    official.load(model, checkpoint)
    prepared = evaluation_transform(image)
    assert prepared.shape == (224, 224, 3)
    assert prepared.dtype == np.uint8
    found = model.predict(prepared[None], verbose=0)
    independent = evaluation_transform_float64(image, weight_bits=PILLOW_WEIGHT_BITS)
    expected = paca_tiny.logits_float64(independent[None], checkpoint)
    assert official.relative_error(found, expected) < official.BAR
    best = decode_predictions(found, top=3)[0]
    assert [name for _, name, _ in best] == [
        name for _, name, _ in decode_predictions(expected, top=3)[0]
    ]
