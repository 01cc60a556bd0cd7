"""A pyramid backbone and a head: images in, class logits per pixel out."""

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import keras
import numpy as np

from keras_paca.arguments import as_numpy, check_boolean, check_factor, check_positive
from keras_paca.backbones.base import BaseModel, GraphPart
from keras_paca.backbones.data import only, only_image
from keras_paca.backbones.pyramid import as_pyramid, pyramid_levels
from keras_paca.layers.maps import resize_like
from keras_paca.segmentation.heads import (
    FCNHead,
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

HEADS = {"paca": PaCaSegmentationHead, "upernet": UPerHead, "fpn": SemanticFPNHead}


@keras.saving.register_keras_serializable(package="keras_paca")
class ResizeToImage(keras.layers.Layer):
    """Resize logits bilinearly (half-pixel centres) to the sides of the image, in float32.

    Input shape: logits (batch, h, w, classes) and images (batch, height, width, any).
    Output shape: (batch, height, width, classes).
    """

    def build(self, logits_shape: tuple, images_shape: tuple) -> None:
        """Nothing to build."""

    def call(self, logits: Any, images: Any) -> Any:
        """Resize the logits."""
        return resize_like(logits, images)

    def compute_output_shape(self, logits_shape: tuple, images_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return (*images_shape[:3], logits_shape[3])


@keras.saving.register_keras_serializable(package="keras_paca")
class Segmenter(BaseModel):
    """Semantic segmentation on any backbone with `pyramid_outputs`.

    The head's logits are resized bilinearly to the image's own size. `fit` takes images and
    integer masks (batch, height, width). Its loss is

        cross-entropy(logits) + auxiliary_weight * cross-entropy(auxiliary logits),

    each the mean over the pixels that aren't ignored, at the size of the image. The auxiliary
    logits are the PaCa head's cluster logits or those of an auxiliary head. `sample_weight` weighs
    images, (batch,), or pixels, (batch, height, width), and `class_weight` weighs pixels by their
    class.

    Args:
        backbone: keras.Model. Functional model with `pyramid_outputs` {"P2": KerasTensor, ...
            "P5"}, such as a `PaCaViT` without top or a KerasHub backbone. Its layers are shared,
            not copied. A plain `keras.Model` becomes a model of a class that keeps its levels when
            it is saved.
        head: str or SegmentationHead. "paca", "upernet" (with an auxiliary `FCNHead` on P4), "fpn",
            or a head.
        num_classes: int. Number of classes.
        auxiliary_head: SegmentationHead. Head of the auxiliary logits; none beside a
            `PaCaSegmentationHead`, which has its cluster logits.
        auxiliary_weight: float. Weight of the auxiliary loss.
        ignore_class: int. Id of the pixels that have no class. Ids from `num_classes` on and
            negative ones are ignored too where they come in a data set, with a warning if they are
            in its first batch; in arrays they are an error, as are ids that seem to count from 1.
        class_names: Sequence of str. The name of each class, which a saved model keeps.
        evaluation_transform: dict. How large images are made for the model: `{"short_side": 512,
            "long_side": 2048}`, the least side and the limit of the other one.
        frozen: Sequence of str. Paths of layers that don't train, such as "decode_head/query".
            Setting `layer.trainable` later changes it, so that a saved model stays frozen where it
            was.
        thawed: Sequence of str. Paths of layers that train inside frozen ones.
        name: str. Name of the model.
        dtype: Dtype or policy of the heads, by default the backbone's.
        trainable: bool. Whether the model trains at all.

    Input shape: what the backbone takes, (batch, height, width, channels).
    Output shape: (batch, height, width, num_classes), logits; called with `training=True`, a dict
    of "logits" and, where there are auxiliary logits, "auxiliary" (batch, h, w, num_classes).

    Attributes:
        backbone, decode_head, auxiliary_head: The parts.
        assignments: Those of the backbone.

    Raises:
        ValueError: If the parts don't fit one another.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> segmenter = Segmenter(backbone, "fpn", num_classes=2, class_names=["ground", "cat"])
    >>> segmenter.predict(np.zeros((1, 64, 48, 3)), verbose=0).shape
    (1, 64, 48, 2)
    """

    _transform_keys = ("short_side", "long_side")

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
        backbone = as_pyramid(backbone)
        levels = pyramid_levels(backbone)
        policy = keras.dtype_policies.get(dtype or backbone.dtype_policy)
        if head == "upernet" and auxiliary_head is None:
            auxiliary_head = FCNHead(num_classes, dtype=policy, name="auxiliary_head")
        decode_head = _head(head, num_classes, policy)
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
        outputs = decode_head(levels)
        logits, *auxiliary = outputs if isinstance(outputs, (list, tuple)) else (outputs,)
        if auxiliary_head is not None:
            if auxiliary:
                raise ValueError(
                    f"{decode_head.name!r} makes auxiliary logits by itself and takes no "
                    f"`auxiliary_head`. Received: auxiliary_head={auxiliary_head!r}"
                )
            auxiliary = [auxiliary_head(levels)]
        (images,) = backbone.inputs
        logits = ResizeToImage(dtype=policy.variable_dtype, name="logits")(logits, images)
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
        """The backbone's cluster assignments, by level."""
        return getattr(self.backbone, "assignments", {})

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the logits at the image's size; in training, a dict with the auxiliary ones."""
        images = only_image(inputs, self.inputs[0].name)
        if training:
            return super().call(images, training=True, mask=mask)
        return self._inference(images)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Return what `call` returns, symbolically."""
        images = only_image(inputs, self.inputs[0].name)
        if training:
            return super().compute_output_spec(images)
        return self._inference.model.compute_output_spec(images)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the logits."""
        return self._inference.model.compute_output_shape(input_shape)

    # --- Training -----------------------------------------------------------------------------

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", metrics: Any = "auto", **kwargs: Any
    ) -> None:
        """Configure training.

        Args:
            optimizer: "auto" is the official AdamW, learning rate 6e-5, weight decay 0.01 but for
                norms and biases.
            loss: "auto" is cross-entropy without the ignored pixels, as is
                `SparseCategoricalCrossentropy(from_logits=True)`. Keras's losses of one-hot
                targets (`CategoricalFocalCrossentropy`, `Dice`, `Tversky`, ...) take masks of ids
                too, and leave out the ignored pixels; `Dice` and `Tversky` get the softmax of the
                logits. Any other callable gets the masks and the logits.
            metrics: "auto" is the mean intersection over union without the ignored pixels,
                `mean_iou`.
            **kwargs: As in `keras.Model.compile`.

        Raises:
            ValueError: If the loss expects probabilities where it could take logits, or leaves out
                another class than `ignore_class`.
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
        """Train on a batch, whose pixels weigh by their class where `class_weight` was given."""
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
        """Return the loss of the logits and, in training, of the auxiliary ones."""
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
        # not `super().compute_loss`, which would add regularisation twice
        return loss + self.auxiliary_weight * self._compile_loss(*prepare(auxiliary))

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the metrics with the logits."""
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        ids = self._ids(y, logits)
        weights = pixel_weights(sample_weight, ids)
        masks = y if is_one_hot(y, self.num_classes) else ids
        return super().compute_metrics(x, masks, logits, weights)

    def _ids(self, masks: Any, images: Any) -> Any:
        """Return masks (b, h, w) in which every id is a class or `ignore_class`.

        Args:
            masks: Tensor. As they were given.
            images: Tensor (b, h, w, any) of their size, images or logits.
        """
        return mask_ids(
            masks,
            images,
            self.num_classes,
            self.ignore_class,
            self._takes_one_hot(),
        )

    def _takes_one_hot(self) -> bool:
        kind = self._loss_kind
        return kind is not None and (kind.one_hot or kind.takes_any)

    def _prepare_fit(self, given: dict) -> dict:
        """Take `class_weight`, which Keras would apply to whole images."""
        given = dict(given)
        table = check_class_weight(given.pop("class_weight", None), self.num_classes)
        if table is not None and self._loss_kind is not None:
            self._loss_kind.check_weights(table)
        if table != self._class_weight:
            self._class_weight, self.train_function = table, None  # it is part of the step
        return given

    def _tells_enough(self, y: Any) -> bool:
        ids = as_numpy(y)
        return bool((ids != ids.flat[0]).any()) if ids.size else False  # not background alone

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        if y is None:
            raise ValueError("A Segmenter needs masks beside the images. Received: y=None")
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
            one_hot=self._takes_one_hot(),
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
        """Return the logits of images as the means over windows that slide over them.

        Args:
            images: (batch, height, width, channels), what the model takes.
            window_size: (height, width) of the windows; where an image is smaller, its own size.
            stride: step (down, right) between windows, at most their size. The last ones end
                with the image.
            batch_size: windows at a time.

        Returns:
            Logits (batch, height, width, num_classes), float32. They are held once, and beside them
            those of one window of each image.

        Raises:
            ValueError: if a stride leaves gaps, or the images have no four axes.
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
        total /= count  # in place: the logits of a large picture may fill the memory
        return total

    def get_config(self) -> dict:
        """Return the arguments of the constructor, the parts serialised."""
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
        """Return the segmenter of a configuration."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("backbone", "head", "auxiliary_head")
        }
        return cls(**{**config, **parts, "dtype": keras.dtype_policies.get(config["dtype"])})


def _check_class_count(num_classes: Any) -> int:
    num_classes = check_positive("num_classes", num_classes)
    if num_classes == 1:
        raise ValueError(
            "`num_classes` must be 2 or more, as background is a class too. Received: num_classes=1"
        )
    return num_classes


def _pair(name: str, size: Any) -> tuple[int, int]:
    """Return a (height, width) that may be given as one number."""
    pair = (size, size) if np.ndim(size) == 0 else tuple(size)
    if len(pair) != 2:
        raise ValueError(f"`{name}` must be one or two integers. Received: {name}={size!r}")
    return check_positive(name, pair[0]), check_positive(name, pair[1])


def _head(head: Any, num_classes: int, policy: Any) -> SegmentationHead:
    if isinstance(head, str) and head in HEADS:
        return HEADS[head](num_classes, dtype=policy, name="decode_head")
    if not isinstance(head, SegmentationHead):
        raise ValueError(f"`head` must be one of {list(HEADS)} or a head. Received: head={head!r}")
    return head


def _starts(size: int, window: int, step: int) -> list[int]:
    """Return where windows start along one axis, so that the last ends with it."""
    return [min(start, size - window) for start in range(0, size - window + step, step)]
