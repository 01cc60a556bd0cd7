"""What a PaCaViT promises beside parity: shapes, training, saving, contracts, errors."""

import os
import subprocess
import sys
from importlib.util import find_spec

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import PaCaBase, PaCaSmall, PaCaTiny, PaCaViT, weights
from keras_paca.backbones.convert import convert, official_tensors
from keras_paca.backbones.loading import load_weights
from keras_paca.warn import FreshWeightsWarning
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch

CLUSTERINGS = ("conv", "mlp", "linear", "teacher")
OPTIONS = {
    **{clustering: {"clustering": clustering} for clustering in CLUSTERINGS},
    "every_block": {"cluster_every": 1, "clusters": 5},
    "every_second": {"cluster_every": (None, 2, 2, 1)},
    "plain": {"clusters": 0},
    "castling": {
        "attention": "castling",
        "auxiliary": True,
        "convolution": "grid",
        "local_kernel_size": 3,
    },
    "all_options": {
        "layer_scale": 0.1,
        "sub_norm": True,
        "position_embedding_size": (64, 96),
        "cluster_position_embedding": True,
        "cluster_norm": False,
        "shortcut_in_mlp": False,
        "attention_dropout": 0.1,
        "dropout": 0.1,
    },
    "post_norm": {"post_norm": True, "dwconv_in_mlp": False, "remat": True},
}


EACH_BACKEND = ("teacher",)
SLOW = ("castling",)  # it has tests of its own below


@pytest.mark.parametrize(
    "name",
    [
        *EACH_BACKEND,
        *(
            pytest.param(name, marks=pytest.mark.slow if name in SLOW else slow_but_on_torch)
            for name in OPTIONS
            if name not in EACH_BACKEND
        ),
    ],
)
def test_fit_predict_save_and_load(name, small, images, tmp_path):
    model = small(drop_path_rate=0.3, **OPTIONS[name])
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = images(4, 48, 40, 3), np.array([0, 1, 2, 3])
    before = [ops.convert_to_numpy(w) for w in model.trainable_weights]
    history = model.fit(x, y, batch_size=2, epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    changed = [
        (ops.convert_to_numpy(w) != b).any()
        for w, b in zip(model.trainable_weights, before, strict=True)
    ]
    stuck = [w.path for w, moved in zip(model.trainable_weights, changed, strict=True) if not moved]
    # in exact arithmetic a bias before a softmax over patches, or of the keys, has no gradient
    assert all(path.endswith(("key/bias", "projection/bias")) for path in stuck), stuck

    scores = model.predict(x, verbose=0)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, PaCaViT)
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.predict(x, verbose=0), scores)
    model.save_weights(tmp_path / "model.weights.h5")
    fresh = PaCaViT.from_config(model.get_config())
    fresh.load_weights(tmp_path / "model.weights.h5")
    for loaded, saved in zip(fresh.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(loaded, saved)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_layer_is_built_with_the_model(name, small):
    """Else `predict` on JAX runs the model once without jit, compiling each operation alone."""
    unbuilt = [layer.name for layer in small(**OPTIONS[name])._flatten_layers() if not layer.built]
    assert not unbuilt


@slow_but_on_torch  # `tests/test_frozen.py` runs on each backend
def test_frozen_layers_stay_frozen(small, images, tmp_path):
    model = small()
    for layer in model.layers[:-1]:
        layer.trainable = False
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images(2, 32, 32, 3), np.array([0, 1]), verbose=0)
    model.save(tmp_path / "frozen.keras")
    again = keras.saving.load_model(tmp_path / "frozen.keras")
    assert [w.path for w in again.trainable_weights] == ["predictions/kernel", "predictions/bias"]
    for layer in model.layers:  # `model.trainable = True` does nothing on TensorFlow where it is so
        layer.trainable = True
    model.get_layer("stage2_block1").attention.trainable = False
    model.get_layer("stem").trainable = False
    assert model.get_config()["frozen"] == ["stem", "stage2_block1/attention"]
    again = PaCaViT.from_config(model.get_config())
    expected = [w.path for w in model.trainable_weights]
    assert [w.path for w in again.trainable_weights] == expected
    model.trainable = False
    again = PaCaViT.from_config(model.get_config())
    assert not again.trainable_weights
    again.trainable = True
    assert len(again.trainable_weights) == len(again.weights)


def test_frozen_backbone_in_another_model_stays_frozen(small, tmp_path):
    backbone = small(include_top=False, pooling="avg")
    backbone.trainable = False
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Dense(2, name="head")(backbone(inputs)))
    model.save(tmp_path / "around.keras")
    again = keras.saving.load_model(tmp_path / "around.keras")
    assert [w.path for w in again.trainable_weights] == ["head/kernel", "head/bias"]


def test_frozen_layers_of_a_model_made_inside_another(small, tmp_path):
    """There the layers' paths begin with the other's name."""
    with keras.name_scope("stem"):
        model = small()
    model.get_layer("stem").trainable = False
    model.get_layer("stage1_block1").mlp.trainable = False
    model.save(tmp_path / "inside.keras")
    again = keras.saving.load_model(tmp_path / "inside.keras")
    assert again.get_config()["frozen"] == ["stem", "stage1_block1/mlp"]
    assert len(again.trainable_weights) == len(model.trainable_weights)


def test_config_is_flat_and_plain(small):
    import json

    config = small(classifier_activation=keras.activations.relu).get_config()
    assert "weights" not in config
    assert json.loads(json.dumps(config))["classifier_activation"] == "relu"
    for value in config.values():
        flat = value if isinstance(value, (tuple, list)) else (value,)
        assert all(isinstance(v, (int, float, str, bool, type(None), dict)) for v in flat)


@pytest.mark.parametrize(
    "clustering",
    ["conv", *(pytest.param(x, marks=slow_but_on_torch) for x in ("mlp", "linear", "teacher"))],
)
def test_two_steps_in_a_row_differ(clustering, small, images):
    """Drop path draws anew at each step, compiled or not."""
    model = small(drop_path_rate=0.9, clustering=clustering)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = images(8, 32, 32, 3), np.arange(8) % 5
    losses = {float(model.train_on_batch(x, y)) for _ in range(4)}
    assert len(losses) > 2


@pytest.mark.parametrize(
    ("clustering", "sizes"),
    [
        ("conv", [(33, 47), (64, 32)]),
        pytest.param("teacher", [(96, 65)], marks=slow_but_on_torch),
        pytest.param("mlp", [(33, 47)], marks=slow_but_on_torch),
        pytest.param("linear", [(64, 35)], marks=slow_but_on_torch),
    ],
)
def test_any_size_known_or_not(clustering, sizes, small, images):
    model = small(clustering=clustering, include_top=False)
    for height, width in sizes:
        expected = (2, -(-height // 32), -(-width // 32), 40)
        assert model.compute_output_shape((2, height, width, 3)) == expected
        x = images(2, height, width, 3)
        found = model.predict(x, verbose=0)
        assert found.shape == expected
        fixed = small(clustering=clustering, include_top=False, input_shape=(height, width, 3))
        assert fixed.output_shape == (None, *expected[1:])
        fixed.set_weights(model.get_weights())
        np.testing.assert_allclose(fixed.predict(x, verbose=0), found, rtol=1e-4, atol=1e-4)
        for level, stride in (("P2", 4), ("P3", 8), ("P4", 16), ("P5", 32)):
            shape = fixed.pyramid_outputs[level].shape
            assert shape[1:3] == (-(-height // stride), -(-width // stride))


@slow_but_on_torch
def test_fit_at_several_sizes(small, images):
    model = small(drop_path_rate=0.2)
    model.compile("sgd", "sparse_categorical_crossentropy")
    for side in (32, 51):
        assert np.isfinite(model.train_on_batch(images(2, side, side + 8, 3), np.array([0, 1])))


@slow_but_on_torch
def test_position_embedding_at_other_sizes(small, images):
    model = small(position_embedding_size=64)
    assert model.predict(images(1, 33, 95, 3), verbose=0).shape == (1, 5)


@pytest.mark.parametrize(
    "clustering",
    ["conv", *(pytest.param(name, marks=pytest.mark.slow) for name in CLUSTERINGS[1:])],
)
@pytest.mark.parametrize(
    ("policy", "bar"),
    [
        ("mixed_float16", 1e-2),
        pytest.param("mixed_bfloat16", 5e-2, marks=slow_but_on_torch),
    ],
)
def test_mixed_precision(clustering, policy, bar, small, images):
    x = images(2, 64, 96, 3)
    logits = {"clustering": clustering, "depths": 1, "classifier_activation": None}
    reference = small(**logits)
    expected = reference.predict(x, verbose=0)
    model = small(**logits, dtype=policy, drop_path_rate=0.2)
    model.set_weights(reference.get_weights())
    assert all(w.dtype == "float32" for w in model.weights)
    assert {layer.compute_dtype for layer in model.layers if layer.weights} == {
        policy.removeprefix("mixed_"),
        "float32",  # the head
    }
    found = model.predict(x, verbose=0)
    assert found.dtype == np.float32
    error = np.linalg.norm(found - expected) / np.linalg.norm(expected)
    assert error < bar

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    loss = model.fit(x, np.array([0, 1]), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(loss).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


def test_global_policy_is_kept_in_the_config(small, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = small()
    model.save(tmp_path / "model.keras")
    keras.config.set_dtype_policy("float32")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.dtype_policy.name == "mixed_bfloat16"
    assert again.get_layer("stage2_block1").compute_dtype == "bfloat16"


@pytest.mark.slow
def test_mixed_float16_at_1024(images):
    from tests.parity import official

    description, checkpoint, _ = official.case("pacavit_tiny_p2cconv_100_0")
    x = official.images((1, 3, 1024, 1024), 3)
    logits = {}
    for policy in ("float32", "mixed_float16"):
        model = official.build("pacavit_tiny_p2cconv_100_0", description, dtype=policy)
        official.load(model, checkpoint)
        logits[policy] = model.predict(x, verbose=0)
    assert np.isfinite(logits["mixed_float16"]).all()
    assert official.relative_error(logits["mixed_float16"], logits["float32"]) < 1e-2


# JAX exports through TensorFlow, so that it takes an environment with both.
with_what_exports_need = pytest.mark.together if keras.backend.backend() == "jax" else lambda f: f


@with_what_exports_need
@pytest.mark.parametrize(
    "clustering",
    [
        "conv",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mlp", "linear", "teacher")),
    ],
)
def test_export_agrees_with_keras(clustering, small, images, tmp_path):
    model = small(clustering=clustering, input_shape=(48, 40, 3))
    x = images(2, 48, 40, 3)
    expected = model.predict(x, verbose=0)
    for found in _exported(model, x, tmp_path):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _exported(model, x, folder):
    """Yield what the exports of this backend compute."""
    backend = keras.backend.backend()
    if backend == "torch":
        if find_spec("keras.src.export.torch") is None:
            pytest.skip(f"Keras {keras.__version__} has no export of PyTorch's own")
        import torch

        signature = [keras.InputSpec(shape=x.shape, dtype="float32")]
        model.export(folder / "model.pt2", format="torch", input_signature=signature, verbose=False)
        program = torch.export.load(folder / "model.pt2").module()
        yield program(keras.ops.convert_to_tensor(x)).detach().cpu().numpy()
        return
    import tensorflow as tf

    model.export(folder / "saved", format="tf_saved_model", verbose=False)
    saved = tf.saved_model.load(str(folder / "saved"))
    yield saved.serve(x).numpy()
    if backend == "tensorflow":
        from ai_edge_litert.interpreter import Interpreter

        signature = [keras.InputSpec(shape=x.shape, dtype="float32")]
        path = str(folder / "model.tflite")
        model.export(path, format="litert", input_signature=signature, verbose=False)
        interpreter = Interpreter(path)
        interpreter.allocate_tensors()
        operators = {detail["op_name"] for detail in interpreter._get_ops_details()}
        assert not any(name.startswith("Flex") for name in operators)
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
        interpreter.invoke()
        yield interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def test_pyramid_attributes(small):
    model = small(include_top=False, input_shape=(64, 96, 3))
    levels = ["P2", "P3", "P4", "P5"]
    assert list(model.pyramid_outputs) == list(model.pyramid_level_inputs) == levels
    assert model.stage_names == levels
    assert model.hidden_dims == model.embedding_dims == [16, 24, 32, 40]
    assert model.image_shape == (64, 96, 3)
    for level, stride, channels in zip(levels, (4, 8, 16, 32), model.hidden_dims, strict=True):
        tensor = model.pyramid_outputs[level]
        assert tensor.shape == (None, 64 // stride, 96 // stride, channels)
        assert model.get_layer(model.pyramid_level_inputs[level]).output is tensor
    assert {k: len(v) for k, v in model.assignments.items()} == {"P2": 1, "P3": 2, "P4": 1}
    assert model.assignments["P3"][1].shape == (None, 8 * 12, 6)
    keras.Model(model.inputs, model.assignments["P4"][-1])


def test_attributes_cannot_be_spoilt(small):
    model = small()
    model.pyramid_outputs.clear()
    model.hidden_dims.append(3)
    assert list(model.pyramid_outputs) == ["P2", "P3", "P4", "P5"]
    assert model.hidden_dims == [16, 24, 32, 40]


@slow_but_on_torch
def test_a_stage_shares_its_assignment_unless_told_otherwise(small, images):
    x = images(1, 64, 64, 3)
    for every, same in ((None, True), (1, False)):
        model = small(cluster_every=every)
        first, last = keras.Model(model.input, model.assignments["P3"]).predict(x, verbose=0)
        assert np.array_equal(first, last) is same


@slow_but_on_torch
@pytest.mark.parametrize("pooling", [None, "avg", "max"])
def test_pooling(pooling, small, images):
    model = small(include_top=False, pooling=pooling)
    x = images(2, 64, 64, 3)
    full = small(include_top=False)
    full.set_weights(model.get_weights())
    expected = full.predict(x, verbose=0)
    if pooling:
        expected = getattr(np, "mean" if pooling == "avg" else "max")(expected, axis=(1, 2))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)


@slow_but_on_torch
def test_preprocessing_normalises_as_imagenet_does(small, images):
    x = images(2, 64, 64, 3)
    inside = small()
    outside = small(include_preprocessing=False)
    outside.set_weights(inside.get_weights())
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = ((x / 255 - mean) / std).astype("float32")
    expected = outside.predict(normalised, verbose=0)
    np.testing.assert_allclose(inside.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6)
    integers = np.round(x)
    np.testing.assert_array_equal(
        inside.predict(integers.astype("uint8"), verbose=0), inside.predict(integers, verbose=0)
    )


@slow_but_on_torch
@pytest.mark.parametrize("channels", [1, 4, 12])
def test_any_number_of_channels_without_preprocessing(channels, small, images):
    model = small(include_preprocessing=False, input_shape=(None, None, channels))
    assert model.predict(images(1, 40, 40, channels), verbose=0).shape == (1, 5)


@pytest.mark.filterwarnings("ignore:The structure of `inputs`")  # Keras's, of every dict for one
def test_name_of_the_input_survives(small, images, tmp_path):
    model = small(input_tensor=keras.Input((40, 48, 3), name="photo"))
    x = {"photo": images(1, 40, 48, 3)}
    scores = model.predict(x, verbose=0)
    model.save(tmp_path / "named.keras")
    again = keras.saving.load_model(tmp_path / "named.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), scores)


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.parametrize("dtype", ["uint8", pytest.param("float32", marks=pytest.mark.slow)])
def test_layers_before_the_backbone_in_another_process(dtype, images, tmp_path):
    """A model around ours, saved here and loaded by a process that knows only the file."""
    inputs = keras.Input((50, 70, 3), dtype=dtype)
    x = keras.layers.Rescaling(1.0)(inputs)
    x = keras.layers.Resizing(32, 40, data_format="channels_last")(x)
    model = PaCaTiny(weights=None, input_tensor=x, classes=4, name="around")
    assert type(model) is not PaCaViT
    assert model.name == "around"
    model.save(tmp_path / "around.keras")
    photos = np.round(images(2, 50, 70, 3)).astype(dtype)
    np.save(tmp_path / "x.npy", photos)
    found = _predict_in_another_process(tmp_path / "around.keras", tmp_path / "x.npy")
    np.testing.assert_allclose(found, model.predict(photos, verbose=0), rtol=1e-5, atol=1e-7)


def _predict_in_another_process(model, images, backend=None):
    """Return what a process that knows only the two files computes."""
    code = (
        "import sys, numpy as np, keras, keras_paca; "
        # of its training JAX's `jit_compile=True` would be kept: `torch.compile` on PyTorch
        "model = keras.saving.load_model(sys.argv[1], compile=False); "
        "np.save(sys.argv[2], model.predict(np.load(sys.argv[2]), verbose=0))"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend or keras.backend.backend()}
    subprocess.run([sys.executable, "-c", code, model, images], check=True, env=environment)
    return np.load(images)


OTHER = {"tensorflow": "jax", "jax": "torch", "torch": "tensorflow"}[keras.backend.backend()]


@pytest.mark.together
@pytest.mark.parametrize(
    "reader",
    [
        OTHER,
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("tensorflow", "jax", "torch")
            if name not in (OTHER, keras.backend.backend())
        ),
    ],
)
def test_saved_here_and_loaded_on_another_backend(reader, small, images, tmp_path):
    model = small(clustering="teacher", layer_scale=0.1, position_embedding_size=64)
    x = images(2, 40, 48, 3)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    model.train_on_batch(x, np.array([0, 1]))  # moves the batch norms' statistics
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "x.npy", x)
    found = _predict_in_another_process(tmp_path / "model.keras", tmp_path / "x.npy", reader)
    np.testing.assert_allclose(found, model.predict(x, verbose=0), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depths": (1, 2, 3)}, r"`depths` must have one entry per stage \(4\)"),
        ({"clusters": [100, 100]}, r"`clusters` must have one entry per stage \(4\)"),
        ({"clusters": (1, 2, 3, -1)}, "integers from 0"),
        ({"clusters": (1, 2, 3, 1.5)}, "integers from 0"),
        ({"cluster_every": 0}, "`cluster_every` must be a positive integer"),
        ({"num_heads": 0}, "`num_heads` must hold integers from 1"),
        ({"clusters": True}, "`clusters` must hold integers from 0"),
        ({"depths": (1, -1, 1, 1)}, "`depths` must hold integers from 1"),
        ({"hidden_dims": 16.0}, "`hidden_dims` must hold integers from 1"),
        ({"position_embedding_size": 32.5}, "must be a positive integer"),
        ({"position_embedding_size": (64, 64, 64)}, "both from 32"),
        ({"clustering": "slots"}, "`clustering` must be one of"),
        ({"clustering": "teacher", "cluster_every": 1}, "once per stage"),
        ({"clustering": "teacher", "kernel_size": (3, 3, 5, 3)}, "one `kernel_size`"),
        ({"num_heads": (3, 2, 2, 4)}, "must divide `hidden_dims`"),
        ({"pooling": "mean"}, "`pooling` must be"),
        ({"input_shape": (31, 64, 3)}, "sides from 32"),
        ({"input_shape": (3, 224, 224)}, "channels last"),
        ({"input_shape": (64, 64)}, "height, width, channels"),
        ({"input_shape": (64, 64, 1)}, "needs 3 channels"),
        ({"position_embedding_size": 16}, "both from 32"),
        ({"classes": 0}, "positive integer"),
        ({"hidden_dims": (15, 24, 32, 40), "num_heads": 1}, "must be even"),
        ({"drop_path_rate": 1.0}, "must lie in"),
        ({"attention": "linear"}, "`attention` must be one of"),
        ({"attention": "castling", "clustering": "teacher"}, "has no teacher of clusters"),
        ({"attention": "castling", "attention_dropout": 0.1}, "no `attention_dropout`"),
        ({"attention": "castling", "local_kernel_size": 2}, "`kernel_size` must be odd"),
    ],
)
def test_bad_options(options, message, small):
    with pytest.raises(ValueError, match=message):
        small(**options)


def test_integers_of_numpy(small):
    model = small(clusters=np.array([4, 4, 4, 0]), depths=[np.int64(1)] * 4, classes=np.int64(5))
    config = model.get_config()
    assert config["clusters"] == (4, 4, 4, 0)
    assert type(config["depths"][0]) is type(config["classes"]) is int


@slow_but_on_torch
@pytest.mark.parametrize(
    ("factory", "options", "millions"),
    [  # counted with the official code
        (PaCaTiny, {}, 12.20),
        (PaCaSmall, {}, 22.04),
        (PaCaSmall, {"clustering": "mlp"}, 22.64),
        (PaCaBase, {}, 46.91),
        (PaCaTiny, {"clustering": "teacher"}, 12.48),
        (PaCaSmall, {"clustering": "teacher"}, 21.08),
        (PaCaBase, {"clustering": "teacher"}, 47.66),
        (PaCaSmall, {"clusters": (2, 2, 2, 0)}, 21.98),
        (PaCaSmall, {"clusters": (49, 49, 49, 0)}, 22.01),
        (PaCaSmall, {"clusters": 100}, 22.25),
        (PaCaSmall, {"clusters": 100, "cluster_every": 1}, 24.19),
    ],
)
def test_parameters_of_the_variants(factory, options, millions):
    model = factory(weights=None, **options)
    count = sum(int(np.prod(w.shape)) for w in model.trainable_weights)
    assert round(count / 1e6, 2) == millions


@slow_but_on_torch
def test_drop_path_rates():
    def rates(model):
        return [
            layer.drop_path1.rate
            for layer in model.layers
            if isinstance(layer, keras_paca.layers.PaCaBlock)
        ]

    np.testing.assert_allclose(rates(PaCaTiny(weights=None)), np.linspace(0, 0.1, 10))
    assert rates(PaCaBase(weights=None))[-1] == 0.5
    assert rates(PaCaBase(weights=None, clustering="teacher"))[-1] == 0.1
    assert rates(PaCaTiny(weights=None, drop_path_rate=0.3))[-1] == 0.3


@with_what_exports_need
@pytest.mark.slow
@pytest.mark.parametrize("factory", [PaCaTiny, PaCaSmall, PaCaBase])
@pytest.mark.parametrize("clustering", CLUSTERINGS)
def test_every_variant_trains_saves_and_runs_mixed(factory, clustering, images, tmp_path):
    x, y = images(2, 65, 96, 3), np.array([0, 1])
    model = factory(weights=None, clustering=clustering, classes=3)
    model.compile(keras.optimizers.SGD(1e-3), "sparse_categorical_crossentropy")
    losses = [float(model.train_on_batch(x, y)) for _ in range(2)]
    assert np.isfinite(losses).all()
    assert losses[0] != losses[1]
    scores = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), scores)
    for policy in ("mixed_float16", "mixed_bfloat16"):
        mixed = factory(weights=None, clustering=clustering, classes=3, dtype=policy)
        mixed.set_weights(model.get_weights())
        found = mixed.predict(x, verbose=0)
        assert np.isfinite(found).all()
        np.testing.assert_allclose(found, scores, atol=5e-2)
    fixed = factory(weights=None, clustering=clustering, classes=3, input_shape=(65, 96, 3))
    fixed.set_weights(model.get_weights())
    for found in _exported(fixed, x, tmp_path):
        np.testing.assert_allclose(found, scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    "name", ["include_top", "include_preprocessing", "cluster_norm", "remat", "trainable"]
)
@pytest.mark.parametrize("value", ["False", 1, None])
def test_booleans_given_as_something_else(name, value, small):
    with pytest.raises(ValueError, match=f"`{name}` must be True or False"):
        small(**{name: value})


@pytest.mark.parametrize("name", ["drop_path_rate", "attention_dropout", "dropout"])
@pytest.mark.parametrize("value", [-0.1, 1.0, "0.1", float("nan"), None])
def test_rates_are_named(name, value, small):
    with pytest.raises(ValueError, match=rf"`{name}` must lie in \[0, 1\)"):
        small(**{name: value})


# --- Castling attention in all stages -----------------------------------------------------------

CASTLING = {"attention": "castling", "include_top": False}


@slow_but_on_torch
def test_castling(small, images):
    """A pyramid without clusters, also fused, on maps of any size."""
    model, x = randomise(small(**CASTLING)), images(2, 33, 47, 3)
    assert model.get_config()["clusters"] == (0, 0, 0, 0)
    assert (list(model.pyramid_outputs), model.assignments) == (["P2", "P3", "P4", "P5"], {})
    assert tuple(model(x).shape) == model.compute_output_shape(x.shape) == (2, 2, 2, 40)
    assert error(keras_paca.fuse(model)(x), model(x)) <= 1e-5
    with pytest.raises(ValueError, match=r"No stage .* It has castling attention, from each"):
        keras_paca.cluster_maps(model, x)


@slow_but_on_torch
def test_the_cost_of_castling_is_linear(small):
    def macs(side, **options):
        backbone = small(include_top=False, **options)
        return keras_paca.quantization_report(backbone, image_size=side).macs

    assert macs(256, attention="castling") == 16 * macs(64, attention="castling")
    assert macs(256, clusters=0) > 17 * macs(64, clusters=0)


@slow_but_on_torch
def test_the_auxiliary_of_castling(small, images):
    model, x = small(auxiliary=True, threshold=0.001, **CASTLING), images(2, 32, 48, 3)
    assert error(model(x, training=True), model(x)) > 1e-3
    model.auxiliary = False
    assert error(model(x, training=True), model(x)) < 1e-6
    assert PaCaViT.from_config(model.get_config()).auxiliary is False
    assert small().auxiliary is False


@slow_but_on_torch
def test_castling_from_a_file_with_clusters(small):
    """All but the filters; nothing of the clusters is loaded."""
    source = randomise(small(cluster_norm=True))
    tensors = official_tensors(source)
    checkpoint = weights.Checkpoint("paca.pth", True, tensors)
    model = small(attention="castling")
    with pytest.warns(FreshWeightsWarning, match="each attention's filter keeps"):
        load_weights(model, checkpoint, other_options=True)
    found = official_tensors(model)
    missing = {key for key in found if key not in tensors}
    assert missing
    assert all(key.endswith("attn.dconv.weight") for key in missing)
    for key in found.keys() - missing:
        np.testing.assert_array_equal(found[key], tensors[key])
    part = {f"backbone.{key}": x for key, x in tensors.items() if not key.startswith("head.")}
    part["decode_head.bias"] = np.zeros(3, "float32")
    with pytest.warns(FreshWeightsWarning, match="filter and the head keeps"):
        load_weights(model, weights.Checkpoint("segmenter.pth", True, part))
    shown = PaCaViT.identify(weights.Checkpoint("castling.pth", True, found))
    assert {key: model.get_config()[key] for key in shown} == shown
    load_weights(small(attention="castling"), weights.Checkpoint("castling.pth", True, found))
    del tensors["norm2.bias"]
    with pytest.raises(ValueError, match=r"missing in the file: norm2\.bias"):
        load_weights(model, checkpoint)


@pytest.mark.slow
@slow_but_on_torch
def test_castling_of_a_variant_from_a_released_file(tiny_file):
    with pytest.warns(FreshWeightsWarning, match="each attention's filter keeps"):
        model = PaCaTiny(attention="castling", weights=tiny_file)
    assert model.get_config()["clusters"] == (0, 0, 0, 0)


@pytest.mark.slow
@slow_but_on_torch
def test_convert_castling(tmp_path):
    model = PaCaTiny(weights=None, classes=3, attention="castling", convolution="grid",
                     local_kernel_size=3)  # fmt: skip
    model.save(tmp_path / "castling.keras")
    convert(tmp_path / "castling.keras", tmp_path / "castling.safetensors")
    convert(tmp_path / "castling.safetensors", tmp_path / "again.keras")
    again = keras.saving.load_model(tmp_path / "again.keras")
    for name in ("attention", "convolution", "local_kernel_size", "clustering", "clusters"):
        assert again.get_config()[name] == model.get_config()[name]
    for a, b in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_nobody_released_castling():
    with pytest.raises(ValueError, match=r"for paca_tiny, clustering='conv', attention='castling'"):
        PaCaTiny(attention="castling")
    assert PaCaTiny(attention="castling", weights=None).get_config()["clusters"] == (0, 0, 0, 0)


@pytest.mark.slow
@slow_but_on_torch
def test_segmenter_and_detector_on_castling(small, images):
    x = images(1, 64, 96, 3)
    segmenter = keras_paca.segmentation.Segmenter(small(**CASTLING), "fpn", num_classes=3)
    assert tuple(segmenter(x).shape) == (1, 64, 96, 3)
    detector = keras_paca.detection.MaskRCNN(small(**CASTLING), num_classes=3, max_detections=4)
    assert detector.predict(x, verbose=0)["boxes"].shape == (1, 4, 4)
