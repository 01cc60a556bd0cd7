"""KerasHub's models with attentive normalizations in the place of their batch norms."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.layers import AttentiveBatchNormalization
from tests.inference.compare import error, randomise

pytestmark = pytest.mark.plugins


def resnet(block_type):
    """Return a small ResNet of KerasHub."""
    import keras_hub

    width = 64  # the only one that it allows for the first stage

    return keras_hub.models.ResNetBackbone(
        input_conv_filters=[width],
        input_conv_kernel_sizes=[7],
        stackwise_num_filters=[width] * 4,
        stackwise_num_blocks=[1, 2, 1, 1],
        stackwise_num_strides=[1, 2, 2, 2],
        block_type=block_type,
        image_shape=(64, 64, 3),
    )


@pytest.mark.parametrize(
    ("block_type", "norm"),
    [
        ("bottleneck_block", "2_bn"),
        ("basic_block", "1_bn"),
        ("bottleneck_block_vd", "2_bn"),
    ],
)
def test_resnet(block_type, norm, tmp_path):
    backbone = randomise(resnet(block_type))
    converted = keras_paca.attentive(backbone)
    norms = [x for x in converted.layers if isinstance(x, AttentiveBatchNormalization)]
    names = ("stack0_block0", "stack1_block0", "stack1_block1", "stack2_block0", "stack3_block0")
    assert [x.name for x in norms] == [f"{name}_{norm}" for name in names]
    assert [x.mixtures for x in norms] == [10, 10, 10, 20, 20]
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    assert error(converted(x), backbone(x)) < 1e-5
    converted.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert error(loaded(x), converted(x)) < 1e-6
    if block_type == "bottleneck_block":  # the levels are kept, for detectors and segmenters
        assert set(converted.pyramid_outputs) == set(backbone.pyramid_outputs)
        head = keras_paca.segmentation.SemanticFPNHead(3, 8)
        segmenter = keras_paca.segmentation.Segmenter(converted, head, 3)
        segmenter.save(tmp_path / "segmenter.keras")
        loaded = keras.saving.load_model(tmp_path / "segmenter.keras")
        assert error(loaded(x), segmenter(x)) < 1e-6


def test_densenet():
    """KerasHub counts the norms of a dense layer from 1."""
    import keras_hub

    backbone = keras_hub.models.DenseNetBackbone(
        stackwise_num_repeats=[1, 2, 1, 1], growth_rate=4, image_shape=(64, 64, 3)
    )
    converted = keras_paca.attentive(randomise(backbone))
    norms = [x.name for x in converted.layers if isinstance(x, AttentiveBatchNormalization)]
    blocks = ("stack1_block1", "stack2_block1", "stack2_block2", "stack3_block1", "stack4_block1")
    assert norms == [f"{block}_2_bn" for block in blocks]
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    assert error(converted(x), backbone(x)) < 1e-5


def test_classifier(tmp_path):
    """The backbone inside a task of KerasHub."""
    import keras_hub

    task = keras_hub.models.ImageClassifier(backbone=resnet("bottleneck_block"), num_classes=4)
    randomise(task)
    converted = keras_paca.attentive(task)
    x = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    assert error(converted(x), task(x)) < 1e-5
    converted.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    converted.fit(x, np.array([0, 1]), verbose=0)
    converted.save(tmp_path / "model.keras")
    assert error(keras.saving.load_model(tmp_path / "model.keras")(x), converted(x)) < 1e-6
