"""Semantic segmentation with a pyramid backbone and a head: class logits for each pixel."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import as_numpy, check_boolean, check_factor, check_positive
from keras_paca.backbones.data import only, only_image
from keras_paca.backbones.model import BaseModel, GraphPart
from keras_paca.backbones.pyramid import as_pyramid
from keras_paca.layers.base import LayerMaker
from keras_paca.ops import resize_like
from keras_paca.segmentation.heads import (
    FCNHead,
    MaskTransformerHead,
    PaCaSegmentationHead,
    SegmentationHead,
    SemanticFPNHead,
    UPerHead,
)
from keras_paca.segmentation.metrics import MeanIoU
from keras_paca.segmentation.targets import (
    LossKind,
    check_class_weight,
    check_masks,
    check_weights,
    is_one_hot,
    mask_ids,
    pixel_weights,
    prepare_for_loss,
    weigh_classes,
)

HEADS = {
    "paca": PaCaSegmentationHead,
    "upernet": UPerHead,
    "fpn": SemanticFPNHead,
    "mask_transformer": MaskTransformerHead,
}


@keras.saving.register_keras_serializable(package="keras_paca")
class ResizeToImage(keras.layers.Layer):
    """Resize logits bilinearly, with half-pixel centres, to the size of the image.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: logits (batch, h, w, classes) and images (batch, height, width, any).
    Output shape: (batch, height, width, classes).

    Example:
    >>> logits, images = np.zeros((1, 16, 12, 5)), np.zeros((1, 64, 48, 3))
    >>> tuple(ResizeToImage()(logits, images).shape)
    (1, 64, 48, 5)
    """

    def build(self, logits_shape: tuple, images_shape: tuple) -> None:
        """Do nothing, as the layer has no weights.

        Args:
            logits_shape: tuple. (batch, h, w, classes).
            images_shape: tuple. (batch, height, width, any).
        """

    def call(self, logits: Any, images: Any) -> Any:
        """Resize the logits.

        Args:
            logits: Tensor of shape (batch, h, w, classes).
            images: Tensor of shape (batch, height, width, any), of which only the size is used.

        Returns:
            Tensor of shape (batch, height, width, classes).
        """
        return resize_like(logits, images)

    def compute_output_shape(self, logits_shape: tuple, images_shape: tuple) -> tuple:
        """Return the shape of the resized logits.

        Args:
            logits_shape: tuple. (batch, h, w, classes).
            images_shape: tuple. (batch, height, width, any).
        """
        return (*images_shape[:3], logits_shape[3])


@keras.saving.register_keras_serializable(package="keras_paca")
class Segmenter(BaseModel):
    """Semantic segmentation with a head on any pyramid backbone.

    The logits of the head are resized bilinearly to the size of the image. `fit` takes images and
    integer masks (batch, height, width). Its loss is

        cross_entropy(logits) + auxiliary_weight * cross_entropy(auxiliary_logits),

    where both terms are means over the pixels that aren't ignored, at the size of the image. The
    auxiliary logits are the cluster logits of the PaCa head or the logits of an auxiliary head.
    `sample_weight` weights images, (batch,), or pixels, (batch, height, width), and `class_weight`
    weights pixels by their class.

    Args:
        backbone: keras.Model. Functional model whose `pyramid_outputs` is a dict of KerasTensors,
            the levels that the head needs; for example a `PaCaViT` without top or a KerasHub
            backbone. The segmenter shares its layers and doesn't copy them. A plain `keras.Model`
            is wrapped in a class that still has `pyramid_outputs` after saving and loading.
        head: str or SegmentationHead. "paca", "upernet" (with an auxiliary `FCNHead` on P4) or
            "fpn", which need the levels "P2" to "P5"; "mask_transformer", which needs one level of
            any name, or the `grid_maps` of a `ViTTM`; or a head with `num_classes` classes.
        num_classes: int. Number of classes, 2 or more.
        auxiliary_head: SegmentationHead. Head of the auxiliary logits. A `PaCaSegmentationHead`
            doesn't accept one, because its cluster logits are the auxiliary logits.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Negative ids and ids of
            `num_classes` or more are ignored too if the masks come from a data set, with a warning
            if its first batch contains any. In arrays they raise an error, and so do ids that seem
            to count from 1.
        class_names: Sequence of str. Name of each class. It is saved with the model.
        evaluation_transform: dict. How images are resized for the model, such as
            `{"short_side": 512, "long_side": 2048}`: as large as possible with a shorter side of at
            most 512 pixels and a longer side of at most 2048. With "multiple_of", the sides are
            resized up to multiples of it. With "window_size" and "stride", logits are means over
            windows; see `predict_in_windows`. It is saved with the model.
        frozen: Sequence of str. Paths of layers that aren't trained, such as "decode_head/query".
            Setting `layer.trainable` later changes which layers are frozen, and a saved model keeps
            that state.
        thawed: Sequence of str. Paths of layers inside frozen layers that are trained nevertheless.
        name: str. Name of the model.
        dtype: str or keras.DTypePolicy. Dtype or policy of the heads, by default the backbone's.
        trainable: bool. Whether the model is trained at all.

    Input shape: that of the backbone, (batch, height, width, channels).
    Output shape: logits (batch, height, width, num_classes). With `training=True` the output is a
    dict of "logits" and, if there are auxiliary logits, "auxiliary" (batch, h, w, num_classes).

    Attributes:
        backbone: keras.Model. The backbone.
        decode_head: SegmentationHead. The head.
        auxiliary_head: SegmentationHead or `None`. The auxiliary head.
        assignments: dict. The backbone's cluster assignments, by level.

    Raises:
        ValueError: If an argument is out of its range, or if the backbone, the heads and
            `num_classes` don't fit together.

    Example:
    >>> import keras_paca
    >>> import numpy as np
    >>> from keras_paca.segmentation import Segmenter
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "fpn", num_classes=2, class_names=["ground", "cat"])
    >>> segmenter.predict(np.zeros((1, 64, 48, 3)), verbose=0).shape
    (1, 64, 48, 2)
    """

    _transform_keys = ("short_side", "long_side", "multiple_of", "window_size", "stride")

    def __init__(
        self,
        backbone: keras.Model,
        head: str | SegmentationHead = "paca",
        num_classes: int = 150,
        auxiliary_head: SegmentationHead | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int = 255,
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        check_boolean("trainable", trainable)
        num_classes = _check_class_count(num_classes)
        auxiliary_weight = check_factor("auxiliary_weight", auxiliary_weight)
        kind = head_class(head)
        backbone = _with_levels(backbone, kind.needed_levels)
        make = LayerMaker(keras.dtype_policies.get(dtype or backbone.dtype_policy))
        policy = make.policy
        if head == "upernet" and auxiliary_head is None:
            auxiliary_head = make(FCNHead, "auxiliary_head", num_classes)
        decode_head = head
        if isinstance(head, str):
            decode_head = make(kind, "decode_head", num_classes)
        for part in (decode_head, auxiliary_head):
            if part is not None and part.num_classes != num_classes:
                raise ValueError(
                    f"`num_classes` must be that of the head {part.name!r}. "
                    f"Received: num_classes={num_classes} and {part.num_classes}"
                )
        is_integer = isinstance(ignore_class, Integral) and not isinstance(ignore_class, bool)
        if not is_integer or 0 <= ignore_class < num_classes:
            raise ValueError(
                "`ignore_class` must be an integer that is none of the classes. "
                f"Received: ignore_class={ignore_class!r}, num_classes={num_classes}"
            )
        outputs = decode_head(decode_head.maps_of(backbone))
        logits, *auxiliary = outputs if isinstance(outputs, (list, tuple)) else (outputs,)
        if auxiliary_head is not None:
            if auxiliary:
                raise ValueError(
                    f"{decode_head.name!r} makes auxiliary logits by itself and takes no "
                    f"`auxiliary_head`. Received: auxiliary_head={auxiliary_head!r}"
                )
            auxiliary = [auxiliary_head(auxiliary_head.maps_of(backbone))]
        (images,) = backbone.inputs
        logits = make(ResizeToImage, "logits", dtype=policy.variable_dtype)(logits, images)
        graph = {"logits": logits, **({"auxiliary": auxiliary[0]} if auxiliary else {})}
        super().__init__(inputs=images, outputs=graph, name=name)
        self._inference = GraphPart(images, logits)  # without the auxiliary head
        self.backbone, self.decode_head = backbone, decode_head
        self.auxiliary_head = auxiliary_head
        self.num_classes, self.ignore_class = num_classes, int(ignore_class)
        self.auxiliary_weight = auxiliary_weight
        self.dtype_policy = policy
        self._loss_kind: LossKind | None = None
        self._class_weight: tuple[float, ...] | None = None
        self._set_up(num_classes, class_names, evaluation_transform, frozen, thawed, trainable)

    @property
    def assignments(self) -> dict[str, list[keras.KerasTensor]]:
        """The backbone's cluster assignments, by level; an empty dict if it has none."""
        return getattr(self.backbone, "assignments", {})

    # --- Training -----------------------------------------------------------------------------

    @property
    def trainable_variables(self) -> list[keras.Variable]:
        """The variables that training changes."""
        return self._without_idle(super().trainable_variables)

    @property
    def trainable_weights(self) -> list[keras.Variable]:
        """The weights that training changes."""
        return self._without_idle(super().trainable_weights)

    def _without_idle(self, variables: list[keras.Variable]) -> list[keras.Variable]:
        """Return variables without those of the backbone's layers that the logits don't need.

        They have no gradients, of which Keras would warn.
        """
        used = {id(layer) for layer in self.layers}
        idle = [layer for layer in self.backbone.layers if id(layer) not in used]
        without = {id(variable) for layer in idle for variable in layer.variables}
        return [each for each in variables if id(each) not in without] if without else variables

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", metrics: Any = "auto", **kwargs: Any
    ) -> None:
        """Configure the model for training.

        Args:
            optimizer: str or keras.optimizers.Optimizer. "auto" is the optimizer of the official
                code: AdamW with learning rate 6e-5 and with weight decay 0.01, except for the
                biases and the parameters of normalisation layers.
            loss: str, keras.losses.Loss or callable. "auto" is cross-entropy without the ignored
                pixels, and so is `SparseCategoricalCrossentropy(from_logits=True)`. Keras's losses
                for one-hot targets (`CategoricalFocalCrossentropy`, `Dice`, `Tversky` and others)
                also accept masks of ids and leave out the ignored pixels. `Dice` and `Tversky`
                receive the softmax of the logits. Any other callable receives the masks and the
                logits.
            metrics: list of keras.metrics.Metric. "auto" is `mean_iou`, the mean intersection over
                union without the ignored pixels.
            **kwargs: Arguments of `keras.Model.compile`.

        Raises:
            ValueError: If there are several losses, if the loss has `from_logits=False`, or if it
                ignores a class other than `ignore_class`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.AdamW(6e-5, weight_decay=0.01)
            optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=self.ignore_class
            )
        loss = only(loss)
        if isinstance(loss, Mapping | list | tuple):
            raise ValueError(
                f"A Segmenter has one output and takes one loss. Received: loss={loss!r}"
            )
        loss = keras.losses.get(loss) if isinstance(loss, str) else loss
        self._loss_kind = None if loss is None else LossKind(loss, self.ignore_class)
        if metrics == "auto":
            metrics = [
                MeanIoU(
                    self.num_classes,
                    ignore_class=self.ignore_class,
                    sparse_y_pred=False,
                    name="mean_iou",
                )
            ]
        super().compile(optimizer=optimizer, loss=loss, metrics=metrics, **kwargs)

    def train_step(self, *args: Any) -> Any:
        """Train on one batch, and apply the `class_weight` of `fit` to the pixels.

        Args:
            *args: Arguments of the backend's `keras.Model.train_step`. The last is the batch.

        Returns:
            What `keras.Model.train_step` returns.
        """
        *state, data = args
        if self._class_weight is not None:
            x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
            ids = self._ids(y, only_image(x, self.inputs[0].name))
            weights = pixel_weights(weights, ids)
            data = x, y, weigh_classes(ids, self._class_weight, weights)
        return super().train_step(*state, data)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Compute the loss of the logits and, in training, of the auxiliary logits.

        Args:
            x: Tensor. Images (batch, height, width, channels).
            y: Tensor. Masks (batch, height, width) of class ids, or one-hot (batch, height, width,
                num_classes) if the loss accepts them.
            y_pred: Tensor or dict. Output of `call`.
            sample_weight: Tensor. Weights of images or pixels, or `None`.
            training: bool. Passed on to `keras.Model.compute_loss`.

        Returns:
            The loss, a scalar tensor.
        """
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        kind = self._loss_kind
        if kind is None:  # compiled with `loss=None`
            return super().compute_loss(x, y, logits, sample_weight, training)
        ids = self._ids(y, logits)
        weights = pixel_weights(sample_weight, ids)

        def prepare(predicted: Any) -> tuple[Any, Any, Any]:
            return prepare_for_loss(kind, y, ids, predicted, weights, self.ignore_class)

        loss = super().compute_loss(x, *prepare(logits), training)
        if not isinstance(y_pred, dict) or "auxiliary" not in y_pred:
            return loss
        auxiliary = resize_like(y_pred["auxiliary"], logits)
        # `super().compute_loss` would add the regularisation a second time.
        return loss + self.auxiliary_weight * self._compile_loss(*prepare(auxiliary))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the metrics with the logits.

        Args:
            x: Tensor. Images (batch, height, width, channels).
            y: Tensor. Masks, as in `compute_loss`.
            y_pred: Tensor or dict. Output of `call`.
            sample_weight: Tensor. Weights of images or pixels, or `None`.

        Returns:
            dict. Current value of each metric, by name.
        """
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        ids = self._ids(y, logits)
        weights = pixel_weights(sample_weight, ids)
        masks = y if is_one_hot(y, self.num_classes) else ids
        return super().compute_metrics(x, masks, logits, weights)

    def _ids(self, masks: Any, images: Any) -> Any:
        """Return masks (b, h, w) in which every id is a class or `ignore_class`.

        Args:
            masks: Tensor. Masks as the user passed them.
            images: Tensor. Images or logits (b, h, w, any) of the same size.
        """
        return mask_ids(
            masks,
            images,
            self.num_classes,
            self.ignore_class,
            self._accepts_one_hot(),
        )

    def _accepts_one_hot(self) -> bool:
        kind = self._loss_kind
        return kind is not None and (kind.one_hot or kind.is_custom)

    def _prepare_fit(self, given: dict) -> dict:
        """Remove `class_weight` from the arguments, as Keras would apply it to whole images."""
        given = dict(given)
        table = check_class_weight(given.pop("class_weight", None), self.num_classes)
        if table is not None and self._loss_kind is not None:
            self._loss_kind.check_weights(table)
        if table != self._class_weight:
            self._class_weight, self.train_function = table, None  # The step depends on the table.
        return given

    def _tells_enough(self, y: Any) -> bool:
        ids = as_numpy(y)
        # One id alone may be the background of images without objects.
        return bool((ids != ids.flat[0]).any()) if ids.size else False

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        if y is None:
            raise ValueError("A Segmenter needs masks in addition to the images. Received: y=None")
        if isinstance(y, Mapping | list | tuple):
            raise ValueError(
                "Masks must be one array (batch, height, width) of integer ids. "
                f"Received: {type(y).__name__} of {list(y) if isinstance(y, Mapping) else len(y)}"
            )
        images = only_image(x, self.inputs[0].name)
        check_masks(
            y,
            tuple(np.shape(images)[1:3]) if len(np.shape(images)) == 4 else (None, None),
            self.num_classes,
            self.ignore_class,
            one_hot=self._accepts_one_hot(),
            is_first=is_first,
        )
        if isinstance(sample_weight, Mapping | list | tuple):
            raise ValueError(
                "`sample_weight` must be one array of weights. "
                f"Received: sample_weight={type(sample_weight).__name__}"
            )
        if sample_weight is not None:
            check_weights(tuple(np.shape(sample_weight)), tuple(np.shape(y)[1:3]))

    def predict_in_windows(
        self,
        images: Any,
        window_size: int | Sequence[int] = 512,
        stride: int | Sequence[int] = 341,
        batch_size: int = 4,
    ) -> np.ndarray:
        """Predict the logits of images as means over sliding windows.

        The memory holds the logits of the whole images and those of one window of each image.

        Args:
            images: Array or tensor (batch, height, width, channels), as the model takes them.
            window_size: int or (height, width). Size of the windows in pixels. Windows are never
                larger than the images.
            stride: int or (down, right). Step between windows in pixels, at most `window_size`. The
                last window of a row or column ends at the border of the image.
            batch_size: int. Number of windows that are predicted at once.

        Returns:
            numpy.ndarray. Logits (batch, height, width, num_classes), float32.

        Raises:
            ValueError: If `stride` is larger than `window_size`, if one of them isn't one or two
                positive integers, or if the images don't have four axes.

        Example:
        >>> import keras_paca
        >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
        >>> segmenter = Segmenter(backbone, "fpn", num_classes=2)
        >>> segmenter.predict_in_windows(np.zeros((1, 96, 64, 3)), window_size=64, stride=32).shape
        (1, 96, 64, 2)
        """
        images = as_numpy(only_image(images, self.inputs[0].name))
        if images.ndim != 4:
            raise ValueError(
                "`images` must have the shape (batch, height, width, channels). "
                f"Received: images of shape {images.shape}"
            )
        height, width = images.shape[1:3]
        window, step = _pair("window_size", window_size), _pair("stride", stride)
        if step[0] > window[0] or step[1] > window[1]:
            raise ValueError(
                "`stride` must lie between 1 and `window_size`. "
                f"Received: stride={stride}, window_size={window_size}"
            )
        window = min(window[0], height), min(window[1], width)
        total = np.zeros((*images.shape[:3], self.num_classes), "float32")
        count = np.zeros((height, width, 1), "float32")
        for top in _starts(height, window[0], step[0]):
            for left in _starts(width, window[1], step[1]):
                place = slice(top, top + window[0]), slice(left, left + window[1])
                crops = np.ascontiguousarray(images[:, *place])
                total[:, *place] += self.predict(crops, batch_size=batch_size, verbose=0)
                count[place] += 1
        total /= count  # In place, because the logits of a large image may fill the memory.
        return total

    def get_config(self) -> dict:
        """Return the arguments of the constructor, with the backbone and the heads serialised."""
        serialize = keras.saving.serialize_keras_object
        return {
            "backbone": serialize(self.backbone),
            "head": serialize(self.decode_head),
            "num_classes": self.num_classes,
            "auxiliary_head": serialize(self.auxiliary_head),
            "auxiliary_weight": self.auxiliary_weight,
            "ignore_class": self.ignore_class,
            **self._shared_config(),
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "Segmenter":
        """Create a segmenter from its configuration.

        Args:
            config: dict. Output of `get_config`.
            custom_objects: dict. Custom classes and functions by name, for the backbone and the
                heads.

        Returns:
            A `Segmenter` with new weights.
        """
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("backbone", "head", "auxiliary_head")
        }
        return cls(**{**config, **parts, "dtype": keras.dtype_policies.get(config["dtype"])})


def _with_levels(backbone: Any, needed: Sequence[str]) -> keras.Model:
    """Return a backbone that has the levels that a head needs; see `as_pyramid`."""
    try:
        return as_pyramid(backbone, needed)
    except ValueError as error:
        if not (needed and hasattr(backbone, "grid_maps")):
            raise
        fitting = f'A {type(backbone).__name__} takes `head="mask_transformer"`'
        raise ValueError(f"{fitting}; for other heads, {error}") from None


def _check_class_count(num_classes: Any) -> int:
    num_classes = check_positive("num_classes", num_classes)
    if num_classes == 1:
        raise ValueError(
            "`num_classes` must be 2 or more, as background is a class too. Received: num_classes=1"
        )
    return num_classes


def _pair(name: str, size: Any) -> tuple[int, int]:
    """Return (height, width) from one number or two, and check them."""
    pair = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"`{name}` must be one or two integers. Received: {name}={size!r}")
    return check_positive(name, pair[0]), check_positive(name, pair[1])


def head_class(head: Any) -> type[SegmentationHead]:
    """Return the class of a segmenter's head.

    Args:
        head: str or SegmentationHead. The argument `head`.

    Raises:
        ValueError: If it is neither the name of a head nor one.

    Example:
    >>> head_class("fpn").__name__
    'SemanticFPNHead'
    """
    if isinstance(head, str) and head in HEADS:
        return HEADS[head]
    if not isinstance(head, SegmentationHead):
        raise ValueError(f"`head` must be one of {list(HEADS)} or a head. Received: head={head!r}")
    return type(head)


def _starts(size: int, window: int, step: int) -> list[int]:
    """Return where windows start along one axis. The last window ends at the end of the axis."""
    return [min(start, size - window) for start in range(0, size - window + step, step)]
