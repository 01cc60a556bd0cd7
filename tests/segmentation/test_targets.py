"""Masks, weights and losses of a segmenter."""

import functools

import keras
import numpy as np
import pytest
from keras import ops

from keras_paca.segmentation import Segmenter, SemanticFPNHead
from tests.data import Stream
from tests.marks import slow_but_on_torch

pytestmark = slow_but_on_torch


@pytest.fixture
def make(small):
    """Return a function that makes a small segmenter of three classes, compiled."""

    def build(loss="auto", optimizer="sgd", num_classes=3, **options):
        keras.utils.set_random_seed(1)
        head = SemanticFPNHead(num_classes, 8, dropout=0.0, pyramid_channels=8)
        model = Segmenter(small(include_top=False), head, num_classes, **options)
        model.compile(keras.optimizers.SGD(0.0) if optimizer == "sgd" else optimizer, loss)
        return model

    return build


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(0, 255, (4, 32, 48, 3)).astype("float32")


@pytest.fixture
def masks():
    return np.random.default_rng(1).integers(0, 3, (4, 32, 48))


def entropies(model, images, masks):
    """Return the cross-entropy of each pixel (b, h, w), 0 where it is ignored."""
    logits = model.predict(images, verbose=0).astype("float64")
    shifted = logits - logits.max(axis=-1, keepdims=True)
    known = masks < 3
    chosen = np.take_along_axis(shifted, np.where(known, masks, 0)[..., None], axis=-1)[..., 0]
    return np.where(known, np.log(np.exp(shifted).sum(axis=-1)) - chosen, 0.0)


# --- Weights ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 1, 1), (4, 1, 1, 1)])
@pytest.mark.parametrize("stream", [False, True])
def test_weights_of_images(shape, stream, make, images, masks):
    """Also where the batch has as many images as an image has columns."""
    images, masks = images[:, :, :32], masks[:, :, :32].copy()
    masks[0, :5] = 255
    model = make()
    for count in (4, 32):
        x, y = (np.concatenate([a] * (count // 4)) for a in (images, masks))
        weights = np.arange(count, dtype="float32").reshape(count, *shape[1:])
        per_pixel = weights.reshape(count, 1, 1)
        expected = (entropies(model, x, y) * per_pixel).sum() / (y < 3).sum()
        given = (Stream((x, y, weights)),) if stream else (x, y, count, 0, weights)
        found = model.evaluate(*given, verbose=0)[0] if stream else model.evaluate(*given)[0]
        assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("last", [False, True])
def test_weights_of_pixels(last, make, images, masks):
    model = make()
    weights = np.random.default_rng(2).uniform(size=masks.shape).astype("float32")
    expected = (entropies(model, images, masks) * weights).mean()
    given = weights[..., None] if last else weights
    found = model.evaluate(images, masks, sample_weight=given, verbose=0)[0]
    assert found == pytest.approx(expected, rel=1e-4)
    found = model.test_on_batch(images, masks, given)[0]
    assert found == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shape", [(4, 48), (4, 32), (4, 48, 32), (4, 3, 3), (4, 32, 48, 3)])
def test_weights_of_another_shape(shape, make, images, masks):
    model, weights = make(), np.ones(shape, "float32")
    for call in (
        lambda: model.fit(images, masks, sample_weight=weights, verbose=0),
        lambda: model.evaluate(images, masks, sample_weight=weights, verbose=0),
        lambda: model.train_on_batch(images, masks, weights),
        lambda: model.fit(Stream((images, masks, weights)), verbose=0),
        lambda: model.fit(images, masks, validation_data=(images, masks, weights), verbose=0),
    ):
        with pytest.raises(ValueError, match="`sample_weight` must have the shape"):
            call()


@pytest.mark.parametrize("form", ["array", "stream", "one-hot", "on batch", "sample weights"])
def test_weights_of_classes(form, make, images, masks):
    """As weights of the pixels that have the classes."""
    masks[0, :9] = 255
    table = {0: 0.5, 2: 3.0}
    by_class = np.array([0.5, 1.0, 3.0], "float32")[np.minimum(masks, 2)]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True) if form == "one-hot" else "auto"
    model = make(loss)
    weights = np.arange(4, dtype="float32") if form == "sample weights" else None
    both = by_class if weights is None else by_class * weights[:, None, None]
    expected = model.train_on_batch(images, masks, both)[0]
    if form == "stream":
        found = model.fit(Stream((images, masks)), class_weight=table, verbose=0).history["loss"][0]
    elif form == "one-hot":
        one_hot = np.eye(4, dtype="float32")[np.minimum(masks, 3)][..., :3]
        found = model.fit(images, one_hot, class_weight=table, verbose=0).history["loss"][0]
    elif form == "on batch":
        found = model.train_on_batch(images, masks, class_weight=table)[0]
    else:
        found = model.fit(
            images, masks, class_weight=table, sample_weight=weights, verbose=0
        ).history["loss"][0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_weights_of_classes_hold_for_one_training(make, images, masks):
    model = make()
    plain = model.fit(images, masks, verbose=0).history["loss"][0]
    for factor in (2.0, 5.0, 1.0):
        table = dict.fromkeys(range(3), factor)
        found = model.fit(images, masks, class_weight=table, verbose=0).history["loss"][0]
        assert found == pytest.approx(factor * plain, rel=1e-4)
    table = dict.fromkeys(range(3), 7.0)
    history = model.fit(
        images, masks, class_weight=table, validation_data=(images, masks), verbose=0
    ).history
    evaluated = model.evaluate(images, masks, verbose=0)[0]
    assert history["val_loss"][0] == pytest.approx(evaluated, rel=1e-3)
    assert model.fit(images, masks, verbose=0).history["loss"][0] == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize(
    "table", [{3: 1.0}, {"a": 1.0}, {0: -1.0}, {0: float("nan")}, [1.0, 2.0, 3.0], {0: "1"}]
)
def test_wrong_weights_of_classes(table, make, images, masks):
    with pytest.raises(ValueError, match=r"`class_weight` must be a dict.*`sample_weight`"):
        make().fit(images, masks, class_weight=table, verbose=0)


# --- Masks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_masks_of_another_shape(stream, make, images, masks):
    wrong = {
        "turned": (masks.transpose(0, 2, 1), "integer ids"),
        "half": (masks[:, ::2, ::2], "integer ids"),
        "one-hot": (np.eye(3, dtype="float32")[masks], "argmax"),
        "RGB": (np.repeat(masks[..., None] * 255, 3, axis=-1), "argmax"),
        "five": (np.repeat(masks[..., None], 5, axis=-1), "Colours"),
        "flat": (masks.reshape(4, -1), "shape"),
        "dict": ({"masks": masks}, "one array"),
        "none": (None, "needs masks"),
        "text": (masks.astype(str), "integer ids"),
        "fractions": (masks + 0.5, "integer ids"),
        "NaN": (np.where(masks, np.nan, 0.0), "integer ids"),
    }
    model = make()
    for given, words in wrong.values():
        data = (Stream((images, given)),) if stream else (images, given)
        with pytest.raises(ValueError, match=words):
            model.fit(*data, verbose=0)
        with pytest.raises(ValueError, match=words):
            model.evaluate(*data, verbose=0)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dtype", ["uint8", "int64", "float32"])
def test_masks_of_black_and_white(dtype, stream, make, images, masks):
    model = make(num_classes=2)
    pictures = np.where(masks > 0, 255, 0).astype(dtype)
    data = (Stream((images, pictures)),) if stream else (images, pictures)
    with pytest.warns(UserWarning, match="divide them by 255"):
        model.fit(*data, verbose=0)
    with pytest.warns(UserWarning, match="divide them by 255"):
        model.evaluate(*data, verbose=0)
    model.fit(images, (masks > 0), verbose=0)
    make(num_classes=2, ignore_class=9).fit(images, masks > 0, verbose=0)
    with pytest.raises(ValueError, match=r"ids \[255\]"):
        make(num_classes=2, ignore_class=9).fit(images, pictures, verbose=0)


# --- Losses -------------------------------------------------------------------------------------


def dice(y, p):
    return 1 - (2 * (y * p).sum()) / (y.sum() + p.sum())


@pytest.mark.parametrize("given", ["ids", "one-hot"])
def test_losses_of_one_hot_masks(given, make, images, masks):
    """Their values by the definition, without the ignored pixels."""
    masks[1, :20] = 255
    known = masks < 3
    one_hot = np.eye(4)[np.minimum(masks, 3)][..., :3]
    targets = masks if given == "ids" else one_hot.astype("float32")
    model = make()
    logits = model.predict(images, verbose=0).astype("float64")
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    expected = {
        keras.losses.CategoricalCrossentropy(from_logits=True): entropies(
            model, images, masks
        ).sum()
        / known.sum(),
        keras.losses.Dice(): dice(one_hot, shares * known[..., None]),
        "dice": dice(one_hot, shares * known[..., None]),
        keras.losses.Tversky(0.5, 0.5): dice(one_hot, shares * known[..., None]),
    }
    for loss, value in expected.items():
        model = make(loss)
        found, iou = model.evaluate(images, targets, verbose=0)
        assert found == pytest.approx(value, rel=1e-3)
        assert 0 <= iou <= 1
        assert np.isfinite(model.fit(images, targets, verbose=0).history["loss"][0])
    focal = make(keras.losses.CategoricalFocalCrossentropy(from_logits=True))
    assert np.isfinite(focal.fit(images, targets, verbose=0).history["loss"][0])


@pytest.mark.parametrize(
    "loss",
    [
        "sparse_categorical_crossentropy",
        "categorical_crossentropy",
        keras.losses.SparseCategoricalCrossentropy(),
        keras.losses.CategoricalCrossentropy(),
        keras.losses.CategoricalFocalCrossentropy(),
        keras.losses.BinaryCrossentropy(),
    ],
)
def test_losses_of_probabilities_are_refused(loss, make):
    with pytest.raises(ValueError, match="from_logits=True"):
        make(loss)


def test_whole_losses_take_no_weights(make, images, masks):
    model = make(keras.losses.Dice())
    with pytest.raises(ValueError, match="neither `sample_weight` nor `class_weight`"):
        model.fit(images, masks, class_weight={0: 2.0}, verbose=0)
    with pytest.raises(ValueError, match="neither `sample_weight` nor `class_weight`"):
        model.train_on_batch(images, masks, np.ones(4, "float32"))


def test_a_loss_of_ones_own_gets_the_masks(make, images, masks):
    seen = []

    def loss(given, logits):
        seen.append(tuple(given.shape))
        return ops.mean(logits)

    for targets in (masks, np.eye(3, dtype="float32")[masks]):
        make(loss).fit(images, targets, verbose=0)
        assert seen[-1][1:] == targets.shape[1:]


# --- Numbers that float16 lacks ------------------------------------------------------------------


@pytest.mark.parametrize("factor", [30.0, 1000.0])
def test_large_scores_in_half_precision(factor, small, images):
    """Where float32 is finite, mixed_float16 is."""
    models = [
        Segmenter(small(include_top=False, dtype=policy), "paca", 3, dtype=policy)
        for policy in (None, "mixed_float16")
    ]
    for variable in models[0].decode_head.weights:
        if "kernel" in variable.path and any(
            name in variable.path for name in ("/query/", "/key/", "/clusters/")
        ):
            variable.assign(variable * factor)
    models[1].set_weights(models[0].get_weights())
    for model in models:
        assert np.isfinite(model.predict(images, verbose=0)).all()


class Sparse(keras.losses.SparseCategoricalCrossentropy):
    """A class that derives from Keras's."""


def focal(**options):
    return functools.partial(
        keras.losses.categorical_focal_crossentropy, from_logits=True, **options
    )


@pytest.mark.parametrize(
    "loss",
    [
        lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        lambda: [keras.losses.SparseCategoricalCrossentropy(from_logits=True)],
        lambda: {"logits": Sparse(from_logits=True)},
        lambda: Sparse(from_logits=True, ignore_class=255),
        lambda: functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True),
    ],
)
def test_losses_of_ids_leave_out_the_ignored_pixels(loss, make, images, masks):
    masks[:, :9] = 255
    weights = np.arange(4, dtype="float32")
    expected = (entropies(make(), images, masks) * weights[:, None, None]).sum() / (masks < 3).sum()
    found = make(loss()).test_on_batch(images, masks, weights)[0]
    assert found == pytest.approx(expected, rel=1e-4)


def test_losses_that_leave_out_another_class(make):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=-1)
    with pytest.raises(ValueError, match=r"must be the Segmenter's own, 255.*ignore_class=-1"):
        make(loss)
    make(loss, ignore_class=-1)


def test_losses_that_derive_from_keras_or_are_parts_of_it(make, images, masks):
    class MyDice(keras.losses.Dice):
        pass

    masks[:, :9] = 255
    for own, plain in (
        (MyDice(), keras.losses.Dice()),
        ([keras.losses.Dice()], keras.losses.Dice()),
        (focal(), keras.losses.CategoricalFocalCrossentropy(from_logits=True)),
    ):
        found, expected = (make(each).test_on_batch(images, masks)[0] for each in (own, plain))
        assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    "loss",
    [
        ["sparse_categorical_crossentropy"],
        {"logits": Sparse()},
        functools.partial(keras.losses.categorical_crossentropy),
    ],
)
def test_losses_in_a_list_or_dict_are_looked_at(loss, make):
    with pytest.raises(ValueError, match="A Segmenter returns logits"):
        make(loss)
    with pytest.raises(ValueError, match="takes one loss"):
        make([loss, loss])


@pytest.mark.parametrize("kind", ["turned", "half", "colours", "one-hot", "none"])
def test_later_batches_of_another_shape(kind, make, images, masks):
    later = {
        "turned": masks.transpose(0, 2, 1),
        "half": masks[:, ::2, ::2],
        "colours": np.stack([masks] * 4, axis=-1),
        "one-hot": np.eye(3, dtype="int64")[masks],
        "none": None,
    }[kind]
    batches = [(images, masks), (images,) if later is None else (images, later)]
    with pytest.raises(ValueError, match=r"Received: (masks of shape|y=None)"):
        make().fit(Stream(*batches), verbose=0)


def test_masks_that_are_not_one_hot(make, images, masks):
    model = make(keras.losses.Dice())
    for wrong in (np.ones((4, 32, 48, 3)), np.stack([masks > 1] * 3, axis=-1)):
        with pytest.raises(ValueError, match="classes of a pixel of one-hot masks add up to 1"):
            model.fit(images, wrong, verbose=0)


def test_weights_in_a_dict(make, images, masks):
    with pytest.raises(ValueError, match=r"one array of weights\. Received: sample_weight=dict"):
        make().fit(images, masks, sample_weight={"logits": np.ones(4)}, verbose=0)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_classes": 1}, "background is a class too"),
        ({"num_classes": "3"}, "`num_classes` must be a positive integer"),
        ({"num_classes": True}, "`num_classes` must be a positive integer"),
        ({"ignore_class": None}, "`ignore_class` must be an integer"),
        ({"ignore_class": "255"}, "`ignore_class` must be an integer"),
        ({"ignore_class": 2}, "none of the classes"),
        ({"auxiliary_weight": "0.4"}, "`auxiliary_weight` must be a finite number"),
        ({"auxiliary_weight": float("nan")}, "`auxiliary_weight` must be a finite number"),
        ({"class_names": {"a", "b", "c"}}, "`class_names` must hold one str"),
    ],
)
def test_arguments_that_are_refused(options, words, small):
    with pytest.raises(ValueError, match=words):
        Segmenter(small(include_top=False), "fpn", **{"num_classes": 3, **options})


def test_numbers_of_numpy(small, masks):
    model = Segmenter(small(include_top=False), "fpn", masks.max() + 1, ignore_class=np.uint8(255))
    assert model.num_classes == 3
    assert isinstance(model.get_config()["num_classes"], int)


def test_streams_of_booleans(make, images, masks):
    model = make()
    expected = model.evaluate(images, (masks > 0).astype(int), verbose=0)[0]
    found = model.evaluate(Stream((images, masks > 0)), verbose=0)[0]
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_segmenter_without_a_loss_is_measured(make, images, masks):
    model = make()
    expected = model.evaluate(images, masks, verbose=0, return_dict=True)["mean_iou"]
    model.compile(loss=None)
    found = model.evaluate(images, masks, verbose=0, return_dict=True)["mean_iou"]
    assert found == pytest.approx(expected)
