"""What segmenters and detectors need of a backbone, and the feature pyramid on its levels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras

LEVELS = ("P2", "P3", "P4", "P5")  # strides 4, 8, 16, 32
PATCH_LEVELS = {4: "P2", 8: "P3", 16: "P4", 32: "P5"}  # by the side of the patches


@keras.saving.register_keras_serializable(package="keras_paca")
class FunctionalPyramid(keras.Model):
    """A plain functional model whose `pyramid_outputs` a saved file keeps.

    `keras.Model` saves only its graph and no attributes, such as `pyramid_outputs`.

    Args:
        inputs: KerasTensor. Images (batch, height, width, channels).
        outputs: dict. {"P2": KerasTensor (batch, height / 4, width / 4, channels), ... "P5"}, or
            some of these levels.
        name: str. Name of the model.

    Example:
    >>> x = keras.Input((32, 32, 3))
    >>> levels = {f"P{n}": keras.layers.AveragePooling2D(2**n)(x) for n in (2, 3, 4, 5)}
    >>> FunctionalPyramid(x, levels).pyramid_outputs["P5"].shape
    (None, 1, 1, 3)
    """

    @property
    def pyramid_outputs(self) -> dict[str, keras.KerasTensor]:
        """The maps, the finest first."""
        return {level: self.output[level] for level in sorted(self.output)}


def as_pyramid(backbone: Any, needed: Sequence[str] = LEVELS) -> keras.Model:
    """Return a model with the layers of a backbone whose levels are kept in a saved file.

    Args:
        backbone: keras.Model. Functional model with `pyramid_outputs`.
        needed: Sequence of str. The levels that it must have. With none, a plain model must have at
            least one of any name.

    Returns:
        keras.Model. The backbone itself if its class has `pyramid_outputs`, otherwise a
        `FunctionalPyramid` with the same layers.

    Raises:
        ValueError: If the backbone has no such levels, several inputs, or levels that aren't
            computed from its input.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> as_pyramid(backbone) is backbone
    True
    """
    keeps_levels = hasattr(type(backbone), "pyramid_outputs")
    levels: dict[str, Any] = {}
    if needed or not keeps_levels:
        found = pyramid_levels(backbone, needed)
        levels = dict(zip(needed or backbone.pyramid_outputs, found, strict=True))
    inputs = getattr(backbone, "inputs", None)
    if not inputs or len(inputs) != 1 or not isinstance(inputs[0], keras.KerasTensor):
        raise ValueError(
            "`backbone` must be a functional model of one input, the images. "
            f"Received: {backbone!r} with inputs={inputs}"
        )
    if keeps_levels:
        return backbone
    sources = [keras.utils.get_source_inputs(level) for level in levels.values()]
    if any(len(source) != 1 or source[0] is not inputs[0] for source in sources):
        raise ValueError(
            "The maps in `pyramid_outputs` must be computed from the backbone's own input. To put "
            "layers before a backbone, call it as `levels = keras.Model(backbone.input, "
            "backbone.pyramid_outputs)(x)`, make `model = keras.Model(inputs, levels)` and set "
            f"`model.pyramid_outputs = levels`. Received: {backbone!r}"
        )
    pyramid = FunctionalPyramid(inputs=inputs[0], outputs=levels, name=backbone.name)
    pyramid.dtype_policy = backbone.dtype_policy
    return pyramid


def pyramid_levels(backbone: Any, needed: Sequence[str] = LEVELS) -> list[keras.KerasTensor]:
    """Return levels of a backbone, by default P2 to P5, the finest first.

    Args:
        backbone: keras.Model. Functional model with `pyramid_outputs`.
        needed: Sequence of str. The levels that it must have. With none, the backbone must have at
            least one of any name, and all are returned.

    Returns:
        list of KerasTensor.

    Raises:
        ValueError: If the backbone has no such levels.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 16, 16), 1, 1, include_top=False)
    >>> [level.shape[-1] for level in pyramid_levels(backbone)]
    [8, 8, 16, 16]
    """
    levels = getattr(backbone, "pyramid_outputs", None)
    given = levels if isinstance(levels, Mapping) else {}
    kinds = {name: type(level).__name__ for name, level in given.items()}
    held = f"pyramid_outputs of {kinds if given else type(levels).__name__}"
    wanted = tuple(needed or given)
    missing = [level for level in wanted if not isinstance(given.get(level), keras.KerasTensor)]
    if not wanted:
        raise ValueError(
            "`backbone` must have `pyramid_outputs` with at least one level, a KerasTensor. "
            f"Received: {backbone!r} with {held}"
        )
    if missing:
        raise ValueError(
            f"`backbone` must have `pyramid_outputs` with the levels {wanted}, each a KerasTensor, "
            f"as a PaCaViT has. Missing: {', '.join(missing)}. Received: {backbone!r} with {held}"
        )
    return [given[level] for level in wanted]


def merge_top_down(
    levels: Sequence[Any],
    laterals: Sequence[Callable],
    smooths: Sequence[Callable],
    resize: Callable[[Any, Any], Any],
) -> list[Any]:
    """Compute a feature pyramid: F_i = smooth_i(M_i), M_i = lateral_i(P_i) + resize(M_{i+1}).

    Args:
        levels: Sequence of Tensor. Maps (b, h, w, any), the finest first.
        laterals: Sequence of Callable. A projection to the channels of the pyramid for each level.
        smooths: Sequence of Callable. A convolution for each level.
        resize: Callable. It takes a map and another one, and resizes the first to the second.

    Returns:
        list of Tensor. The maps of the pyramid, the finest first.

    Example:
    >>> from keras_paca.ops import resize_nearest
    >>> levels = [keras.ops.ones((1, side, side, 2)) for side in (4, 2, 1)]
    >>> same = [lambda x: x] * 3
    >>> [float(x[0, 0, 0, 0]) for x in merge_top_down(levels, same, same, resize_nearest)]
    [3.0, 2.0, 1.0]
    """
    merged: list[Any] = []
    for lateral, level in reversed(list(zip(laterals, levels, strict=True))):
        x = lateral(level)
        merged.insert(0, x + resize(merged[0], x) if merged else x)
    return [smooth(x) for smooth, x in zip(smooths, merged, strict=True)]
