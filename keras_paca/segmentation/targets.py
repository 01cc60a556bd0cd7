"""Masks and weights as a segmenter takes them: checked, and brought to one form.

Read from top to bottom: what is checked on the host before the training, what a loss expects, the
targets and weights of a step.
"""

import inspect
from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.backbones.data import as_numpy
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
    """Raise where masks don't fit the images or the classes, and warn where they hardly can.

    Args:
        masks: Array (batch, height, width) or (batch, height, width, 1) of class ids, or one-hot
            (batch, height, width, num_classes).
        image_size: (height, width) of the images, `None` where unknown.
        num_classes: int. Number of classes.
        ignore_class: int. Id of the pixels that have no class.
        one_hot: bool. Whether the loss can take one-hot masks.
        is_first: bool. Whether these are the first batch of more. Ids without a class are ignored
            then, with a warning.

    Raises:
        ValueError: If the shape is another one, or an id that has no class is among the masks.
    """
    shape = tuple(np.shape(masks)) if not hasattr(masks, "shape") else tuple(masks.shape)
    wanted = ", ".join("height" if n is None else str(n) for n in image_size[:1])
    wanted += ", " + ", ".join("width" if n is None else str(n) for n in image_size[1:])
    expected = (
        f"Masks must have the shape (batch, {wanted}) of the images and hold integer ids from 0 to "
        f"{num_classes - 1}, or {ignore_class} where there is no class."
    )
    fits = len(shape) in (3, 4) and all(
        side is None or side == found for side, found in zip(image_size, shape[1:3], strict=False)
    )
    if not fits:
        raise ValueError(f"{expected} Received: masks of shape {shape}")
    if len(shape) == 4 and shape[3] != 1:
        _check_one_hot(masks, shape, num_classes, one_hot, expected)
        return
    array = as_numpy(masks)
    if array.dtype.kind not in "buif":
        raise ValueError(f"{expected} Received: masks of the dtype {array.dtype}")
    found = _find_ids(array)
    if all(float(number).is_integer() for number in found):
        found = [int(number) for number in found]
    else:
        raise ValueError(f"{expected} Received: masks with the values {found[:5]}")
    wrong = [i for i in found if not 0 <= i < num_classes and i != ignore_class]
    known = [i for i in found if i not in wrong and i != ignore_class]
    if wrong and (not is_first or (wrong == [num_classes] and 0 not in known)):
        hint = ""
        if wrong == [num_classes] and 0 not in known:
            hint = " They seem to count from 1: subtract 1."
        raise ValueError(
            f"{expected} Received: masks of shape {shape} with the ids {wrong[:5]}.{hint}"
        )
    if wrong:
        warn_user(f"Pixels with the ids {wrong[:5]}, which have no class, are ignored.")
    if found == [0, ignore_class] and ignore_class == 255 and num_classes > 1:
        warn_user(
            "The masks hold 0 and 255 alone, and pixels of 255 are ignored. If these are black and "
            "white pictures, divide them by 255, so that white is class 1."
        )


def _check_one_hot(
    masks: Any, shape: tuple, num_classes: int, one_hot: bool, expected: str
) -> None:
    """Raise where masks of several channels aren't one-hot, or the loss takes none."""
    if shape[3] != num_classes:
        raise ValueError(
            f"{expected} Colours must be replaced by ids first. Received: masks of shape {shape}"
        )
    if not one_hot:
        raise ValueError(
            f"{expected} One-hot masks become ids by `masks.argmax(axis=-1)`. "
            f"Received: masks of shape {shape}"
        )
    array = as_numpy(masks)
    if array.size and not (array.min() >= 0 and array.max() <= 1):
        raise ValueError(
            f"{expected} One-hot masks hold numbers from 0 to 1. Received: masks of shape {shape} "
            f"with numbers from {array.min()} to {array.max()}"
        )


def _find_ids(masks: np.ndarray) -> list:
    """Return the different numbers in masks, in order."""
    if masks.dtype == np.uint8:  # 20 times as fast as sorting
        return np.flatnonzero(np.bincount(masks.ravel(), minlength=256)).tolist()
    return np.unique(masks).tolist()


def check_class_weight(class_weight: Any, num_classes: int) -> tuple[float, ...] | None:
    """Return the weight of each class, checked.

    Args:
        class_weight: dict. {class id: weight}; other classes have the weight 1. Or `None`.
        num_classes: int. Number of classes.

    Raises:
        ValueError: If it is no such dict.
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

# Keras's losses that compare probabilities and have no argument `from_logits`.
OF_PROBABILITIES = ("dice", "tversky", "kldivergence")
WHOLE = ("dice", "tversky")  # a number for all pixels together, which have no weights of their own


class LossKind:
    """What a loss expects of a segmenter, which returns logits.

    Args:
        loss: Keras's loss, or any callable of (masks, logits). Those that aren't Keras's get the
            masks as they are.

    Raises:
        ValueError: If it is a loss of probabilities that could take logits.
    """

    def __init__(self, loss: Any) -> None:
        name = getattr(loss, "__name__", type(loss).__name__).lower().replace("_", "")
        module = getattr(loss, "__module__", None) or type(loss).__module__
        is_of_keras = module.partition(".")[0] == "keras"
        self.name = name
        self.takes_any = not is_of_keras
        self.one_hot = is_of_keras and not name.startswith("sparse")
        self.of_probabilities = is_of_keras and name in OF_PROBABILITIES
        self.whole = is_of_keras and name in WHOLE
        if is_of_keras and _from_logits(loss) is False:
            raise ValueError(
                "A Segmenter returns logits: pass a loss with `from_logits=True`, such as "
                "keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=255). "
                f"Received: loss={loss!r}"
            )


def _from_logits(loss: Any) -> bool | None:
    """Return whether a loss takes logits, `None` where it doesn't say."""
    if hasattr(loss, "get_config"):
        return loss.get_config().get("from_logits")
    parameter = inspect.signature(loss).parameters.get("from_logits")
    return None if parameter is None else parameter.default


# --- In a step --------------------------------------------------------------------------------


def is_one_hot(masks: Any, num_classes: int) -> bool:
    """Return whether masks are one-hot by their shape."""
    return len(masks.shape) == 4 and masks.shape[3] == num_classes != 1


def mask_ids(masks: Any, num_classes: int, ignore_class: int) -> Any:
    """Return masks as ids (batch, height, width), each a class or `ignore_class`.

    Args:
        masks: Tensor (batch, height, width), (batch, height, width, 1), or one-hot (batch, height,
            width, num_classes).
        num_classes: int. Number of classes.
        ignore_class: int. Id of pixels without a class.
    """
    if is_one_hot(masks, num_classes):
        known = ops.any(masks > 0, axis=-1)
        return ops.where(known, ops.cast(ops.argmax(masks, axis=-1), "int32"), ignore_class)
    if len(masks.shape) == 4 and masks.shape[3] == 1:
        masks = ops.squeeze(masks, axis=3)
    if len(masks.shape) != 3:
        raise ValueError(
            "Masks must hold integer ids and have the shape (batch, height, width). "
            f"Received: masks of shape {tuple(masks.shape)}"
        )
    masks = ops.cast(masks, "int32")
    known = ops.logical_and(masks >= 0, masks < num_classes)
    return ops.where(known, masks, ignore_class)


def check_weights(shape: tuple, image_size: tuple[int | None, int | None]) -> bool:
    """Return whether weights of a shape are those of pixels; else they are those of images.

    Args:
        shape: tuple. (batch,) or (batch, 1), one weight for each image; or (batch, height, width),
            perhaps with a last axis of 1, one for each pixel.
        image_size: (height, width) of the images, `None` where unknown.

    Raises:
        ValueError: If the shape is another one.
    """
    sides = shape[1:3]
    if all(side == 1 for side in shape[1:]):
        return False
    fits = len(sides) == 2 and shape[3:] in ((), (1,))
    fits = fits and all(
        None in pair or pair[0] == pair[1] for pair in zip(sides, image_size, strict=True)
    )
    if not fits:
        raise ValueError(
            "`sample_weight` must have the shape (batch,), one weight for each image, or (batch, "
            f"height, width), one for each pixel. Received: sample_weight of shape {shape}"
        )
    return True


def pixel_weights(sample_weight: Any, ids: Any) -> Any:
    """Return weights of images or of pixels with the three axes of masks.

    Args:
        sample_weight: Tensor. The weights, see `check_weights`; or `None`.
        ids: Tensor (batch, height, width). The masks.

    Returns:
        Tensor (batch, height, width), or `None`.
    """
    if sample_weight is None:
        return None
    weights = ops.convert_to_tensor(sample_weight)
    if not check_weights(tuple(weights.shape), tuple(ids.shape[1:])):
        # a whole array, because Keras multiplies weights in place
        return ops.reshape(weights, (-1, 1, 1)) * ops.ones_like(ids, dtype=weights.dtype)
    return ops.squeeze(weights, axis=3) if len(weights.shape) == 4 else weights


def weigh_classes(ids: Any, table: tuple[float, ...], weights: Any) -> Any:
    """Return the weights of pixels by their classes, times the given ones."""
    ignored, factors = len(table), ops.convert_to_tensor([*table, 1.0], dtype="float32")
    known = ops.logical_and(ids >= 0, ids < ignored)
    by_class = ops.take(factors, ops.where(known, ids, ignored), axis=0)
    return by_class if weights is None else by_class * ops.cast(weights, by_class.dtype)


def prepare_for_loss(
    kind: LossKind, masks: Any, ids: Any, logits: Any, weights: Any, ignore_class: int
) -> tuple[Any, Any, Any]:
    """Return targets, predictions and weights as a loss expects them.

    Args:
        kind: LossKind. Of the loss.
        masks: Tensor. The masks as they were given.
        ids: Tensor (batch, height, width). The masks as ids.
        logits: Tensor (batch, height, width, num_classes).
        weights: Tensor. What `pixel_weights` returned.
        ignore_class: int. Id of pixels without a class.
    """
    num_classes = logits.shape[-1]
    given_one_hot = is_one_hot(masks, num_classes)
    if not kind.one_hot:
        return (masks if kind.takes_any and given_one_hot else ids), logits, weights
    known = ids != ignore_class
    targets = masks if given_one_hot else ops.one_hot(ops.where(known, ids, 0), num_classes)
    targets = ops.cast(targets, logits.dtype)
    known = ops.cast(known, logits.dtype)
    if not given_one_hot:
        targets = targets * ops.expand_dims(known, -1)
    predictions = ops.softmax(logits, axis=-1) if kind.of_probabilities else logits
    if kind.whole:
        if weights is not None:
            raise ValueError(
                f"The loss {kind.name!r} is one number for all pixels and takes neither "
                "`sample_weight` nor `class_weight`."
            )
        known = ops.expand_dims(known, -1)
        return targets * known, predictions * known, None
    # so that the mean over all pixels is that over the pixels with a class
    share = ops.maximum(ops.mean(known), keras.config.epsilon())
    known = known / share
    if weights is not None:
        known = known * ops.cast(weights, known.dtype)
    return targets, predictions, known
