"""The heads of boxes and masks: Keras's own checks, and the attentive head in a detector."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import weights
from keras_paca.detection import MaskRCNN, PaCaTinyMaskRCNN
from keras_paca.detection.checkpoints import DETECTION, checkpoint_map
from keras_paca.detection.heads import AttentiveBoxHead, BoxHead, MaskHead
from tests.detection.scenes import scene
from tests.inference.compare import error, randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch


@pytest.mark.parametrize(
    ("cls", "options", "shape", "expected"),
    [
        pytest.param(BoxHead, {"units": 8}, (2, 5, 7, 7, 4), ((2, 5, 4), (2, 5, 3, 4)), id="box"),
        pytest.param(
            MaskHead, {"channels": 4, "depth": 2}, (2, 5, 6, 6, 4), (2, 5, 12, 12, 3), id="mask"
        ),
    ],
)
def test_run_layer_test(cls, options, shape, expected):
    run_layer_test(
        cls,
        {"num_classes": 3, **options},
        shape,
        expected,
        8,
        run_training_check=False,  # several outputs have no single loss; trained in Mask R-CNN
        run_mixed_precision_check=False,  # logits are float32 on purpose
    )


@slow_but_on_torch
def test_run_layer_test_attentive():
    options = {"num_classes": 3, "units": 8, "channels": 8, "mixtures": (2, 3), "groups": 4}
    run_layer_test(
        AttentiveBoxHead,
        options,
        (2, 5, 3, 3, 4),
        ((2, 5, 4), (2, 5, 3, 4)),
        2 * (1 + 2 + 2) + 3 * 2,
        run_training_check=False,
        run_mixed_precision_check=False,
    )


@slow_but_on_torch
def test_bad_channels(small):
    with pytest.raises(ValueError, match=r"divisible by the 4 groups .* Received: channels=6"):
        AttentiveBoxHead(3, channels=6, groups=4)
    with pytest.raises(ValueError, match=r"divisible by the 32 groups .* Received: channels=16"):
        MaskRCNN(small(include_top=False), 3, channels=16, box_head="an")
    with pytest.raises(ValueError, match=r"`box_head` must be one of \('dense', 'an'\)"):
        MaskRCNN(small(include_top=False), 3, box_head="fc")
    with pytest.raises(ValueError, match='No released detector has the box head "an"'):
        PaCaTinyMaskRCNN(box_head="an")


@slow_but_on_torch
def test_a_detector_with_the_attentive_head(detector, tmp_path):
    """It trains, is saved and loaded, fused, and loaded strictly from a file."""
    model = detector(channels=32, box_head="an")
    images, objects = scene(2, 64, 80)
    model.compile(keras.optimizers.AdamW(1e-3))
    before = model.box_head.get_weights()
    history = model.fit(images, objects, batch_size=2, verbose=0).history
    assert np.isfinite(list(history.values())).all()
    assert not any(map(np.array_equal, before, model.box_head.get_weights()))
    found = model.predict(images, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.get_config()["box_head"] == "an"
    for name, array in again.predict(images, verbose=0).items():
        np.testing.assert_allclose(array, found[name], rtol=1e-4, atol=1e-4)
    old = {key: value for key, value in again.get_config().items() if key != "box_head"}
    assert isinstance(MaskRCNN.from_config(old).box_head, BoxHead)  # of an earlier version

    model = randomise(model)
    fused = keras_paca.fuse(model)
    assert isinstance(fused.box_head, AttentiveBoxHead)
    regions = np.random.default_rng(0).normal(size=(1, 5, 7, 7, 32)).astype("float32")
    assert error(fused.box_head(regions), model.box_head(regions)) <= 1e-5

    arrays = {
        path: keras.ops.convert_to_numpy(variable)
        for path, variable in weights.model_variables(model).items()
    }
    tensors = {key: entry.join(arrays) for key, entry in checkpoint_map(model).items()}
    assert tensors["roi_head.bbox_head.shared_convs.3.agn.weight_"].shape == (20, 32)
    assert "roi_head.bbox_head.shared_fcs.1.weight" not in tensors
    again = detector(channels=32, box_head="an")
    load = keras_paca.backbones.loading.load_weights
    load(again, weights.Checkpoint("x.pth", True, tensors), task=DETECTION)
    for a, b in zip(again.box_head.get_weights(), model.box_head.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"shared_convs\.0\.conv\.weight"):
        load(detector(channels=32), weights.Checkpoint("x.pth", True, tensors), task=DETECTION)
