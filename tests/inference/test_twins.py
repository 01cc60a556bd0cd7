"""Keras's own checks of every layer's twin, and how a configuration asks for one."""

import keras
import pytest
from keras.src import testing

from keras_paca import layers, segmentation
from keras_paca.forms import is_twin, resolve, twin_of
from keras_paca.segmentation.heads import ConvNormReLU
from tests.segmentation.test_heads import MAPS

CASES = {
    "depthwise": (
        layers.DepthwiseConv2D,
        {"kernel_size": 3, "shortcut": True},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        2,
    ),
    "stem": (
        layers.OverlappingStem,
        {"filters": 8, "mean": [0.0, 1.0, 2.0], "deviation": [2.0, 3.0, 4.0]},
        (2, 32, 36, 3),
        (2, 8, 9, 8),
        6,
    ),
    "mlp": (layers.MLPClustering, {"clusters": 6}, (2, 7, 5, 4), (2, 35, 6), 3),
    "conv_mlp": (layers.ConvMLP, {}, (2, 7, 5, 4), (2, 7, 5, 4), 6),
    "block": (
        layers.PaCaBlock,
        {"num_heads": 2, "layer_scale": 0.1, "sub_norm": True},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        6 + 6 + 4,  # query, key, value and output, feed-forward network, norms after
    ),
    "plain_block": (layers.PaCaBlock, {"num_heads": 2}, (2, 7, 5, 4), (2, 7, 5, 4), 6 + 6),
    "teacher": (
        layers.ConvMixerTeacher,
        {"hidden_dims": (4, 6), "depths": (1, 2), "clusters": (5, 0), "kernel_size": 3},
        (2, 7, 5, 4),
        ([(2, 35, 5)], [(2, 7, 5, 4), (2, 4, 3, 6)]),
        3 * 7 + 4 + 4 + 5 + 1,
    ),
    "conv_norm_relu": (ConvNormReLU, {"filters": 5}, (2, 7, 5, 4), (2, 7, 5, 5), 2),
    "paca_head": (
        segmentation.PaCaSegmentationHead,
        {"num_classes": 7, "channels": 4},
        MAPS,
        ((2, 9, 8, 7),) * 2,
        7 * 2 + 2 * 2 + 4,
    ),
    "fpn_head": (
        segmentation.SemanticFPNHead,
        {"num_classes": 7, "channels": 4, "pyramid_channels": 6},
        MAPS,
        (2, 9, 8, 7),
        8 * 2 + 7 * 2 + 2,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_run_layer_test(name):
    cls, options, shape, expected, trainable = CASES[name]
    is_head = name.endswith("head")
    test = testing.TestCase()
    test.setUp()
    try:
        test.run_layer_test(
            twin_of(cls),
            options,
            input_shape=shape,
            expected_output_shape=expected,
            expected_num_trainable_weights=trainable,
            # several inputs or outputs have no single loss, and logits are float32 on purpose
            run_training_check=not is_head and name != "teacher",
            run_mixed_precision_check=not is_head,
        )
    finally:
        test.tearDown()


def test_run_layer_test_attention_with_assignment():
    test = testing.TestCase()
    test.run_layer_test(
        twin_of(layers.PatchToClusterAttention),
        {"num_heads": 2},
        input_shape={"inputs_shape": (2, 7, 5, 4), "assignment_shape": (2, 35, 6)},
        expected_output_shape=(2, 7, 5, 4),
        expected_num_trainable_weights=6,
        run_training_check=False,  # Keras's passes one positional input
    )


@pytest.mark.parametrize("cls", [layers.MLPClustering, layers.PaCaBlock, segmentation.UPerHead])
def test_a_twin_is_named_as_its_layer(cls):
    """A file finds it by the name of the layer, and by `fused` in the configuration."""
    twin = twin_of(cls)
    assert issubclass(twin, cls)
    assert is_twin(twin)
    assert not is_twin(cls)
    assert twin.__name__ == cls.__name__
    names = [keras.saving.get_registered_name(each) for each in (twin, cls)]
    assert names == [f"keras_paca>{cls.__name__}"] * 2
    assert keras.saving.get_registered_object(names[0]) is cls


def test_configurations_that_ask_for_a_twin():
    config = layers.MLPClustering(3, name="mlp").get_config()
    assert type(layers.MLPClustering.from_config(config)) is layers.MLPClustering
    twin = layers.MLPClustering.from_config({**config, "fused": True})
    assert type(twin) is twin_of(layers.MLPClustering)
    assert twin.get_config() == {**config, "fused": True}
    again = type(twin).from_config(twin.get_config())
    assert again.get_config() == twin.get_config()
    former = {**config, "fused": False, "channel_mean": "kept"}
    assert layers.MLPClustering.from_config(former).get_config() == config
    with pytest.raises(ValueError, match="DropPath has no form for inference"):
        resolve(layers.DropPath, {"rate": 0.1, "fused": True})
