"""Tokens beside the patches: Keras's own checks, and that taking them out is the inverse."""

import numpy as np
import pytest
from keras import ops

from keras_paca.layers import ClassTokens, TokenAt, TokensToMap
from tests.inference.compare import randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.mark.parametrize("distillation", [False, True])
def test_run_layer_test(distillation):
    shape = (2, 15 + 1 + distillation, 4)
    run_layer_test(
        ClassTokens, {"distillation": distillation}, (2, 3, 5, 4), shape, 2 + distillation
    )


def test_run_layer_test_of_what_takes_them_out():
    run_layer_test(TokenAt, {"index": 1}, (2, 16, 4), (2, 4), 0)
    shapes = {"inputs_shape": (2, 17, 4), "like_shape": (2, 3, 5, 2)}
    run_layer_test(TokensToMap, {"prefix_tokens": 2}, shapes, (2, 3, 5, 4), 0,
                   run_training_check=False)  # fmt: skip


def test_what_was_put_before_the_patches(images):
    x = images(2, 3, 5, 4)
    layer = ClassTokens(distillation=True)
    layer.build(x.shape)
    randomise(layer)
    tokens = layer(x)
    assert tuple(tokens.shape) == layer.compute_output_shape(x.shape) == (2, 17, 4)
    assert layer.compute_output_shape((None, None, 5, 4)) == (None, None, 4)
    np.testing.assert_array_equal(ops.convert_to_numpy(TokensToMap(2)(tokens, x)), x)
    positions = ops.convert_to_numpy(layer.position_embedding)
    for i, token in enumerate(layer.tokens):
        wanted = ops.convert_to_numpy(token)[0] + positions[i]
        found = ops.convert_to_numpy(TokenAt(i)(tokens))
        np.testing.assert_allclose(found, np.stack([wanted, wanted]), rtol=1e-6)


def test_initial_values():
    layer = ClassTokens(distillation=True)
    layer.build((None, 2, 2, 4000))
    assert [weight.shape[0] for weight in layer.weights] == [1, 1, 2]
    for weight in layer.weights:
        values = ops.convert_to_numpy(weight)
        assert abs(values.mean()) < 1e-3
        assert abs(values.std() - 0.02) < 1e-3
    values = [ops.convert_to_numpy(token) for token in layer.tokens]
    assert (values[0] != values[1]).all()
