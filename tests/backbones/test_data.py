"""Data as Keras takes it, for classifiers, segmenters and detectors, and labels."""

import functools

import keras
import numpy as np
import pytest

import keras_paca
from tests.backbones.kinds import KINDS, compile_model, each_kind
from tests.data import Stream
from tests.marks import slow_but_on_torch

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
