"""The steps of Mask R-CNN between its heads, as layers of its graph."""

from typing import Any

import keras
from keras import ops

from keras_paca.detection.boxes import decode_boxes, suppress
from keras_paca.detection.proposals import STRIDES, level_anchors, make_proposals
from keras_paca.detection.roi_align import roi_align

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # of the box head's deltas
CLASS_CANDIDATES = 2000  # pairs of a box and a class that compete in the end


@keras.saving.register_keras_serializable(package="keras_paca")
class Proposals(keras.layers.Layer):
    """The best boxes of the region proposal network; see `make_proposals`.

    Args:
        count: boxes per image.
        iou_threshold: of the suppression.
        candidates: boxes per level before the suppression.

    Input shape: images (batch, height, width, any), the levels' maps, objectness and deltas.
    Output shape: (batch, count, 4), pixels.
    """

    def __init__(
        self,
        count: int = 1000,
        iou_threshold: float = 0.7,
        candidates: int = 1000,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.count, self.iou_threshold, self.candidates = count, iou_threshold, candidates

    def call(self, images: Any, levels: Any, objectness: Any, deltas: Any) -> Any:
        """Return the boxes."""
        return make_proposals(
            objectness,
            deltas,
            anchors_of(levels),
            ops.shape(images)[1:3],
            candidates=self.candidates,
            count=self.count,
            iou_threshold=self.iou_threshold,
        )[0]

    def compute_output_spec(self, images: Any, levels: Any, objectness: Any, deltas: Any) -> Any:
        """Return the output's shape and type."""
        return keras.KerasTensor((images.shape[0], self.count, 4), objectness[0].dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "count": self.count,
            "iou_threshold": self.iou_threshold,
            "candidates": self.candidates,
        }


@keras.saving.register_keras_serializable(package="keras_paca")
class RegionPooling(keras.layers.Layer):
    """What boxes contain, from the four finest levels; see `roi_align`.

    Args:
        bins: bins per side.

    Input shape: list of maps (batch, height, width, channels), and boxes (batch, n, 4).
    Output shape: (batch, n, bins, bins, channels).
    """

    def __init__(self, bins: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, levels: Any, boxes: Any) -> Any:
        """Return the regions."""
        return roi_align(levels[:4], boxes, self.bins, STRIDES[:4])

    def compute_output_spec(self, levels: Any, boxes: Any) -> Any:
        """Return the output's shape and type."""
        shape = (*boxes.shape[:2], self.bins, self.bins, levels[0].shape[3])
        return keras.KerasTensor(shape, levels[0].dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable(package="keras_paca")
class Detections(keras.layers.Layer):
    """The best boxes of the box head, class by class without rivals.

    Args:
        count: boxes per image.
        score_threshold: least probability of a class.
        iou_threshold: of the suppression.

    Input shape: images, logits (batch, n, classes + 1), deltas (batch, n, classes, 4) and the
    boxes (batch, n, 4) that they refine.
    Output shape: boxes (batch, count, 4), scores (batch, count) and labels (batch, count), the best
    first; where there were fewer, empty boxes of score 0 and label -1.
    """

    def __init__(
        self,
        count: int = 100,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.count, self.score_threshold = count, score_threshold
        self.iou_threshold = iou_threshold

    def call(self, images: Any, logits: Any, deltas: Any, boxes: Any) -> tuple[Any, Any, Any]:
        """Return boxes, scores and labels."""
        classes, n = deltas.shape[2], deltas.shape[1]
        scores = ops.softmax(logits, axis=-1)[..., :-1]  # (b, n, classes)
        real = ops.any(boxes[..., 2:] > boxes[..., :2], axis=-1)
        scores = ops.where(real[..., None], scores, 0.0)
        scores, index = ops.top_k(
            ops.reshape(scores, (-1, n * classes)), min(CLASS_CANDIDATES, n * classes)
        )
        of_box, labels = index // classes, index % classes
        boxes = ops.take_along_axis(boxes, of_box[..., None], axis=1)
        deltas = ops.reshape(deltas, (-1, n * classes, 4))
        deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
        boxes = decode_boxes(deltas, boxes, ops.shape(images)[1:3], DEVIATIONS)
        valid = scores > self.score_threshold
        kept = suppress(boxes, valid, self.iou_threshold, labels)
        scores, index = ops.top_k(ops.where(kept, scores, 0.0), self.count)
        boxes = ops.take_along_axis(boxes, index[..., None], axis=1)
        labels = ops.take_along_axis(labels, index, axis=1)
        found = scores > 0
        boxes = ops.where(found[..., None], boxes, 0.0)
        return boxes, scores, ops.where(found, ops.cast(labels, "int32"), -1)

    def compute_output_spec(self, images: Any, logits: Any, deltas: Any, boxes: Any) -> tuple:
        """Return the outputs' shapes and types."""
        shape = (images.shape[0], self.count)
        return (
            keras.KerasTensor((*shape, 4), boxes.dtype),
            keras.KerasTensor(shape, logits.dtype),
            keras.KerasTensor(shape, "int32"),
        )

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {
            **super().get_config(),
            "count": self.count,
            "score_threshold": self.score_threshold,
            "iou_threshold": self.iou_threshold,
        }


@keras.saving.register_keras_serializable(package="keras_paca")
class MasksOfLabels(keras.layers.Layer):
    """The probabilities of the mask of each box's own class, and the number of boxes.

    Input shape: logits (batch, n, height, width, classes) and labels (batch, n), -1 for none.
    Output shape: (batch, n, height, width) and (batch,).
    """

    def call(self, logits: Any, labels: Any) -> tuple[Any, Any]:
        """Return the masks and the count."""
        index = ops.maximum(labels, 0)[..., None, None, None]
        index = ops.broadcast_to(index, (*ops.shape(logits)[:4], 1))
        masks = ops.sigmoid(ops.take_along_axis(logits, index, axis=4)[..., 0])
        found = labels >= 0
        masks = ops.where(found[..., None, None], masks, 0.0)
        return masks, ops.sum(ops.cast(found, "int32"), axis=1)

    def compute_output_spec(self, logits: Any, labels: Any) -> tuple:
        """Return the outputs' shapes and types."""
        return (
            keras.KerasTensor(logits.shape[:4], logits.dtype),
            keras.KerasTensor(labels.shape[:1], "int32"),
        )


def anchors_of(levels: Any) -> list[Any]:
    """Return the anchors (n, 4) of each level's map."""
    return [
        level_anchors(*ops.shape(level)[1:3], stride)
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
