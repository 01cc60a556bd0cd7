"""Every parity case of ViTTM: the same function as the official code from the same checkpoint."""

import keras
import pytest

from tests.marks import slow_but_on_torch
from tests.parity import official, vittm


@pytest.mark.parametrize(
    "name", [*vittm.SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in vittm.LARGE)]
)
def test_case(name):
    errors = list(vittm.errors(name))
    assert len(errors) == 2
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
@pytest.mark.parametrize("name", [*vittm.SMALL, *vittm.LARGE])
def test_parameters(name):
    """As many as the official code allocates, but for those that it never uses."""
    description, checkpoint, _ = official.case(name)
    model = vittm.build(description)
    unused = {key: checkpoint[key].size for key in model.constant_keys(checkpoint)}
    if description["options"]["memory_patch"] == 16:  # the official code counts it once
        del unused["patch_embed.proj.weight"], unused["patch_embed.proj.bias"]
    assert model.count_params() == description["parameters"] - sum(unused.values())
    assert set(description.get("unused_keys", unused)) == set(unused)


@slow_but_on_torch
def test_case_under_channels_first():
    keras.config.set_image_data_format("channels_first")
    errors = list(vittm.errors("vittm_tiny_28"))
    assert not [(array, error) for array, error, bar in errors if not error < bar]


@slow_but_on_torch
def test_the_prediction_is_the_memory():
    model, description, expected = vittm.load("vittm_tiny_28")
    x = official.images((2, 3, 224, 224), description["seed"])
    wanted = expected["memory_logits_224x224"]
    assert official.relative_error(model.predict(x, verbose=0), wanted) < vittm.BAR
