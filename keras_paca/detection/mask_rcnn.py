"""Mask R-CNN on any pyramid backbone: images in; boxes, scores, labels and masks out."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.backbones.pyramid import PyramidModel, pyramid_levels
from keras_paca.detection.boxes import clip_boxes, decode_boxes, encode_boxes, suppress
from keras_paca.detection.feature_pyramid import FeaturePyramid
from keras_paca.detection.heads import BoxHead, MaskHead
from keras_paca.detection.proposals import (
    STRIDES,
    RegionProposalNetwork,
    level_anchors,
    make_proposals,
)
from keras_paca.detection.roi_align import roi_align
from keras_paca.detection.targets import assign, crop_masks, sample
from keras_paca.layers.composite import default_policy, inner, serialize_policy

BOX_BINS, MASK_BINS = 7, 14
DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # of the box head's deltas
CLASS_CANDIDATES = 2000  # pairs of a box and a class that compete in the end
LOSSES = ("rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")


# --- The layers of its graph ------------------------------------------------------------------


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


# --- The model --------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class MaskRCNN(PyramidModel):
    """Boxes, classes and masks of the objects in images, on any backbone with `pyramid_outputs`.

    backbone -> feature pyramid -> region proposals -> box head -> mask head. `fit` takes images
    and a dict of

    - "boxes" (batch, m, 4), in `bounding_box_format`, padded with anything;
    - "labels" or "classes" (batch, m), integers, -1 where padded;
    - "masks", booleans or uint8 (batch, m, height, width), or one integer instance map (batch,
      height, width) that holds i + 1 where object i is and 0 elsewhere.

    The loss is the sum of cross-entropy and L1 of the proposals, cross-entropy and L1 of the
    boxes, and binary cross-entropy of the masks; each is a metric of its own.

    Args:
        backbone: functional model with `pyramid_outputs` {"P2": KerasTensor, ... "P5"}. Its layers
            are shared, not copied.
        num_classes: number of classes, without the background.
        bounding_box_format: of the boxes in and out, as `keras.utils.bounding_boxes` names them:
            "xyxy" (pixels), "yxyx", "xywh", "center_xywh", "rel_xyxy", ...
        channels: of the feature pyramid and its heads.
        max_detections: boxes per image.
        score_threshold: least probability of a detection.
        iou_threshold: intersection over union above which detections of a class compete.
        proposals: boxes per image that the heads look at.
        candidates: boxes per level from which the proposals come; in training twice as many.
        seed: of the samples in training.
        name: name of the model.
        dtype: dtype or policy of the heads, by default the backbone's.
        trainable: whether the model trains at all.

    Input shape: what the backbone takes, (batch, height, width, channels).
    Output shape: {"boxes": (batch, n, 4), "scores": (batch, n), "labels": (batch, n), "masks":
    (batch, n, 28, 28), "count": (batch,)}, n = `max_detections`, the best first; beyond the count
    the labels are -1 and the rest 0. Masks are probabilities inside the box; `paste_masks` lays
    them into the image.

    Raises:
        ValueError: if the parts don't fit one another.

    Source: He et al., "Mask R-CNN", ICCV 2017.
    """

    def __init__(
        self,
        backbone: keras.Model,
        num_classes: int = 80,
        bounding_box_format: str = "xyxy",
        channels: int = 256,
        max_detections: int = 100,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        proposals: int = 1000,
        candidates: int = 1000,
        seed: int | None = None,
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        pyramid = pyramid_levels(backbone)
        most = (len(STRIDES) * candidates, proposals * num_classes)
        if not (1 <= proposals <= most[0] and 1 <= max_detections <= most[1]):
            raise ValueError(
                f"`proposals` must be at most {len(STRIDES)} x `candidates`, `max_detections` at "
                f"most `proposals` x `num_classes`. Received: candidates={candidates}, proposals="
                f"{proposals}, max_detections={max_detections}, num_classes={num_classes}"
            )
        given = keras.dtype_policies.get(dtype or backbone.dtype_policy)
        policy = default_policy(given)
        common = {"dtype": policy}
        images = backbone.input
        neck = FeaturePyramid(channels, name="neck", **common)
        rpn = RegionProposalNetwork(channels, name="rpn", **common)
        box_pooling = RegionPooling(BOX_BINS, name="box_regions", **common)
        mask_pooling = RegionPooling(MASK_BINS, name="mask_regions", **common)
        box_head = BoxHead(num_classes, 4 * channels, **inner(given, "box_head"))
        mask_head = MaskHead(num_classes, channels, **inner(given, "mask_head"))
        exact = {"dtype": policy.variable_dtype}

        levels = neck(pyramid)
        objectness, deltas = rpn(levels)
        found = Proposals(proposals, candidates=candidates, name="proposals", **exact)(
            images, levels, objectness, deltas
        )
        logits, moves = box_head(box_pooling(levels, found))
        boxes, scores, labels = Detections(
            max_detections, score_threshold, iou_threshold, name="detections", **exact
        )(images, logits, moves, found)
        mask_logits = mask_head(mask_pooling(levels, boxes))
        masks, count = MasksOfLabels(name="masks", **exact)(mask_logits, labels)
        outputs = {
            "boxes": boxes,
            "scores": scores,
            "labels": labels,
            "masks": masks,
            "count": count,
        }
        super().__init__(inputs=images, outputs=outputs, name=name)
        self.first_stage = keras.Function(
            images, {"levels": levels, "objectness": objectness, "deltas": deltas}
        )
        if not trainable:
            self.trainable = False
        self.backbone, self.neck, self.rpn = backbone, neck, rpn
        self.box_pooling, self.mask_pooling = box_pooling, mask_pooling
        self.box_head, self.mask_head = box_head, mask_head
        self.num_classes, self.bounding_box_format = num_classes, bounding_box_format
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in LOSSES]
        self.dtype_policy = policy
        self._config = {
            "num_classes": num_classes,
            "bounding_box_format": bounding_box_format,
            "channels": channels,
            "max_detections": max_detections,
            "score_threshold": score_threshold,
            "iou_threshold": iou_threshold,
            "proposals": proposals,
            "candidates": candidates,
            "seed": seed,
        }

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict:
        """Return detections; in training the first stage's maps, logits and deltas."""
        if training:
            return self.first_stage(inputs)
        return self._convert(super().call(inputs, training=False, mask=mask), inputs)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> dict:
        """Return what `call` returns, symbolically."""
        if training:
            return self.first_stage.compute_output_spec(inputs)
        return super().compute_output_spec(inputs)

    def _convert(self, outputs: dict, images: Any) -> dict:
        """Return detections in the user's format of boxes."""
        if self.bounding_box_format == "xyxy":
            return outputs
        height, width = ops.shape(images)[1:3]
        boxes = keras.utils.bounding_boxes.convert_format(
            outputs["boxes"], "xyxy", self.bounding_box_format, height, width
        )
        return {**outputs, "boxes": boxes}

    # --- Training -----------------------------------------------------------------------------

    def compile(self, optimizer: Any = "auto", **kwargs: Any) -> None:
        """Configure training; the losses are the model's own.

        Args:
            optimizer: "auto" is the official AdamW, learning rate 1e-4, weight decay 0.05 but for
                norms and biases.
            **kwargs: as in `keras.Model.compile`.
        """
        if kwargs.get("loss") is not None or kwargs.get("metrics") is not None:
            raise ValueError("MaskRCNN has its own losses and metrics and takes no others.")
        if optimizer == "auto":
            optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.05)
            optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        super().compile(optimizer=optimizer, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Return the sum of the five losses, and track each."""
        if "levels" not in y_pred:
            y_pred = self.first_stage(x)
        objects, labels, masks = self._objects(x, y)
        losses = self._proposal_losses(x, y_pred, objects, labels >= 0)
        losses += self._region_losses(x, y_pred, objects, labels, masks)
        for tracker, loss in zip(self.loss_trackers, losses, strict=True):
            tracker.update_state(loss)
        return sum(losses)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Return the tracked losses."""
        return self.get_metrics_result()

    def _objects(self, images: Any, y: Any) -> tuple[Any, Any, Any]:
        """Return true boxes (b, m, 4) in pixels, labels (b, m) and masks."""
        labels = ops.cast(y["labels"] if "labels" in y else y["classes"], "int32")
        height, width = ops.shape(images)[1:3]
        boxes = ops.cast(y["boxes"], keras.config.floatx())
        if self.bounding_box_format != "xyxy":
            boxes = keras.utils.bounding_boxes.convert_format(
                boxes, self.bounding_box_format, "xyxy", height, width
            )
        boxes = clip_boxes(boxes, (height, width))
        # a class that there isn't, or nothing left inside the image: no object
        real = ops.logical_and(labels >= 0, labels < self.num_classes)
        real = ops.logical_and(real, ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1))
        boxes = ops.where(real[..., None], boxes, 0.0)
        return boxes, ops.where(real, labels, -1), y["masks"]

    def _proposal_losses(self, images: Any, first: dict, objects: Any, present: Any) -> list[Any]:
        """Return the losses of objectness and deltas on a sample of 256 anchors."""
        anchors = ops.concatenate(anchors_of(first["levels"]), axis=0)
        logits = ops.concatenate(first["objectness"], axis=1)
        deltas = ops.concatenate(first["deltas"], axis=1)
        everywhere = ops.broadcast_to(anchors[None], ops.shape(deltas))
        positive, negative, of = assign(everywhere, objects, present, 0.7, 0.3, 0.3)
        index, positive, used = sample(positive, negative, 256, 0.5, self.seed_generator)
        positive, used = (
            ops.cast(positive, keras.config.floatx()),
            ops.cast(used, keras.config.floatx()),
        )
        logits = ops.take_along_axis(logits, index, axis=1)
        of = ops.take_along_axis(of, index, axis=1)[..., None]
        wanted = ops.take_along_axis(objects, of, axis=1)
        target = encode_boxes(wanted, ops.take_along_axis(everywhere, index[..., None], axis=1))
        moves = ops.take_along_axis(deltas, index[..., None], axis=1)
        count = ops.maximum(ops.sum(used), 1.0)
        entropy = ops.sum(used * binary_entropy(logits, positive)) / count
        distance = ops.sum(positive[..., None] * ops.abs(moves - target)) / count
        return [entropy, distance]

    def _region_losses(
        self, images: Any, first: dict, objects: Any, labels: Any, masks: Any
    ) -> list[Any]:
        """Return the losses of classes, boxes and masks on a sample of 512 regions."""
        count = min(512, self._config["proposals"])
        boxes, scores = make_proposals(
            first["objectness"],
            first["deltas"],
            anchors_of(first["levels"]),
            ops.shape(images)[1:3],
            candidates=2 * self._config["candidates"],
            count=self._config["proposals"],
        )
        present = labels >= 0
        boxes = ops.concatenate([boxes, objects], axis=1)  # true boxes are proposals too
        usable = ops.concatenate([scores > -np.inf, present], axis=1)
        positive, negative, of = assign(boxes, objects, present, 0.5, 0.5, 0.5)
        positive, negative = ops.logical_and(positive, usable), ops.logical_and(negative, usable)
        index, positive, used = sample(positive, negative, count, 0.25, self.seed_generator)
        boxes = ops.take_along_axis(boxes, index[..., None], axis=1)
        of = ops.take_along_axis(of, index, axis=1)
        labels = ops.maximum(ops.take_along_axis(labels, of, axis=1), 0)
        wanted = ops.take_along_axis(objects, of[..., None], axis=1)

        logits, deltas = self.box_head(self.box_pooling(first["levels"], boxes))
        total = ops.maximum(ops.sum(ops.cast(used, keras.config.floatx())), 1.0)
        target = ops.where(positive, labels, self.num_classes)
        entropy = ops.sparse_categorical_crossentropy(target, logits, from_logits=True)
        class_loss = ops.sum(ops.where(used, entropy, 0.0)) / total
        moves = ops.take_along_axis(deltas, labels[..., None, None], axis=2)[..., 0, :]
        distance = ops.sum(ops.abs(moves - encode_boxes(wanted, boxes, DEVIATIONS)), axis=-1)
        box_loss = ops.sum(ops.where(positive, distance, 0.0)) / total

        first_ones = slice(0, count // 4)  # the positive ones
        boxes, of, labels = boxes[:, first_ones], of[:, first_ones], labels[:, first_ones]
        positive = positive[:, first_ones]
        mask_logits = self.mask_head(self.mask_pooling(first["levels"], boxes))
        size = mask_logits.shape[2]
        of_class = ops.broadcast_to(labels[..., None, None, None], (*ops.shape(mask_logits)[:4], 1))
        mask_logits = ops.take_along_axis(mask_logits, of_class, axis=4)[..., 0]
        entropy = binary_entropy(mask_logits, crop_masks(masks, of, boxes, size))
        entropy = ops.where(positive, ops.mean(entropy, axis=(2, 3)), 0.0)
        mask_loss = ops.sum(entropy) / ops.maximum(
            ops.sum(ops.cast(positive, keras.config.floatx())), 1.0
        )
        return [class_loss, box_loss, mask_loss]

    def get_config(self) -> dict:
        """Return the arguments of the constructor, the backbone serialised."""
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            **self._config,
            "name": self.name,
            "dtype": serialize_policy(self.dtype_policy, [self.box_head, self.mask_head]),
            "trainable": self.trainable,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "MaskRCNN":
        """Return the detector of a configuration."""
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        dtype = keras.dtype_policies.get(config["dtype"])
        return cls(**{**config, "backbone": backbone, "dtype": dtype})


def binary_entropy(logits: Any, targets: Any) -> Any:
    """Return the binary cross-entropy of logits, element by element."""
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
