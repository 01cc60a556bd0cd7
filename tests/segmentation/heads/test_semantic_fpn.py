"""The head of Semantic FPN: the official arithmetic, and that of earlier versions."""

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.segmentation import SemanticFPNHead
from tests.inference.compare import randomise
from tests.segmentation.heads import reference

SIZES = {
    "even": [(2, 16, 24, 3), (2, 8, 12, 4), (2, 4, 6, 5), (2, 2, 3, 6)],
    "odd": [(2, 9, 7, 3), (2, 5, 4, 4), (2, 3, 2, 5), (2, 2, 1, 6)],
}


def head_on(shapes, known, **options):
    inputs = [keras.Input((*(shape[1:3] if known else (None, None)), shape[3])) for shape in shapes]
    head = SemanticFPNHead(7, channels=4, pyramid_channels=6, **options)
    return randomise(keras.Model(inputs, head(inputs))), head


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("name", SIZES)
def test_official_arithmetic(name, known):
    model, head = head_on(SIZES[name], known)
    draw = np.random.default_rng(0)
    maps = [draw.standard_normal(shape).astype("float32") for shape in SIZES[name]]
    found = ops.convert_to_numpy(model(maps, training=False))
    expected = reference.semantic_fpn(reference.parameters(head), maps)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_models_of_earlier_versions_interpolate():
    config = SemanticFPNHead(7).get_config()
    assert config.pop("interpolation") == "nearest"
    assert SemanticFPNHead.from_config(config).interpolation == "bilinear"
    with pytest.raises(ValueError, match="`interpolation` must be one of"):
        SemanticFPNHead(7, interpolation="bicubic")
