"""Every parity case: the same function as the official code from the same checkpoint."""

import keras
import numpy as np
import pytest
import skimage.data

from keras_paca import decode_predictions, evaluation_transform
from tests.marks import slow_but_on_torch
from tests.parity import official
from tests.reference import paca_tiny
from tests.reference.transform import PILLOW_WEIGHT_BITS, evaluation_transform_float64

# The others have the same operations; `make parity` runs all everywhere.
ON_EACH_BACKEND = ("tiny_options_a", "RapidNet_Ti")


@pytest.mark.parametrize(
    "name",
    [
        *ON_EACH_BACKEND,
        *(
            pytest.param(name, marks=slow_but_on_torch)
            for name in official.SMALL
            if name not in ON_EACH_BACKEND
        ),
        *(pytest.param(name, marks=pytest.mark.slow) for name in official.LARGE),
    ],
)
def test_case(name):
    errors = list(official.errors(name))
    assert len(errors) >= 7
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
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


@slow_but_on_torch
def test_photographs_end_to_end():
    """uint8 in, logits out: host transform and model, against float64 from another hand."""
    description, checkpoint, _ = official.case("pacavit_tiny_p2cconv_100_0")
    model = official.build("pacavit_tiny_p2cconv_100_0", description, include_preprocessing=True)
    official.load(model, checkpoint)
    photographs = [getattr(skimage.data, name)() for name in ("astronaut", "coffee", "rocket")]
    prepared = np.stack([evaluation_transform(image) for image in photographs])
    assert prepared.shape == (3, 224, 224, 3)
    assert prepared.dtype == np.uint8
    found = model.predict(prepared, verbose=0)
    independent = [
        evaluation_transform_float64(image, weight_bits=PILLOW_WEIGHT_BITS) for image in photographs
    ]
    expected = paca_tiny.logits_float64(np.stack(independent), checkpoint)
    for logits, wanted in zip(found, expected, strict=True):
        assert official.relative_error(logits, wanted) < official.BAR
    names = [[name for _, name, _ in best] for best in decode_predictions(found, top=3)]
    assert names == [[name for _, name, _ in best] for best in decode_predictions(expected, top=3)]


@slow_but_on_torch
def test_photographs_into_rapidnet():
    """uint8 in, logits out, beside the case's function of what the official transform returns."""
    description, checkpoint, _ = official.case("RapidNet_Ti")
    photographs = [getattr(skimage.data, name)() for name in ("astronaut", "coffee")]
    prepared = np.stack([evaluation_transform(image, crop=0.9) for image in photographs])
    independent = np.stack(
        [
            evaluation_transform_float64(image, crop=0.9, weight_bits=PILLOW_WEIGHT_BITS)
            for image in photographs
        ]
    )
    normalised = ((independent / 255.0 - paca_tiny.MEAN) / paca_tiny.STD).astype("float32")
    logits = []
    for x in (prepared, normalised):
        inside = x.dtype == np.uint8
        model = official.build("RapidNet_Ti", description, include_preprocessing=inside)
        official.load(model, checkpoint)
        logits.append(model.predict(x, verbose=0))
    assert official.relative_error(*logits) < official.BAR
