"""The steps of Mask R-CNN between its heads, written as Keras layers."""

from typing import Any

import keras
from keras import ops

from keras_paca.detection.boxes import decode_boxes, suppress
from keras_paca.detection.proposals import STRIDES, level_anchors, make_proposals
from keras_paca.detection.roi_align import roi_align

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # standard deviations that normalise the box head's deltas
CLASS_CANDIDATES = 2000  # (box, class) pairs before the last non-maximum suppression


@keras.saving.register_keras_serializable(package="keras_paca")
class Proposals(keras.layers.Layer):
    """Select the best boxes of the region proposal network, as `make_proposals` does.

    Args:
        count: int. Number of boxes per image that are returned.
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the box with the lower logit, in [0, 1].
        candidates: int. Number of boxes per level before the suppression.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: images (batch, height, width, any) and three lists with one tensor per level: maps
    (batch, h, w, channels), objectness logits (batch, h * w * 3) and deltas (batch, h * w * 3, 4).
    Output shape: (batch, count, 4): left, top, right and bottom in pixels.

    Example:
    >>> from keras_paca.detection import RegionProposalNetwork
    >>> levels = [ops.zeros((1, side, side, 8)) for side in (16, 8, 4, 2, 1)]
    >>> objectness, deltas = RegionProposalNetwork(channels=8)(levels)
    >>> tuple(Proposals(count=5)(ops.zeros((1, 64, 64, 3)), levels, objectness, deltas).shape)
    (1, 5, 4)
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
        """Return the proposals.

        Args:
            images: Tensor of shape (batch, height, width, any), of which only the size is used.
            levels: list of Tensor. Maps (batch, h, w, channels), of which only the sizes are used.
            objectness: list of Tensor. Logits (batch, h * w * 3) of each level.
            deltas: list of Tensor. Deltas (batch, h * w * 3, 4) of each level.

        Returns:
            Boxes (batch, count, 4) in pixels, the best first.
        """
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
        """Return the shape and type of the proposals.

        Args:
            images: KerasTensor. As in `call`.
            levels: list of KerasTensor. As in `call`.
            objectness: list of KerasTensor. As in `call`.
            deltas: list of KerasTensor. As in `call`.
        """
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
    """Pool the features inside boxes from the four finest levels, as `roi_align` does.

    Args:
        bins: int. Number of bins per side of a box.
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: list of maps (batch, height, width, channels), the finest first, and boxes (batch,
    n, 4) in pixels.
    Output shape: (batch, n, bins, bins, channels).

    Example:
    >>> levels = [ops.zeros((1, side, side, 8)) for side in (16, 8, 4, 2)]
    >>> boxes = ops.convert_to_tensor([[[0.0, 0.0, 32.0, 48.0]]])
    >>> tuple(RegionPooling(bins=7)(levels, boxes).shape)
    (1, 1, 7, 7, 8)
    """

    def __init__(self, bins: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bins = bins

    def call(self, levels: Any, boxes: Any) -> Any:
        """Return the features of the boxes.

        Args:
            levels: list of Tensor. Maps (batch, height, width, channels), the finest first.
            boxes: Tensor of shape (batch, n, 4): left, top, right and bottom in pixels.

        Returns:
            Features (batch, n, bins, bins, channels).
        """
        return roi_align(levels[:4], boxes, self.bins, STRIDES[:4])

    def compute_output_spec(self, levels: Any, boxes: Any) -> Any:
        """Return the shape and type of the features.

        Args:
            levels: list of KerasTensor. As in `call`.
            boxes: KerasTensor. As in `call`.
        """
        shape = (*boxes.shape[:2], self.bins, self.bins, levels[0].shape[3])
        return keras.KerasTensor(shape, levels[0].dtype)

    def get_config(self) -> dict:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "bins": self.bins}


@keras.saving.register_keras_serializable(package="keras_paca")
class Detections(keras.layers.Layer):
    """Select the final detections from the outputs of the box head.

    The deltas of each box and class are applied to the box, and non-maximum suppression removes
    boxes that overlap a box of the same class with a higher score.

    Args:
        count: int. Number of detections per image.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which the suppression removes the box
            with the lower score, in [0, 1].
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: images (batch, height, width, any), logits (batch, n, classes + 1), deltas (batch,
    n, classes, 4) and the boxes (batch, n, 4) to which the deltas are applied.
    Output shape: boxes (batch, count, 4) in pixels, scores (batch, count) in [0, 1] and labels
    (batch, count), in descending order of the scores. If an image has fewer detections, the
    remaining boxes and scores are 0 and their labels are -1.

    Example:
    >>> images, boxes = ops.zeros((1, 16, 16, 3)), ops.convert_to_tensor([[[0.0, 0.0, 8.0, 8.0]]])
    >>> logits = ops.convert_to_tensor([[[0.0, 9.0, 0.0]]])  # one box, two classes, background
    >>> _, _, labels = Detections(count=2)(images, logits, ops.zeros((1, 1, 2, 4)), boxes)
    >>> ops.convert_to_numpy(labels).tolist()
    [[1, -1]]
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
        """Return the detections.

        Args:
            images: Tensor of shape (batch, height, width, any), of which only the size is used.
            logits: Tensor of shape (batch, n, classes + 1), the background last.
            deltas: Tensor of shape (batch, n, classes, 4).
            boxes: Tensor of shape (batch, n, 4): left, top, right and bottom in pixels.

        Returns:
            Boxes (batch, count, 4), scores (batch, count) and labels (batch, count).
        """
        classes, n = deltas.shape[2], deltas.shape[1]
        scores = ops.softmax(logits, axis=-1)[..., :-1]  # (b, n, classes)
        not_padding = ops.any(boxes[..., 2:] > boxes[..., :2], axis=-1)
        scores = ops.where(not_padding[..., None], scores, 0.0)
        scores, index = ops.top_k(
            ops.reshape(scores, (-1, n * classes)), min(CLASS_CANDIDATES, n * classes)
        )
        box_index, labels = index // classes, index % classes
        boxes = ops.take_along_axis(boxes, box_index[..., None], axis=1)
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
        """Return the shapes and types of the detections.

        Args:
            images: KerasTensor. As in `call`.
            logits: KerasTensor. As in `call`.
            deltas: KerasTensor. As in `call`.
            boxes: KerasTensor. As in `call`.
        """
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
    """Select the mask of each box's label, and count the boxes.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`, such as `name` and `dtype`.

    Input shape: logits (batch, n, height, width, classes) and labels (batch, n), which are -1 for
    padding.
    Output shape: masks (batch, n, height, width), probabilities in [0, 1] that are 0 for padding,
    and the number of boxes (batch,).

    Example:
    >>> logits, labels = ops.zeros((1, 2, 28, 28, 3)), ops.convert_to_tensor([[1, -1]])
    >>> masks, count = MasksOfLabels()(logits, labels)
    >>> tuple(masks.shape), ops.convert_to_numpy(count).tolist()
    ((1, 2, 28, 28), [1])
    """

    def call(self, logits: Any, labels: Any) -> tuple[Any, Any]:
        """Return the masks and the number of boxes.

        Args:
            logits: Tensor of shape (batch, n, height, width, classes).
            labels: Tensor of shape (batch, n), integers; -1 for padding.

        Returns:
            Masks (batch, n, height, width), probabilities, and the number of boxes (batch,).
        """
        index = ops.maximum(labels, 0)[..., None, None, None]
        index = ops.broadcast_to(index, (*ops.shape(logits)[:4], 1))
        masks = ops.sigmoid(ops.take_along_axis(logits, index, axis=4)[..., 0])
        found = labels >= 0
        masks = ops.where(found[..., None, None], masks, 0.0)
        return masks, ops.sum(ops.cast(found, "int32"), axis=1)

    def compute_output_spec(self, logits: Any, labels: Any) -> tuple:
        """Return the shapes and types of the masks and of the number of boxes.

        Args:
            logits: KerasTensor. As in `call`.
            labels: KerasTensor. As in `call`.
        """
        return (
            keras.KerasTensor(logits.shape[:4], logits.dtype),
            keras.KerasTensor(labels.shape[:1], "int32"),
        )


def anchors_of(levels: Any) -> list[Any]:
    """Return the anchors of all levels, whose strides are 4, 8, 16, 32 and 64.

    Args:
        levels: list of Tensor. Five maps (batch, height, width, any), the finest first.

    Returns:
        list of Tensor. Anchors (height * width * 3, 4) of each level; see `level_anchors`.

    Example:
    >>> levels = [ops.zeros((1, side, side, 1)) for side in (16, 8, 4, 2, 1)]
    >>> [tuple(anchors.shape) for anchors in anchors_of(levels)]
    [(768, 4), (192, 4), (48, 4), (12, 4), (3, 4)]
    """
    return [
        level_anchors(*ops.shape(level)[1:3], stride)
        for level, stride in zip(levels, STRIDES, strict=True)
    ]
