"""The mask transformer against its equations, and what it takes."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.segmentation import MaskTransformerHead
from tests.inference.compare import randomise
from tests.segmentation.heads import reference

SHAPES = [(2, 3, 5, 6), (2, 3, 5, 4)]


def head_on(shapes, known=True, **options):
    inputs = [keras.Input((*(shape[1:3] if known else (None, None)), shape[3])) for shape in shapes]
    head = MaskTransformerHead(7, **options)
    return randomise(keras.Model(inputs, head(inputs))), head


@pytest.mark.parametrize(
    ("count", "known", "options"),
    [(2, True, {"channels": 8, "num_heads": 2}), (1, False, {"num_layers": 1, "mlp_ratio": 2.0})],
)
def test_equations(count, known, options):
    model, head = head_on(SHAPES[:count], known, **options)
    draw = np.random.default_rng(0)
    maps = [draw.standard_normal(shape).astype("float32") for shape in SHAPES[:count]]
    found = ops.convert_to_numpy(model(maps, training=False))
    expected = reference.mask_transformer(
        reference.parameters(head), maps, options.get("num_heads", 1), head.num_layers
    )
    assert found.shape == expected.shape == (2, 3, 5, 7)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_drop_paths_grow_from_0():
    _, head = head_on(SHAPES[:1], num_layers=3, drop_path_rate=0.2)
    rates = [block.drop_path_rate for block in head.blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2])


@pytest.mark.parametrize(
    ("channels", "heads"), [(192, 3), (384, 6), (768, 12), (320, 5), (200, 2), (8, 1)]
)
def test_heads_by_default(channels, heads):
    from keras_paca.segmentation.heads.mask_transformer import _default_heads

    assert _default_heads(channels) == heads


def test_maps_that_do_not_fit():
    with pytest.raises(ValueError, match="the same height and width"):
        MaskTransformerHead(7)([np.zeros((1, 4, 4, 8)), np.zeros((1, 4, 2, 8))])
    for name, value in (("num_layers", 0), ("num_heads", 0), ("drop_path_rate", 1.0)):
        with pytest.raises(ValueError, match=f"`{name}` must"):
            MaskTransformerHead(7, **{name: value})
    for ratio in (-1, 0):
        with pytest.raises(ValueError, match="`mlp_ratio` must make the hidden layer"):
            MaskTransformerHead(7, mlp_ratio=ratio)
    with pytest.raises(ValueError, match="`mlp_ratio` must make the hidden layer"):
        MaskTransformerHead(7, mlp_ratio=0.1).build((1, 4, 4, 8))


def test_initial_values_are_those_of_the_official_code():
    head = MaskTransformerHead(150)
    head.build([(None, 4, 4, 256), (None, 4, 4, 256)])
    assert head.num_heads is None
    for name, array in reference.parameters(head).items():
        if name.endswith(("bias", "beta")):
            assert not array.any(), name
        elif name.endswith("gamma"):
            assert (array == 1).all(), name
        elif "attention/" in name and "output" not in name:
            limit = (6 / (256 + 3 * 256)) ** 0.5
            assert 0.98 * limit < np.abs(array).max() <= limit
            assert array.std() == pytest.approx(limit / 3**0.5, rel=0.02)
        else:
            assert array.std() == pytest.approx(0.02, rel=0.03), name
            assert abs(array.mean()) < 5e-4
