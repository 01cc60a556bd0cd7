"""What a RapidNet promises beside parity: counts, training, saving, files, exports, errors."""

import json

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import RapidNet, RapidNetB, RapidNetM, RapidNetS, RapidNetTi, detection
from keras_paca.backbones.convert import convert, official_tensors
from tests.backbones.test_paca_vit import _exported, with_what_exports_need
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.served import served
from tests.torch_writer import save_zip

SMALL = {
    "hidden_dims": (8, 16, 24, 32),
    "depths": ((1, 0), (1, 0), (1, 1), (1, 0)),
    "embedding_dim": 16,
    "classes": 5,
}
FACTORIES = {"ti": RapidNetTi, "s": RapidNetS, "m": RapidNetM, "b": RapidNetB}


def small(**options):
    return RapidNet(**{**SMALL, **options})


# --- Counts ---------------------------------------------------------------------------------

COUNTS = {  # million parameters, the same without the second classifier, billion products
    "ti": (6.63, 6.11, 0.617),
    "s": (9.21, 8.70, 0.897),
    "m": (17.30, 16.79, 1.597),
    "b": (30.56, 29.79, 3.354),
}


@slow_but_on_torch
@pytest.mark.parametrize("size", COUNTS)
def test_parameters_and_products(size):
    parameters, without, products = COUNTS[size]
    for distillation, wanted in ((True, parameters), (False, without)):
        model = FACTORIES[size](weights=None, distillation=distillation)
        count = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
        assert count / 1e6 == pytest.approx(wanted, abs=0.0051)
    report = keras_paca.quantization_report(FACTORIES[size](weights=None), image_size=224)
    assert report.macs / 1e9 == pytest.approx(products, abs=0.001)


@slow_but_on_torch
def test_drop_path_rates():
    """Linear over all blocks, or as in the official code, where few blocks advance."""

    def rates(factory, **options):
        layers = factory(weights=None, **options).layers
        return [layer.drop_path_rate for layer in layers if hasattr(layer, "drop_path_rate")]

    np.testing.assert_allclose(rates(RapidNetTi), np.linspace(0, 0.1, 16))
    for factory, largest in ((RapidNetTi, 0.02), (RapidNetS, 0.0217)):
        official = rates(factory, official_drop_path=True)
        assert max(official) == official[-1] == pytest.approx(largest, abs=5e-5)
    one = 0.1 / 15
    found = rates(RapidNetTi, official_drop_path=True)
    np.testing.assert_allclose(found, [0.0] * 11 + [one] + [2 * one] * 3 + [3 * one])


# --- Training and saving --------------------------------------------------------------------


def test_fit_predict_save_and_load(images, tmp_path):
    model = small(drop_path_rate=0.3, dropout=0.1, layer_scale=0.1)
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    x, y = images(8, 48, 40, 3), np.arange(8) % 5
    before = [w.copy() for w in model.get_weights()]
    assert np.isfinite(model.fit(x, y, batch_size=8, epochs=2, verbose=0).history["loss"]).all()
    stuck = [
        weight.path
        for weight, old in zip(model.weights, before, strict=True)
        if np.array_equal(ops.convert_to_numpy(weight), old)
    ]
    # a bias before a batch norm has no gradient in exact arithmetic
    assert all("conv/bias" in path or "seed_generator" in path for path in stuck), stuck
    scores = model.predict(x, verbose=0)
    np.testing.assert_allclose(scores.sum(axis=-1), 1, rtol=1e-5)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(again, RapidNet)
    assert again.get_config() == model.get_config()
    np.testing.assert_array_equal(again.predict(x, verbose=0), scores)


@slow_but_on_torch
def test_config_is_plain(tmp_path):
    config = small(layer_scale=None).get_config()
    again = RapidNet.from_config(json.loads(json.dumps(config)))
    assert again.get_config() == config
    assert not any("scale" in weight.path for weight in again.weights)
    assert not [layer.name for layer in again._flatten_layers() if not layer.built]


def test_two_steps_in_a_row_differ(images):
    model = small(depths=((1, 0),) * 4, drop_path_rate=0.9, layer_scale=1.0)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    x, y = images(8, 32, 32, 3), np.arange(8) % 5
    assert len({float(model.train_on_batch(x, y)) for _ in range(3)}) > 1


@slow_but_on_torch
def test_remat_gives_the_same_steps(images):
    """The moving statistics too, of which a block that is computed twice is counted once."""
    found = []
    for remat in (False, True):
        keras.utils.set_random_seed(5)
        model = small(remat=remat, drop_path_rate=0.5, layer_scale=1.0)
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(images(8, 32, 32, 3), np.arange(8) % 5, batch_size=4, shuffle=False, verbose=0)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


@slow_but_on_torch
def test_one_classifier(images):
    model = small(distillation=False)
    x = images(2, 32, 32, 3)
    assert tuple(model(x, training=True).shape) == model.compute_output_shape(x.shape) == (2, 5)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    assert set(model.fit(x, np.array([0, 1]), verbose=0).history) == {"accuracy", "loss"}
    assert "dist_head.weight" not in official_tensors(model)


@slow_but_on_torch
def test_training_returns_both_classifiers(images):
    model = small(classifier_activation=None)
    outputs = model(images(2, 32, 32, 3), training=True)
    assert set(outputs) == {"predictions", "distilled_predictions", "combined"}
    mean = (outputs["predictions"] + outputs["distilled_predictions"]) / 2
    assert error(outputs["combined"], mean) < 1e-6
    assert model.compute_output_shape((2, 32, 32, 3)) == (2, 5)


@slow_but_on_torch
def test_each_classifier_has_targets_of_its_own(images):
    """As hard distillation needs them: labels for one, a teacher's for the other."""
    x, labels, teacher = images(4, 32, 32, 3), np.array([0, 1, 2, 3]), np.array([1, 1, 4, 3])
    model = small()
    model.compile(
        keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", metrics=["accuracy"]
    )
    targets = {"predictions": labels, "distilled_predictions": teacher}
    outputs = model(x, training=True)
    likelihood = {
        name: ops.convert_to_numpy(outputs[name])[range(4), targets[name]] for name in targets
    }
    expected = -sum(np.log(each).mean() for each in likelihood.values())
    history = model.fit(x, targets, verbose=0).history
    assert history["loss"] == pytest.approx([expected], rel=1e-5)
    assert model.evaluate(x, targets, verbose=0) == pytest.approx(
        model.evaluate(x, labels, verbose=0)
    )
    keys = r"a dict of arrays with the keys \['predictions', 'distilled_predictions'\]"
    for wrong in ({"predictions": labels}, [labels, teacher], (labels, teacher)):
        with pytest.raises(ValueError, match=keys):
            model.fit(x, wrong)
    with pytest.raises(ValueError, match=r"Labels must be integers from 0 to 4.*with \[5, 7\]"):
        model.fit(x, {**targets, "distilled_predictions": np.array([0, 5, 7, 1])})
    model.compile("sgd", {"predictions": "mse"})
    with pytest.raises(ValueError, match="takes one loss, which each classifier of the model has"):
        model.fit(x, labels)


@slow_but_on_torch
def test_its_output_is_that_of_inference(images):
    """Users build on `model.output`; `outputs` are those of training."""
    model = small()
    assert model.output_shape == (None, 5)
    assert len(model.outputs) == 3
    wrapped = keras.Model(model.input, keras.layers.Dense(3)(model.output))
    assert wrapped.predict(images(2, 32, 32, 3), verbose=0).shape == (2, 3)


@slow_but_on_torch
def test_without_a_loss(images):
    """Keras complains, but on JAX it trains what layers add to the loss, here nothing."""
    model = small()
    model.compile("sgd")
    data = images(2, 32, 32, 3), np.array([0, 1])
    if keras.backend.backend() == "jax":
        assert model.fit(*data, verbose=0).history["loss"] == [0.0]
        return
    with pytest.raises(ValueError, match="No loss to compute"):
        model.fit(*data, verbose=0)


@slow_but_on_torch
def test_frozen_layers_stay_frozen(images, tmp_path):
    """Also their moving statistics."""
    model = small()
    for name in ("stem", "stage1_block1"):
        model.get_layer(name).trainable = False
    model.get_layer("stage3_block2").mixer.trainable = False
    frozen = ["stem", "stage1_block1", "stage3_block2/mixer"]
    assert model.get_config()["frozen"] == frozen
    before = {weight.path: ops.convert_to_numpy(weight).copy() for weight in model.weights}
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images(4, 32, 32, 3), np.arange(4), verbose=0)
    for weight in model.weights:
        same = np.array_equal(ops.convert_to_numpy(weight), before[weight.path])
        if weight.path.startswith(tuple(frozen)):
            assert same, weight.path
        elif weight.name.startswith("moving"):
            assert not same, weight.path
    model.save(tmp_path / "frozen.keras")
    again = keras.saving.load_model(tmp_path / "frozen.keras")
    found, wanted = ([w.path for w in each.trainable_weights] for each in (again, model))
    assert found == wanted


# --- Sizes and precision --------------------------------------------------------------------


def test_any_size_known_or_not(images):
    model = small(include_top=False)
    for height, width in ((33, 47), (64, 96)):
        expected = (2, -(-height // 32), -(-width // 32), 32)
        x = images(2, height, width, 3)
        found = model.predict(x, verbose=0)
        assert found.shape == expected == model.compute_output_shape(x.shape)
    fixed = small(include_top=False, input_shape=(33, 47, 3))
    assert [level.shape[1:] for level in fixed.pyramid_outputs.values()] == [
        (9, 12, 8),
        (5, 6, 16),
        (3, 3, 24),
        (2, 2, 32),
    ]
    for level, name in fixed.pyramid_level_inputs.items():
        assert fixed.get_layer(name).output is fixed.pyramid_outputs[level]
    assert fixed.assignments == {}


@slow_but_on_torch
@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_pooling(pooling, images):
    model, x = small(include_top=False, pooling=pooling), images(2, 64, 64, 3)
    full = small(include_top=False)
    full.set_weights(model.get_weights())
    reduce = {"avg": np.mean, "max": np.max}[pooling]
    expected = reduce(full.predict(x, verbose=0), axis=(1, 2))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("policy", "bar"),
    [
        ("mixed_float16", 1e-2),
        pytest.param("mixed_bfloat16", 5e-2, marks=slow_but_on_torch),
    ],
)
def test_mixed_precision(policy, bar, images):
    x, options = images(2, 32, 32, 3), {"classifier_activation": None, "layer_scale": 0.1}
    options["depths"] = ((1, 0), (1, 0), (0, 1), (1, 0))
    reference = small(**options)
    model = small(**options, dtype=policy, drop_path_rate=0.2)
    assert all(weight.dtype == "float32" for weight in model.trainable_weights)
    copied = official_tensors(reference)
    keras_paca.weights.load_official(model, copied, model.checkpoint_map(model.get_config()), "x")
    assert error(model.predict(x, verbose=0), reference.predict(x, verbose=0)) < bar
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss)
    history = model.fit(x, np.array([0, 1]), epochs=2, verbose=0).history["loss"]
    assert np.isfinite(history).all()
    assert all(np.isfinite(w).all() for w in model.get_weights())


# --- Files ----------------------------------------------------------------------------------


@pytest.fixture
def released(monkeypatch, tmp_path):
    """Serve the released files of a small RapidNet-Ti; return their tensors and the address."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    for size in ("ti", "m"):
        for name in ("hidden_dims", "depths"):
            monkeypatch.setitem(RapidNet.variants[f"rapidnet_{size}"].config, name, SMALL[name])
    plain, averaged = (
        official_tensors(randomise(RapidNetTi(weights=None), seed)) for seed in (1, 2)
    )
    counters = {"stem.stem.1.num_batches_tracked": np.zeros((), "int64")}
    (tmp_path / "mirror").mkdir()
    content = {"state_dict": {**plain, **counters}, "state_dict_ema": {**averaged, **counters}}
    save_zip(tmp_path / "mirror" / "RapidNet_Ti.pth", content)
    with served(tmp_path / "mirror") as url:
        yield plain, averaged, url, tmp_path / "mirror"


@slow_but_on_torch
def test_released_weights_and_their_average(released):
    plain, averaged, url, folder = released
    for ema, wanted in ((False, plain), (True, averaged)):
        for source in ({"weights_url": url}, {"weights": folder / "RapidNet_Ti.pth"}):
            model = RapidNetTi(ema=ema, **source)
            for key, array in official_tensors(model).items():
                np.testing.assert_array_equal(array, wanted[key])
    assert len(model.class_names) == 1000
    assert model.evaluation_transform == {"image_size": [224, 224], "crop": 0.9}
    bare = official_tensors(RapidNetTi(weights_url=url, include_top=False))
    assert all(np.array_equal(array, plain[key]) for key, array in bare.items())
    with pytest.warns(UserWarning, match="made for 1000 classes, not 3; the head keeps"):
        RapidNetTi(weights_url=url, classes=3)


@slow_but_on_torch
def test_one_classifier_of_a_file_of_two(released):
    plain, _, url, folder = released
    for source in ({"weights_url": url}, {"weights": folder / "RapidNet_Ti.pth"}):
        found = official_tensors(RapidNetTi(distillation=False, **source))
        assert plain.keys() - found.keys() == {"dist_head.weight", "dist_head.bias"}
        assert all(np.array_equal(array, plain[key]) for key, array in found.items())


@slow_but_on_torch
def test_loading_is_strict(released):
    plain, _, _, folder = released
    changes = (
        ({"extra": np.zeros(3, "float32")}, "unknown to the model: extra"),
        ({"prediction.1.bias": np.zeros(3, "float32")}, r"of another shape: prediction\.1\.bias"),
        ({"dist_head.weight": np.zeros((7, 512, 1, 1), "float32")}, "of another shape: dist_head"),
    )
    for change, words in changes:
        save_zip(folder / "wrong.pth", {**plain, **change})
        with pytest.raises(ValueError, match=words):
            RapidNetTi(weights=folder / "wrong.pth")
    missing = {key: array for key, array in plain.items() if "backbone.2.1." not in key}
    save_zip(folder / "wrong.pth", missing)
    with pytest.raises(ValueError, match="missing in the file"):
        RapidNetTi(weights=folder / "wrong.pth")
    save_zip(folder / "plain.pth", plain)
    with pytest.raises(ValueError, match="expected a moving average of the weights"):
        RapidNetTi(weights=folder / "plain.pth", ema=True)
    with pytest.raises(ValueError, match="`ema` must be True or False"):
        RapidNetTi(weights=None, ema="True")
    with pytest.raises(ValueError, match="`ema=True` needs a file"):
        RapidNetTi(weights=None, ema=True)


@slow_but_on_torch
@pytest.mark.parametrize("suffix", [".keras", ".safetensors"])
def test_convert(suffix, released):
    plain, _, _, folder = released
    target = folder / f"converted{suffix}"
    convert(folder / "RapidNet_Ti.pth", target)
    found = official_tensors(RapidNetTi(weights=target))
    assert found.keys() == plain.keys()
    assert all(np.array_equal(array, plain[key]) for key, array in found.items())


@slow_but_on_torch
def test_convert_the_average(released):
    _, averaged, _, folder = released
    for name in ("average.keras", "average.safetensors"):
        convert(folder / "RapidNet_Ti.pth", folder / name, ema=True)
        found = official_tensors(RapidNetTi(weights=folder / name))
        assert all(np.array_equal(array, averaged[key]) for key, array in found.items())
    with pytest.raises(ValueError, match="moving average"):
        convert(folder / "average.keras", folder / "again.safetensors", ema=True)
    with pytest.raises(ValueError, match="`ema` must be True or False"):
        convert(folder / "RapidNet_Ti.pth", folder / "again.keras", ema=1)


@slow_but_on_torch
def test_a_fused_file_is_no_file_of_weights(released):
    _, _, _, folder = released
    keras_paca.fuse(RapidNetTi(weights=None)).save(folder / "fused.keras")
    words = r"fused\.keras holds a fused model.* `keras\.saving\.load_model`"
    with pytest.raises(ValueError, match=words):
        RapidNetTi(weights=folder / "fused.keras")
    model = keras_paca.segmentation.RapidNetMSegmenter(weights=None, num_classes=3)
    keras_paca.fuse(model).save(folder / "fused.keras")
    with pytest.raises(ValueError, match=words):
        keras_paca.segmentation.RapidNetMSegmenter(weights=folder / "fused.keras", num_classes=3)
    with pytest.raises(ValueError, match=words):
        convert(folder / "fused.keras", folder / "again.safetensors")


@slow_but_on_torch
def test_the_sizes_are_told_apart():
    names = {}
    for size, factory in FACTORIES.items():
        model = factory(weights=None)
        zeros = {k: np.zeros(v.shape, "float32") for k, v in official_tensors(model).items()}
        shown = RapidNet.identify(keras_paca.weights.Checkpoint("x.pth", True, zeros))
        assert shown["hidden_dims"] == model.get_config()["hidden_dims"]
        names[size] = (shown["hidden_dims"], shown["depths"], shown["distillation"])
        arrays = {
            key: np.zeros(variable.shape, "float32")
            for key, variable in keras_paca.weights.loader.keras_keys(model).items()
        }
        checkpoint = keras_paca.weights.Checkpoint("x.keras", False, arrays)
        assert RapidNet.identify(checkpoint) == shown
    assert len(set(names.values())) == 4


@slow_but_on_torch
def test_detector(released):
    """Its file holds a backbone whose keys begin with `backbone.backbone.`."""
    _, _, _, folder = released
    detector = detection.RapidNetMMaskRCNN(weights=None, num_classes=3)
    assert detector.compute_output_shape((1, 64, 96, 3))["boxes"] == (1, 100, 4)
    key_map = detection.checkpoints.checkpoint_map(detector)
    arrays = {
        path: np.random.default_rng(0).normal(size=variable.shape).astype("float32")
        for path, variable in keras_paca.weights.model_variables(detector).items()
    }
    tensors = {key: entry.join(arrays) for key, entry in key_map.items()}
    assert "backbone.backbone.0.0.dws.pw1.weight" in tensors
    save_zip(folder / "detector.pth", {"state_dict": tensors, "meta": {}})
    again = detection.RapidNetMMaskRCNN(weights=folder / "detector.pth", num_classes=3)
    backbone = RapidNetM(weights=folder / "detector.pth", include_top=False)
    for found in (official_tensors(again.backbone), official_tensors(backbone)):
        for key, array in found.items():
            np.testing.assert_array_equal(array, tensors[f"backbone.{key}"])
    with pytest.warns(UserWarning, match="a backbone of a detector or segmenter; the head"):
        RapidNetM(weights=folder / "detector.pth")


# --- The form for inference, exports, quantization -------------------------------------------


def test_it_fuses(images, tmp_path):
    model, x = randomise(small()), images(2, 33, 48, 3)
    fused = keras_paca.fuse(model)
    wanted = model.predict(x, verbose=0)
    assert error(fused.predict(x, verbose=0), wanted) <= 1e-5
    assert not any("/norm/" in weight.path or "scale" in weight.path for weight in fused.weights)
    fused.save(tmp_path / "fused.keras")
    again = keras.saving.load_model(tmp_path / "fused.keras")
    assert again.get_config() == fused.get_config() == {**model.get_config(), "fused": True}
    assert error(again.predict(x, verbose=0), wanted) <= 1e-5


@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_it_quantizes_and_learns_by_lora(images):
    model = keras_paca.fuse(randomise(small(layer_scale=1.0)))
    x = images(4, 48, 64, 3)
    wanted = model.predict(x, verbose=0)
    model.quantize("int8")
    report = keras_paca.quantization_report(model, image_size=48)
    found = {layer.path for layer in report.layers if layer.mode == "int8"}
    assert {"stage1_block1/expand/conv", "projection/conv", "predictions"} < found
    assert error(model.predict(x, verbose=0), wanted) < 0.2
    model = small()
    model.get_layer("stage3_block2").ffn.expand.conv.enable_lora(2)
    assert np.isfinite(model.predict(x, verbose=0)).all()


@with_what_exports_need
@pytest.mark.parametrize("fused", [pytest.param(False, marks=slow_but_on_torch), True])
def test_export_agrees_with_keras(fused, images, tmp_path):
    model = randomise(small(input_shape=(48, 40, 3)))
    expected = model.predict(images(2, 48, 40, 3), verbose=0)
    model = keras_paca.fuse(model) if fused else model
    for found in _exported(model, images(2, 48, 40, 3), tmp_path):
        found = found["combined"] if isinstance(found, dict) else found
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@slow_but_on_torch
@pytest.mark.together
@pytest.mark.parametrize("form", ["litert", "onnx", "tf_saved_model"])
def test_checked_exports(form, tmp_path):
    """Each is run and compared with Keras by `export` itself."""
    name = {"litert": "model.tflite", "onnx": "model.onnx", "tf_saved_model": "saved"}[form]
    model = randomise(small(input_shape=(48, 40, 3)))
    keras_paca.export(model, tmp_path / name, format=form, verbose=False)
    assert (tmp_path / name).exists()


# --- Errors -----------------------------------------------------------------------------------


@slow_but_on_torch
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_dims": (8, 16, 24)}, r"`hidden_dims` must have one entry per stage \(4\)"),
        ({"hidden_dims": (7, 8, 8, 8)}, "`hidden_dims` must be even in the first stage"),
        ({"depths": 3}, "`depths` must have two integers from 0 for each of the 4 stages, .*=3"),
        ({"depths": ((1, 0),) * 3}, "for each of the 4 stages"),
        ({"depths": ["12"] * 4}, r"two integers from 0 .*depths=\['12', '12', '12', '12'\]"),
        ({"depths": ((1, -1),) * 4}, r"two integers from 0 .*depths=\(\(1, -1\), \(1, -1\)"),
        ({"depths": ((True, 1),) * 4}, r"two integers from 0 .*depths=\(\(True, 1\)"),
        ({"depths": ((1, 0), (0, 0), (1, 1), (1, 0))}, "`depths` must have a block in each stage"),
        ({"embedding_dim": 0}, "`embedding_dim` must be a positive integer"),
        ({"distillation": "no"}, "`distillation` must be True or False"),
        ({"remat": 1}, "`remat` must be True or False"),
        ({"official_drop_path": 1}, "`official_drop_path` must be True or False"),
        ({"layer_scale": -1.0}, "`layer_scale` must be a finite number of at least 0"),
        ({"drop_path_rate": 1.0}, r"`drop_path_rate` must lie in \[0, 1\)"),
        ({"dropout": -0.1}, r"`dropout` must lie in \[0, 1\)"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        small(**options)


@slow_but_on_torch
def test_initial_values_of_the_classifiers():
    model = RapidNetTi(weights=None, classes=100)
    for name in ("predictions", "distilled_predictions"):
        kernel, bias = model.get_layer(name).get_weights()
        assert kernel.std() == pytest.approx(np.sqrt(2 / 512), rel=0.02)
        assert abs(kernel.mean()) < 1e-3
        assert not bias.any()
    scale = ops.convert_to_numpy(model.get_layer("stage1_block1").scale)
    np.testing.assert_allclose(scale, 1e-5)
