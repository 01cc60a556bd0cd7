"""Training targets of a segmenter: checks and conversions of masks and weights.

The first part checks the data on the host before the training, the second finds out what a loss
expects, and the third prepares the targets and weights of a training step.
"""

import functools
import inspect
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.arguments import as_numpy
from keras_paca.backbones.data import has_rank
from keras_paca.warn import warn_user

# --- On the host ------------------------------------------------------------------------------


def check_masks(
    masks: Any,
    image_size: tuple[int | None, int | None],
    num_classes: int,
    ignore_class: int,
    one_hot: bool,
    is_first: bool,
) -> None:
    """Check that masks fit the images and the classes, and warn of likely mistakes.

    Args:
        masks: Array of shape (batch, height, width) or (batch, height, width, 1) with class ids, or
            one-hot (batch, height, width, num_classes).
        image_size: tuple. (height, width) of the images in pixels, `None` where it is unknown.
        num_classes: int. Number of classes.
        ignore_class: int. Id of the pixels that have no class.
        one_hot: bool. Whether the loss accepts one-hot masks.
        is_first: bool. Whether the masks are the first batch of a data set. Ids without a class
            give a warning then, and no error.

    Raises:
        ValueError: If the masks have a wrong shape or dtype, or ids without a class.

    Example:
    >>> masks = np.array([[[0, 1], [2, 255]]])
    >>> check_masks(masks, (2, 2), num_classes=3, ignore_class=255, one_hot=False, is_first=False)
    """
    shape = tuple(masks.shape) if hasattr(masks, "shape") else tuple(np.shape(masks))
    expected = _expected(image_size, num_classes, ignore_class)
    check_mask_shape(shape, image_size, num_classes, ignore_class, one_hot)
    if len(shape) == 4 and shape[3] != 1:
        _check_one_hot(masks, shape, expected)
        return
    array = as_numpy(masks)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{expected} Received: masks of the dtype {array.dtype}")
    found = _find_ids(array)
    if not all(float(number).is_integer() for number in found):
        raise ValueError(f"{expected} Received: masks with the values {found[:5]}")
    check_ids([int(number) for number in found], num_classes, ignore_class, is_first, expected)


def check_ids(
    found: Sequence[int],
    num_classes: int,
    ignore_class: int,
    is_first: bool,
    expected: str = "",
) -> None:
    """Check that the ids in masks are classes, and warn of likely mistakes.

    Args:
        found: Sequence of int. The different ids in the masks, sorted.
        num_classes: int. Number of classes.
        ignore_class: int. Id of the pixels that have no class.
        is_first: bool. Whether ids without a class give a warning and no error, as in the first
            batch of a data set.
        expected: str. Sentence with which the error begins; by default one about the ids.

    Raises:
        ValueError: If there are ids without a class and `is_first` is `False`, or if the ids seem
            to count from 1.

    Example:
    >>> check_ids([0, 1, 2, 255], num_classes=3, ignore_class=255, is_first=False)
    """
    expected = expected or f"Masks must hold integer ids from 0 to {num_classes - 1}."
    wrong = [i for i in found if not 0 <= i < num_classes and i != ignore_class]
    known = [i for i in found if i not in wrong and i != ignore_class]
    from_one = wrong == [num_classes] and 0 not in known
    if from_one or (wrong and not is_first):
        hint = ""
        if from_one:
            hint = (
                " They seem to count from 1: subtract 1, or make the Segmenter with "
                f"`ignore_class={num_classes}` if that is no class."
            )
        raise ValueError(f"{expected} Received: masks with the ids {wrong[:5]}.{hint}")
    if wrong:
        warn_user(f"Pixels with the ids {wrong[:5]}, which have no class, are ignored.")
    if list(found) == [0, ignore_class] and ignore_class == 255 and num_classes > 1:
        warn_user(
            "The masks hold only 0 and 255, and pixels of 255 are ignored. If these are black and "
            "white pictures, divide them by 255, so that white is class 1."
        )


def _expected(
    image_size: tuple[int | None, int | None], num_classes: int, ignore_class: int
) -> str:
    sides = [
        n if s is None else str(s) for n, s in zip(("height", "width"), image_size, strict=True)
    ]
    return (
        f"Masks must have the shape (batch, {', '.join(sides)}) of the images and hold integer ids "
        f"from 0 to {num_classes - 1}, or {ignore_class} where there is no class."
    )


def check_mask_shape(
    shape: tuple,
    image_size: tuple[int | None, int | None],
    num_classes: int,
    ignore_class: int,
    one_hot: bool,
) -> None:
    """Check that the shape of masks fits the images, as far as both are known.

    Args:
        shape: tuple. Shape of the masks.
        image_size: tuple. (height, width) of the images in pixels, `None` where it is unknown.
        num_classes: int. Number of classes.
        ignore_class: int. Id of the pixels that have no class. The error names it.
        one_hot: bool. Whether the loss accepts one-hot masks.

    Raises:
        ValueError: If the shape doesn't fit.

    Example:
    >>> check_mask_shape((8, 64, 48), (64, 48), num_classes=3, ignore_class=255, one_hot=False)
    """
    expected = _expected(image_size, num_classes, ignore_class)
    fits = len(shape) in (3, 4) and all(
        None in (side, found) or side == found
        for side, found in zip(image_size, shape[1:3], strict=False)
    )
    if not fits:
        raise ValueError(f"{expected} Received: masks of shape {shape}")
    if len(shape) == 3 or shape[3] == 1:
        return
    if shape[3] != num_classes:
        raise ValueError(
            f"{expected} Colours must be replaced by ids first. Received: masks of shape {shape}"
        )
    if not one_hot:
        raise ValueError(
            f"{expected} One-hot masks become ids by `masks.argmax(axis=-1)`. "
            f"Received: masks of shape {shape}"
        )


def _check_one_hot(masks: Any, shape: tuple, expected: str) -> None:
    """Check that masks with one channel per class are one-hot or probabilities."""
    array = as_numpy(masks)
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{expected} One-hot masks hold numbers from 0 to 1. Received: masks of shape {shape} "
            f"with numbers from {array.min()} to {array.max()}"
        )
    largest = array.sum(axis=-1, dtype="float32").max(initial=0)
    if largest > 1.01:  # The sum of rounded probabilities may be slightly larger than 1.
        raise ValueError(
            f"{expected} The classes of a pixel of one-hot masks add up to 1. Received: masks of "
            f"shape {shape} where they add up to {largest:g}"
        )


def _find_ids(masks: np.ndarray) -> list:
    """Return the different numbers in masks, sorted."""
    if masks.dtype == np.uint8:  # This is 20 times as fast as `np.unique`, which sorts.
        return np.flatnonzero(np.bincount(masks.ravel(), minlength=256)).tolist()
    return np.unique(masks).tolist()


def check_class_weight(class_weight: Any, num_classes: int) -> tuple[float, ...] | None:
    """Check `class_weight` and return the weight of each class.

    Args:
        class_weight: dict. {class id: weight}, or `None`. Classes that aren't in it have the
            weight 1.
        num_classes: int. Number of classes.

    Returns:
        tuple. The weight of each class, or `None` if `class_weight` is `None`.

    Raises:
        ValueError: If `class_weight` isn't a dict of class ids and finite weights of 0 or more.

    Example:
    >>> check_class_weight({0: 0.5}, num_classes=3)
    (0.5, 1.0, 1.0)
    """
    if class_weight is None:
        return None
    good = isinstance(class_weight, Mapping)
    good = good and all(key in range(num_classes) for key in class_weight)
    good = good and all(isinstance(w, Real) and 0 <= w < np.inf for w in class_weight.values())
    if not good:
        raise ValueError(
            f"`class_weight` must be a dict of class ids from 0 to {num_classes - 1} and weights "
            f"from 0. For weights of single pixels pass `sample_weight`. "
            f"Received: class_weight={class_weight!r}"
        )
    return tuple(float(class_weight.get(number, 1.0)) for number in range(num_classes))


# --- Losses -----------------------------------------------------------------------------------

# Keras's losses that expect probabilities and have no argument `from_logits`.
ON_PROBABILITIES = ("dice", "tversky", "kldivergence")
# Keras's losses that return one number for all pixels together, so that pixels can't have weights.
OVER_ALL_PIXELS = ("dice", "tversky")


class LossKind:
    """Describes which targets and predictions a loss expects from a segmenter.

    Args:
        loss: keras.losses.Loss or callable. One of Keras's losses, a loss derived from one, or any
            callable of (masks, logits). The latter receives the masks as the user passed them.
        ignore_class: int. The segmenter's id of pixels without a class.

    Attributes:
        name: str. Keras's name of the loss, in lower case and without underscores.
        is_custom: bool. Whether the loss is neither Keras's nor derived from one of Keras's.
        one_hot: bool. Whether it expects one-hot targets.
        on_probabilities: bool. Whether it expects probabilities instead of logits.
        over_all_pixels: bool. Whether it returns one number for all pixels together.
        ignores: bool. Whether it ignores the pixels without a class itself.

    Raises:
        ValueError: If the loss has `from_logits=False`, or ignores another class than the
            segmenter.

    Example:
    >>> kind = LossKind(keras.losses.Dice(), ignore_class=255)
    >>> kind.one_hot, kind.on_probabilities, kind.ignores
    (True, True, False)
    """

    def __init__(self, loss: Any, ignore_class: int) -> None:
        function = loss.func if isinstance(loss, functools.partial) else loss
        found = _keras_name(function)
        self.name = (found or getattr(function, "__name__", type(function).__name__)).lower()
        self.name = self.name.replace("_", "")
        self.is_custom = found is None
        self.one_hot = found is not None and not self.name.startswith(("sparse", "circle"))
        self.on_probabilities = found is not None and self.name in ON_PROBABILITIES
        self.over_all_pixels = found is not None and self.name in OVER_ALL_PIXELS
        if found is not None and _option(loss, "from_logits") is False:
            raise ValueError(
                "A Segmenter returns logits: pass a loss with `from_logits=True`, such as "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255). "
                f"Received: loss={loss!r}"
            )
        ignored = None if found is None else _option(loss, "ignore_class")
        if ignored not in (None, ignore_class):
            raise ValueError(
                f"The `ignore_class` of the loss must be the Segmenter's own, {ignore_class}. "
                f"Received: ignore_class={ignored!r} in {loss!r}"
            )
        self.ignores = ignored is not None

    def check_weights(self, weights: Any) -> None:
        """Check that there are no weights if the loss is one number for all pixels.

        Args:
            weights: Tensor, tuple or `None`. Weights of pixels or classes.

        Raises:
            ValueError: If there are weights, and the loss can't use them.
        """
        if self.over_all_pixels and weights is not None:
            raise ValueError(
                f"The loss {self.name!r} is one number for all pixels and takes neither "
                "`sample_weight` nor `class_weight`."
            )


def _keras_name(loss: Any) -> str | None:
    """Return the name of the Keras loss that a loss is or derives from, or `None`."""
    if not isinstance(loss, keras.losses.Loss):
        is_of_keras = (getattr(loss, "__module__", None) or "").partition(".")[0] == "keras"
        return loss.__name__ if is_of_keras and hasattr(loss, "__name__") else None
    for cls in type(loss).__mro__:
        if cls.__name__ in ("Loss", "LossFunctionWrapper"):
            break
        if cls.__module__.partition(".")[0] == "keras":
            return cls.__name__
    return None


def _option(loss: Any, name: str) -> Any:
    """Return the value of an option of a loss, or `None` if the loss doesn't have the option."""
    if isinstance(loss, functools.partial):
        return loss.keywords.get(name, _option(loss.func, name))
    if isinstance(loss, keras.losses.Loss):
        return loss.get_config().get(name)
    parameter = inspect.signature(loss).parameters.get(name)
    return None if parameter is None else parameter.default


# --- In a step --------------------------------------------------------------------------------


def is_one_hot(masks: Any, num_classes: int) -> bool:
    """Say whether masks are one-hot, judging by their shape.

    Args:
        masks: Tensor of shape (batch, height, width) or (batch, height, width, any).
        num_classes: int. Number of classes.

    Returns:
        bool. Whether the last one of four axes has `num_classes` entries.

    Example:
    >>> is_one_hot(np.zeros((1, 8, 8, 3)), num_classes=3)
    True
    """
    return has_rank(masks) and len(masks.shape) == 4 and masks.shape[3] == num_classes


def mask_ids(masks: Any, images: Any, num_classes: int, ignore_class: int, one_hot: bool) -> Any:
    """Convert masks to ids that are either a class or `ignore_class`.

    Args:
        masks: Tensor of shape (batch, height, width) or (batch, height, width, 1), or one-hot
            (batch, height, width, num_classes).
        images: Tensor of shape (batch, height, width, any), of which only the size is used.
        num_classes: int. Number of classes.
        ignore_class: int. Id of pixels without a class.
        one_hot: bool. Whether the loss accepts one-hot masks.

    Returns:
        Tensor of shape (batch, height, width), int32.

    Raises:
        ValueError: If `masks` is `None`, or its shape doesn't fit the images.

    Example:
    >>> masks, images = ops.convert_to_tensor([[[0, 7]]]), ops.zeros((1, 1, 2, 3))
    >>> ids = mask_ids(masks, images, num_classes=3, ignore_class=255, one_hot=False)
    >>> ops.convert_to_numpy(ids).tolist()
    [[[0, 255]]]
    """
    if masks is None:
        raise ValueError("A Segmenter needs masks in addition to the images. Received: y=None")
    if not has_rank(masks):
        masks = ops.reshape(masks, ops.shape(images)[:3])
    size = tuple(images.shape[1:3])
    check_mask_shape(tuple(masks.shape), size, num_classes, ignore_class, one_hot)
    if is_one_hot(masks, num_classes):
        known = ops.any(masks > 0, axis=-1)
        return ops.where(known, ops.cast(ops.argmax(masks, axis=-1), "int32"), ignore_class)
    if len(masks.shape) == 4:
        masks = ops.squeeze(masks, axis=3)
    masks = ops.cast(masks, "int32")
    known = ops.logical_and(masks >= 0, masks < num_classes)
    return ops.where(known, masks, ignore_class)


def check_weights(shape: tuple, image_size: tuple[int | None, int | None]) -> None:
    """Check that `sample_weight` has one weight per image or one per pixel.

    Args:
        shape: tuple. Shape of the weights: (batch,) or (batch, 1) for images, (batch, height,
            width) or (batch, height, width, 1) for pixels.
        image_size: tuple. (height, width) of the images in pixels, `None` where it is unknown.

    Raises:
        ValueError: If the weights have another shape.

    Example:
    >>> check_weights((8, 64, 48), image_size=(64, 48))
    """
    fits = len(shape) > 0 and all(side == 1 for side in shape[1:])
    if not fits and len(shape) in (3, 4) and shape[3:] in ((), (1,)):
        pairs = zip(shape[1:3], image_size, strict=True)
        fits = all(None in pair or pair[0] == pair[1] for pair in pairs)
    if not fits:
        raise ValueError(
            "`sample_weight` must have the shape (batch,), one weight for each image, or (batch, "
            f"height, width), one for each pixel. Received: sample_weight of shape {shape}"
        )


def pixel_weights(sample_weight: Any, ids: Any) -> Any:
    """Expand the weights of images or pixels to the shape of the masks.

    Args:
        sample_weight: Tensor. The weights, with a shape that `check_weights` accepts; or `None`.
        ids: Tensor of shape (batch, height, width). The masks.

    Returns:
        Tensor of shape (batch, height, width), or `None` if there are no weights.

    Raises:
        ValueError: If the weights have another shape.

    Example:
    >>> weights = pixel_weights(ops.convert_to_tensor([2.0]), ops.zeros((1, 1, 3), "int32"))
    >>> ops.convert_to_numpy(weights).tolist()
    [[[2.0, 2.0, 2.0]]]
    """
    if sample_weight is None:
        return None
    weights = ops.cast(sample_weight, keras.config.floatx())
    if has_rank(weights):
        check_weights(tuple(weights.shape), tuple(ids.shape[1:]))
    batch, height, width = ops.shape(ids)
    # The weights must not be a broadcast view, because Keras multiplies them in place.
    every_pixel = ops.ones((batch, height * width), dtype=weights.dtype)
    weights = ops.reshape(weights, (batch, -1)) * every_pixel
    return ops.reshape(weights, (batch, height, width))


def weigh_classes(ids: Any, table: tuple[float, ...], weights: Any) -> Any:
    """Compute the weights of pixels from the weights of their classes.

    Args:
        ids: Tensor of shape (batch, height, width). The masks. Pixels without a class have the
            weight 1.
        table: tuple. The weight of each class.
        weights: Tensor of shape (batch, height, width). Weights by which the result is multiplied,
            or `None`.

    Returns:
        Tensor of shape (batch, height, width).

    Example:
    >>> weights = weigh_classes(ops.convert_to_tensor([[[0, 1, 255]]]), (0.5, 2.0), None)
    >>> ops.convert_to_numpy(weights).tolist()
    [[[0.5, 2.0, 1.0]]]
    """
    ignored, factors = len(table), ops.convert_to_tensor([*table, 1.0], dtype="float32")
    known = ops.logical_and(ids >= 0, ids < ignored)
    by_class = ops.take(factors, ops.where(known, ids, ignored), axis=0)
    return by_class if weights is None else by_class * ops.cast(weights, by_class.dtype)


def prepare_for_loss(
    kind: LossKind, masks: Any, ids: Any, logits: Any, weights: Any, ignore_class: int
) -> tuple[Any, Any, Any]:
    """Return targets, predictions and weights as a loss expects them.

    Args:
        kind: LossKind. Description of the loss.
        masks: Tensor. The masks as the user passed them.
        ids: Tensor of shape (batch, height, width). The masks as ids, from `mask_ids`.
        logits: Tensor of shape (batch, height, width, num_classes).
        weights: Tensor of shape (batch, height, width), from `pixel_weights`, or `None`.
        ignore_class: int. Id of pixels without a class.

    Returns:
        tuple. (targets, predictions, weights). The weights may be `None`.

    Raises:
        ValueError: If there are weights, and the loss can't use them.

    Example:
    >>> kind = LossKind(keras.losses.Dice(), ignore_class=255)
    >>> ids = ops.zeros((1, 4, 4), "int32")
    >>> targets, _, _ = prepare_for_loss(kind, ids, ids, ops.zeros((1, 4, 4, 3)), None, 255)
    >>> tuple(targets.shape)
    (1, 4, 4, 3)
    """
    num_classes = logits.shape[-1]
    given_one_hot = is_one_hot(masks, num_classes)
    if kind.is_custom or kind.ignores:
        return (masks if kind.is_custom and given_one_hot else ids), logits, weights
    known = ids != ignore_class
    targets = ops.where(known, ids, 0)
    if kind.one_hot:
        targets = masks if given_one_hot else ops.one_hot(targets, num_classes)
        targets = ops.cast(targets, logits.dtype)
    known = ops.cast(known, logits.dtype)
    if kind.one_hot and not given_one_hot:
        targets = targets * ops.expand_dims(known, -1)
    predictions = ops.softmax(logits, axis=-1) if kind.on_probabilities else logits
    kind.check_weights(weights)
    if kind.over_all_pixels:
        known = ops.expand_dims(known, -1)
        return targets * known, predictions * known, None
    # Keras averages over all pixels. The factor turns that into the mean over pixels with a class.
    share = ops.maximum(ops.mean(known), keras.config.epsilon())
    known = known / share
    if weights is not None:
        known = known * ops.cast(weights, known.dtype)
    return targets, predictions, known
