"""Keras's own checks of every layer, and what each promises beyond them."""

import keras
import numpy as np
import pytest
from keras import ops
from keras.src import testing

from keras_paca import PaCaViT, layers
from keras_paca.layers.initializers import HostNormal
from keras_paca.ops import depthwise_conv2d

CASES = {
    "depthwise": (layers.DepthwiseConv2D, {"kernel_size": 3}, (2, 7, 5, 4), 2),
    "depthwise_bare": (
        layers.DepthwiseConv2D,
        {"kernel_size": 5, "use_bias": False},
        (2, 7, 5, 4),
        1,
    ),
    "drop_path": (layers.DropPath, {"rate": 0.3}, (2, 7, 5, 4), 0),
    "stem": (layers.OverlappingStem, {"filters": 8}, (2, 33, 35, 3), 6),
    "transition": (layers.OverlappingTransition, {"filters": 8}, (2, 9, 7, 4), 4),
    "conv_mlp": (layers.ConvMLP, {"dropout": 0.1}, (2, 7, 5, 4), 6),
    "conv_mlp_plain": (
        layers.ConvMLP,
        {"mlp_ratio": 2.0, "dwconv": False, "shortcut": False},
        (2, 7, 5, 4),
        4,
    ),
    "conv": (layers.ConvClustering, {"clusters": 6, "kernel_size": 3}, (2, 7, 5, 4), 5),
    "mlp": (layers.MLPClustering, {"clusters": 6}, (2, 7, 5, 4), 4),
    "linear": (layers.LinearClustering, {"clusters": 6}, (2, 7, 5, 4), 1),
    "plain_attention": (
        layers.PatchToClusterAttention,
        {"num_heads": 2, "attention_dropout": 0.1, "dropout": 0.1},
        (2, 7, 5, 4),
        8,
    ),
    "block": (
        layers.PaCaBlock,
        {"num_heads": 2, "drop_path_rate": 0.2, "layer_scale": 0.1},
        (2, 7, 5, 4),
        8 + 6 + 4 + 2,
    ),
    "teacher": (
        layers.ConvMixerTeacher,
        {"hidden_dims": (4, 6), "depths": (1, 2), "clusters": (5, 0), "kernel_size": 3},
        (2, 7, 5, 4),
        3 * 8 + 4 + 4 + 8 + 2,
    ),
}
EXPECTED_SHAPES = {
    "stem": (2, 9, 9, 8),
    "transition": (2, 5, 4, 8),
    "conv": (2, 35, 6),
    "mlp": (2, 35, 6),
    "linear": (2, 35, 6),
    "teacher": ([(2, 35, 5)], [(2, 7, 5, 4), (2, 4, 3, 6)]),
}


@pytest.mark.parametrize("name", CASES)
def test_run_layer_test(name):
    cls, kwargs, shape, trainable = CASES[name]
    test = testing.TestCase()
    test.setUp()
    try:
        test.run_layer_test(
            cls,
            kwargs,
            input_shape=shape,
            expected_output_shape=EXPECTED_SHAPES.get(name, shape),
            expected_num_trainable_weights=trainable,
            # a tuple of lists has no single loss; its training is tested below
            run_training_check=not name.startswith("teacher"),
        )
    finally:
        test.tearDown()


@pytest.mark.parametrize(
    ("options", "trainable"),
    [({"cluster_position_embedding": True}, 8 + 2 + 1)],
)
def test_run_layer_test_attention_with_assignment(options, trainable):
    test = testing.TestCase()
    test.run_layer_test(
        layers.PatchToClusterAttention,
        {"num_heads": 2, **options},
        input_shape={"inputs_shape": (2, 7, 5, 4), "assignment_shape": (2, 35, 6)},
        expected_output_shape=(2, 7, 5, 4),
        expected_num_trainable_weights=trainable,
        run_training_check=False,  # Keras's passes one positional input
    )


def test_run_layer_test_block_with_clustering():
    test = testing.TestCase()
    test.run_layer_test(
        layers.PaCaBlock,
        {
            "num_heads": 2,
            "clustering": layers.ConvClustering(6, 3),
            "position_embedding_size": (4, 4),
            "sub_norm": True,
        },
        input_shape=(2, 7, 5, 4),
        expected_output_shape=((2, 7, 5, 4), (2, 35, 6)),
        expected_num_trainable_weights=1 + 5 + 10 + 6 + 8,
        run_training_check=False,  # Keras's adds up one output; trained below
        run_mixed_precision_check=False,  # the clustering has its own policy; checked below
    )


@pytest.mark.parametrize(
    "cls", [layers.ConvClustering, layers.MLPClustering, layers.LinearClustering]
)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_assignment_is_a_distribution_over_patches(cls, policy, images):
    assignment = cls(9, dtype=policy)(images(2, 6, 11, 8) / 255)
    assert assignment.shape == (2, 66, 9)
    assert keras.backend.standardize_dtype(assignment.dtype) == "float32"
    np.testing.assert_allclose(ops.convert_to_numpy(ops.sum(assignment, axis=1)), 1, rtol=1e-5)


def test_clusters_are_weighted_means_of_patches(images):
    """Attention to one cluster returns that cluster's value, whatever the query."""
    layer = layers.PatchToClusterAttention(1, cluster_norm=False)
    x = images(1, 3, 4, 5) / 255
    assignment = np.zeros((1, 12, 1), "float32")
    assignment[0, [2, 7], 0] = 0.25, 0.75
    y = ops.convert_to_numpy(layer(x, assignment))
    mean = 0.25 * x[0, 0, 2] + 0.75 * x[0, 1, 3]
    value = mean @ ops.convert_to_numpy(layer.value_dense.kernel)
    expected = value @ ops.convert_to_numpy(layer.output_dense.kernel)
    np.testing.assert_allclose(y, np.broadcast_to(expected, y.shape), rtol=1e-4, atol=1e-6)


def test_plain_attention_matches_keras(images):
    x = images(2, 3, 4, 8) / 255
    ours = layers.PatchToClusterAttention(2)
    y = ops.convert_to_numpy(ours(x))
    theirs = keras.layers.MultiHeadAttention(2, 4)
    tokens = x.reshape(2, 12, 8)
    theirs(tokens, tokens)
    kernels = [
        ops.convert_to_numpy(dense.kernel)
        for dense in (ours.query_dense, ours.key_dense, ours.value_dense, ours.output_dense)
    ]
    # query, key, value: kernel (8, 2, 4), bias (2, 4); output: kernel (2, 4, 8), bias (8,)
    shapes = [(8, 2, 4)] * 3 + [(2, 4, 8)]
    theirs.set_weights(
        [
            array
            for kernel, shape in zip(kernels, shapes, strict=True)
            for array in (kernel.reshape(shape), np.zeros(shape[1:] if shape[0] == 8 else 8))
        ]
    )
    expected = ops.convert_to_numpy(theirs(tokens, tokens)).reshape(y.shape)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)


def test_block_returns_map_or_pair(images):
    x = images(1, 4, 5, 8) / 255
    plain = layers.PaCaBlock(2)(x)
    assert plain.shape == (1, 4, 5, 8)
    made, assignment = layers.PaCaBlock(2, layers.LinearClustering(3))(x)
    assert made.shape == (1, 4, 5, 8)
    assert assignment.shape == (1, 20, 3)
    _, passed = layers.PaCaBlock(2)(x, assignment)
    np.testing.assert_array_equal(ops.convert_to_numpy(passed), ops.convert_to_numpy(assignment))
    _, own = layers.PaCaBlock(2, layers.LinearClustering(4))(x, assignment)
    assert own.shape == (1, 20, 4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_assignment_keeps_float32_between_blocks(policy):
    x = keras.Input((None, None, 8))
    x, assignment = layers.PaCaBlock(2, layers.LinearClustering(3), dtype=policy)(x)
    assert assignment.dtype == "float32"
    x, assignment = layers.PaCaBlock(2, dtype=policy)(x, assignment)
    assert assignment.dtype == "float32"
    assert x.dtype == policy.removeprefix("mixed_")


def test_aggregation_does_not_lose_small_entries_in_float16(images):
    """A million patches: every entry of the assignment lies below float16's normal range."""
    patches = 512 * 512
    layer = layers.PatchToClusterAttention(1, cluster_norm=False, dtype="mixed_float16")
    x = np.ones((1, 512, 512, 2), "float32")
    layer.build(x.shape, (1, patches, 1))
    z = layer._aggregate(
        ops.ones((1, patches, 2), "float16"), ops.full((1, patches, 1), 1 / patches)
    )
    np.testing.assert_allclose(ops.convert_to_numpy(z).astype("float32"), 1, atol=1e-3)


def test_layers_in_somebodys_own_model_train_and_reload(tmp_path, images):
    inputs = keras.Input((16, 20, 3))
    x = keras.layers.Conv2D(8, 3, padding="same")(inputs)
    x, assignment = layers.PaCaBlock(2, layers.ConvClustering(4, 3), drop_path_rate=0.2)(x)
    x, assignment = layers.PaCaBlock(2)(x, assignment)
    x = layers.OverlappingTransition(12)(x)
    x = layers.PatchToClusterAttention(3)(x, layers.MLPClustering(5)(x))
    (given,), (features,) = layers.ConvMixerTeacher((12,), (1,), (6,), 3)(x)
    x = layers.PatchToClusterAttention(3)(keras.layers.Add()([x, features]), given)
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    model.compile("adam", "mse")
    x = images(4, 16, 20, 3) / 255
    model.fit(x, np.zeros((4, 12)), epochs=2, verbose=0)
    model.save(tmp_path / "own.keras")
    again = keras.saving.load_model(tmp_path / "own.keras")
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_sequential_of_our_layers(images):
    model = keras.Sequential(
        [layers.OverlappingStem(8), layers.PaCaBlock(2), layers.ConvMLP(), layers.DropPath(0.5)]
    )
    assert model.predict(images(2, 33, 40, 3), verbose=0).shape == (2, 9, 10, 8)


@pytest.mark.skipif(keras.backend.backend() != "jax", reason="a gradient of its own under JAX")
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("size", "height", "width"), [(3, 5, 8), (7, 6, 3), (1, 4, 4)])
def test_gradient_of_the_depthwise_convolution(size, height, width, dtype):
    import jax

    def reference(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel.transpose(0, 1, 3, 2), (1, 1), "SAME",
            dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=kernel.shape[2],
        )  # fmt: skip

    def gradients(function, x, kernel, weight):
        return jax.grad(lambda *a: (function(*a).astype(float) * weight).sum(), (0, 1))(x, kernel)

    draw = np.random.default_rng(0)
    x, weight = draw.normal(size=(2, 3, height, width, 4)).astype("float32")
    kernel = jax.numpy.array(draw.normal(size=(size, size, 4, 1)), dtype)
    x = jax.numpy.array(x, dtype)
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    expected = jax.jit(lambda *a: gradients(reference, *a))(x, kernel, weight)
    found = jax.jit(lambda *a: gradients(depthwise_conv2d, *a))(x, kernel, weight)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        error = np.linalg.norm((mine - theirs).astype(float)) / np.linalg.norm(theirs.astype(float))
        assert error < tolerance
    one_by_one = jax.vmap(lambda x, w: gradients(depthwise_conv2d, x[None], kernel, w[None])[1])
    summed = one_by_one(x, weight).astype(float).sum(0)  # and under vmap
    np.testing.assert_allclose(summed, found[1].astype(float), rtol=10 * tolerance, atol=0.1)


def test_drop_path_drops_whole_samples_and_rescales():
    x = np.ones((512, 3, 2, 4), "float32")
    layer = layers.DropPath(0.25, seed=1)
    first = ops.convert_to_numpy(layer(x, training=True))
    assert set(np.unique(first)) == {np.float32(0), np.float32(1 / 0.75)}
    per_sample = first.reshape(512, -1)
    assert (per_sample == per_sample[:, :1]).all()
    assert abs((per_sample[:, 0] == 0).mean() - 0.25) < 0.06
    second = ops.convert_to_numpy(layer(x, training=True))
    assert (first != second).any()
    np.testing.assert_array_equal(ops.convert_to_numpy(layer(x)), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.DepthwiseConv2D(4), "positive odd integer. Received: kernel_size=4"),
        (lambda: layers.ConvClustering(0), "positive integer. Received: clusters=0"),
        (lambda: layers.DropPath(1.0), r"must lie in \[0, 1\). Received: rate=1.0"),
        (lambda: layers.OverlappingStem(7), "must be even. Received: filters=7"),
        (
            lambda: layers.OverlappingStem(8, mean=(1, 2)).build((None, 32, 32, 3)),
            r"`mean` must have one number per channel. Received: mean=\[1.0, 2.0\]",
        ),
        (
            lambda: layers.OverlappingStem(8, deviation=np.zeros(3)),
            "`deviation` must not hold 0",
        ),
        (lambda: layers.ConvMixerTeacher((4, 8), (1,), (3, 3)), "one entry per stage"),
        (lambda: layers.PatchToClusterAttention(3)(np.ones((1, 2, 2, 4))), "must divide"),
        (lambda: layers.ConvMixerTeacher((4,), (1,), (3,))(np.ones((1, 2, 2, 5))), "channels"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_built_with_and_called_without_assignment():
    layer = layers.PatchToClusterAttention(1)
    x = np.ones((1, 2, 2, 4), "float32")
    layer(x, np.full((1, 4, 3), 0.25, "float32"))
    with pytest.raises(ValueError, match="built with an assignment"):
        layer(x)


def test_assignment_of_another_map():
    with pytest.raises(ValueError, match="one row per patch"):
        layers.PatchToClusterAttention(1)(np.ones((1, 2, 2, 4)), np.ones((1, 5, 3)))


def test_initial_values_are_those_of_the_seed():
    """On each backend the same, in a saved initializer too."""
    initializer = HostNormal(mean=1.0, stddev=None, seed=7)
    again = keras.initializers.deserialize(keras.initializers.serialize(initializer))
    expected = 1 + np.random.default_rng(7).standard_normal((3, 3, 2, 4), "float32") / np.sqrt(18)
    for draw in (initializer, again, again):
        found = draw((3, 3, 2, 4), "float32")
        np.testing.assert_allclose(ops.convert_to_numpy(found), expected, rtol=1e-6)
    assert keras.backend.standardize_dtype(initializer((2, 2), "bfloat16").dtype) == "bfloat16"
    keras.utils.set_random_seed(1)
    first, second = (ops.convert_to_numpy(HostNormal(stddev=1.0)((4,))) for _ in range(2))
    assert (first != second).all()
    keras.utils.set_random_seed(1)
    np.testing.assert_array_equal(ops.convert_to_numpy(HostNormal(stddev=1.0)((4,))), first)


def test_initial_values():
    """Deviation and mean per kind of weight, which parity can't see."""
    block = layers.PaCaBlock(
        4,
        layers.ConvClustering(64),
        layer_scale=0.1,
        position_embedding_size=(16, 16),
        cluster_position_embedding=True,
    )
    block.build((None, 16, 16, 96))
    stem = layers.OverlappingStem(96)
    stem.build((None, 32, 32, 3))
    hidden = layers.MLPClustering(64)
    hidden.build((None, 4, 4, 96))
    linear = layers.LinearClustering(64)
    linear.build((None, 4, 4, 96))
    teacher = layers.ConvMixerTeacher((96, 128), (1, 1), (64, 64))
    teacher.build((None, 16, 16, 96))
    classifier = PaCaViT((8, 8, 8, 96), (1, 1, 1, 1), (1, 1, 1, 1), classes=64)
    expected = [  # (weight, mean, deviation)
        (block.attention.query_dense.kernel, 0, 0.02),
        (block.attention.output_dense.kernel, 0, 0.02),
        (block.mlp.expand_dense.kernel, 0, 0.02),
        (block.mlp.project_dense.kernel, 0, 0.02),
        (hidden.hidden_dense.kernel, 0, 0.02),
        (hidden.projection.kernel, 0, 0.02),
        (linear.projection.kernel, 0, 0.02),
        (block.position_embedding, 0, 0.02),
        (block.attention.cluster_embedding, 0, 0.02),
        (block.mlp.depthwise.kernel, 0, np.sqrt(2 / 9)),
        (block.clustering.depthwise.kernel, 0, np.sqrt(2 / 49)),
        (block.clustering.pointwise.kernel, 0, np.sqrt(2 / 96)),
        (block.clustering.projection.kernel, 0, np.sqrt(2 / 64)),
        (stem.conv1.kernel, 0, np.sqrt(2 / (9 * 48))),
        (stem.conv2.kernel, 0, np.sqrt(2 / (9 * 96))),
        (teacher.units[0].depthwise.kernel, 0, np.sqrt(2 / 49)),
        (teacher.units[0].pointwise.kernel, 0, np.sqrt(2 / 96)),
        (teacher.transitions[0].conv.kernel, 0, np.sqrt(2 / (9 * 128))),
        (teacher.laterals[0].pointwise.kernel, 0, np.sqrt(2 / 96)),
        (teacher.projections[0].kernel, 0, np.sqrt(2 / 64)),
        (teacher.units[0].norm1.gamma, 1, 0),
        (classifier.get_layer("predictions").kernel, 0, 0.02),
        (classifier.get_layer("predictions").bias, 0, 0),
        (block.norm1_before.gamma, 1, 0),
        (block.norm1_before.beta, 0, 0),
        (block.attention.query_dense.bias, 0, 0),
        (block.mlp.depthwise.bias, 0, 0),
        (stem.conv1.bias, 0, 0),
        (block.scale1, 0.1, 0),
    ]
    for weight, mean, deviation in expected:
        values = ops.convert_to_numpy(weight)
        spread = max(4 / np.sqrt(values.size), 1e-6)
        assert abs(values.mean() - mean) <= deviation * spread + 1e-7, weight.path
        assert abs(values.std() - deviation) <= deviation * spread + 1e-7, weight.path
        if deviation:  # not truncated: the farthest lies where a normal's would
            farthest = np.abs(values).max() / deviation
            assert farthest > np.sqrt(2 * np.log(values.size)) * 0.75, weight.path


def test_teacher_has_the_batch_norm_of_pytorch(images):
    """Momentum 0.1 there is 0.9 here; its epsilon and variance show in the parity cases."""
    teacher = layers.ConvMixerTeacher((8,), (1,), (3,), 3)
    x = images(2, 6, 5, 8) / 255
    teacher(x)
    unit = teacher.units[0]
    y = ops.convert_to_numpy(ops.gelu(unit.depthwise(x), approximate=False))
    teacher(x, training=True)
    moving = ops.convert_to_numpy(unit.norm1.moving_mean)
    np.testing.assert_allclose(moving, 0.1 * y.mean((0, 1, 2)), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("layer", "share"),
    [  # the share of zeros that the rate makes of an output without any
        (layers.ConvMLP(dropout=0.4), 0.4),
        (layers.PatchToClusterAttention(1, dropout=0.4), 0.4),
        (layers.PatchToClusterAttention(1, attention_dropout=0.4), 0.4),  # one patch to attend to
    ],
)
def test_dropout(layer, share, images):
    x = images(600, 1, 1, 4) / 255
    assert (ops.convert_to_numpy(layer(x)) != 0).all()
    zeros = (ops.convert_to_numpy(layer(x, training=True)) == 0).mean()
    assert abs(zeros - share) < 0.08


def test_two_equal_layers_start_differently():
    first, second = layers.LinearClustering(8), layers.LinearClustering(8)
    first.build((None, 4, 4, 8))
    second.build((None, 4, 4, 8))
    assert (
        ops.convert_to_numpy(first.projection.kernel)
        != ops.convert_to_numpy(second.projection.kernel)
    ).any()
