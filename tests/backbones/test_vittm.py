"""What a ViTTM promises beside parity: shapes, training, saving, files, options, errors."""

import dataclasses
import re

import keras
import numpy as np
import pytest
from keras import ops

import keras_paca
from keras_paca import ViTTM, ViTTMBase, ViTTMTiny, weights
from keras_paca.backbones import vittm_keys
from keras_paca.backbones.convert import convert, official_tensors
from keras_paca.backbones.documentation import read_args
from keras_paca.backbones.loading import load_weights
from keras_paca.segmentation import FCNHead
from keras_paca.warn import FreshWeightsWarning
from tests.inference.compare import error, randomise
from tests.marks import slow_but_on_torch
from tests.torch_writer import save_zip

OPTIONS = {
    "default": {},
    "cross_attention": {"read_write_head": "cross_attention", "fusion": "erase"},
    "latent_attention": {"read_write_head": "latent_attention", "memory_block": "mlp"},
    "latent_cross_attention": {"read_write_head": "latent_cross_attention", "layer_scale": 0.1},
    "qk_norm": {"qk_norm": True, "qkv_bias": False},
    "token_learner": {"read_write_head": "token_learner", "head_dropout": 0.1},
    "add_erase": {
        "fusion": "add_erase",
        "read_write_drop_path_rate": 0.2,
        "attention_dropout": 0.1,
        "dropout": 0.1,
        "position_dropout": 0.1,
    },
}
FIXED = ("token_learner", "add_erase")  # made for one image size
each_option = pytest.mark.parametrize(
    "name",
    ["default", *(pytest.param(name, marks=slow_but_on_torch) for name in list(OPTIONS)[1:])],
)


def small(**options):
    """Return a ViTTM of two blocks, with memory patches of 8 and process patches of 16."""
    given = {"memory_patch_size": 8, "process_patch_size": 16, "image_size": (48, 32)}
    return ViTTM(**{"hidden_dim": 16, "num_heads": 2, "depth": 2, "classes": 4, **given, **options})


# --- Training, prediction, files --------------------------------------------------------------


@each_option
def test_fit_predict_save_and_load(name, images, tmp_path):
    model = small(drop_path_rate=0.3, **OPTIONS[name])
    loss = "sparse_categorical_crossentropy"
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(keras.optimizers.SGD(0.5), loss, metrics=["accuracy"], **jit)
    x, y = images(4, 48, 32, 3), np.arange(4)
    heads = ("predictions", "process_predictions")
    before = [model.get_layer(head).get_weights()[0].copy() for head in heads]
    assert not any(kernel.any() for kernel in before)
    first = model.fit(x, y, verbose=0).history
    assert np.isfinite(first["loss"]).all()
    assert abs(first["loss"][0] - 2 * np.log(4)) < 1e-3  # of both heads, which are 0
    for head in heads:
        assert model.get_layer(head).get_weights()[0].any()
    second = model.fit(x, y, verbose=0).history
    assert second["loss"] != first["loss"]
    weights = [(w.path, ops.convert_to_numpy(w)) for w in model.trainable_weights]
    assert not [path for path, values in weights if not np.isfinite(values).all()]
    wanted = model.predict(x, verbose=0)
    assert wanted.shape == (4, 4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), wanted)
    assert again.get_config() == model.get_config()


@slow_but_on_torch
def test_two_steps_draw_different_paths(images):
    model = small(drop_path_rate=0.5, include_top=False)
    x = images(4, 48, 32, 3)
    first, second = (ops.convert_to_numpy(model(x, training=True)) for _ in range(2))
    assert (first != second).any()
    still = [ops.convert_to_numpy(model(x)) for _ in range(2)]
    np.testing.assert_array_equal(*still)


@slow_but_on_torch
@pytest.mark.parametrize("name", OPTIONS)
def test_every_weight_learns(name, images):
    """With "erase", tokens become so alike that some gradients are lost in float32."""
    options = {key: value for key, value in OPTIONS[name].items() if value != "erase"}
    model = randomise(small(**{key: x for key, x in options.items() if "drop" not in key}))
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
    before = [w.copy() for w in model.get_weights()]
    model.fit(images(4, 48, 32, 3), np.arange(4), verbose=0)
    paths = [w.path for w in model.weights]
    pairs = zip(paths, before, model.get_weights(), strict=True)
    still = [path for path, a, b in pairs if (a == b).all()]
    # The softmax over the tokens that are read cancels what is added to all of them.
    cancelled = r".*(attention/key/bias|key_norm/beta|(read|write)/mlp/project/bias)"
    assert all(re.fullmatch(cancelled, path) for path in still)


@pytest.mark.parametrize(
    "size", [(61, 45), *(pytest.param(x, marks=slow_but_on_torch) for x in ((48, 32), (33, 90)))]
)
def test_any_size(size, images):
    """Unknown, odd and not square, as a model of that size computes them."""
    model, x = randomise(small()), images(2, *size, 3)
    fixed = small(input_shape=(*size, 3))
    fixed.set_weights(model.get_weights())
    found = ops.convert_to_numpy(model(x))
    np.testing.assert_allclose(found, ops.convert_to_numpy(fixed(x)), rtol=1e-4, atol=1e-6)
    backbone = small(include_top=False)
    shape = (2, size[0] // 8, size[1] // 8, 16)
    assert tuple(backbone(x).shape) == backbone.compute_output_shape(x.shape) == shape


@slow_but_on_torch
def test_the_rest_of_a_patch_is_cut_off(images):
    model, x = randomise(small(include_top=False)), images(1, 61, 45, 3)
    cropped = ops.convert_to_numpy(model(x[:, :56, :40]))
    np.testing.assert_allclose(ops.convert_to_numpy(model(x)), cropped, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "policy", ["mixed_float16", pytest.param("mixed_bfloat16", marks=slow_but_on_torch)]
)
def test_mixed_precision(policy, images):
    exact = randomise(small())
    model = small(dtype=policy)
    model.set_weights(exact.get_weights())
    x = images(2, 48, 32, 3)
    outputs = model(x, training=True)
    assert all(np.isfinite(ops.convert_to_numpy(y)).all() for y in outputs.values())
    assert keras.backend.standardize_dtype(outputs["predictions"].dtype) == "float32"
    assert error(model(x), exact(x)) < (0.02 if policy == "mixed_float16" else 0.15)


@slow_but_on_torch
def test_remat_gives_the_same_step(images):
    found = []
    for remat in (False, True):
        model = randomise(small(remat=remat))
        model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy")
        model.fit(images(4, 48, 32, 3), np.arange(4), verbose=0)
        found.append(model.get_weights())
    for a, b in zip(*found, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


# --- What other code reads --------------------------------------------------------------------


def test_levels_and_maps():
    backbone = small(include_top=False)
    assert backbone.stage_names == ["P3", "P4"]
    assert backbone.pyramid_level_inputs == {"P3": "memory", "P4": "process"}
    for level, name in backbone.pyramid_level_inputs.items():
        assert backbone.get_layer(name).output is backbone.pyramid_outputs[level]
    assert backbone.output is backbone.token_maps["memory"][-1]
    assert {name: len(maps) for name, maps in backbone.token_maps.items()} == {
        "memory": 2,
        "process": 2,
    }
    maps = keras.Model(backbone.input, backbone.token_maps)
    shapes = maps.compute_output_shape((1, 48, 32, 3))
    assert shapes["memory"][0] == (1, 6, 4, 16)
    assert shapes["process"][1] == (1, 3, 2, 16)
    both = small(memory_patch_size=16, include_top=False)
    assert both.pyramid_level_inputs == {"P4": "memory"}
    none = small(memory_patch_size=14, process_patch_size=28, include_top=False)
    assert none.pyramid_outputs == {}
    for head in ("paca", "fpn", FCNHead(150)):
        words = r'takes `head="mask_transformer"`.*Missing: .*P5'
        with pytest.raises(ValueError, match=words):
            keras_paca.segmentation.Segmenter(none, head)


@slow_but_on_torch
@each_option
def test_maps_of_every_option(name, images):
    backbone = randomise(small(include_top=False, pooling="avg", **OPTIONS[name]))
    maps = keras.Model(backbone.input, backbone.token_maps)(images(1, 48, 32, 3))
    arrays = [ops.convert_to_numpy(x) for stream in maps.values() for x in stream]
    assert all(np.isfinite(x).all() for x in arrays)
    assert len({round(float(np.abs(x).sum()), 3) for x in arrays}) == 4
    assert backbone.output_shape == (None, 16)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("size", "patches", "parameters", "dead", "macs"),
    [
        ("Tiny", (28, 28), 9.07, 1.08, 0.511),
        ("Small", (28, 28), 33.18, 3.92, 1.872),
        ("Small", (16, 32), 32.60, 3.62, 1.866),  # the plain patch embedding isn't dead here
        *(
            pytest.param("Base", *case, marks=pytest.mark.slow)
            for case in (
                ((28, 28), 126.52, 14.92, 7.141),
                ((16, 32), 125.36, 14.33, 7.113),
                ((16, 28), 124.82, 14.33, 8.582),
            )
        ),
    ],
)
def test_counts(size, patches, parameters, dead, macs):
    memory, process = patches
    model = getattr(keras_paca, f"ViTTM{size}")(
        weights=None,
        memory_patch_size=memory,
        process_patch_size=process,
        input_shape=(224, 224, 3),
    )
    assert abs(model.count_params() / 1e6 - (parameters - dead)) < 0.011
    report = keras_paca.quantization_report(model, image_size=224)
    classifier = model.get_layer("process_predictions").kernel.shape  # in training alone
    assert round((report.macs + np.prod(classifier)) / 1e9, 3) == macs


# --- Files ------------------------------------------------------------------------------------


def official_file(model, unused=True):
    """Return the tensors of an official file, with all that the official code never uses."""
    tensors = official_tensors(model)
    if not unused:
        return tensors
    dim = model.get_config()["hidden_dim"]
    plain = {"patch_embed.proj.weight": (dim, 3, 16, 16), "patch_embed.proj.bias": (dim,)}
    plain |= {"pos_embed": (1, 5, dim), "cls_token": (1, 1, dim)}
    for i in range(model.get_config()["depth"]):
        for head in ("read_head", "write_head"):
            plain |= {f"{head}.{i}.proj.weight": (dim, dim), f"{head}.{i}.proj.bias": (dim,)}
    return {**tensors, **{key: np.ones(shape, "float32") for key, shape in plain.items()}}


def build_small(path, **options):
    """Return what the function of a variant of the size of `small` builds from a file."""
    size = {"hidden_dim": 16, "num_heads": 2, "depth": 2}
    variant = keras_paca.backbones.variants.Variant(ViTTM, "small", size, when={}, size="small")
    given = {"include_top": True, "input_shape": None, "classes": 4, "class_names": None}
    given |= dict.fromkeys(ViTTM.file_options) | {"evaluation_transform": None, **options}
    return keras_paca.backbones.variants.build_variant(variant, path, None, None, "small", **given)


def test_an_averaged_and_compiled_file(tmp_path):
    """The prefixes and the counter of torch's averaged, compiled models; dead weights."""
    tensors = official_file(randomise(small(image_size=48)))
    stored = {f"module._orig_mod.{key}": value for key, value in tensors.items()}
    stored["n_averaged"] = np.array(3)
    save_zip(tmp_path / "file.pth", stored)
    model = build_small(tmp_path / "file.pth")
    assert model.get_config()["image_size"] == (48, 48)
    assert model.get_config()["memory_patch_size"] == 8
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])


@slow_but_on_torch
@pytest.mark.parametrize("suffix", [".pth", ".keras"])
def test_another_image_size_than_that_of_the_file(suffix, tmp_path, images):
    """The position embeddings are resized once, as the layer would at each call."""
    path, trained = tmp_path / f"file{suffix}", randomise(small(image_size=48))
    save_zip(path, official_file(trained)) if suffix == ".pth" else trained.save(path)
    model, x = build_small(path, image_size=(80, 64)), images(1, 80, 64, 3)
    assert model.get_layer("memory_embedding").position_embedding.shape == (10, 8, 16)
    assert model.get_layer("process_embedding").position_embedding.shape == (5, 4, 16)
    assert error(model(x), trained(x)) <= 1e-5
    with pytest.raises(
        ValueError, match=r"of another shape: memory_embedd(er\.proj\.weight|ing/0)"
    ):
        build_small(path, image_size=(80, 64), memory_patch_size=16)


@slow_but_on_torch
def test_a_released_file_at_another_image_size(monkeypatch):
    (row,) = (file for file in weights.released_files() if file.family == "vittm")
    held = {"memory_patch_size": 8, "process_patch_size": 16, "image_size": 48}
    row = dataclasses.replace(row, size="small", options={**row.options, **held})
    tensors = official_file(randomise(small(image_size=48)))

    def fetch(file, url, check):
        check(tensors)
        return weights.Checkpoint(file.file, True, tensors)

    monkeypatch.setattr(weights, "released_files", lambda: [row])
    monkeypatch.setattr(weights, "fetch", fetch)
    own = ViTTM.own_parameters()
    options = {name: own[name].default for name in ViTTM.variant_options}
    model = build_small("imagenet", **{**options, "image_size": 80})
    shapes = {key: value.shape for key, value in official_tensors(model).items()}
    assert shapes["memory_pos_embed"] == (1, 100, 16)
    assert model.evaluation_transform == {"image_size": [80, 80], "crop": row.crop}
    for key, array in official_tensors(model).items():
        assert key.endswith("pos_embed") or np.array_equal(array, tensors[key])


@slow_but_on_torch
def test_position_embeddings_are_resized_only_where_they_can_be():
    config = small(image_size=(80, 64)).get_config()
    good = {"memory_pos_embed": np.ones((1, 36, 16), "float16")}
    (found,) = vittm_keys.resize_positions(good, config).values()
    assert found.shape == (1, 80, 16)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, 1, rtol=1e-6)
    for shape, dtype in (
        ((1, 35, 16), "float32"),  # the grid isn't known
        ((1, 80, 16), "float32"),  # as many tokens as the model has
        ((36, 16), "float32"),
        ((1, 36, 16), "int32"),
    ):
        given = {"backbone.memory_pos_embed": np.ones(shape, dtype)}
        assert vittm_keys.resize_positions(given, config) == given
    model, tensors = small(image_size=(80, 64)), official_file(small(image_size=48))
    with pytest.raises(ValueError, match="of another shape: memory_pos_embed"):
        load_weights(model, weights.Checkpoint("file.pth", True, tensors))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"read_head.2.proj.bias": 16}, "unknown to the model: read_head.2.proj.bias"),
        ({"read_head.0.projection.bias": 16}, "unknown to the model"),
        ({"n_averaged": 1}, "unknown to the model: n_averaged"),
        ({"n_averaged.bias": 1}, "unknown to the model"),
        ({"norm.weight": 16}, "unknown to the model: norm.weight"),
        ({"read_norm.1.bias": 15}, "of another shape: read_norm.1.bias"),
        ({"read_head.1.q.bias": None}, "missing in the file: read_head.1.q.bias"),
        ({"memory_embedder.proj.weight": None}, "missing in the file: memory_embedder"),
    ],
)
def test_loading_is_strict(change, words):
    model = small()
    tensors = official_file(model)
    for key, size in change.items():
        tensors.pop(key, None)
        if size is not None:
            tensors[key] = np.zeros(size, "float32")
    with pytest.raises(ValueError, match=words):
        load_weights(model, weights.Checkpoint("file.pth", True, tensors))


def test_the_outputs_of_heads_with_norms_are_used():
    model = small(**OPTIONS["cross_attention"])
    tensors = official_file(model, unused=False)
    assert not vittm_keys.unused_keys(tensors)
    del tensors["read_head.0.proj.bias"]
    with pytest.raises(ValueError, match=r"missing in the file: read_head\.0\.proj"):
        load_weights(model, weights.Checkpoint("file.pth", True, tensors))


def test_other_classes_and_no_top():
    tensors = official_file(randomise(small()))
    checkpoint = weights.Checkpoint("file.pth", True, tensors)
    with pytest.warns(FreshWeightsWarning, match="made for 4 classes, not 7"):
        load_weights(small(classes=7), checkpoint)
    load_weights(small(include_top=False), checkpoint)
    part = {f"backbone.{key}": value for key, value in tensors.items()}
    part["decode_head.bias"] = np.zeros(3, "float32")
    backbone = small(include_top=False)
    load_weights(backbone, weights.Checkpoint("segmenter.pth", True, part))
    for key, array in official_tensors(backbone).items():
        np.testing.assert_array_equal(array, tensors[key])
    with pytest.warns(FreshWeightsWarning, match="backbone of a detector or segmenter"):
        load_weights(small(), weights.Checkpoint("segmenter.pth", True, part))


@slow_but_on_torch
@pytest.mark.parametrize("name", OPTIONS)
def test_keys_of_every_option(name):
    """One key for each weight, and the options that the keys show."""
    model = small(image_size=48, **OPTIONS[name])
    tensors = official_tensors(model)
    held = sum(value.size for value in tensors.values())
    assert held == model.count_params()
    config = model.get_config()
    shown = vittm_keys.identify(tensors, official=True)
    assert shown["image_size"] == 48
    fusion = shown.pop("fusion", "residual")
    assert fusion == (config["fusion"] if config["fusion"] != "erase" else "residual")
    assert (shown.pop("layer_scale", None) is None) == (config["layer_scale"] is None)
    for option, value in shown.items():
        if option != "image_size":
            assert config[option] == value
    for option in ("qkv_bias", "qk_norm"):
        assert shown.get(option, ViTTM.own_parameters()[option].default) == config[option]


@slow_but_on_torch
@pytest.mark.parametrize("suffix", [".keras", pytest.param(".weights.h5", marks=pytest.mark.slow)])
def test_convert(suffix, tmp_path):
    tensors = official_tensors(randomise(ViTTMTiny(weights=None, memory_patch_size=16, classes=3)))
    save_zip(tmp_path / "vittm.pth", tensors)
    convert(tmp_path / "vittm.pth", tmp_path / f"vittm{suffix}")
    model = ViTTMTiny(weights=tmp_path / f"vittm{suffix}", classes=3)
    assert model.get_config()["memory_patch_size"] == 16
    for key, array in official_tensors(model).items():
        np.testing.assert_array_equal(array, tensors[key])


@slow_but_on_torch
def test_help_names_the_files_of_plain_transformers():
    """What `weights` may be besides the files of the family itself."""
    for text in (ViTTMTiny.__doc__, keras_paca.segmentation.ViTTMSmallSegmenter.__doc__):
        held = read_args(text)["weights"]
        assert ("timm" in held and "KerasHub" in held) == (text is ViTTMTiny.__doc__)
    assert "timm" not in keras_paca.PaCaTiny.__doc__


def test_nobody_released():
    for options in ({"memory_patch_size": 16}, {"read_write_head": "cross_attention"}):
        with pytest.raises(
            ValueError, match=r"Nobody released ImageNet weights for vittm_base, .*\n  vittm_base"
        ):
            ViTTMBase(**options)
    with pytest.raises(ValueError, match="Nobody released ImageNet weights for vittm_tiny"):
        ViTTMTiny()
    (file,) = (file for file in weights.released_files() if file.family == "vittm")
    chosen = dict.fromkeys(ViTTM.variant_options)
    chosen |= {"read_write_head": "linear", "fusion": "residual", "latent_size_scale": 4}
    assert ViTTM.rank(file, chosen) == 0
    assert ViTTM.rank(file, {**chosen, "image_size": (224, 224), "process_patch_size": 28}) == 0
    assert ViTTM.rank(file, {**chosen, "image_size": 504}) == 1  # the embeddings are resized
    assert ViTTM.rank(file, {**chosen, "latent_size_scale": 2}) is None


# --- The forms for inference ------------------------------------------------------------------


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
    assert [len(maps) for maps in fused.token_maps.values()] == [2, 2]


@pytest.mark.slow
@slow_but_on_torch
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method:UserWarning")
def test_it_quantizes(tmp_path, images):
    model, x = randomise(small()), images(2, 48, 32, 3)
    wanted = model.predict(x, verbose=0)
    model.quantize("int8")
    report = keras_paca.quantization_report(model, image_size=(48, 32))
    paths = {layer.path for layer in report.layers if layer.mode == "int8"}
    heads = {f"block{i}_{n}/{p}" for i in (1, 2) for n in ("read", "write") for p in
             ("query", "key", "value")}  # fmt: skip
    assert heads <= paths
    assert "block1/attention/attention_output" in paths
    found = model.predict(x, verbose=0)
    assert error(found, wanted) < 0.2
    model.save(tmp_path / "int8.keras")
    again = keras.saving.load_model(tmp_path / "int8.keras")
    np.testing.assert_array_equal(again.predict(x, verbose=0), found)


@slow_but_on_torch
@pytest.mark.parametrize(
    ("format", "name"),
    [("litert", "vittm.tflite"), ("onnx", "vittm.onnx"), ("tf_saved_model", "vittm")],
)
@pytest.mark.together
def test_it_exports(format, name, tmp_path):
    model = randomise(small())
    exported = keras_paca.export(model, tmp_path / name, format, image_size=72, verbose=False)
    assert max(values["difference"] for values in exported.measures.values()) <= 1e-5


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_heads": 3}, "`num_heads` must divide `hidden_dim`"),
        ({"latent_size_scale": 16}, "`num_heads` must divide `hidden_dim // latent_size_scale`"),
        ({"fusion": "add"}, "`fusion` must be"),
        ({"read_write_head": "lin"}, "`read_write_head` must be"),
        ({"memory_block": "conv"}, "`memory_block` must be"),
        ({"memory_patch_size": 0}, "`memory_patch_size` must be a positive integer"),
        ({"process_patch_size": 64}, "`image_size` must hold a patch of `process_patch_size`"),
        ({"drop_path_rate": 1.5}, "`drop_path_rate`"),
        ({"image_size": 16}, "`image_size` must be an image size"),
        ({"depth": 0}, "`depth` must be a positive integer"),
        ({"layer_scale": -1.0}, "`layer_scale`"),
        ({"mlp_ratio": 0}, "`mlp_ratio` must make the hidden layer at least one unit wide"),
        ({"mlp_ratio": "4"}, "`mlp_ratio` must make"),
        ({"memory_block": "mlp", "memory_mlp_ratio": 0.001}, "`memory_mlp_ratio` must make"),
    ],
)
def test_wrong_options(options, words):
    with pytest.raises(ValueError, match=words):
        small(**options)


def test_options_of_one_image_size():
    for name in FIXED:
        with pytest.raises(ValueError, match="for one image size"):
            small(input_shape=(64, 64, 3), **OPTIONS[name])
