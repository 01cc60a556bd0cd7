"""Cluster maps: the right assignment, wherever the backbone stands."""

import keras
import numpy as np
import pytest

from keras_paca import cluster_maps, cluster_statistics, layers


def _assert_maps(maps, batch, height, width, clusters):
    for (level, found), count in zip(maps.items(), clusters, strict=True):
        stride = 2 ** int(level[1:])
        assert found.shape == (batch, -(-height // stride), -(-width // stride), count)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize("clustering", ["conv", "mlp", "linear", "teacher"])
def test_maps_of_a_backbone(clustering, small, images):
    model = small(clustering=clustering)
    maps = cluster_maps(model, images(3, 50, 70, 3), batch_size=2)
    assert list(maps) == ["P2", "P3", "P4"]
    _assert_maps(maps, 3, 50, 70, (7, 6, 5))


def test_maps_are_the_assignment_laid_out_row_by_row(small, images):
    model = small()
    x = images(1, 48, 64, 3)
    last = keras.Model(model.input, model.assignments["P3"][-1]).predict(x, verbose=0)
    found = cluster_maps(model, x)["P3"]
    np.testing.assert_allclose(found[0, 2, 5], last[0, 2 * 8 + 5], rtol=1e-5)


def test_last_block_by_default_and_any_other(small, images):
    model = small(cluster_every=1)
    x = images(1, 64, 64, 3)
    first, last = cluster_maps(model, x, block=0), cluster_maps(model, x)
    assert (first["P2"] == last["P2"]).all()  # one block
    assert (first["P3"] != last["P3"]).any()
    np.testing.assert_array_equal(cluster_maps(model, x, block={"P3": 1})["P3"], last["P3"])
    assert list(cluster_maps(model, x, block={"P3": -2})) == ["P3"]
    with pytest.raises(ValueError, match="P2 has 1 blocks"):
        cluster_maps(model, x, block=1)
    with pytest.raises(ValueError, match="Clusters are at the levels"):
        cluster_maps(model, x, block={"P5": 0})


@pytest.mark.parametrize("around", ["functional", "sequential", "both"])
def test_nested_in_other_models(around, small, images):
    backbone = small(include_top=False, include_preprocessing=False)
    before = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Resizing(48, 64, data_format="channels_last"),
    ]
    if around == "functional":
        inputs = keras.Input((100, 90, 3))
        x = before[1](before[0](inputs))
        aside = keras.layers.GlobalMaxPooling2D(data_format="channels_last")(x)
        x = keras.layers.GlobalAveragePooling2D(data_format="channels_last")(backbone(x))
        outputs = keras.layers.Dense(3)(keras.layers.Concatenate()([x, aside]))
        model = keras.Model(inputs, outputs)
    else:
        tail = [keras.layers.Flatten(), keras.layers.Dense(3)]
        model = keras.Sequential([keras.Input((100, 90, 3)), *before, backbone, *tail])
        if around == "both":
            inputs = keras.Input((100, 90, 3))
            model = keras.Model(inputs, keras.layers.Dense(2)(model(inputs)))
    x = images(2, 100, 90, 3)
    maps = cluster_maps(model, x)
    _assert_maps(maps, 2, 48, 64, (7, 6, 5))
    prepared = keras.ops.convert_to_numpy(before[1](before[0](x)))
    expected = cluster_maps(backbone, prepared)
    for level, found in maps.items():
        np.testing.assert_allclose(found, expected[level], rtol=1e-4, atol=1e-6)
    # the model is as it was
    assert backbone.get_layer("stage1_norm").output is backbone.pyramid_outputs["P2"]
    assert model.predict(x, verbose=0).shape[0] == 2


def test_follows_what_replaces_variables(small, images):
    model, x = small(), images(1, 48, 64, 3)
    before = cluster_maps(model, x)
    block = model.get_layer("stage2_block1")
    block.mlp.expand_dense.enable_lora(2)
    block.mlp.expand_dense.lora_kernel_b.assign(np.ones(block.mlp.expand_dense.lora_kernel_b.shape))
    found = cluster_maps(model, x)
    np.testing.assert_array_equal(found["P3"], before["P3"])  # made before that layer
    assert (found["P4"] != before["P4"]).any()
    expected = keras.Model(model.input, model.assignments["P4"][-1]).predict(x, verbose=0)
    np.testing.assert_allclose(found["P4"].reshape(expected.shape), expected, rtol=1e-5)


def test_sequential_that_was_never_called(small, images):
    backbone = small(include_top=False)
    model = keras.Sequential([keras.layers.Rescaling(1.0), backbone, keras.layers.Flatten()])
    x = images(1, 48, 64, 3)
    np.testing.assert_allclose(cluster_maps(model, x)["P2"], cluster_maps(backbone, x)["P2"])


def test_tensors_of_the_backend(small, images):
    model, x = small(), images(1, 48, 64, 3)
    tensor = keras.ops.convert_to_tensor(x)
    if keras.backend.backend() == "torch":
        tensor.requires_grad_()
    np.testing.assert_array_equal(cluster_maps(model, tensor)["P2"], cluster_maps(model, x)["P2"])


def test_follows_training(small, images):
    model = small()
    x = images(2, 64, 64, 3)
    before = cluster_maps(model, x)["P2"]
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.fit(x, np.array([0, 1]), verbose=0)
    assert (cluster_maps(model, x)["P2"] != before).any()


def test_mixed_precision_maps_are_float32(small, images):
    maps = cluster_maps(small(dtype="mixed_float16"), images(1, 64, 64, 3))
    _assert_maps(maps, 1, 64, 64, (7, 6, 5))


@pytest.mark.parametrize("kind", ["plain", "subclass", "flattened", "none", "no clusters"])
def test_anything_else_is_an_error(kind, small, images):
    class Own(keras.Model):
        def call(self, x):
            return x

    backbone = small(include_top=False)
    model = {
        "plain": lambda: keras.Sequential([keras.Input((32, 32, 3)), keras.layers.Flatten()]),
        "subclass": Own,
        "flattened": lambda: keras.Model(
            backbone.input, layers.DropPath(0.1)(backbone.output), name="flattened"
        ),
        "none": lambda: None,
        "no clusters": lambda: small(clusters=0),
    }[kind]()
    message = (
        "No stage of this model" if kind == "no clusters" else "must be a `keras_paca.PaCaViT`"
    )
    with pytest.raises(ValueError, match=message):
        cluster_maps(model, images(1, 32, 32, 3))


def test_images_need_four_axes(small, images):
    for x in (images(32, 32, 3), images(0, 32, 32, 3)):
        with pytest.raises(ValueError, match="must have the shape"):
            cluster_maps(small(), x)


def test_statistics():
    same = np.full((2, 4, 4, 3), 1 / 16, "float32")
    apart = np.zeros((1, 2, 2, 4), "float32")
    apart[0, [0, 0, 1, 1], [0, 1, 0, 1], range(4)] = 1
    statistics = cluster_statistics({"P2": same, "P3": apart})
    assert statistics["P2"]["cosine"] == pytest.approx(1)
    assert statistics["P2"]["winners"] == 1
    assert statistics["P3"]["cosine"] == pytest.approx(0)
    assert statistics["P3"]["winners"] == 4
    random = np.random.default_rng(0).uniform(size=(1, 5, 5, 6))
    columns = random.reshape(25, 6) / np.linalg.norm(random.reshape(25, 6), axis=0)
    cosines = columns.T @ columns
    expected = cosines[~np.eye(6, dtype=bool)].mean()
    assert cluster_statistics({"P2": random})["P2"]["cosine"] == pytest.approx(expected)
