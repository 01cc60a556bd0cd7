"""What a CastlingViT promises beside its attention: shapes, training, files, plain ViTs, errors."""

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import CastlingViT, CastlingViTSmall, CastlingViTTiny, weights
from keras_paca.backbones.convert import convert, official_tensors
from keras_paca.backbones.documentation import read_args
from keras_paca.backbones.loading import load_weights
from keras_paca.warn import FreshWeightsWarning
from tests.backbones.test_plain_vit import timm_tensors
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.torch_writer import save_zip

OPTIONS = {
    "default": {},
    "distillation": {"distillation": True, "layer_scale": 0.1},
    "grid": {"convolution": "grid", "kernel_size": 3, "qkv_bias": False, "auxiliary": False},
}
each_option = pytest.mark.parametrize(
    "name",
    ["distillation", *(pytest.param(name, marks=pytest.mark.slow) for name in ("default", "grid"))],
)
HEADS = ("predictions", "distilled_predictions")

KINDS = {"vit": {}, "grid": {"convolution": "grid", "kernel_size": 3}, "remat": {"remat": True}}


@pytest.fixture(name="small_paca")
def _small_paca():
    """Return a function that builds a small PaCaViT with castling attention and the auxiliary."""
    sizes = {"hidden_dims": (16, 24, 32, 40), "depths": (1, 2, 1, 1), "num_heads": (1, 2, 2, 4)}
    castling = {"attention": "castling", "auxiliary": True}
    return lambda: keras_paca.PaCaViT(**sizes, **castling, classes=4)


def small(**options):
    """Return a CastlingViT of two blocks, with patches of 8."""
    given = {"patch_size": 8, "image_size": (48, 32), "drop_path_rate": 0.0}
    return CastlingViT(
        **{"hidden_dim": 16, "num_heads": 2, "depth": 2, "classes": 4, **given, **options}
    )


def learned(model, x, y):
    """Return the paths of the trainable weights that one step of SGD doesn't change."""
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.SGD(0.5), loss)
    before = [w.copy() for w in model.get_weights()]
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()
    pairs = zip([w.path for w in model.weights], before, model.get_weights(), strict=True)
    return [path for path, a, b in pairs if (a == b).all()]


# --- Training, prediction, files --------------------------------------------------------------


@each_option
def test_fit_predict_save_and_load(name, images, tmp_path):
    model = small(depth=1, drop_path_rate=0.3, **OPTIONS[name])
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", **jit)
    x, y = images(4, 48, 32, 3), np.arange(4)
    losses = [model.fit(x, y, verbose=0).history["loss"][0] for _ in range(2)]
    heads = 1 + model.get_config()["distillation"]
    assert abs(losses[0] - heads * np.log(4)) < 0.3
    assert losses[0] != losses[1]
    wanted = model.predict(x, verbose=0)
    assert wanted.shape == (4, 4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), wanted)
    assert again.get_config() == model.get_config()


@slow_but_on_torch
@pytest.mark.parametrize("name", OPTIONS)
def test_every_weight_learns(name, images):
    model = randomise(small(**OPTIONS[name]))
    still = learned(model, images(4, 48, 32, 3), np.arange(4))
    # on the grid, the last block's filter reaches the patches alone, which no classifier reads
    known = {"block2/attention/local/kernel"} if name == "grid" else set()
    assert {path for path in still if "seed_generator" not in path} == known


@slow_but_on_torch
def test_the_two_heads(images):
    """Inference has the mean of both, which read the class and the distillation token."""
    x = images(2, 48, 32, 3)
    model = randomise(small(distillation=True, classifier_activation=None))
    tokens = keras.Model(model.input, model.class_tokens)(x)
    assert set(model(x, training=True)) == {*HEADS, "combined"}
    logits = [model.get_layer(name)(token) for name, token in zip(HEADS, tokens, strict=True)]
    assert error(model(x), (logits[0] + logits[1]) / 2) < 1e-6
    assert len(small(include_top=False).class_tokens) == 1


@slow_but_on_torch
def test_two_steps_draw_different_paths(images):
    model = small(drop_path_rate=0.5, include_top=False)
    x = images(4, 48, 32, 3)
    first, second = (ops.convert_to_numpy(model(x, training=True)) for _ in range(2))
    assert (first != second).any()
    np.testing.assert_array_equal(*(ops.convert_to_numpy(model(x)) for _ in range(2)))


@slow_but_on_torch
def test_the_auxiliary_is_of_training_alone(images):
    model, x = small(threshold=0.001), images(2, 48, 32, 3)
    model, without = randomise(model), small(auxiliary=False)
    without.set_weights(model.get_weights())
    np.testing.assert_array_equal(*(ops.convert_to_numpy(m(x)) for m in (model, without)))
    assert error(model(x, training=True), model(x)) > 1e-3
    assert error(without(x, training=True), model(x)) < 1e-6
    model.auxiliary = False
    assert error(model(x, training=True), model(x)) < 1e-6
    assert model.get_config()["auxiliary"] is False
    assert model.get_layer("block1").get_config()["castling"]["auxiliary"] is False
    with pytest.raises(ValueError, match="can't get one"):
        model.auxiliary = True


@slow_but_on_torch
@pytest.mark.parametrize(
    ("size", "convolution"),
    [
        ((61, 45), "grid"),
        *(pytest.param(x, "tokens", marks=pytest.mark.slow) for x in ((48, 32), (33, 90))),
    ],
)
def test_any_size(size, convolution, images):
    """Unknown, odd and not square, as a model of that size computes them."""
    options = {"convolution": convolution, "kernel_size": 3}
    model, x = randomise(small(**options)), images(2, *size, 3)
    fixed = small(input_shape=(*size, 3), **options)
    fixed.set_weights(model.get_weights())
    found = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found, ops.convert_to_numpy(fixed(x)), rtol=1e-4, atol=1e-6)
    backbone = small(include_top=False)
    shape = (2, size[0] // 8, size[1] // 8, 16)
    assert tuple(backbone(x).shape) == backbone.compute_output_shape(x.shape) == shape


@slow_but_on_torch
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy, images):
    exact = randomise(small(distillation=True))
    model = small(distillation=True, dtype=policy)
    model.set_weights(exact.get_weights())
    x = images(2, 48, 32, 3)
    outputs = model(x, training=True)
    assert all(np.isfinite(ops.convert_to_numpy(y)).all() for y in outputs.values())
    assert keras.backend.standardize_dtype(outputs["predictions"].dtype) == "float32"
    assert error(model(x), exact(x)) < (0.02 if policy == "mixed_float16" else 0.15)


@slow_but_on_torch
@pytest.mark.parametrize("name", [pytest.param("default", marks=pytest.mark.slow), "grid"])
def test_remat_gives_the_same_step(name, images):
    found = []
    for remat in (False, True):
        model = randomise(small(remat=remat, **OPTIONS[name]))
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(images(4, 48, 32, 3), np.arange(4), verbose=0)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- What other code reads --------------------------------------------------------------------


def test_levels_and_counts():
    backbone = small(include_top=False)
    assert backbone.pyramid_level_inputs == {"P3": "patches"}
    assert backbone.get_layer("patches").output is backbone.pyramid_outputs["P3"] is backbone.output
    assert small(patch_size=14, include_top=False).pyramid_outputs == {}
    assert small(include_top=False, pooling="avg").output_shape == (None, 16)
    segmenter = keras_paca.segmentation.Segmenter(backbone, "mask_transformer", num_classes=3)
    assert segmenter.compute_output_shape((1, 48, 32, 3)) == (1, 48, 32, 3)
    with pytest.raises(ValueError, match=r"Missing: .*P2"):
        keras_paca.segmentation.Segmenter(backbone, "fpn", num_classes=3)


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.parametrize(
    ("size", "parameters", "filters", "macs"),
    [
        ("Tiny", 5717416, 3, 1.137),
        ("Small", 22050664, 6, 4.366),
        ("Base", 86567656, 12, 17.097),
    ],
)
def test_counts(size, parameters, filters, macs):
    """Those of DeiT, and twelve times nine taps per head; the released attention's MACs."""
    model = getattr(keras_paca, f"CastlingViT{size}")(weights=None, input_shape=(224, 224, 3))
    assert model.count_params() == parameters + 12 * 9 * filters
    assert round(keras_paca.quantization_report(model, image_size=224).macs / 1e9, 3) == macs


# --- Files ------------------------------------------------------------------------------------


def build_small(path, **options):
    """Return what the function of a variant of the size of `small` builds from a file."""
    size = {"hidden_dim": 16, "num_heads": 2, "depth": 2}
    variant = keras_paca.backbones.variants.Variant(
        CastlingViT, "small", size, when={}, size="small"
    )
    given = {"include_top": True, "input_shape": None, "classes": 3, "class_names": None}
    given |= dict.fromkeys(CastlingViT.file_options) | {"evaluation_transform": None, **options}
    return keras_paca.backbones.variants.build_variant(variant, path, None, None, "small", **given)


def deit_tensors(side=2, distillation=False, positions=None, dim=16):
    """Return the tensors of a DeiT with patches of 16 for images of `16 * side`, by timm's keys."""
    tensors = timm_tensors(dim=dim)
    draw = np.random.default_rng(0)
    prefix = 1 + distillation if positions is None else positions
    shapes = {"pos_embed": (1, prefix + side * side, dim)}
    if distillation:
        shapes |= {"dist_token": (1, 1, dim), "head_dist.weight": (3, dim), "head_dist.bias": (3,)}
    return tensors | {key: draw.normal(size=x).astype("float32") for key, x in shapes.items()}


def official_file(path, tensors):
    save_zip(path, tensors)
    return path


@pytest.mark.parametrize("distillation", [True, pytest.param(False, marks=slow_but_on_torch)])
def test_start_from_a_deit(distillation, tmp_path):
    """All but the filters, with the patches, size and tokens of the file; nothing else is fresh."""
    tensors = deit_tensors(3, distillation)
    path = official_file(tmp_path / "deit.pth", tensors)
    with pytest.warns(
        FreshWeightsWarning, match=r"ion transformer; what it doesn't have \(each at"
    ):
        model = build_small(path)
    config = model.get_config()
    assert (config["image_size"], config["distillation"]) == ((48, 48), distillation)
    found = official_tensors(model)
    filters = {f"blocks.{i}.attn.dconv.weight" for i in range(2)}
    assert found.keys() == tensors.keys() | filters
    for key in tensors:
        np.testing.assert_array_equal(found[key], tensors[key])
    assert all(np.ptp(found[key]) > 0 for key in filters)


@slow_but_on_torch
def test_a_deit_at_another_image_size(tmp_path, images):
    """Its position embeddings are resized once, as the layer would at each call."""
    tensors = deit_tensors(3, distillation=True)
    path = official_file(tmp_path / "deit.pth", tensors)
    with pytest.warns(FreshWeightsWarning):
        trained, model = build_small(path), build_small(path, image_size=(80, 64))
    found = official_tensors(model)["pos_embed"]
    assert found.shape == (1, 2 + 5 * 4, 16)
    np.testing.assert_array_equal(found[:, :2], tensors["pos_embed"][:, :2])
    for layer in model.layers:
        if layer.name.startswith("block"):
            layer.set_weights(trained.get_layer(layer.name).get_weights())
    x = images(1, 80, 64, 3)
    assert error(model(x), trained(x)) <= 1e-5


@slow_but_on_torch
def test_a_saved_model_at_another_image_size(tmp_path, images):
    trained, x = randomise(small(image_size=48)), images(1, 80, 64, 3)
    trained.save(tmp_path / "trained.keras")
    model = build_small(tmp_path / "trained.keras", image_size=(80, 64), classes=4)
    assert model.get_layer("embedding").position_embedding.shape == (10, 8, 16)
    assert error(model(x), trained(x)) <= 1e-5
    again = build_small(tmp_path / "trained.keras", classes=4)
    assert again.get_config()["image_size"] == (48, 48)


@slow_but_on_torch
@pytest.mark.parametrize("grid", [(2, 3), (14, 12)])
def test_a_plain_vit_whose_patches_make_no_square(grid, tmp_path):
    """It is loaded for its own size, and refused for another one: its grid isn't known."""
    positions = np.random.default_rng(1).normal(size=(1, 1 + grid[0] * grid[1], 16))
    tensors = deit_tensors() | {"pos_embed": positions.astype("float32")}
    path = official_file(tmp_path / "vit.pth", tensors)
    with pytest.warns(FreshWeightsWarning):
        model = build_small(path, image_size=(16 * grid[0], 16 * grid[1]))
    np.testing.assert_array_equal(official_tensors(model)["pos_embed"], tensors["pos_embed"])
    if grid == (2, 3):  # with one row more, the other makes a square of patches without tokens
        with pytest.raises(ValueError, match="of another shape: pos_embed"):
            build_small(path, image_size=64)


@slow_but_on_torch
def test_its_own_file_of_no_square(tmp_path):
    """18 x 32 patches, as many as 24 x 24."""
    trained = small(patch_size=16, image_size=(288, 512), classes=3)
    tensors = official_tensors(trained)
    path = official_file(tmp_path / "castling.pth", tensors)
    model = build_small(path, image_size=(288, 512), patch_size=16)
    np.testing.assert_array_equal(official_tensors(model)["pos_embed"], tensors["pos_embed"])


@slow_but_on_torch
def test_other_tokens_than_those_of_the_file():
    """A distillation token that the file or the model lacks; DeiT-3 with no prefix positions."""
    for has, wants in ((False, True), (True, False)):
        tensors = deit_tensors(distillation=has)
        model = small(patch_size=16, image_size=32, classes=3, distillation=wants)
        before = official_tensors(model)
        words = "the distillation token, `distilled_predictions`" if wants else "filter\\)"
        with pytest.warns(FreshWeightsWarning, match=words):
            load_weights(model, weights.Checkpoint("deit.pth", True, tensors))
        found, positions = official_tensors(model), tensors["pos_embed"]
        np.testing.assert_array_equal(found["cls_token"], tensors["cls_token"])
        np.testing.assert_array_equal(found["pos_embed"][:, :1], positions[:, :1])
        np.testing.assert_array_equal(found["pos_embed"][:, -4:], positions[:, -4:])
        if wants:
            np.testing.assert_array_equal(found["pos_embed"][:, 1], positions[:, 0])
            for key in ("dist_token", "head_dist.weight"):
                np.testing.assert_array_equal(found[key], before[key])
    model = small(patch_size=16, image_size=32, classes=3)
    tensors = deit_tensors(positions=0)
    with pytest.warns(FreshWeightsWarning):
        load_weights(model, weights.Checkpoint("deit3.pth", True, tensors))
    found = official_tensors(model)["pos_embed"]
    np.testing.assert_array_equal(found, np.pad(tensors["pos_embed"], ((0, 0), (1, 0), (0, 0))))


@slow_but_on_torch
def test_heads_of_a_deit():
    tensors = deit_tensors()
    make = {"patch_size": 16, "image_size": 32}
    with (
        pytest.warns(FreshWeightsWarning, match="made for 3 classes, not 7; the head keeps"),
        pytest.warns(FreshWeightsWarning, match="a plain vision transformer"),
    ):
        load_weights(small(classes=7, **make), weights.Checkpoint("deit.pth", True, tensors))
    backbone = small(include_top=False, **make)
    with pytest.warns(FreshWeightsWarning, match=r"\(each attention's filter\)"):
        load_weights(backbone, weights.Checkpoint("deit.pth", True, tensors))
    for key, array in official_tensors(backbone).items():
        assert "dconv" in key or np.array_equal(array, tensors[key])
    bare = {key: x for key, x in tensors.items() if not key.startswith("head")}
    with pytest.warns(FreshWeightsWarning, match="filter, `predictions`"):
        load_weights(small(classes=3, **make), weights.Checkpoint("vit.pth", True, bare))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"blocks.1.attn.proj.bias": None}, "missing in the file: blocks.1.attn.proj.bias"),
        ({"cls_token": None}, "missing in the file: cls_token"),
        ({"blocks.2.attn.proj.bias": 16}, "unknown to the model: blocks.2"),
        ({"blocks.0.norm1.bias": 15}, "of another shape: blocks.0.norm1"),
        ({"fc_norm.bias": 16}, "unknown to the model: fc_norm"),
        ({"blocks.1.attn.dconv.weight": 16}, "of another shape: blocks.1.attn.dconv"),
        ({"blocks.0.attn.dconv.weight": 16}, "missing in the file: blocks.1.attn.dconv"),
    ],
)
def test_all_else_is_strict(change, words):
    tensors = deit_tensors()
    for key, size in change.items():
        tensors.pop(key, None)
        if size is not None:
            tensors[key] = np.zeros(size, "float32")
    model = small(patch_size=16, image_size=32, classes=3)
    before = model.get_weights()
    with pytest.raises(ValueError, match=words):
        load_weights(model, weights.Checkpoint("deit.pth", True, tensors))
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@slow_but_on_torch
@pytest.mark.parametrize("name", OPTIONS)
def test_keys_of_every_option(name):
    """One key for each weight, and the options that the keys show."""
    model = small(image_size=48, **OPTIONS[name])
    tensors = official_tensors(model)
    assert sum(value.size for value in tensors.values()) == model.count_params()
    shown = CastlingViT.identify(weights.Checkpoint("file.pth", True, tensors))
    config = model.get_config()
    assert shown.pop("image_size") == 48
    assert (shown.pop("layer_scale", None) is None) == (config["layer_scale"] is None)
    assert {key: config[key] for key in shown} == shown
    del tensors["blocks.0.attn.dconv.weight"]
    assert CastlingViT.identify(weights.Checkpoint("deit.pth", True, tensors)) is None


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.parametrize("suffix", [".keras", ".weights.h5"])
def test_convert(suffix, tmp_path):
    model = randomise(CastlingViTTiny(weights=None, distillation=True, image_size=64, classes=3))
    tensors = official_tensors(model)
    save_zip(tmp_path / "castling.pth", tensors)
    convert(tmp_path / "castling.pth", tmp_path / f"castling{suffix}")
    model = CastlingViTTiny(weights=tmp_path / f"castling{suffix}", classes=3)
    assert model.get_config()["image_size"] == (64, 64)
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])


def test_nobody_released():
    with pytest.raises(ValueError, match=r"castling_vit_small\. The authors released the code"):
        CastlingViTSmall()
    assert "with random weights or those of a file" in CastlingViTTiny.__doc__
    held = read_args(CastlingViTTiny.__doc__)["weights"]
    assert "timm" in held
    assert "KerasHub" in held


# --- The forms for inference ------------------------------------------------------------------


@slow_but_on_torch
@each_option
def test_it_fuses(name, images, tmp_path):
    model, x = randomise(small(**OPTIONS[name])), images(2, 48, 32, 3)
    fused = keras_paca.fuse(model)
    assert fused.count_params() < model.count_params()
    assert "preprocessing" not in [layer.name for layer in fused.layers]
    assert error(fused(x), model(x)) <= 1e-5
    fused.save(tmp_path / "fused.keras")
    again = keras.saving.load_model(tmp_path / "fused.keras")
    assert error(again(x), model(x)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS, "paca"])
def test_the_schedule_ends_the_auxiliary(kind, images, tmp_path, small_paca):
    """Its masks become empty in training; the file and the fused model have no auxiliary."""
    model = small_paca() if kind == "paca" else small(**KINDS[kind])
    model.compile(keras.optimizers.SGD(0.01), "sparse_categorical_crossentropy")
    x, y = images(4, 48, 32, 3), np.arange(4)
    schedule = keras_paca.train.CastlingSchedule(threshold=0.001, start=0.4, end=0.8)
    assert model.auxiliary
    given = {"batch_size": 2, "epochs": 4, "verbose": 0, "callbacks": [schedule]}
    history = model.fit(x, y, **given).history
    densities = {key: x for key, x in history.items() if key.startswith("mask_density/")}
    assert len(densities) == (5 if kind == "paca" else 2)
    assert all(x[0] > 0 and x[-1] == 0 for x in densities.values())
    assert not model.auxiliary
    wanted = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), wanted)
    for other in (again, keras_paca.fuse(model)):
        assert not other.auxiliary
        assert not [v.path for v in other.variables if "auxiliary" in v.path]
    assert np.isfinite(model.fit(x, y, verbose=0).history["loss"]).all()


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_it_quantizes(tmp_path, images):
    model, x = randomise(small(distillation=True)), images(2, 48, 32, 3)
    wanted = model.predict(x, verbose=0)
    model.quantize("int8")
    report = keras_paca.quantization_report(model, image_size=(48, 32))
    paths = {layer.path for layer in report.layers if layer.mode == "int8"}
    assert {f"block1/attention/{name}" for name in ("query", "key", "value")} <= paths
    found = model.predict(x, verbose=0)
    assert error(found, wanted) < 0.2
    model.save(tmp_path / "int8.keras")
    again = keras.saving.load_model(tmp_path / "int8.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), found)


@slow_but_on_torch
@pytest.mark.slow
@pytest.mark.parametrize(
    ("format", "name"),
    [
        ("litert", "castling.tflite"),
        ("onnx", "castling.onnx"),
        ("openvino", "castling.xml"),
        ("tf_saved_model", "castling"),
    ],
)
@pytest.mark.together
def test_it_exports(format, name, tmp_path):
    model = randomise(small(distillation=True))
    exported = keras_paca.export(model, tmp_path / name, format, image_size=72, verbose=False)
    assert max(values["difference"] for values in exported.measures.values()) <= 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 3}, "`num_heads` must divide `hidden_dim`"),
        ({"patch_size": 0}, "`patch_size` must be a positive integer"),
        ({"patch_size": 64}, "`image_size` must hold a patch of `patch_size`"),
        ({"drop_path_rate": 1.5}, "`drop_path_rate`"),
        ({"image_size": 16}, "`image_size` must be an image size"),
        ({"depth": 0}, "`depth` must be a positive integer"),
        ({"layer_scale": -1.0}, "`layer_scale`"),
        ({"mlp_ratio": 0}, "`mlp_ratio` must make the hidden layer at least one unit wide"),
        ({"distillation": 1}, "`distillation` must be True or False"),
        ({"normalization": "none"}, "`normalization` must be"),
        ({"convolution": "map"}, "`convolution` must be"),
        ({"kernel_size": 4}, "`kernel_size` must be odd"),
        ({"threshold": 2.0}, "`threshold` must lie in"),
        ({"auxiliary": "no"}, "`auxiliary` must be True or False"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options)
