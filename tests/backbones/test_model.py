"""What classifiers, segmenters and detectors have in common: files, training, inputs."""

import functools

import keras
import numpy as np
import pytest

import keras_paca
from keras_paca import layers
from keras_paca.detection import MaskRCNN
from keras_paca.frozen import layers_inside
from keras_paca.segmentation import Segmenter, SemanticFPNHead
from tests.data import Stream
from tests.marks import slow_but_on_torch

KINDS = ("classifier", "segmenter", "detector")
each_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture
def make(small):
    """Return a function that makes a small model of a kind."""

    def build(kind, dtype=None, input_name=None, **options):
        keras.utils.set_random_seed(1)
        common = {"dtype": dtype, "input_shape": (64, 64, 3), "input_name": input_name}
        if kind == "classifier":
            return small(classes=3, **common, **options)
        backbone = small(include_top=False, **common)
        if kind == "segmenter":
            head = SemanticFPNHead(3, 8, pyramid_channels=8, dtype=dtype, name="decode_head")
            return Segmenter(backbone, head, 3, **options)
        small_sizes = {"channels": 8, "candidates": 20, "proposals": 20, "max_detections": 4}
        return MaskRCNN(backbone, 3, **small_sizes, **options)

    return build


@pytest.fixture
def data():
    """Return a function that draws images and a kind's targets."""

    def draw(kind, count=4):
        draws = np.random.default_rng(0)
        images = draws.uniform(0, 255, (count, 64, 64, 3)).astype("float32")
        if kind == "classifier":
            return images, np.arange(count) % 3
        if kind == "segmenter":
            return images, draws.integers(0, 3, (count, 64, 64))
        masks = np.zeros((count, 2, 64, 64), "uint8")
        masks[:, 0, 8:40, 8:40] = masks[:, 1, 4:50, 20:60] = 1
        return images, {
            "boxes": np.tile([[[8, 8, 40, 40], [20, 4, 60, 50]]], (count, 1, 1)).astype("float32"),
            "labels": np.tile([[0, 1]], (count, 1)),
            "masks": masks,
        }

    return draw


def compile_model(model, kind, optimizer="sgd"):
    options = {} if kind != "classifier" else {"loss": "sparse_categorical_crossentropy"}
    jit = {"jit_compile": False} if keras.backend.backend() == "tensorflow" else {}
    model.compile(optimizer, **options, **jit)
    return model


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


@slow_but_on_torch
@pytest.mark.parametrize("part", ["whole", "inside"])
def test_layers_in_a_model_of_others(part, tmp_path):
    """Keras itself loses what is frozen inside a layer."""
    inputs = keras.Input((16, 16, 8))
    block = layers.PaCaBlock(2, layers.ConvClustering(4, 3))
    x, _ = block(layers.OverlappingTransition(8)(inputs))
    model = keras.Model(inputs, x)
    if part == "whole":
        block.trainable = False
    else:
        block.attention.query_dense.trainable = block.clustering.trainable = False
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert len(again.trainable_variables) == len(model.trainable_variables)
    assert frozen(again)


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
    assert again._factors == model._factors == (1.0, 1.0, 1.0, 1.0, 3.0)


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


def test_default_names(small):
    first, second = small(), small()
    assert first.name.startswith("paca_vit")
    assert first.name != second.name
    assert layers.PaCaBlock(1).name.startswith("paca_block")


# --- Inputs as Keras takes them -----------------------------------------------------------------

FORMS = {
    "dict": lambda images: {"image": images},
    "list": lambda images: [images],
    "array": lambda images: images,
}


@slow_but_on_torch
@pytest.mark.parametrize(
    ("kind", "form"),
    [
        *(("classifier", form) for form in FORMS),
        *(("segmenter", form) for form in FORMS),
        ("detector", "dict"),
        pytest.param("detector", "list", marks=pytest.mark.slow),
        pytest.param("detector", "array", marks=pytest.mark.slow),
    ],
)
def test_forms_of_images(kind, form, make, data):
    model = compile_model(make(kind, input_name="image"), kind)
    images, targets = data(kind, 1)
    given = FORMS[form](images)
    same = keras.tree.flatten(model.predict(images, verbose=0))[0]
    for found in (model.predict(given, 2, 0), model.predict_on_batch(given), model(given)):
        found = keras.ops.convert_to_numpy(keras.tree.flatten(found)[0])
        np.testing.assert_allclose(found, same, atol=1e-4)
    history = model.fit(given, targets, 2, 1, 0, validation_data=(given, targets)).history
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(history["val_loss"]).all()
    assert np.isfinite(model.evaluate(given, targets, 2, 0)).all()
    assert np.isfinite(model.train_on_batch(given, targets)).all()
    assert np.isfinite(model.test_on_batch(given, targets)).all()


@slow_but_on_torch
@pytest.mark.parametrize("kind", KINDS[1:])
def test_several_inputs_are_refused(kind, make):
    model = make(kind)
    images = np.zeros((1, 64, 64, 3), "float32")
    with pytest.raises(ValueError, match=r"Expected images alone|Missing data for input"):
        model({"a": images, "b": images})


def generate(batches):
    yield from batches


def loader(batches):
    import torch

    return torch.utils.data.DataLoader(batches, batch_size=None)


STREAMS = {"PyDataset": lambda batches: Stream(*batches), "generator": generate}
if keras.backend.backend() == "torch":
    STREAMS["DataLoader"] = loader


@slow_but_on_torch
@pytest.mark.parametrize(
    ("kind", "stream"),
    [
        *((kind, stream) for kind in KINDS[:2] for stream in STREAMS),
        pytest.param("detector", "PyDataset", marks=pytest.mark.slow),
    ],
)
def test_streams_are_used_from_their_first_batch(kind, stream, make, data):
    """It is looked at before, and still is the first that is trained on."""
    batch = data(kind, 2)
    model = compile_model(make(kind), kind, keras.optimizers.SGD(0.0))
    seen = []
    step = model.train_step
    model.train_step = lambda *given: seen.append(given) or step(*given)
    model.run_eagerly = True
    model.fit(STREAMS[stream]([batch] * 3), verbose=0, steps_per_epoch=3)
    assert len(seen) == 3
    fresh = STREAMS[stream]([batch] * 2)
    model.fit(Stream(batch), validation_data=fresh, validation_steps=2, verbose=0)


@slow_but_on_torch
@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("kind", ["segmenter", "detector"])
def test_batches_of_background_alone_are_passed_over(kind, stream, make, data):
    """The first that shows something is looked at, and all are trained on."""
    images, targets = data(kind, 2)
    model = compile_model(make(kind), kind, keras.optimizers.SGD(0.0))
    if kind == "segmenter":
        nothing, wrong = np.zeros_like(targets), np.where(targets > 0, 255, 0)
        words = "divide them by 255"
    else:
        nothing = {**targets, "labels": np.full((2, 2), -1)}
        wrong = {**targets, "boxes": targets["boxes"] / 64}
        words = "as those relative to the image do"
    batches = [(images, nothing), (images, nothing), (images, wrong)]
    with pytest.raises((ValueError, UserWarning), match=words):
        model.fit(STREAMS[stream](batches), verbose=0, steps_per_epoch=3)
    seen = []
    step = model.train_step
    model.train_step = lambda *given: seen.append(given) or step(*given)
    model.run_eagerly = True
    model.fit(STREAMS[stream](batches[:2]), verbose=0, steps_per_epoch=2)
    assert len(seen) == 2


@slow_but_on_torch
@pytest.mark.parametrize("stream", [None, *STREAMS])
@each_kind
def test_labels_that_count_from_1(stream, kind, make, data):
    images, targets = data(kind, 2)
    if kind == "detector":
        targets = {**targets, "labels": np.array([[1, 3], [2, 3]])}
    else:
        targets = np.full_like(targets, 1)
        targets.flat[0] = 3
    model = compile_model(make(kind), kind)
    given = (images, targets) if stream is None else (STREAMS[stream]([(images, targets)]),)
    for method in (model.fit, model.evaluate):
        if stream == "generator":
            given = (generate([(images, targets)]),)
        with pytest.raises(ValueError, match="count from 1: subtract 1"):
            method(*given, verbose=0)


@slow_but_on_torch
def test_labels_of_a_classifier(make, data):
    images, labels = data("classifier")
    model = compile_model(make("classifier"), "classifier")
    for wrong in (labels - 1, labels + 0.5, labels.astype(str)):
        with pytest.raises(ValueError, match="Labels must be integers from 0 to 2"):
            model.fit(images, wrong, verbose=0)
    model.fit(images, labels[:, None], verbose=0)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(ignore_class=-1))
    model.fit(images, labels - 1, verbose=0)
    model.compile("sgd", "categorical_crossentropy")
    model.fit(images, np.eye(3)[labels], verbose=0)


@slow_but_on_torch
@pytest.mark.parametrize("loss", ["list", "dict", "partial", "derived"])
def test_labels_of_a_classifier_whose_loss_is_in_a_list_or_derived(loss, make, data):
    class Derived(keras.losses.SparseCategoricalCrossentropy):
        pass

    function = keras.losses.sparse_categorical_crossentropy
    given = {
        "list": ["sparse_categorical_crossentropy"],
        "dict": {"predictions": "sparse_categorical_crossentropy"},
        "partial": functools.partial(function, from_logits=False),
        "derived": Derived(),
    }[loss]
    images, labels = data("classifier")
    model = make("classifier")
    model.compile("sgd", given)
    wrong = labels + 1
    for targets in (wrong, [wrong]):
        with pytest.raises(ValueError, match="count from 1: subtract 1"):
            model.fit(images, targets, verbose=0)
    model.fit(images, labels, verbose=0)


# --- Images -------------------------------------------------------------------------------------


@slow_but_on_torch
@each_kind
def test_images_of_16_bits_are_refused(kind, make, data):
    """They would be white; integers up to 255 of any type are fine."""
    images, targets = data(kind, 2)
    model = compile_model(make(kind), kind)
    wrong = (images * 257).astype("uint16")
    for call in (
        lambda: model.fit(wrong, targets, verbose=0),
        lambda: model.fit([wrong], targets, verbose=0),
        lambda: model.fit(Stream((wrong, targets)), verbose=0),
        lambda: model.predict(wrong, verbose=0),
        lambda: model.predict({"image": wrong}, verbose=0),
        lambda: keras_paca.cluster_maps(model, wrong),
    ):
        with pytest.raises(ValueError, match="divide those of 16 bits by 257"):
            call()
    model.predict(images.astype("uint16"), verbose=0)
    model.predict(images.astype("int64"), verbose=0)


def test_pictures_of_16_bits_are_refused():
    wrong = np.full((1, 8, 8, 3), 65535, "uint16")
    maps = {"P2": np.ones((1, 2, 2, 4))}
    for call in (
        lambda: keras_paca.plot_cluster_maps(wrong[0], maps),
        lambda: keras_paca.segmentation.plot_segmentation(wrong, np.zeros((1, 8, 8), int)),
    ):
        with pytest.raises(ValueError, match="divide those of 16 bits by 257"):
            call()


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.skipif(keras.backend.backend() != "torch", reason="data loaders are PyTorch's")
def test_a_loader_of_a_stream_loses_no_further_batch(make, data):
    """It can be read only once; Keras takes one batch, by which it builds the compiled parts."""
    import torch

    images, labels = data("classifier", 8)

    class Once(torch.utils.data.IterableDataset):
        rows = iter(zip(images, labels, strict=True))

        def __iter__(self):
            return self.rows

    model = compile_model(make("classifier"), "classifier")
    seen = []
    step = model.train_step
    model.train_step = lambda batch: seen.append(batch) or step(batch)
    model.fit(torch.utils.data.DataLoader(Once(), batch_size=2), verbose=0)
    assert len(seen) == 3


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


# --- Arguments ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "shape",
    [
        224,
        (224, 224),
        "224",
        (16, 16, 3),
        (-1, -1, 3),
        (True, True, 3),
        (64.0, 64.0, 3),
        (64, 64, 0),
    ],
)
def test_input_shapes_that_are_none(shape, small):
    with pytest.raises(ValueError, match="`input_shape` must be") as error:
        small(input_shape=shape)
    assert f"input_shape={shape!r}" in str(error.value)


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
