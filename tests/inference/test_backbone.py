"""Backbones for inference compute the same at every level."""

import copy
import pickle

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.backbones import Backbone
from keras_paca.forms import twin_of
from keras_paca.inference.backbone import make_twin
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch

# --- Models -----------------------------------------------------------------------------------

MODELS = {
    "conv": {},
    "mlp": {"clustering": "mlp", "cluster_every": 1, "layer_scale": 0.1},
    "linear": {"clustering": "linear", "post_norm": True, "dwconv_in_mlp": False},
    "teacher": {"clustering": "teacher", "clusters": (7, 0, 5, 4), "sub_norm": True},
    "positions": {
        "position_embedding_size": 48,
        "cluster_position_embedding": True,
        "cluster_norm": False,
        "shortcut_in_mlp": False,
    },
    "fixed": {"input_shape": (44, 64, 3)},
}


@pytest.mark.parametrize(
    "options",
    [
        "conv",
        "fixed",
        *(
            pytest.param(x, marks=slow_but_on_torch)
            for x in ("teacher", "mlp", "linear", "positions")
        ),
    ],
)
def test_classifier_and_its_levels(options, small, images):
    model = randomise(small(**MODELS[options]))
    fused = keras_paca.fuse(model)
    assert isinstance(fused, keras_paca.PaCaViT)
    assert fused.get_config() == {**model.get_config(), "fused": True}
    everything = (
        keras.Model(x.input, [x.output, x.pyramid_outputs, x.assignments]) for x in (fused, model)
    )
    side = 44 if options == "fixed" else 45
    found, wanted = (x.predict(images(2, side, 64, 3), verbose=0) for x in everything)
    assert error(found, wanted) <= 1e-5
    assert fused.count_params() < model.count_params()


# --- What is kept, and what isn't done --------------------------------------------------------


@slow_but_on_torch
def test_official_checkpoints_are_refused(small):
    fused = keras_paca.fuse(small())
    with pytest.raises(ValueError, match=r"fuse it then: `keras_paca.fuse\(model\)`"):
        fused.checkpoint_map(fused.get_config())


def test_classes_without_a_form_for_inference():
    assert issubclass(twin_of(keras_paca.PaCaViT), keras_paca.PaCaViT)
    assert make_twin(Backbone) is None
    assert make_twin(keras.Model) is None


@slow_but_on_torch
def test_a_fused_model_can_be_pickled_and_copied(small, images):
    model = keras_paca.fuse(small())
    x = images(1, 32, 32, 3)
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.get_config() == model.get_config()
        np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))
