"""A second family of backbones, which gets everything but its graph and its keys from the base."""

import inspect
import json
import pickle

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import layers, weights
from keras_paca.backbones import Backbone, variant
from keras_paca.backbones.convert import convert, official_tensors
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.served import served
from tests.torch_writer import save_zip

# --- The family -----------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="tests")
class GridNet(Backbone):
    """Patches of 16 x 16 -> feed-forward blocks -> P4 -> half the size -> P5 -> two classifiers.

    Args:
        filters: int. Channels of P4; P5 has twice as many.
        depth: int. Blocks before P4.
        mlp_ratio: float. Width of the feed-forward networks over the channels.
    """

    family = "grid_net"
    variant_options = ("mlp_ratio",)
    classifier_keys = {"head": "predictions", "head_dist": "distilled"}  # noqa: RUF012

    def __init__(self, filters, depth, mlp_ratio=4.0, **kwargs):
        super().__init__({"filters": filters, "depth": depth, "mlp_ratio": mlp_ratio}, **kwargs)

    def build_graph(self, images, config, make):
        filters = config["filters"]
        x = make.first(keras.layers.Conv2D, "patches", images, filters, 16, strides=16)
        for j in range(config["depth"]):
            norm = make(keras.layers.LayerNormalization, f"norm{j + 1}", epsilon=1e-6)
            mlp = make(layers.ConvMLP, f"mlp{j + 1}", config["mlp_ratio"])
            x = make(keras.layers.Add, f"add{j + 1}")([x, mlp(norm(x))])
        p4 = x
        p5 = make(layers.OverlappingTransition, "transition", 2 * filters)(p4)
        return p5, {"P4": p4, "P5": p5}, {}

    @classmethod
    def checkpoint_map(cls, config):
        entries = weights.KeyMap()
        entries.kernel("embed.proj", "patches", "conv")
        for j in range(config["depth"]):
            entries.norm(f"blocks.{j}.norm", f"norm{j + 1}")
            entries.kernel(f"blocks.{j}.fc1", f"mlp{j + 1}/expand", "linear")
            entries.kernel(f"blocks.{j}.dw", f"mlp{j + 1}/depthwise", "depthwise")
            entries.kernel(f"blocks.{j}.fc2", f"mlp{j + 1}/project", "linear")
        entries.kernel("down.conv", "transition/conv", "conv")
        entries.norm("down.norm", "transition/norm")
        if config["include_top"]:
            for key, layer in cls.classifier_keys.items():
                entries.kernel(key, layer, "linear")
        return entries

    @classmethod
    def identify(cls, checkpoint):
        if "embed.proj.weight" not in checkpoint.tensors:
            return None
        keys = [key.split(".") for key in checkpoint.tensors]
        return {"depth": len({key[1] for key in keys if key[0] == "blocks"})}


GridTiny = variant(GridNet, "grid_tiny", filters=8, depth=1)
GridSmall = variant(GridNet, "grid_small", filters=8, depth=2)
FILE = weights.ReleasedFile(
    "grid_tiny.pth",
    "classification",
    "tiny",
    family="grid_net",
    options={"mlp_ratio": 4.0},
    crop=0.9,
)

# --- What it gets ---------------------------------------------------------------------------


@pytest.fixture
def released(monkeypatch, tmp_path):
    """Serve a released file; return its tensors and its address."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    weights.register_released_file(FILE)
    tensors = official_tensors(randomise(GridTiny(weights=None)))
    (tmp_path / "mirror").mkdir()
    save_zip(tmp_path / "mirror" / FILE.file, tensors)
    with served(tmp_path / "mirror") as url:
        yield tensors, url
    weights.released._registered.clear()


def test_signature_and_docstring():
    parameters = inspect.signature(GridTiny).parameters
    assert list(parameters)[:3] == ["include_top", "include_preprocessing", "weights"]
    assert parameters["mlp_ratio"].default == 4.0
    assert parameters["name"].default == "grid_tiny"
    for name in parameters:
        assert f"\n    {name}: " in GridTiny.__doc__
    assert list(inspect.signature(GridNet).parameters)[:4] == [
        "filters",
        "depth",
        "mlp_ratio",
        "include_top",
    ]
    assert "\n    include_top: bool." in GridNet.__doc__


def test_a_family_without_a_docstring_and_pickled_functions():
    class Bare(GridNet):
        def __init__(self, filters, depth=1, **kwargs):
            super().__init__(filters, depth, **kwargs)

    assert Bare(8, include_top=False).pyramid_level_inputs == {"P4": "add1", "P5": "transition"}
    for function in (GridTiny, keras_paca.PaCaTiny, keras_paca.segmentation.PaCaTinySegmenter):
        assert pickle.loads(pickle.dumps(function)) is function


def test_two_classifiers_in_training_one_in_inference(images):
    model = GridTiny(weights=None, classes=5, classifier_activation=None)
    x = images(2, 48, 65, 3)
    outputs = model(x, training=True)
    assert {name: tuple(y.shape) for name, y in outputs.items()} == {
        "predictions": (2, 5),
        "distilled": (2, 5),
        "combined": (2, 5),
    }
    mean = sum(ops.convert_to_numpy(outputs[name]) for name in ("predictions", "distilled")) / 2
    np.testing.assert_allclose(ops.convert_to_numpy(outputs["combined"]), mean, rtol=1e-5)
    np.testing.assert_allclose(model.predict(x, verbose=0), mean, rtol=1e-5, atol=1e-6)
    assert model.compute_output_shape((2, 48, 65, 3)) == (2, 5)
    assert model(keras.Input((48, 65, 3))).shape == (None, 5)


def test_it_trains(images):
    model = GridTiny(weights=None, classes=3)
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    before = [w.copy() for w in model.get_weights()]
    history = model.fit(images(4, 32, 32, 3), np.array([0, 1, 2, 0]), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert set(history) == {"accuracy", "loss"}
    for name in ("predictions", "distilled"):
        index = [w.path for w in model.weights].index(f"{name}/kernel")
        assert (before[index] != model.get_weights()[index]).any()
    evaluated = model.evaluate(images(4, 32, 32, 3), np.array([0, 1, 2, 0]), verbose=0)
    assert np.isfinite(evaluated).all()
    with pytest.raises(ValueError, match="Labels must be integers from 0 to 2"):
        model.fit(images(2, 32, 32, 3), np.array([0, 3]), verbose=0)


def test_two_classifiers_inside_another_model(images):
    """A graph around the model has one output, in training too; both classifiers learn."""
    inputs = keras.Input((32, 32, 3))
    model = GridTiny(weights=None, classes=3, input_tensor=keras.layers.Rescaling(2.0)(inputs))
    x = images(2, 32, 32, 3)
    np.testing.assert_allclose(
        ops.convert_to_numpy(model(x, training=True)), model.predict(x, verbose=0), rtol=1e-5
    )
    model.compile("sgd", "sparse_categorical_crossentropy")
    before = [w.copy() for w in model.get_weights()]
    model.fit(x, np.array([0, 1]), verbose=0)
    paths = [w.path for w in model.weights]
    for name in ("predictions", "distilled"):
        index = next(i for i, path in enumerate(paths) if path.endswith(f"{name}/kernel"))
        assert (before[index] != model.get_weights()[index]).any()


def test_the_metrics_are_those_of_the_prediction(images):
    model = randomise(GridTiny(weights=None, classes=3))
    x, y = images(8, 32, 32, 3), np.arange(8) % 3
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.0), loss, metrics=["accuracy"])
    fitted = model.fit(x, y, verbose=0).history["accuracy"][0]
    assert fitted == np.mean(model.predict(x, verbose=0).argmax(-1) == y)


class TokenNet(GridNet):
    """A family on a family: class tokens rather than a map, one for each classifier."""

    mean, deviation = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)

    def __init__(self, filters, depth=1, **kwargs):
        super().__init__(filters, depth, **kwargs)

    def build_graph(self, images, config, make):
        features, levels, assignments = super().build_graph(images, config, make)
        pool = make(keras.layers.GlobalMaxPooling2D, "token", data_format="channels_last")
        mean = make(keras.layers.GlobalAveragePooling2D, "other", data_format="channels_last")
        make.normalise(images)  # a second stream may ask for it, too
        tokens = {"predictions": pool(features), "distilled": mean(features)}
        return tokens, levels, assignments


def test_a_family_on_a_family(images, monkeypatch):
    monkeypatch.setattr(TokenNet, "variants", {})
    tokens = variant(TokenNet, "token_net_tiny_384", filters=8, size="tiny")
    assert tokens.__name__ == "TokenNetTiny384"
    assert "mlp_ratio" in inspect.signature(tokens).parameters
    assert list(GridNet.variants) == ["grid_tiny", "grid_small"]
    model = randomise(tokens(weights=None, classes=3, mlp_ratio=2.0))
    x = images(2, 32, 32, 3)
    assert model.predict(x, verbose=0).shape == (2, 3)
    assert tokens(weights=None, include_top=False).output_shape == (None, 16)
    fused = keras_paca.fuse(model)
    assert error(fused.predict(x, verbose=0), model.predict(x, verbose=0)) <= 1e-5
    black = keras.Model(model.input, model.get_layer("preprocessing").output)
    found = black.predict(np.zeros((1, 32, 32, 3)), verbose=0)
    np.testing.assert_allclose(found, -1, rtol=1e-6)


def test_booleans_of_families_on_families():
    class Sub(keras_paca.PaCaViT):
        def __init__(self, **kwargs):
            super().__init__(hidden_dims=(8, 8, 8, 8), depths=1, num_heads=1, **kwargs)

    with pytest.raises(ValueError, match="`post_norm` must be True or False"):
        Sub(post_norm="False")


def test_released_weights(released, images):
    tensors, url = released
    model = GridTiny(weights_url=url)
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])
    assert len(model.class_names) == 1000
    assert model.evaluation_transform["crop"] == 0.9
    with pytest.warns(UserWarning, match="made for 1000 classes, not 3; the head keeps"):
        other = GridTiny(weights_url=url, classes=3)
    assert other.compute_output_shape((1, 32, 32, 3)) == (1, 3)
    assert GridTiny(weights_url=url, include_top=False, pooling="avg").output_shape == (None, 16)
    with pytest.raises(ValueError, match=r"Nobody released ImageNet weights for grid_small"):
        GridSmall(weights_url=url)
    with pytest.raises(
        ValueError, match="Nobody released ImageNet weights for grid_tiny, mlp_ratio=2"
    ):
        GridTiny(weights_url=url, mlp_ratio=2.0)
    with pytest.raises(ValueError, match=r"Nobody released .* Pass `weights=None` or use one of"):
        keras_paca.PaCaTiny(clusters=3)


def test_loading_is_strict(tmp_path):
    tensors = official_tensors(GridTiny(weights=None))
    for change, words in (
        ({"extra": np.zeros(3, "float32")}, "unknown to the model: extra"),
        ({"down.norm.weight": np.zeros(3, "float32")}, "of another shape: down.norm.weight"),
    ):
        save_zip(tmp_path / "file.pth", {**tensors, **change})
        with pytest.raises(ValueError, match=words):
            GridTiny(weights=tmp_path / "file.pth")


@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_convert(suffix, tmp_path):
    tensors = official_tensors(randomise(GridSmall(weights=None)))
    save_zip(tmp_path / "grid.pth", tensors)
    convert(tmp_path / "grid.pth", tmp_path / f"grid{suffix}")
    model = GridSmall(weights=tmp_path / f"grid{suffix}")
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])


def test_config_and_file(tmp_path, images):
    model = randomise(GridTiny(weights=None, classes=3, class_names=["a", "b", "c"]))
    model.get_layer("mlp1").trainable = False
    config = model.get_config()
    json.dumps(config)
    assert config["frozen"] == ["mlp1"]
    assert GridNet.from_config(config).get_config() == config
    model.save(tmp_path / "grid.keras")
    again = keras.saving.load_model(tmp_path / "grid.keras")
    assert again.class_names == ["a", "b", "c"]
    x = images(2, 48, 64, 3)
    np.testing.assert_array_equal(again.predict(x, verbose=0), model.predict(x, verbose=0))


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, images):
    model = GridTiny(weights=None, classes=3, dtype=policy)
    outputs = model(images(2, 32, 32, 3), training=True)
    assert all(np.isfinite(ops.convert_to_numpy(y)).all() for y in outputs.values())
    assert keras.backend.standardize_dtype(outputs["predictions"].dtype) == "float32"


def test_it_fuses(tmp_path, images):
    model, x = randomise(GridTiny(weights=None, classes=3)), images(2, 48, 64, 3)
    fused = keras_paca.fuse(model)
    assert isinstance(fused, GridNet)
    assert fused.get_config() == {**model.get_config(), "fused": True}
    assert error(fused.predict(x, verbose=0), model.predict(x, verbose=0)) <= 1e-5
    assert error(fused(x, training=True), model(x, training=True)) <= 1e-5
    kernels = [each.get_layer("mlp1").depthwise.get_weights()[0] for each in (model, fused)]
    assert (kernels[0] != kernels[1]).any()
    fused.save(tmp_path / "fused.keras")
    again = keras.saving.load_model(tmp_path / "fused.keras")
    assert again.get_config() == fused.get_config()
    assert error(again.predict(x, verbose=0), model.predict(x, verbose=0)) <= 1e-5
    with pytest.raises(ValueError, match="fuse it then"):
        fused.checkpoint_map(fused.get_config())


@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_it_quantizes(tmp_path, images):
    model, x = randomise(GridTiny(weights=None, classes=3)), images(2, 48, 64, 3)
    wanted = model.predict(x, verbose=0)
    model.quantize("int8")
    report = keras_paca.quantization_report(model, image_size=48)
    assert {layer.path for layer in report.layers if layer.mode == "int8"} == {
        "mlp1/expand",
        "mlp1/project",
        "predictions",
        "distilled",
    }
    found = model.predict(x, verbose=0)
    assert error(found, wanted) < 0.2
    model.save(tmp_path / "int8.keras")
    again = keras.saving.load_model(tmp_path / "int8.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), found)


def test_levels_and_what_asks_for_others():
    backbone = GridTiny(weights=None, include_top=False)
    assert {name: x.shape[1:] for name, x in backbone.pyramid_outputs.items()} == {
        "P4": (None, None, 8),
        "P5": (None, None, 16),
    }
    assert backbone.pyramid_level_inputs == {"P4": "add1", "P5": "transition"}
    assert backbone.hidden_dims == backbone.embedding_dims == [8, 16]
    assert backbone.stage_names == ["P4", "P5"]
    assert backbone.assignments == {}
    with pytest.raises(ValueError, match="Missing: P2, P3"):
        keras_paca.segmentation.Segmenter(backbone)
    with pytest.raises(ValueError, match="Missing: P2, P3"):
        backbone.as_segformer_encoder()


def test_input_tensor(images):
    inputs = keras.Input((40, 56, 3))
    model = GridTiny(weights=None, classes=3, input_tensor=keras.layers.Rescaling(2.0)(inputs))
    assert not isinstance(model, GridNet)
    assert model.predict(images(1, 40, 56, 3), verbose=0).shape == (1, 3)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("litert", "grid.tflite"),
        pytest.param("onnx", "grid.onnx", marks=pytest.mark.slow),
        pytest.param("tf_saved_model", "grid", marks=pytest.mark.slow),
    ],
)
@pytest.mark.together
def test_it_exports(format, name, tmp_path):
    model = randomise(GridTiny(weights=None, classes=3))
    exported = keras_paca.export(model, tmp_path / name, format, image_size=64, verbose=False)
    assert max(values["difference"] for values in exported.measures.values()) <= 1e-5


@pytest.mark.plugins
def test_plug_ins(images):
    """KerasHub's DeepLabV3 takes its two levels."""
    import keras_hub

    backbone = GridTiny(weights=None, include_top=False, input_shape=(64, 64, 3))
    deeplab = keras_hub.models.DeepLabV3Backbone(
        backbone,
        spatial_pyramid_pooling_key="P5",
        upsampling_size=2,
        dilation_rates=[1, 2, 3],
        low_level_feature_key="P4",
        projection_filters=4,
    )
    found = deeplab.predict(images(1, 64, 64, 3), verbose=0)
    assert found.shape[-1] == 256
    assert np.isfinite(found).all()
