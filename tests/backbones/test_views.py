"""A backbone as other libraries want to see it."""

import keras
import numpy as np
import pytest

from keras_paca.backbones.views import DictEncoder, SegFormerEncoder
from tests.marks import slow_but_on_torch


@slow_but_on_torch
@pytest.mark.parametrize(
    ("cls", "method", "names"),
    [
        (SegFormerEncoder, "as_segformer_encoder", ["P1", "P2", "P3", "P4"]),
        (DictEncoder, "as_dict_encoder", ["P2", "P3", "P4", "P5"]),
    ],
)
def test_views(cls, method, names, small, images, tmp_path):
    """They share the backbone's layers, and a file holds both."""
    backbone = small(include_top=False, input_shape=(64, 96, 3))
    view = getattr(backbone, method)(name="view")
    assert isinstance(view, cls)
    assert list(view.pyramid_outputs) == names
    assert view.hidden_dims == backbone.hidden_dims
    assert view.image_shape == (64, 96, 3)
    x = images(1, 64, 96, 3)
    levels = keras.Model(view.input, view.pyramid_outputs).predict(x, verbose=0)
    expected = keras.Model(backbone.input, backbone.pyramid_outputs).predict(x, verbose=0)
    for found, wanted in zip(levels.values(), expected.values(), strict=True):
        np.testing.assert_array_equal(found, wanted)
    view.trainable = False
    assert not backbone.trainable_weights
    view.save(tmp_path / "view.keras")
    again = keras.saving.load_model(tmp_path / "view.keras")
    assert (type(again), again.name) == (cls, "view")
    assert not again.trainable_weights
    for found, wanted in zip(
        keras.tree.flatten(again.predict(x, verbose=0)),
        keras.tree.flatten(view.predict(x, verbose=0)),
        strict=True,
    ):
        np.testing.assert_array_equal(found, wanted)


def test_what_a_view_returns(small, images):
    backbone, x = small(include_top=False), images(1, 64, 64, 3)
    coarsest = backbone.as_segformer_encoder().predict(x, verbose=0)
    levels = backbone.as_dict_encoder().predict(x, verbose=0)
    assert coarsest.shape == (1, 2, 2, 40)
    assert list(levels) == backbone.as_dict_encoder().stage_names == ["P2", "P3", "P4", "P5"]
    np.testing.assert_allclose(levels["P5"], coarsest, rtol=1e-5, atol=1e-6)
