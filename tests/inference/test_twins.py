"""The layers for inference: Keras's own checks, and the same outputs as the layers'."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import layers, segmentation
from keras_paca.forms import twin_of
from keras_paca.inference.folding import Affine
from keras_paca.layers.attentive_norm import ATTENTIONS
from keras_paca.segmentation.heads import ConvNormReLU
from tests.inference.compare import CLUSTERINGS, arrays, block_model, error, randomise
from tests.layers.run import run_layer_test
from tests.marks import slow_but_on_torch

MAPS = [(2, 9, 8, 3), (2, 5, 4, 4), (2, 3, 2, 5), (2, 2, 1, 6)]
CASES = {  # class, arguments, shapes of input and output, trainable weights
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
    "token_mlp": (layers.MLP, {"hidden_units": 6, "units": 5}, (2, 35, 4), (2, 35, 5), 4),
    "residual_mlp": (layers.ResidualMLP, {}, (2, 7, 5, 4), (2, 7, 5, 4), 4),
    "patch_embedding": (
        layers.PatchEmbedding,
        {"filters": 5, "patch_size": 4, "grid_size": (2, 3)},
        (2, 9, 15, 3),
        (2, 2, 3, 5),
        3,
    ),
    "block": (
        layers.PaCaBlock,
        {"num_heads": 2, "layer_scale": 0.1, "sub_norm": True},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        6 + 6 + 4,  # query, key, value and output, feed-forward network, norms after
    ),
    "castling_block": (
        layers.PaCaBlock,
        {"num_heads": 2, "castling": {"auxiliary": False}, "layer_scale": 0.1},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        4 * 2 + 1 + 6,
    ),
    "plain_block": (layers.PaCaBlock, {"num_heads": 2}, (2, 7, 5, 4), (2, 7, 5, 4), 6 + 6),
    "teacher": (
        layers.ConvMixerTeacher,
        {"hidden_dims": (4, 6), "depths": (1, 2), "clusters": (5, 0), "kernel_size": 3},
        (2, 7, 5, 4),
        ([(2, 35, 5)], [(2, 7, 5, 4), (2, 4, 3, 6)]),
        3 * 7 + 4 + 4 + 5 + 1,
    ),
    "conv_norm": (
        layers.ConvNorm,
        {"filters": 6, "kernel_size": 3, "strides": 2, "activate": True},
        (2, 7, 5, 4),
        (2, 4, 3, 6),
        2,
    ),
    "attentive_norm": (
        layers.AttentiveBatchNormalization,
        {"mixtures": 3, "attention": "two_layer_norm_hard_sigmoid"},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        2 + 2 * 2,
    ),
    "depthwise_norm": (
        layers.DepthwiseNorm,
        {"kernel_size": 3, "use_bias": False},
        (2, 7, 5, 4),
        (2, 7, 5, 4),
        2,
    ),
    "conv_stem": (
        layers.ConvStem,
        {"filters": 8, "mean": [0.0, 1.0, 2.0], "deviation": [2.0, 3.0, 4.0]},
        (2, 33, 36, 3),
        (2, 9, 9, 8),
        4,
    ),
    "plain_stem": (
        layers.PlainStem,
        {"filters": 8, "mean": [0.0, 1.0, 2.0], "deviation": [2.0, 3.0, 4.0]},
        (2, 33, 36, 3),
        (2, 9, 9, 8),
        2,
    ),
    "dense_transition": (layers.DenseTransition, {"filters": 3}, (2, 7, 6, 4), (2, 3, 3, 3), 3),
    "inverted_residual": (layers.InvertedResidual, {}, (2, 7, 5, 4), (2, 7, 5, 4), 3 * 2),
    "mldc": (layers.MLDCBlock, {"kernel_size": 5}, (2, 7, 5, 4), (2, 7, 5, 4), (1 + 4 + 3) * 2),
    "angular": (
        layers.LinearAngularAttention,
        {"num_heads": 2, "convolution": "grid", "prefix_tokens": 2, "kernel_size": 3},
        (2, 11, 4),
        (2, 11, 4),
        4 * 2 + 1,
    ),
    "angular_self": (
        layers.AngularSelfAttention,
        {"num_heads": 2},
        (2, 9, 4),
        (2, 9, 4),
        4 * 2 + 1,
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
    "mask_transformer_head": (
        segmentation.MaskTransformerHead,
        {"num_classes": 7, "channels": 4},
        [(2, 9, 8, 3), (2, 9, 8, 2)],
        (2, 9, 8, 7),
        2 + 1 + 2 * (6 + 4) + 2 * 2 + 2,
    ),
}


ON_TORCH = ("attentive_norm", "plain_stem", "dense_transition", "castling_block")


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=slow_but_on_torch if name in ON_TORCH else ()) for name in CASES],
)
def test_run_layer_test(name):
    cls, options, shape, expected, trainable = CASES[name]
    is_head = name.endswith("head")
    run_layer_test(
        twin_of(cls),
        options,
        shape,
        expected,
        trainable,
        # several inputs or outputs have no single loss, and logits are float32 on purpose
        run_training_check=not is_head and name != "teacher",
        run_mixed_precision_check=not is_head,
    )


def test_run_layer_test_attention_with_assignment():
    run_layer_test(
        twin_of(layers.PatchToClusterAttention),
        {"num_heads": 2},
        {"inputs_shape": (2, 7, 5, 4), "assignment_shape": (2, 35, 6)},
        (2, 7, 5, 4),
        6,
        run_training_check=False,  # Keras's passes one positional input
    )


# --- Blocks -----------------------------------------------------------------------------------

OPTIONS = {
    "as it is": {},
    "post_norm": {"post_norm": True},
    "sub_norm": {"sub_norm": True},
    "layer_scale": {"layer_scale": 0.1},
    "layer_scale, post_norm": {"layer_scale": 0.1, "post_norm": True},
    "layer_scale, sub_norm": {"layer_scale": 0.1, "sub_norm": True},
    "no shortcut": {"shortcut_in_mlp": False},
    "no dwconv": {"dwconv_in_mlp": False},
    "no cluster norm": {"cluster_norm": False},
    "positions": {"position_embedding_size": (4, 4), "cluster_position_embedding": True},
}


@slow_but_on_torch
@pytest.mark.parametrize(
    ("clustering", "options"),
    [
        *((clustering, "as it is") for clustering in CLUSTERINGS),
        *((clustering, name) for name in list(OPTIONS)[1:] for clustering in ("mlp", "plain")),
    ],
)
def test_block(clustering, options, images):
    model = randomise(block_model(clustering, OPTIONS[options]))
    fused = keras_paca.fuse(model)
    given = images(2, 5, 6, 8) / 100 - 1
    if clustering == "received":
        weights = images(2, 30, 6)
        given = [given, weights / weights.sum(1, keepdims=True)]
    assert error(fused(given), model(given)) <= 1e-5
    assert fused.count_params() < model.count_params()


@slow_but_on_torch
def test_the_shortcut_is_in_the_filters(images):
    x = images(2, 5, 6, 8) / 255
    model = randomise(keras.Sequential([keras.Input((5, 6, 8)), layers.ConvMLP(2.0)]))
    fused = keras_paca.fuse(model)
    change = arrays(fused.layers[0].depthwise.kernel)[0] - arrays(model.layers[0].depthwise.kernel)
    wanted = np.zeros((3, 3, 16, 1))
    wanted[1, 1] = 1
    np.testing.assert_allclose(change[0], wanted, atol=1e-6)
    assert error(fused(x), model(x)) <= 1e-5


RAPIDNET = {
    "1 x 1": (layers.ConvNorm, {"filters": 6, "activate": True}),
    "stride 2": (layers.ConvNorm, {"filters": 6, "kernel_size": 3, "strides": 2}),
    "dilated": (layers.ConvNorm, {"filters": 6, "kernel_size": 3, "dilation_rate": 3}),
    "depthwise": (layers.DepthwiseNorm, {"kernel_size": 3, "activate": True}),
    "local": (layers.InvertedResidual, {"layer_scale": 0.1}),
    "local, no scale": (layers.InvertedResidual, {"layer_scale": None}),
    "mldc": (layers.MLDCBlock, {"kernel_size": 5}),
    "mldc, no scale": (layers.MLDCBlock, {"layer_scale": None, "dilations": (1, 2, 3)}),
}


@pytest.mark.parametrize("name", RAPIDNET)
def test_convolutions_and_their_norms(name, images):
    cls, options = RAPIDNET[name]
    model = randomise(keras.Sequential([keras.Input((7, 6, 8)), cls(**options)]))
    fused, x = keras_paca.fuse(model), images(2, 7, 6, 8) / 100 - 1
    assert error(fused(x), model(x)) <= 1e-5
    assert not any("/norm/" in weight.path for weight in fused.weights)
    assert fused.count_params() < model.count_params()


ATTENTIVE = {
    "relu": (layers.ConvNorm, {"filters": 6, "activate": True, "activation": "relu"}),
    "7 x 7": (layers.ConvNorm, {"filters": 6, "kernel_size": 7, "strides": 2, "use_bias": False}),
    "plain stem": (layers.PlainStem, {"filters": 6}),
    "bottleneck": (layers.AttentiveBottleneck, {"filters": 2}),
    "strided": (layers.AttentiveBottleneck, {"filters": 3, "strides": 2}),
    "inverted": (layers.AttentiveInvertedResidual, {"filters": 8, "expansion": 2}),
    "bare": (layers.AttentiveInvertedResidual, {"filters": 4, "strides": 2, "expansion": 1}),
    "dense layer": (layers.AttentiveDenseLayer, {"growth_rate": 3}),
    "transition": (layers.DenseTransition, {"filters": 3}),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=[] if x == "strided" else slow_but_on_torch) for x in ATTENTIVE],
)
def test_attentive_blocks(name, images):
    """Batch norms after convolutions are part of them; those before a ReLU stay."""
    cls, options = ATTENTIVE[name]
    given = {"mixtures": 3} if "attentive" in cls.__module__ and name != "transition" else {}
    model = randomise(keras.Sequential([keras.Input((7, 6, 8)), cls(**options, **given)]))
    fused, x = keras_paca.fuse(model), images(2, 7, 6, 8) / 100 - 1
    assert error(fused(x), model(x)) <= 1e-5
    norms = [x for x in fused._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == (name in ("dense layer", "transition"))


@pytest.mark.parametrize(
    "attention",
    [
        "norm_hard_sigmoid",
        *(
            pytest.param(name, marks=slow_but_on_torch)
            for name in ATTENTIONS
            if name != "norm_hard_sigmoid"
        ),
    ],
)
def test_attentive_norm(attention, images):
    """No batch norm is left, neither around the map nor in the attention."""
    norm = layers.AttentiveBatchNormalization(3, attention, "average_max")
    model = randomise(keras.Sequential([keras.Input((7, 6, 8)), norm]))
    fused, x = keras_paca.fuse(model), images(2, 7, 6, 8) / 100 - 1
    assert error(fused(x), model(x)) <= 1e-5
    weights = fused.layers[0].mixture_weights(x), norm.mixture_weights(x)
    assert error(*weights) <= 1e-5
    assert not any("norm/" in weight.path for weight in fused.weights)
    assert fused.count_params() < model.count_params()


@slow_but_on_torch
def test_conv_stem_normalises_before_it_pads(images):
    """At the borders, too, where the mean isn't 0."""
    options = {"depths": ((1, 0),) * 4, "hidden_dims": (8, 8, 8, 8), "include_top": False}
    model = randomise(keras_paca.RapidNet(**options))
    fused, x = keras_paca.fuse(model), images(2, 33, 46, 3)
    assert [layer.name for layer in fused.layers][1] == "stem"
    for found, wanted in zip(
        *(keras.Model(m.input, m.pyramid_outputs)(x).values() for m in (fused, model)), strict=True
    ):
        for part in (np.s_[:], np.s_[:, :1], np.s_[:, :, :1], np.s_[:, -1:]):
            assert error(found[part], wanted[part]) <= 1e-5
    half = keras_paca.fuse(keras_paca.RapidNet(**options, dtype="mixed_bfloat16"))
    assert [layer.name for layer in half.layers][1] == "preprocessing"


# --- Linear angular attention -----------------------------------------------------------------


@slow_but_on_torch
def test_angular_attention_includes_what_is_around_it(images):
    """Scales and offsets on both sides, where the layer has no biases of its own."""
    draw = np.random.default_rng(0)
    scale, offset, after = draw.uniform(0.5, 1.5, (3, 8))
    layer = layers.LinearAngularAttention(2)
    twin = twin_of(layers.LinearAngularAttention)(2)
    for each in (layer, twin):
        each.build((2, 9, 8))
    randomise(layer)
    twin.fold(layer, before=Affine(scale, offset), after=Affine(after, offset))
    x = images(2, 9, 8) / 100 - 1
    wanted = arrays(layer((scale * x + offset).astype("float32")))[0] * after + offset
    assert not twin.auxiliary
    assert error(twin(x, training=True), wanted.astype("float32")) <= 1e-5


# --- The stem ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(32, 36), (4, 8), (33, 36), (34, 32), (35, 32), (None, None)])
@pytest.mark.parametrize("normalises", [True, False])
def test_stem(size, normalises, images):
    """It is one convolution where both sides are multiples of 4, and equal everywhere."""
    statistics = {"mean": [90.0, 120.0, 100.0], "deviation": [50.0, 60.0, 70.0]}
    stem = layers.OverlappingStem(8, **statistics if normalises else {})
    model = randomise(keras.Sequential([keras.Input((*size, 3)), stem]))
    fused = keras_paca.fuse(model)
    x = images(2, *(side or 34 for side in size), 3)
    found, wanted = (either.predict(x, verbose=0) for either in (fused, model))
    products = [report.macs for report in map(_report, (fused, model), (x, x))]
    assert (products[0] != products[1]) == (size in [(32, 36), (4, 8)])
    assert found.shape == (2, *stem.compute_output_shape(x.shape)[1:])
    for part in (found, found[:, :1], found[:, -1:], found[:, :, :1], found[:, :, -1:]):
        assert part.any()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=2e-5)


def _report(model, images):
    return keras_paca.quantization_report(model, image_size=images.shape[1:3])


@slow_but_on_torch
def test_stem_in_half_precision_is_two_convolutions():
    stem = twin_of(layers.OverlappingStem)(8, dtype="mixed_float16")
    stem.build((2, 32, 32, 3))
    assert stem.count_products((2, 32, 32, 3)) == 0


# --- What is kept, and what isn't done --------------------------------------------------------


@slow_but_on_torch
def test_block_of_a_mixed_policy(images):
    x = images(2, 5, 6, 8) / 100 - 1
    exact, half = (
        randomise(block_model("received", {"layer_scale": 0.1, "dtype": policy}))
        for policy in ("float32", "mixed_bfloat16")
    )
    fused, given = keras_paca.fuse(half), [x, np.full((2, 30, 6), 1 / 30, "float32")]
    assert [keras.backend.standardize_dtype(y.dtype) for y in fused(given)] == [
        "bfloat16",
        "float32",
    ]
    assert error(fused(given), exact(given)) <= 1.5 * error(half(given), exact(given)) <= 0.02
