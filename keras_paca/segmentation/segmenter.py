"""A pyramid backbone and a head: images in, class logits per pixel out."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.backbones.pyramid import PyramidModel, pyramid_levels
from keras_paca.layers.maps import resize_like
from keras_paca.segmentation.heads import (
    FCNHead,
    PaCaSegmentationHead,
    SegmentationHead,
    SemanticFPNHead,
    UPerHead,
)
from keras_paca.segmentation.metrics import MeanIoU

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
class Segmenter(PyramidModel):
    """Semantic segmentation on any backbone with `pyramid_outputs`.

    The head's logits are resized bilinearly to the image's own size. `fit` takes images and
    integer masks; its loss is

        cross-entropy(logits) + auxiliary_weight * cross-entropy(auxiliary logits),

    each the mean over the pixels that aren't ignored, at the size of the image. The auxiliary
    logits are the PaCa head's cluster logits or those of an auxiliary head.

    Args:
        backbone: functional model with `pyramid_outputs` {"P2": KerasTensor, ... "P5"}, such as a
            `PaCaViT` without top or a KerasHub backbone. Its layers are shared, not copied.
        head: "paca", "upernet" (with an auxiliary `FCNHead` on P4), "fpn", or a
            `SegmentationHead`.
        num_classes: number of classes.
        auxiliary_head: head of the auxiliary logits; none beside a `PaCaSegmentationHead`, which
            has its cluster logits.
        auxiliary_weight: weight of the auxiliary loss.
        ignore_class: id of the pixels that have no class. Ids from `num_classes` on and negative
            ones are ignored too where they come in a data set; in arrays they are an error.
        name: name of the model.
        dtype: dtype or policy of the heads, by default the backbone's.
        trainable: whether the model trains at all.

    Input shape: what the backbone takes, (batch, height, width, channels).
    Output shape: (batch, height, width, num_classes), logits; called with `training=True`, a dict
    of "logits" and, where there are auxiliary logits, "auxiliary" (batch, h, w, num_classes).

    Attributes:
        backbone, decode_head, auxiliary_head: the parts.
        assignments: those of the backbone.

    Raises:
        ValueError: if the parts don't fit one another.
    """

    def __init__(
        self,
        backbone: keras.Model,
        head: str | SegmentationHead = "paca",
        num_classes: int = 150,
        auxiliary_head: SegmentationHead | None = None,
        auxiliary_weight: float = 0.4,
        ignore_class: int = 255,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
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
        if 0 <= ignore_class < num_classes:
            raise ValueError(
                "`ignore_class` must not be one of the classes. "
                f"Received: ignore_class={ignore_class}, num_classes={num_classes}"
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
        images = backbone.input
        logits = ResizeToImage(dtype=policy.variable_dtype, name="logits")(logits, images)
        graph = {"logits": logits, **({"auxiliary": auxiliary[0]} if auxiliary else {})}
        super().__init__(inputs=images, outputs=graph, name=name)
        self._inference = keras.Function(images, logits)  # without the auxiliary head
        if not trainable:
            self.trainable = False
        self.backbone, self.decode_head = backbone, decode_head
        self.auxiliary_head = auxiliary_head
        self.num_classes, self.ignore_class = num_classes, ignore_class
        self.auxiliary_weight = auxiliary_weight
        self.dtype_policy = policy

    @property
    def assignments(self) -> dict[str, list[keras.KerasTensor]]:
        """The backbone's cluster assignments, by level."""
        return getattr(self.backbone, "assignments", {})

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the logits at the image's size; in training, a dict with the auxiliary ones."""
        if training:
            return super().call(inputs, training=True, mask=mask)
        return self._inference(inputs)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> Any:
        """Return what `call` returns, symbolically."""
        if training:
            return super().compute_output_spec(inputs)
        return self._inference.compute_output_spec(inputs)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the logits."""
        return self._inference.compute_output_shape(input_shape)

    def compile(
        self, optimizer: Any = "auto", loss: Any = "auto", metrics: Any = "auto", **kwargs: Any
    ) -> None:
        """Configure training.

        Args:
            optimizer: "auto" is the official AdamW, learning rate 6e-5, weight decay 0.01 but for
                norms and biases.
            loss: of (masks, logits); "auto" is cross-entropy without the ignored pixels.
            metrics: "auto" is the mean intersection over union without the ignored pixels,
                `mean_iou`.
            **kwargs: as in `keras.Model.compile`.
        """
        if optimizer == "auto":
            optimizer = keras.optimizers.AdamW(6e-5, weight_decay=0.01)
            optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        if loss == "auto":
            loss = keras.losses.SparseCategoricalCrossentropy(
                from_logits=True, ignore_class=self.ignore_class
            )
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

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the loss of the logits and, in training, of the auxiliary ones."""
        y = self._labels(y, y_pred["logits"] if isinstance(y_pred, dict) else y_pred)
        if not isinstance(y_pred, dict):
            return super().compute_loss(x, y, y_pred, sample_weight, training)
        loss = super().compute_loss(x, y, y_pred["logits"], sample_weight, training)
        if "auxiliary" not in y_pred:
            return loss
        auxiliary = resize_like(y_pred["auxiliary"], y_pred["logits"])
        # not `super().compute_loss`, which would add regularisation twice
        auxiliary_loss = self._compile_loss(y, auxiliary, sample_weight)
        return loss + self.auxiliary_weight * auxiliary_loss

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Update the metrics with the logits."""
        logits = y_pred["logits"] if isinstance(y_pred, dict) else y_pred
        return super().compute_metrics(x, self._labels(y, logits), logits, sample_weight)

    def _labels(self, masks: Any, logits: Any) -> Any:
        """Return masks (b, h, w) in which every id is a class or `ignore_class`."""
        masks = ops.cast(masks, "int32")
        masks = ops.reshape(masks, ops.shape(logits)[:3])  # from (b, h, w, 1) too
        known = ops.logical_and(masks >= 0, masks < self.num_classes)
        return ops.where(known, masks, self.ignore_class)

    def fit(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Train on images and integer masks, as `keras.Model.fit` does."""
        self._check_masks(y)
        if kwargs.get("validation_data") is not None:
            data = kwargs["validation_data"]
            self._check_masks(data[1] if isinstance(data, (list, tuple)) else None)
        return super().fit(x, y, **kwargs)

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """Evaluate on images and integer masks, as `keras.Model.evaluate` does."""
        self._check_masks(y)
        return super().evaluate(x, y, **kwargs)

    def _check_masks(self, masks: Any) -> None:
        """Raise where an array of masks holds ids that are no classes."""
        if masks is None:
            return
        masks = ops.convert_to_numpy(masks)
        found = np.unique(masks)
        wrong = [i for i in found.tolist() if not 0 <= i < self.num_classes]
        wrong = [i for i in wrong if i != self.ignore_class] or [i for i in found if i != int(i)]
        if masks.ndim not in (3, 4) or wrong:
            raise ValueError(
                f"Masks must have the shape (batch, height, width) and hold integer ids from 0 to "
                f"{self.num_classes - 1}, or {self.ignore_class} where there is no class. "
                f"Received: masks of shape {masks.shape} with the ids {wrong[:5]}"
            )

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
            Logits (batch, height, width, num_classes), float32.

        Raises:
            ValueError: if a stride leaves gaps.
        """
        images = ops.convert_to_numpy(images)
        height, width = images.shape[1:3]
        window, step = (np.broadcast_to(size, 2).tolist() for size in (window_size, stride))
        if min(step) < 1 or step[0] > window[0] or step[1] > window[1]:
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
        return total / count

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
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "Segmenter":
        """Return the segmenter of a configuration."""
        parts = {
            name: keras.saving.deserialize_keras_object(config[name], custom_objects)
            for name in ("backbone", "head", "auxiliary_head")
        }
        return cls(**{**config, **parts, "dtype": keras.dtype_policies.get(config["dtype"])})


def _head(head: Any, num_classes: int, policy: Any) -> SegmentationHead:
    if isinstance(head, str) and head in HEADS:
        return HEADS[head](num_classes, dtype=policy, name="decode_head")
    if not isinstance(head, SegmentationHead):
        raise ValueError(f"`head` must be one of {list(HEADS)} or a head. Received: head={head!r}")
    return head


def _starts(size: int, window: int, step: int) -> list[int]:
    """Return where windows start along one axis, so that the last ends with it."""
    return [min(start, size - window) for start in range(0, size - window + step, step)]
