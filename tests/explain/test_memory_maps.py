"""The reading weights of a Token Turing Machine as maps."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import PaCaViT, ViTTM, memory_maps
from tests.inference.compare import randomise
from tests.marks import slow_but_on_torch
from tests.reference import read_write_heads


def small(**options):
    """Return a ViTTM with random weights."""
    patches = {"memory_patch_size": 8, "process_patch_size": 16, "image_size": (32, 48)}
    return randomise(ViTTM(8, 2, depth=2, classes=3, **patches, **options))


def test_they_are_the_reading_weights(images):
    model, x = small(), images(3, 32, 48, 3)
    maps = memory_maps(model, x, block=0, heads=True, batch_size=2)
    assert maps.shape == (3, 2, 2, 3, 4, 6)
    np.testing.assert_allclose(maps.sum((-1, -2)), 1, rtol=1e-4)
    head = model.get_layer("block1_read")
    given = keras.Model(model.input, head.input).predict(x, verbose=0)
    weights = {
        name: [ops.convert_to_numpy(w) for w in getattr(head, f"{name}_dense").weights]
        for name in ("query", "key", "value")
    }
    tokens = [each.reshape(3, -1, 8).astype("float64") for each in given]
    _, wanted = read_write_heads.linear(*tokens, weights, 2)
    np.testing.assert_allclose(maps.reshape(3, 2, 6, 24), np.stack(wanted, 1), rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(memory_maps(model, x, block=-2), maps.mean(1), rtol=1e-5, atol=1e-7)


@slow_but_on_torch
@pytest.mark.parametrize("head", ["cross_attention", "token_learner"])
def test_other_heads_sizes_and_forms(head, images):
    model = small(read_write_head=head)
    x = images(1, 32, 48, 3)
    maps = memory_maps(model, x)
    assert maps.shape == (1, 2, 3, 4, 6)
    np.testing.assert_allclose(memory_maps(keras_paca.fuse(model), x), maps, rtol=1e-3, atol=1e-6)
    if head == "cross_attention":
        assert memory_maps(model, images(1, 64, 40, 3)).shape == (1, 4, 2, 8, 5)


def test_wrong_arguments(images):
    x = images(1, 32, 48, 3)
    with pytest.raises(ValueError, match="have no memory"):
        memory_maps(PaCaViT((8, 8, 8, 8), 1, 1), x)
    model = small()
    with pytest.raises(ValueError, match="The model has 2 blocks"):
        memory_maps(model, x, block=2)
    with pytest.raises(ValueError, match="`block` must be an integer"):
        memory_maps(model, x, block=0.0)
    with pytest.raises(ValueError, match="needs a batch axis"):
        memory_maps(model, x[0])
