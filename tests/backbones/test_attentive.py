"""What the networks with attentive normalization promise beside parity: the three families."""

import inspect
import json
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import (
    DenseNet121AN,
    DenseNetAN,
    MobileNetAN,
    MobileNetV2AN,
    ResNet50AN,
    ResNet101AN,
    ResNetAN,
    detection,
    layers,
    segmentation,
    weights,
)
from keras_paca.backbones.convert import convert, official_tensors
from keras_paca.weights.loader import keras_keys
from tests.backbones.test_paca_vit import _exported, with_what_exports_need
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.torch_writer import save_zip

SMALL = {
    "resnet": (ResNetAN, {"hidden_dims": (8, 16, 24, 32), "depths": (1, 2, 1, 1)}),
    "mobilenet": (
        MobileNetAN,
        {
            "hidden_dims": (8, 12, 16, 20, 24, 28, 32),
            "depths": (1, 1, 2, 1, 1, 1, 1),
            "stem_filters": 8,
            "embedding_dim": 16,
            "expansion": 2,
        },
    ),
    "densenet": (DenseNetAN, {"depths": (1, 2, 1, 1), "growth_rate": 8}),
}
FUNCTIONS = {  # million parameters, billion products, official key of the head
    ResNet50AN: (25.755, 4.09, "fc"),
    ResNet101AN: (45.00, 7.81, "fc"),
    MobileNetV2AN: (3.673, 0.302, "classifier.1"),
    DenseNet121AN: (8.342, 2.84, "classifier"),
}
each_family = pytest.mark.parametrize("name", SMALL)
# The families differ in their blocks, which have tests of their own: one of them in `make test`.
one_family = pytest.mark.parametrize(
    "name", ["resnet", *(pytest.param(name, marks=pytest.mark.slow) for name in list(SMALL)[1:])]
)
but_mobilenet = pytest.mark.parametrize(
    "name",
    [pytest.param(x, marks=pytest.mark.slow if x == "mobilenet" else []) for x in SMALL],
)


def small(name, **options):
    """Return a small network of a family, of 5 classes and 3 affine transformations."""
    cls, given = SMALL[name]
    return cls(**{"mixtures": 3, "classes": 5, **given, **options})


# --- Counts and initial values ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("function", FUNCTIONS)
def test_parameters_and_products(function):
    parameters, products, _ = FUNCTIONS[function]
    model = function(weights=None)
    count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert count / 1e6 == pytest.approx(parameters, abs=0.0051)
    report = keras_paca.quantization_report(model, image_size=224)
    assert report.macs / 1e9 == pytest.approx(products, abs=0.02)


@slow_but_on_torch
@each_family
def test_the_norms_are_those_of_the_paper(name):
    """One attentive normalization in each block, and batch normalization elsewhere."""
    model = small(name)
    blocks = [
        layer
        for layer in model.layers
        if isinstance(
            layer,
            layers.AttentiveBottleneck
            | layers.AttentiveInvertedResidual
            | layers.AttentiveDenseLayer,
        )
    ]
    assert len(blocks) == np.sum(model.get_config()["depths"])
    norms = [
        x for x in model._flatten_layers() if isinstance(x, layers.AttentiveBatchNormalization)
    ]
    assert len(norms) == len(blocks)
    assert {norm.mixtures for norm in norms} == {3}
    head = ops.convert_to_numpy(model.get_layer("predictions").kernel)
    assert abs(head.std() / 0.01 - 1) < 4 / np.sqrt(head.size)


@pytest.mark.slow
def test_mixtures_per_stage():
    for function, rows in (
        (ResNet50AN, [10] * 3 + [10] * 4 + [20] * 6 + [20] * 3),
        (MobileNetV2AN, [5] * 10 + [10] * 7),
        (DenseNet121AN, [10] * 18 + [20] * 40),
    ):
        model = function(weights=None)
        kind = layers.AttentiveBatchNormalization
        norms = [x for x in model._flatten_layers() if isinstance(x, kind)]
        assert sorted(norm.mixtures for norm in norms) == sorted(rows)


@slow_but_on_torch
@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_drop_path_rates(name):
    """Linear over all blocks, from 0 to the rate of the last."""
    model = small(name, drop_path_rate=0.3)
    rates = [x.drop_path_rate for x in model.layers if hasattr(x, "drop_path_rate")]
    np.testing.assert_allclose(rates, np.linspace(0, 0.3, len(rates)))


# --- Training and saving ----------------------------------------------------------------------


@slow_but_on_torch
@one_family
def test_fit_predict_save_and_load(name, images, tmp_path):
    options = {} if name == "densenet" else {"drop_path_rate": 0.3}
    model = randomise(small(name, dropout=0.1, **options))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = images(8, 48, 40, 3), np.arange(8) % 5
    before = [w.copy() for w in model.get_weights()]
    history = model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    stuck = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if np.array_equal(ops.convert_to_numpy(weight), old)
    ]
    # what is added before a norm has no gradient in exact arithmetic
    expected = ("seed_generator_state", "project/norm/beta")
    assert all(path.endswith(expected) for path in stuck), stuck
    scores = model.predict(x, verbose=0)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert type(again) is type(model)
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.predict(x, verbose=0), scores)


@slow_but_on_torch
@one_family
def test_config_is_plain(name):
    config = small(name).get_config()
    again = SMALL[name][0].from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert not [layer.name for layer in again._flatten_layers() if not layer.built]


@slow_but_on_torch
@one_family
def test_two_steps_in_a_row_differ(name, images):
    model = small(name, dropout=0.9)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = images(8, 32, 32, 3), np.arange(8) % 5
    assert len({float(model.train_on_batch(x, y)) for _ in range(3)}) > 1


@pytest.mark.slow
@each_family
def test_remat_gives_the_same_steps(name, images):
    """The moving statistics too, of which a block that is computed twice is counted once."""
    found = []
    for remat in (False, True):
        keras.utils.set_random_seed(5)
        model = small(name, remat=remat, dropout=0.0)
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(images(8, 32, 32, 3), np.arange(8) % 5, batch_size=4, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@slow_but_on_torch
@one_family
def test_frozen_layers_stay_frozen(name, images):
    """Also their moving statistics."""
    model = small(name)
    model.get_layer("stem").trainable = False
    before = model.get_layer("stem").get_weights()
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images(4, 32, 32, 3), np.arange(4), verbose=0)
    for a, b in zip(model.get_layer("stem").get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert model.get_config()["frozen"] == ["stem"]


# --- Sizes and precision ----------------------------------------------------------------------


@slow_but_on_torch
@but_mobilenet
def test_any_size_known_or_not(name, images):
    model = randomise(small(name, include_top=False))
    round_up = name != "densenet"  # whose transitions leave out the last row of an odd side
    for height, width in ((33, 47), (64, 96)):
        x = images(2, height, width, 3)
        found = ops.convert_to_numpy(model(x))
        assert found.shape == model.compute_output_shape(x.shape)
        fixed = small(name, include_top=False, input_shape=(height, width, 3))
        assert fixed.output_shape[1:] == found.shape[1:]
        sides = [level.shape[1:3] for level in fixed.pyramid_outputs.values()]
        for n, pair in enumerate(sides, start=2):
            whole = [side / 2**n for side in (height, width)]
            assert pair == tuple(map(int, np.ceil(whole) if round_up or n == 2 else pair))
    assert sides == [(16, 24), (8, 12), (4, 6), (2, 3)]
    for level, layer in fixed.pyramid_level_inputs.items():
        assert fixed.get_layer(layer).output is fixed.pyramid_outputs[level]
    assert fixed.assignments == {}
    assert fixed.hidden_dims == [level.shape[-1] for level in fixed.pyramid_outputs.values()]


@slow_but_on_torch
@one_family
@pytest.mark.parametrize("pooling", ["avg", pytest.param("max", marks=pytest.mark.slow)])
def test_pooling(name, pooling, images):
    x = images(2, 64, 64, 3)
    full = randomise(small(name, include_top=False))
    model = small(name, include_top=False, pooling=pooling)
    model.set_weights(full.get_weights())
    reduce = {"avg": np.mean, "max": np.max}[pooling]
    expected = reduce(full.predict(x, verbose=0), axis=(1, 2))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-5)


@slow_but_on_torch
@one_family
@pytest.mark.parametrize(
    ("policy", "bar"),
    [("mixed_float16", 1e-2), pytest.param("mixed_bfloat16", 5e-2, marks=pytest.mark.slow)],
)
def test_mixed_precision(name, policy, bar, images):
    x, options = images(4, 32, 32, 3), {"classifier_activation": None}
    reference = small(name, **options)
    model = small(name, **options, dtype=policy)
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    copied = official_tensors(reference)
    weights.load_official(model, copied, model.checkpoint_map(model.get_config()), "x")
    assert error(model.predict(x, verbose=0), reference.predict(x, verbose=0)) < bar
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    history = model.fit(x, np.array([0, 1, 2, 3]), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


@pytest.mark.slow
@each_family
def test_channels_first_changes_nothing(name, images):
    x = images(1, 33, 40, 3)
    model = randomise(small(name))
    wanted = model.predict(x, verbose=0)
    keras.config.set_image_data_format("channels_first")
    again = small(name)
    again.set_weights(model.get_weights())
    np.testing.assert_allclose(again.predict(x, verbose=0), wanted, rtol=1e-5, atol=1e-6)


# --- Files ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "function", [ResNet50AN, *(pytest.param(x, marks=slow_but_on_torch) for x in (MobileNetV2AN,))]
)
def test_a_named_weight_says_how_to_get_a_file(function):
    words = (
        "No ImageNet weights are downloaded for .*_an. The authors' files lie on Google Drive, "
        "under a licence for research alone.*download the file by hand.*path as `weights`"
    )
    with pytest.raises(ValueError, match=words):
        function()
    with pytest.raises(ValueError, match=words):
        keras_paca.create_model(function.__name__.lower().replace("an", "_an"), weights="imagenet")
    text = " ".join(inspect.getdoc(function).split())
    assert "with random weights or those of a file." in text
    assert "lie on Google Drive, under a licence for research alone" in text


@pytest.fixture
def file_of(monkeypatch, tmp_path):
    """Return a function that writes a file of a variant, made small, with random weights."""

    def write(name, function):
        family, options = SMALL[name]
        (variant,) = (v for v in family.variants.values() if v.title == function.__name__)
        for key in variant.config:
            monkeypatch.setitem(variant.config, key, options[key])
        model = randomise(function(weights=None))
        tensors = official_tensors(model)
        counters = {"bn1.num_batches_tracked": np.zeros((), "int64")}
        save_zip(tmp_path / "file.pth", {"state_dict": {**tensors, **counters}})
        return tmp_path / "file.pth", tensors

    return write


@slow_but_on_torch
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("resnet", ResNet50AN),
        pytest.param("mobilenet", MobileNetV2AN, marks=pytest.mark.slow),
        pytest.param("densenet", DenseNet121AN, marks=pytest.mark.slow),
    ],
)
def test_files(name, function, file_of, tmp_path):
    """Strict loading, fresh heads, backbones, detectors' files, and conversion."""
    path, tensors = file_of(name, function)
    model = function(weights=path)
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])
    bare = official_tensors(function(weights=path, include_top=False))
    head = FUNCTIONS[function][2]
    assert f"{head}.weight" in tensors.keys() - bare.keys()
    assert all(np.array_equal(array, tensors[key]) for key, array in bare.items())
    with pytest.warns(UserWarning, match="made for 1000 classes, not 3; the head keeps"):
        function(weights=path, classes=3)
    first = next(key for key in tensors if key.endswith(".weight_"))
    for change, words in (
        ({"extra": np.zeros(3, "float32")}, "unknown to the model: extra"),
        ({first: np.zeros((2, 2), "float32")}, f"of another shape: {re.escape(first)}"),
    ):
        save_zip(tmp_path / "wrong.pth", {**tensors, **change})
        with pytest.raises(ValueError, match=words):
            function(weights=tmp_path / "wrong.pth")
    save_zip(tmp_path / "wrong.pth", {k: v for k, v in tensors.items() if k != first})
    with pytest.raises(ValueError, match="missing in the file"):
        function(weights=tmp_path / "wrong.pth")
    detector = {f"backbone.{key}": array for key, array in bare.items()}
    save_zip(
        tmp_path / "detector.pth", {**detector, "rpn_head.rpn_cls.bias": np.zeros(3, "float32")}
    )
    found = official_tensors(function(weights=tmp_path / "detector.pth", include_top=False))
    assert all(np.array_equal(array, bare[key]) for key, array in found.items())
    for suffix in (".keras", ".safetensors"):
        convert(path, tmp_path / f"converted{suffix}")
        found = official_tensors(function(weights=tmp_path / f"converted{suffix}"))
        assert all(np.array_equal(array, tensors[key]) for key, array in found.items())


@pytest.mark.slow
def test_the_variants_are_told_apart():
    shown = {}
    for function in FUNCTIONS:
        model = function(weights=None)
        family, config = type(model), model.get_config()
        official = {k: np.zeros(v.shape, "float32") for k, v in official_tensors(model).items()}
        saved = {k: np.zeros(v.shape, "float32") for k, v in keras_keys(model).items()}
        found = [
            family.identify(weights.Checkpoint(f"x{suffix}", suffix == ".pth", tensors))
            for suffix, tensors in ((".pth", official), (".keras", saved))
        ]
        assert found[0] == found[1]
        assert all(config[key] == value for key, value in found[0].items())
        shown[function.__name__] = found[0]
        for other, _ in SMALL.values():
            if other is not family:
                assert other.identify(weights.Checkpoint("x.pth", True, official)) is None
                assert other.identify(weights.Checkpoint("x.keras", False, saved)) is None
    assert shown["ResNet50AN"] != shown["ResNet101AN"]


@slow_but_on_torch
@pytest.mark.parametrize("options", [{"depths": (2, 1, 2, 1, 1, 1, 1)}, {"expansion": 1}])
def test_blocks_without_expansion_are_found(options):
    """In the first row there may be several, and anywhere else."""
    model = small("mobilenet", **options)
    config = model.get_config()
    for official, tensors in ((True, official_tensors(model)), (False, keras_keys(model))):
        arrays = {key: np.zeros(x.shape, "float32") for key, x in tensors.items()}
        found = MobileNetAN.identify(weights.Checkpoint("x", official, arrays))
        assert found == {name: config[name] for name in ("hidden_dims", "depths", "mixtures")}


# --- Segmenters and detectors -----------------------------------------------------------------


@slow_but_on_torch
@one_family
def test_segmenter_and_detector(name, images):
    x = images(1, 64, 96, 3)
    segmenter = segmentation.Segmenter(small(name, include_top=False), "fpn", 3)
    assert segmenter.compute_output_shape(x.shape) == (1, 64, 96, 3)
    options = {"channels": 8, "proposals": 20, "candidates": 20, "max_detections": 4}
    detector = detection.MaskRCNN(small(name, include_top=False), 3, **options)
    assert detector.predict(x, verbose=0)["boxes"].shape == (1, 4, 4)
    key_map = detection.checkpoints.checkpoint_map(detector)
    names = weights.model_variables(detector).keys()
    held = {part.path for entry in key_map.values() for part in entry.parts}
    assert {path for path in names if "seed_generator" not in path} == held


# --- The form for inference, exports, quantization --------------------------------------------


@slow_but_on_torch
@but_mobilenet
def test_it_fuses(name, images, tmp_path):
    model, x = randomise(small(name)), images(2, 33, 48, 3)
    fused = keras_paca.fuse(model)
    wanted = model.predict(x, verbose=0)
    assert error(fused.predict(x, verbose=0), wanted) <= 1e-5
    assert [layer.name for layer in fused.layers][1] == "stem"  # which normalises
    norms = [x for x in fused._flatten_layers() if isinstance(x, layers.BatchNormalization)]
    # those of a DenseNet come before a ReLU: of each layer, each transition, and the last
    assert len(norms) == (5 + 3 + 1 if name == "densenet" else 0)
    assert fused.count_params() < model.count_params()
    fused.save(tmp_path / "fused.keras")
    again = keras.saving.load_model(tmp_path / "fused.keras")
    assert again.get_config() == fused.get_config() == {**model.get_config(), "fused": True}
    assert error(again.predict(x, verbose=0), wanted) <= 1e-5


@slow_but_on_torch
def test_fused_transitions_pool_first():
    model = small("densenet", input_shape=(64, 64, 3))
    before, after = (keras_paca.quantization_report(m) for m in (model, keras_paca.fuse(model)))
    products = {
        layer.path: layer.macs
        for layer in before.layers
        if re.match("transition.*conv", layer.path)
    }
    assert len(products) == 3
    for layer in after.layers:
        if layer.path in products:
            assert 4 * layer.macs == products[layer.path]


@pytest.mark.slow
@each_family
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_it_quantizes_and_learns_by_lora(name, images):
    model = keras_paca.fuse(randomise(small(name)))
    x = images(4, 48, 64, 3)
    wanted = model.predict(x, verbose=0)
    model.quantize("int8")
    report = keras_paca.quantization_report(model, image_size=48)
    found = {layer.path for layer in report.layers if layer.mode == "int8"}
    inside = {"resnet": "stage1_block1/reduce/conv", "mobilenet": "row2_block1/expand/conv"}
    assert {inside.get(name, "stage1_layer1/reduce"), "predictions"} < found
    assert error(model.predict(x, verbose=0), wanted) < 0.2
    for layer in (small(name), small(name, include_top=False)):
        convs = [x for x in layer._flatten_layers() if x.name in type(layer).lora_layers]
        assert any(hasattr(conv, "enable_lora") for conv in convs)


@with_what_exports_need
@pytest.mark.slow
@each_family
@pytest.mark.parametrize("fused", [False, True])
def test_export_agrees_with_keras(name, fused, images, tmp_path):
    model = randomise(small(name, input_shape=(48, 40, 3)))
    x = images(2, 48, 40, 3)
    expected = model.predict(x, verbose=0)
    model = keras_paca.fuse(model) if fused else model
    for found in _exported(model, x, tmp_path):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- Errors -----------------------------------------------------------------------------------


@slow_but_on_torch
@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet", {"hidden_dims": (8, 8, 8, 10)}, "`hidden_dims` must be divisible by 4"),
        ("resnet", {"hidden_dims": (8, 8, 8)}, r"one entry per stage \(4\)"),
        ("resnet", {"mixtures": 0}, "`mixtures` must hold integers from 1"),
        ("mobilenet", {"depths": (1, 1, 1)}, r"`depths` must have one entry per stage \(7\)"),
        ("mobilenet", {"dropout": 1.0}, r"`dropout` must lie in \[0, 1\)"),
        ("mobilenet", {"embedding_dim": 0}, "`embedding_dim` must be a positive integer"),
        ("densenet", {"growth_rate": 1.5}, "`growth_rate` must be a positive integer"),
        ("densenet", {"remat": "yes"}, "`remat` must be True or False"),
    ],
)
def test_bad_arguments(name, options, message):
    with pytest.raises(ValueError, match=message):
        small(name, **options)
