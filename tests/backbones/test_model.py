"""What classifiers, segmenters and detectors have in common: what is frozen, and files."""

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca.frozen import layers_inside
from tests.backbones.kinds import KINDS, compile_model, each_kind
from tests.marks import slow_but_on_torch

# --- What is frozen -----------------------------------------------------------------------------

PARTS = {
    "classifier": ("stem", "stage2_block1/attention", "stage1_block1/clustering", "predictions"),
    "segmenter": ("decode_head", "decode_head/classify", "stage2_block1/attention/query"),
    "detector": ("neck", "rpn/conv", "box_head", "mask_head/classify", "stage1_norm"),
}


def frozen(model):
    return [v.path for v in model.weights if not v.trainable]


@slow_but_on_torch
@pytest.mark.parametrize("copy", ["file", "config", "fuse"])
@each_kind
def test_frozen_parts_stay_frozen(kind, copy, make, tmp_path):
    model = make(kind)
    found = layers_inside(model)
    for part in PARTS[kind]:
        path = next(path for path in found if path == part or path.endswith(f"/{part}"))
        found[path].trainable = False
    if copy == "file":
        model.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    elif copy == "config":
        again = type(model).from_config(model.get_config())
    else:
        again = keras_paca.fuse(model)
        counts = {layer.name for layer in again._flatten_layers() if not layer.trainable}
        assert {part.rsplit("/", 1)[-1] for part in PARTS[kind]} <= counts
        return
    assert frozen(again) == frozen(model)
    assert len(again.trainable_variables) == len(model.trainable_variables) > 0


@slow_but_on_torch
@each_kind
def test_parts_that_train_inside_frozen_ones(kind, make, tmp_path):
    """A frozen backbone whose last stage was set free again, as people fine-tune."""
    model = make(kind)
    backbone = model if kind == "classifier" else model.backbone
    for layer in backbone.layers if kind == "classifier" else [backbone]:
        layer.trainable = False
    backbone.get_layer("stage4_block1").trainable = True
    backbone.get_layer("stage4_block1").attention.query_dense.trainable = False
    assert any("stage4_block1" in v.path for v in model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert frozen(again) == frozen(model)
    assert again.get_config()["frozen"] == model.get_config()["frozen"]


@slow_but_on_torch
@each_kind
def test_a_model_that_does_not_train_at_all(kind, make, tmp_path):
    model = make(kind)
    model.trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.trainable_variables == []
    again.trainable = True
    assert len(again.trainable_variables) == len(make(kind).trainable_variables)


def test_paths_of_no_layer(make):
    with pytest.raises(
        ValueError, match=r"`frozen` and `thawed` must hold paths of layers.*'stems'"
    ):
        make("classifier", frozen=["stems"])


# --- What `compile` sets ------------------------------------------------------------------------


def decayed(model):
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    return [optimizer._use_weight_decay(v) for v in model.trainable_variables]


@slow_but_on_torch
@pytest.mark.parametrize("dtype", [None, "mixed_float16"])
@pytest.mark.parametrize("by", ["name", "variable", "neither"])
@each_kind
def test_weight_decay_after_loading(kind, by, dtype, make, data, tmp_path):
    model = make(kind, dtype=dtype)
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1)
    if by == "name":
        optimizer.exclude_from_weight_decay(var_names=["gamma", "bias"])
    elif by == "variable":
        optimizer.exclude_from_weight_decay(var_list=model.trainable_variables[3:6])
    compile_model(model, kind, optimizer)
    model.optimizer.build(model.trainable_variables)
    before = decayed(model)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert decayed(again) == before
    assert all(before) == (by == "neither")
    if kind == "classifier":
        again.fit(*data(kind), verbose=0)


@slow_but_on_torch
@pytest.mark.parametrize("kind", KINDS[1:])
def test_weight_decay_of_the_optimizer_by_default(kind, make, tmp_path):
    model = make(kind)
    model.compile()
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    small = [v for v in again.trainable_variables if v.name in ("gamma", "beta", "bias")]
    assert small
    assert not any(again.optimizer._use_weight_decay(v) for v in small)


@slow_but_on_torch
def test_loss_scaling_after_loading(make, tmp_path):
    model = make("classifier", dtype="mixed_float16")
    model.compile("adam", "sparse_categorical_crossentropy", auto_scale_loss=False)
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert not isinstance(again.optimizer, keras.optimizers.LossScaleOptimizer)


@slow_but_on_torch
def test_loss_weights_after_loading(make, data, tmp_path):
    model = make("detector")
    model.compile("sgd", loss_weights={"mask_loss": 3.0})
    model.optimizer.build(model.trainable_variables)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    losses = again.evaluate(*data("detector"), verbose=0, return_dict=True)
    total = losses.pop("loss")
    assert losses["mask_loss"] > 0
    np.testing.assert_allclose(total, sum(losses.values()) + 2 * losses["mask_loss"], rtol=1e-5)


# --- What a file says ---------------------------------------------------------------------------


@slow_but_on_torch
@each_kind
def test_names_and_transform_are_in_the_file(kind, make, tmp_path):
    transform = {"image_size": 64, "crop": 0.8} if kind == "classifier" else {"short_side": 64}
    names = ["ant", "bee, the", "猫"]
    model = make(kind, class_names=names, evaluation_transform=transform)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.class_names == names
    assert again.evaluation_transform == model.evaluation_transform
    assert keras_paca.fuse(model).class_names == names
    again.class_names = None
    again.save(tmp_path / "model.keras")
    assert keras.saving.load_model(tmp_path / "model.keras").class_names is None


@each_kind
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"class_names": ["a", "b"]}, "one str for each of the 3 classes"),
        ({"class_names": "abc"}, "one str for each"),
        ({"class_names": [0, 1, 2]}, "one str for each"),
        ({"class_names": 3}, "one str for each"),
        ({"evaluation_transform": {"size": 224}}, "must be a dict with the keys"),
        ({"evaluation_transform": 224}, "must be a dict with the keys"),
    ],
)
def test_wrong_names_and_transforms(options, words, kind, make):
    with pytest.raises(ValueError, match=words):
        make(kind, **options)


@slow_but_on_torch
@each_kind
@pytest.mark.parametrize("suffix", ["h5", "hdf5"])
def test_the_legacy_format_is_refused_at_once(kind, suffix, make, data, tmp_path):
    """Before the training, where a callback would save so after its first epoch."""
    model = make(kind)
    path = tmp_path / f"model.{suffix}"
    with pytest.raises(ValueError, match=r"ends in \.keras"):
        model.save(path)
    compile_model(model, kind)
    model.train_step = None  # nothing is trained
    with pytest.raises(ValueError, match=r"ends? in .?\.keras"):
        model.fit(*data(kind), callbacks=[keras.callbacks.ModelCheckpoint(str(path))])
    assert not path.exists()
    model.save_weights(tmp_path / "model.weights.h5")


@slow_but_on_torch
@pytest.mark.parametrize("name", ["m.H5", "m.HDF5", "m.weights.h5"])
def test_whole_models_go_into_no_hdf5_file(name, small, tmp_path, monkeypatch):
    """Keras would speak of `.h5`, and can't load what it saves as `.weights.h5`."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=rf"ends in \.keras.*Received: '{name}'"):
        small().save(name)
    assert not list(tmp_path.iterdir())


@slow_but_on_torch
@each_kind
def test_clone_model_says_how_to_copy(kind, make):
    model = make(kind)
    with pytest.raises(ValueError, match=r"model\.from_config\(model\.get_config\(\)\)"):
        keras.models.clone_model(model)
    copy = model.from_config(model.get_config())
    copy.set_weights(model.get_weights())
    assert type(copy) is type(model)
    inputs = keras.Input((64, 64, 3))
    around = keras.Model(inputs, model(inputs))
    assert type(keras.models.clone_model(around).layers[-1]) is type(model)


# --- Images -------------------------------------------------------------------------------------


@slow_but_on_torch
def test_methods_that_somebody_wrapped(make, data, monkeypatch):
    """As libraries that log the training do."""
    images, labels = data("classifier", 2)
    model = compile_model(make("classifier"), "classifier")
    fit, seen = keras.Model.fit, []

    def wrapped(*args, **kwargs):
        seen.append(kwargs)
        return fit(*args, **kwargs)

    monkeypatch.setattr(keras.Model, "fit", wrapped)
    history = model.fit(images, labels, 2, 3, verbose=0).history
    assert len(history["loss"]) == 3
    assert seen[0]["batch_size"] == 2
