"""Cluster maps: the right assignment, wherever the backbone stands."""

import gc
import sys
import weakref

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import cluster_maps, detection, layers, segmentation
from tests.marks import slow_but_on_torch


def _assert_maps(maps, batch, height, width, clusters):
    for (level, found), count in zip(maps.items(), clusters, strict=True):
        stride = 2 ** int(level[1:])
        assert found.shape == (batch, -(-height // stride), -(-width // stride), count)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found.sum(axis=(1, 2)), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "clustering",
    ["conv", *(pytest.param(x, marks=slow_but_on_torch) for x in ("mlp", "linear", "teacher"))],
)
def test_maps_of_a_backbone(clustering, small, images):
    model = small(clustering=clustering)
    maps = cluster_maps(model, images(3, 50, 70, 3), batch_size=2)
    assert list(maps) == ["P2", "P3", "P4"]
    _assert_maps(maps, 3, 50, 70, (7, 6, 5))


@slow_but_on_torch
def test_maps_are_the_assignment_laid_out_row_by_row(small, images):
    model = small()
    x = images(1, 48, 64, 3)
    last = keras.Model(model.input, model.assignments["P3"][-1]).predict(x, verbose=0)
    found = cluster_maps(model, x)["P3"]
    np.testing.assert_allclose(found[0, 2, 5], last[0, 2 * 8 + 5], rtol=1e-5)


@slow_but_on_torch
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


@slow_but_on_torch
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


@slow_but_on_torch
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


@slow_but_on_torch
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


@slow_but_on_torch
def test_follows_training(small, images):
    model = small()
    x = images(2, 64, 64, 3)
    before = cluster_maps(model, x)["P2"]
    model.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy")
    model.fit(x, np.array([0, 1]), verbose=0)
    assert (cluster_maps(model, x)["P2"] != before).any()


@slow_but_on_torch
def test_mixed_precision_maps_are_float32(small, images):
    maps = cluster_maps(small(dtype="mixed_float16"), images(1, 64, 64, 3))
    _assert_maps(maps, 1, 64, 64, (7, 6, 5))


# --- Other models around a backbone -----------------------------------------------------------


def detector(backbone):
    small = {"channels": 16, "proposals": 20, "candidates": 50, "max_detections": 5}
    return detection.MaskRCNN(backbone, num_classes=3, **small)


def around(model, *before):
    x = inputs = keras.Input((64, 64, 3))
    for layer in (*before, model):
        x = layer(x)
    return keras.Model(inputs, x)


@slow_but_on_torch
def test_detector(small, images):
    backbone, x = small(include_top=False, input_shape=(64, 64, 3)), images(2, 64, 64, 3)
    model = detector(backbone)
    expected, found = cluster_maps(backbone, x), cluster_maps(model, x)
    _assert_maps(found, 2, 64, 64, (7, 6, 5))
    found_around = cluster_maps(around(model, keras.layers.Rescaling(1.0)), x)
    for level, maps in expected.items():
        np.testing.assert_array_equal(found[level], maps)
        np.testing.assert_allclose(found_around[level], maps, rtol=1e-4, atol=1e-6)


@slow_but_on_torch
@pytest.mark.parametrize(
    "kind", ["segmenter", "segformer", "dict", "extractor", "around segmenter"]
)
def test_models_on_the_backbone_s_own_input(kind, small, images):
    backbone, x = small(include_top=False), images(2, 64, 64, 3)
    segmenter = segmentation.Segmenter(backbone, "fpn", num_classes=3)
    if kind == "extractor":  # as KerasHub's and KerasCV's detectors make one
        model = around(keras.Model(backbone.inputs, backbone.pyramid_outputs))
        model.image_encoder = backbone
    else:
        model = {
            "segmenter": lambda: segmenter,
            "segformer": backbone.as_segformer_encoder,
            "dict": backbone.as_dict_encoder,
            "around segmenter": lambda: around(segmenter),
        }[kind]()
    expected = cluster_maps(backbone, x)
    for level, maps in cluster_maps(model, x).items():
        np.testing.assert_allclose(maps, expected[level], rtol=1e-5)


# --- What is given ----------------------------------------------------------------------------


@slow_but_on_torch
def test_images_as_predict_takes_them(small, images):
    model, x = small(), images(2, 32, 32, 3).round()
    expected = cluster_maps(model, x)["P2"]
    for given in ({"image": x}, [x], (x,), list(x), x.astype("uint8"), x.astype("float64")):
        np.testing.assert_allclose(cluster_maps(model, given)["P2"], expected, rtol=1e-6)
    inputs = keras.Input((32, 32, 3), name="image")
    named = keras.Model({"image": inputs}, model(keras.layers.Rescaling(1.0)(inputs)))
    np.testing.assert_allclose(cluster_maps(named, {"image": x})["P2"], expected, rtol=1e-4)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda x: x[0], r"shape \(32, 32, 3\); one image needs a batch axis: image\[None\]$"),
        (lambda x: x[:0], r"shape \(0, 32, 32, 3\)$"),
        (lambda x: None, "Received: None$"),
        (lambda x: "a.png", "Received: 'a.png'$"),
        (iter, "Received: a generator|Received: a .*iterator"),
        (lambda x: [x[0], x[0, :16]], "Received: a list of 2 entries$"),
        (lambda x: {"a": x, "b": x}, "Received: a dict$"),
        (lambda x: x > 3, "an array of bool"),
        (lambda x: x[..., :1], r"fit the model's input \(None, None, None, 3\).*32, 32, 1\)$"),
    ],
)
def test_images_that_are_none(give, message, small, images):
    with pytest.raises(ValueError, match=rf"^`images` must .*{message}") as error:
        cluster_maps(small(), give(images(2, 32, 32, 3)))
    assert "\n" not in str(error.value)


@slow_but_on_torch
def test_other_arguments(small, images):
    model, x = small(), images(1, 32, 32, 3)
    for batch_size in (0, -1, True, "8", 2.0, None):
        with pytest.raises(ValueError, match="`batch_size` must be a positive integer"):
            cluster_maps(model, x, batch_size=batch_size)
    for block in ("P2", None, 1.5, [1], True, {"P2": "0"}):
        with pytest.raises(ValueError, match=r"`block` must be an integer.*Received: block="):
            cluster_maps(model, x, block=block)
    for path in ("model.keras", None):
        with pytest.raises(ValueError, match=rf"load_model.*Received: model={path!r}"):
            cluster_maps(path, x)


@slow_but_on_torch
@pytest.mark.parametrize(
    "kind", ["plain", "subclass", "around", "flattened", "no clusters", "two inputs"]
)
def test_models_without_maps(kind, small, images):
    class Own(keras.Model):
        def __init__(self, inside=None):
            super().__init__()
            self.inside = inside

        def call(self, x):
            return x

    backbone = small(include_top=False)
    inputs = [keras.Input((32, 32, 3)), keras.Input((32, 32, 3))]
    model, message = {
        "plain": lambda: (keras.Sequential([inputs[0], keras.layers.Flatten()]), None),
        "subclass": lambda: (Own(), None),
        "around": lambda: (Own(backbone), f"Pass the backbone itself, .* {backbone.name!r}"),
        "flattened": lambda: (
            keras.Model(backbone.input, layers.DropPath(0.1)(backbone.output), name="flattened"),
            None,
        ),
        "no clusters": lambda: (small(clusters=0), "No stage of this model"),
        "two inputs": lambda: (
            keras.Model(inputs, small()(keras.layers.Add()(inputs))),
            "must have one input.* 2 inputs",
        ),
    }[kind]()
    with pytest.raises(ValueError, match=message or "must be a `keras_paca.PaCaViT`"):
        cluster_maps(model, images(1, 32, 32, 3))


# --- What is compiled, and how long it lives --------------------------------------------------


def make(kind, small):
    """A model of a kind, and its function from images to maps."""
    before = [keras.layers.Rescaling(0.5), keras.layers.Dense(3, name="before")]
    model = {
        "plain": lambda: small(),
        "functional": lambda: around(small(), *before),
        "sequential": lambda: keras.Sequential([*before, small()]),
        "nested": lambda: around(keras.Sequential([keras.Input((64, 64, 3)), *before, small()])),
        "detector": lambda: detector(small(include_top=False, input_shape=(64, 64, 3))),
        "head": lambda: segmentation.Segmenter(small(include_top=False), "paca", num_classes=3),
    }[kind]()
    return model, segmentation.head_cluster_maps if kind == "head" else cluster_maps


KINDS = ["plain", "functional", "sequential", "nested", "detector", "head"]


@slow_but_on_torch
@pytest.mark.parametrize(
    "kind",
    [k if k in ("functional", "head") else pytest.param(k, marks=slow_but_on_torch) for k in KINDS],
)
def test_compiled_once_and_not_kept(kind, small, images, monkeypatch):
    (model, call), x, made = make(kind, small), images(2, 64, 64, 3), []
    call(model, x)
    original = keras.Function.__init__

    def counted(self, *args, **kwargs):
        made.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(keras.Function, "__init__", counted)
    call(model, x[:1])
    call(model, x)
    assert made == []
    parts = sys.modules["keras_paca.explain.cluster_maps"]._PARTS
    count, alive = len(parts), weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None
    assert len(parts) < count


@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method")
@pytest.mark.parametrize("change", ["weights", "lora", "quantize"])
def test_follows_the_layers_before(change, small, images):
    model, call = make("functional", small)
    x = images(1, 64, 64, 3)
    call(model, x)
    layer = model.get_layer("before")
    if change == "weights":
        layer.kernel.assign(np.roll(layer.kernel, 1, axis=0))
    elif change == "lora":
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(np.ones(layer.lora_kernel_b.shape))
    else:
        layer.quantize("int8")
    prepared = layer(0.5 * x)
    expected = call(model.layers[-1], prepared)
    for level, maps in call(model, x).items():
        np.testing.assert_allclose(maps, expected[level], rtol=1e-4, atol=1e-6)


@slow_but_on_torch
def test_follows_a_sequential_model(small, images):
    backbone, x = small(), images(1, 64, 64, 3)
    model = keras.Sequential([keras.Input((64, 64, 3)), keras.layers.Rescaling(0.5)])
    model.add(backbone)
    first = cluster_maps(model, x)["P2"]
    np.testing.assert_allclose(first, cluster_maps(backbone, 0.5 * x)["P2"], rtol=1e-4)
    model.pop()
    model.add(keras.layers.Rescaling(3.0))
    model.add(backbone)
    found = cluster_maps(model, x)["P2"]
    np.testing.assert_allclose(found, cluster_maps(backbone, 1.5 * x)["P2"], rtol=1e-4)


@slow_but_on_torch
def test_families_without_clusters(images):
    depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    rapidnet = keras_paca.RapidNet((8, 8, 8, 8), depths, include_top=False)
    with pytest.raises(ValueError, match=r"No stage of this model has clusters. Received: <Rapid"):
        cluster_maps(rapidnet, images(1, 32, 32, 3))
    vittm = keras_paca.ViTTM(8, 2, depth=1, include_top=False)
    with pytest.raises(ValueError, match=r"a memory, which `keras_paca.memory_maps` shows"):
        cluster_maps(vittm, images(1, 56, 56, 3))
    castling = keras_paca.CastlingViT(8, 2, depth=1, include_top=False)
    with pytest.raises(ValueError, match=r"No stage of this model has clusters. Received: <Castl"):
        cluster_maps(castling, images(1, 56, 56, 3))
