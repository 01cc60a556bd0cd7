"""Mask R-CNN on any pyramid backbone: it predicts boxes, scores, labels and masks."""

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_paca.arguments import as_numpy, check_boolean, check_choice, check_positive
from keras_paca.backbones.data import has_rank, only_image
from keras_paca.backbones.model import BaseModel, GraphPart
from keras_paca.backbones.pyramid import LEVELS, as_pyramid, pyramid_levels
from keras_paca.detection.box_formats import check_box_format
from keras_paca.detection.boxes import clip_boxes, encode_boxes
from keras_paca.detection.feature_pyramid import FeaturePyramid
from keras_paca.detection.heads import AttentiveBoxHead, BoxHead, MaskHead
from keras_paca.detection.objects import check_objects, check_shapes
from keras_paca.detection.paste import check_fraction
from keras_paca.detection.proposals import STRIDES, RegionProposalNetwork, make_proposals
from keras_paca.detection.stages import (
    DEVIATIONS,
    Detections,
    MasksOfLabels,
    Proposals,
    RegionPooling,
    anchors_of,
)
from keras_paca.detection.targets import assign, crop_masks, sample
from keras_paca.layers.base import LayerMaker
from keras_paca.layers.policies import serialize_policy
from keras_paca.warn import warn_user

BOX_BINS, MASK_BINS = 7, 14
BOX_HEADS = {"dense": BoxHead, "an": AttentiveBoxHead}
LOSSES = ("rpn_class_loss", "rpn_box_loss", "class_loss", "box_loss", "mask_loss")
SAMPLE_SIDE = 256  # side of the assumed image where a backbone takes images of any size


@keras.saving.register_keras_serializable(package="keras_paca")
class MaskRCNN(BaseModel):
    """Object detection and instance segmentation with Mask R-CNN on any pyramid backbone.

    The model consists of the backbone, a feature pyramid, a region proposal network, a box head and
    a mask head. `fit` takes images and a dict of targets with the keys

    - "boxes": (batch, n, 4), in `bounding_box_format`. The values of padded boxes don't matter. n
      may be 0, and may differ from batch to batch.
    - "labels" or "classes": (batch, n), integers in [0, num_classes), and -1 for padded boxes.
    - "masks" (optional): booleans or uint8 (batch, n, height, width), or one integer instance map
      (batch, height, width) that is i + 1 inside object i and 0 elsewhere. The mask head isn't
      trained without masks.

    The loss is the sum of five terms, each of which is also a metric: cross-entropy and L1 distance
    for the proposals, cross-entropy and L1 distance for the final boxes, and binary cross-entropy
    for the masks. `sample_weight` (batch,) weights the images.

    Args:
        backbone: keras.Model. Functional model whose `pyramid_outputs` is a dict of the levels "P2"
            to "P5", KerasTensors with the strides 4, 8, 16 and 32. The detector shares its layers
            and doesn't copy them. A plain `keras.Model` is wrapped in a class that still has
            `pyramid_outputs` after saving and loading.
        num_classes: int. Number of classes, without the background.
        bounding_box_format: str. Format of the boxes in the targets and the outputs, as in
            `keras.utils.bounding_boxes`: "xyxy" (pixels), "yxyx", "xywh", "center_xywh",
            "rel_xyxy" and others.
        channels: int. Channels of the feature pyramid and the heads.
        max_detections: int. Number of boxes per image in the output.
        score_threshold: float. A detection's probability must be above this, in [0, 1].
        iou_threshold: float. Intersection over union above which non-maximum suppression removes
            the less probable one of two boxes of the same class, in [0, 1].
        proposals: int. Number of proposals per image that the box head receives.
        candidates: int. Number of boxes per level before the proposals are selected. Training uses
            twice as many.
        seed: int. Seed of the random samples of boxes in training.
        class_names: Sequence of str. Name of each class. It is saved with the model.
        evaluation_transform: dict. How images are resized for the model, such as
            `{"short_side": 800, "long_side": 1333}`: as large as possible with a shorter side of at
            most 800 pixels and a longer side of at most 1333. The optional "pad_to" is the side of
            the square to which the images are padded. It is saved with the model.
        box_head: str. "dense" for a `BoxHead` of two hidden layers, or "an" for an
            `AttentiveBoxHead`, which has four convolutions with attentive group normalization and
            one hidden layer. `channels` must be divisible by 32 then.
        frozen: Sequence of str. Paths of layers that aren't trained, such as "neck" or
            "box_head/classify". Setting `layer.trainable` later changes which layers are frozen,
            and a saved model keeps that state.
        thawed: Sequence of str. Paths of layers inside frozen layers that are trained nevertheless.
        name: str. Name of the model.
        dtype: str or keras.DTypePolicy. Dtype or policy of the layers after the backbone, by
            default the backbone's.
        trainable: bool. Whether the model is trained at all.

    Input shape: that of the backbone, (batch, height, width, channels).
    Output shape: a dict, where n is `max_detections` and the detections are in descending order of
    their scores: "boxes" (batch, n, 4), "scores" (batch, n) in [0, 1], "labels" (batch, n), "masks"
    (batch, n, 28, 28) and "count" (batch,), the number of detections. After the last detection the
    labels are -1 and the other values 0. A mask holds probabilities inside its box; `paste_masks`
    puts it into the image. With `training=True` the output is a dict of the feature pyramid's maps,
    "levels", and the proposals' "objectness" and "deltas".

    Raises:
        ValueError: If an argument is out of its range, or if the levels of the backbone don't have
            the strides 4, 8, 16 and 32.

    Source: He et al., "Mask R-CNN", ICCV 2017.

    Example:
    >>> import numpy as np
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, 2, channels=8, proposals=50, class_names=["cat", "dog"])
    >>> detector.predict(np.zeros((1, 64, 64, 3)), verbose=0)["boxes"].shape
    (1, 100, 4)
    """

    _transform_keys = ("short_side", "long_side", "pad_to")

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
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        box_head: str = "dense",
        frozen: Sequence[str] = (),
        thawed: Sequence[str] = (),
        name: str | None = None,
        dtype: Any = None,
        trainable: bool = True,
    ) -> None:
        check_boolean("trainable", trainable)
        check_choice("box_head", box_head, tuple(BOX_HEADS))
        num_classes = check_positive("num_classes", num_classes)
        bounding_box_format = check_box_format(bounding_box_format)
        channels = check_positive("channels", channels)
        max_detections = check_positive("max_detections", max_detections)
        check_fraction("score_threshold", score_threshold)
        check_fraction("iou_threshold", iou_threshold)
        score_threshold, iou_threshold = float(score_threshold), float(iou_threshold)
        proposals = check_positive("proposals", proposals)
        candidates = check_positive("candidates", candidates)
        backbone = as_pyramid(backbone)
        pyramid = pyramid_levels(backbone)
        _check_strides(backbone.inputs[0], pyramid)
        most = (len(STRIDES) * candidates, proposals * num_classes)
        if proposals > most[0] or max_detections > most[1]:
            raise ValueError(
                f"`proposals` must be at most {len(STRIDES)} x `candidates`, `max_detections` at "
                f"most `proposals` x `num_classes`. Received: candidates={candidates}, proposals="
                f"{proposals}, max_detections={max_detections}, num_classes={num_classes}"
            )
        make = LayerMaker(keras.dtype_policies.get(dtype or backbone.dtype_policy))
        policy = make.policy
        exact = {"dtype": policy.variable_dtype}
        (images,) = backbone.inputs
        neck = make(FeaturePyramid, "neck", channels)
        rpn = make(RegionProposalNetwork, "rpn", channels)
        box_pooling = make(RegionPooling, "box_regions", BOX_BINS)
        mask_pooling = make(RegionPooling, "mask_regions", MASK_BINS)
        own = {"channels": channels} if box_head == "an" else {}
        region_head = make(BOX_HEADS[box_head], "box_head", num_classes, 4 * channels, **own)
        mask_head = make(MaskHead, "mask_head", num_classes, channels)

        levels = neck(pyramid)
        objectness, deltas = rpn(levels)
        propose = make(Proposals, "proposals", proposals, candidates=candidates, **exact)
        found = propose(images, levels, objectness, deltas)
        logits, box_deltas = region_head(box_pooling(levels, found))
        detect = make(
            Detections, "detections", max_detections, score_threshold, iou_threshold, **exact
        )
        boxes, scores, labels = detect(images, logits, box_deltas, found)
        mask_logits = mask_head(mask_pooling(levels, boxes))
        masks, count = make(MasksOfLabels, "masks", **exact)(mask_logits, labels)
        outputs = {
            "boxes": boxes,
            "scores": scores,
            "labels": labels,
            "masks": masks,
            "count": count,
        }
        super().__init__(inputs=images, outputs=outputs, name=name)
        self.first_stage = GraphPart(
            images, {"levels": levels, "objectness": objectness, "deltas": deltas}
        )
        self.backbone, self.neck, self.rpn = backbone, neck, rpn
        self.box_pooling, self.mask_pooling = box_pooling, mask_pooling
        self.box_head, self.mask_head = region_head, mask_head
        self.num_classes, self.bounding_box_format = num_classes, bounding_box_format
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.loss_trackers = [keras.metrics.Mean(name=name) for name in LOSSES]
        self.dtype_policy = policy
        self._mask_axes: int | None = None  # of the masks that the compiled steps are for
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
            "box_head": box_head,
        }
        self._set_up(num_classes, class_names, evaluation_transform, frozen, thawed, trainable)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> dict:
        """Compute detections or, in training, the outputs of the first stage.

        Args:
            inputs: Tensor. Images (batch, height, width, channels).
            training: bool. Whether to run the first stage only, in training mode.
            mask: Ignored.

        Returns:
            dict. "boxes", "scores", "labels", "masks" and "count" as in the description of the
            class. If `training` is true, "levels", "objectness" and "deltas", each a list with one
            tensor per level.
        """
        images = only_image(inputs, self.inputs[0].name)
        if training:
            return self.first_stage(images, training=True)
        return self._convert(super().call(images, training=False, mask=mask), images)

    def compute_output_spec(
        self, inputs: Any, training: bool | None = None, mask: Any = None
    ) -> dict:
        """Return the shapes and types of what `call` returns.

        Args:
            inputs: KerasTensor. Images (batch, height, width, channels).
            training: bool. As in `call`.
            mask: Ignored.
        """
        images = only_image(inputs, self.inputs[0].name)
        if training:
            return self.first_stage.model.compute_output_spec(images)
        return super().compute_output_spec(images)

    def _convert(self, outputs: dict, images: Any) -> dict:
        """Convert the boxes of detections to `bounding_box_format`."""
        if self.bounding_box_format == "xyxy":
            return outputs
        height, width = ops.shape(images)[1:3]
        boxes = keras.utils.bounding_boxes.convert_format(
            outputs["boxes"], "xyxy", self.bounding_box_format, height, width
        )
        return {**outputs, "boxes": boxes}

    # --- Training -----------------------------------------------------------------------------

    def compile(
        self,
        optimizer: Any = "auto",
        loss_weights: Mapping[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Configure the model for training with its own losses.

        Args:
            optimizer: str or keras.optimizers.Optimizer. "auto" is the optimizer of the official
                code: AdamW with learning rate 1e-4 and with weight decay 0.05, except for the
                biases and the parameters of normalisation layers.
            loss_weights: dict. Factors of the losses in their sum. The keys are "rpn_class_loss",
                "rpn_box_loss", "class_loss", "box_loss" and "mask_loss"; the factor of a missing
                key is 1.
            **kwargs: Arguments of `keras.Model.compile`.

        Raises:
            ValueError: If a loss or a metric is given, if `loss_weights` has an unknown key, or if
                a factor is negative or not finite.
        """
        # They are removed because Keras would build a metric, and compute it, from an empty list.
        others = {name: kwargs.pop(name, None) for name in ("loss", "metrics", "weighted_metrics")}
        if any(others.values()):
            raise ValueError(
                "MaskRCNN has its own losses and metrics and takes no others. Received: "
                f"{', '.join(f'{name}={value!r}' for name, value in others.items() if value)}"
            )
        self._factors = _check_loss_weights(loss_weights)
        if optimizer == "auto":
            optimizer = keras.optimizers.AdamW(1e-4, weight_decay=0.05)
            optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        super().compile(optimizer=optimizer, loss_weights=loss_weights, **kwargs)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Compute the sum of the five losses and of the layers' own losses.

        Each of the five losses is also tracked as a metric.

        Args:
            x: Tensor. Images (batch, height, width, channels).
            y: dict. Targets, as in the description of the class.
            y_pred: dict. Output of `call`.
            sample_weight: Tensor. Weights of the images, (batch,), or `None`.
            training: bool. Not used.

        Returns:
            The loss, a scalar tensor.
        """
        # These come before `first_stage` below, which would add the layers' losses again.
        added = [self._aggregate_additional_loss(loss) for loss in self.losses]
        images = only_image(x, self.inputs[0].name)
        if "levels" not in y_pred:
            y_pred = self.first_stage(images)
        objects, labels, masks = self._objects(images, y)
        weights = _image_weights(sample_weight, images)
        losses = self._proposal_losses(y_pred, objects, labels >= 0, weights)
        losses += self._region_losses(images, y_pred, objects, labels, masks, weights)
        for tracker, loss in zip(self.loss_trackers, losses, strict=True):
            tracker.update_state(loss)
        total = sum(factor * loss for factor, loss in zip(self._factors, losses, strict=True))
        # Keras's function divides a loss by the number of devices that train together.
        return self._aggregate_additional_loss(total) + sum(added)

    def compute_metrics(self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None) -> dict:
        """Return the tracked losses.

        Args:
            x: Not used.
            y: Not used.
            y_pred: Not used.
            sample_weight: Not used.

        Returns:
            dict. Mean of each loss since the last reset, by name.
        """
        return self.get_metrics_result()

    def _prepare_fit(self, given: dict) -> dict:
        if given.get("class_weight") is not None:
            raise ValueError(
                "A MaskRCNN takes no `class_weight`. Weight images with `sample_weight`, or losses "
                "with `compile(loss_weights=...)`. Received: "
                f"class_weight={given['class_weight']!r}"
            )
        return given

    def _tells_enough(self, y: Any) -> bool:
        labels = as_numpy(y["labels"] if "labels" in y else y["classes"])
        return bool((labels >= 0).any())

    def _check_targets(self, x: Any, y: Any, sample_weight: Any, is_first: bool) -> None:
        shape = tuple(np.shape(only_image(x, self.inputs[0].name)))
        size = shape[1:3] if len(shape) == 4 else (None, None)
        check_objects(y, size, self.bounding_box_format, self.num_classes, is_first)
        if sample_weight is not None:
            _check_weights_shape(sample_weight)
        # A step that TensorFlow compiled for masks with another number of axes would misread these.
        axes = np.ndim(y["masks"]) if "masks" in y else None
        if axes != self._mask_axes:
            self._mask_axes = axes
            self.train_function = self.test_function = None
        if "masks" not in y and self.mask_head.trainable:
            warn_user(
                "The targets hold no masks, so the mask head isn't trained. Set "
                "`mask_head.trainable = False` before `compile` to say so."
            )

    def _objects(self, images: Any, y: Any) -> tuple[Any, Any, Any]:
        """Return true boxes (b, m, 4) in pixels, labels (b, m), and masks or `None`."""
        check_shapes(y, tuple(images.shape[1:3]))
        labels = ops.cast(y["labels"] if "labels" in y else y["classes"], "int32")
        height, width = ops.shape(images)[1:3]
        boxes = ops.cast(y["boxes"], keras.config.floatx())
        masks = y.get("masks")
        if not boxes.shape[1]:  # The later maxima over objects need at least one.
            boxes, labels, masks = _pad_objects(boxes, labels, masks)
        source = self.bounding_box_format
        if source == "rel_center_xywh":  # Keras 3.13 exchanges its height and width.
            sides = [ops.cast(side, boxes.dtype) for side in (width, height, width, height)]
            source, boxes = "center_xywh", boxes * ops.stack(sides)
        if source != "xyxy":
            boxes = keras.utils.bounding_boxes.convert_format(boxes, source, "xyxy", height, width)
        boxes = clip_boxes(boxes, (height, width))
        # An object needs a label of an existing class and some area inside the image.
        real = ops.logical_and(labels >= 0, labels < self.num_classes)
        real = ops.logical_and(real, ops.all(boxes[..., 2:] > boxes[..., :2], axis=-1))
        boxes = ops.where(real[..., None], boxes, 0.0)
        return boxes, ops.where(real, labels, -1), masks

    def _proposal_losses(self, first: dict, objects: Any, present: Any, weights: Any) -> list[Any]:
        """Return the losses of objectness and deltas on a sample of 256 anchors."""
        anchors = ops.concatenate(anchors_of(first["levels"]), axis=0)
        logits = ops.concatenate(first["objectness"], axis=1)
        deltas = ops.concatenate(first["deltas"], axis=1)
        anchors = ops.broadcast_to(anchors[None], ops.shape(deltas))
        positive, negative, object_index = assign(anchors, objects, present, 0.7, 0.3, 0.3)
        index, positive, used = sample(positive, negative, 256, 0.5, self.seed_generator)
        positive, used = (
            ops.cast(positive, keras.config.floatx()),
            ops.cast(used, keras.config.floatx()),
        )
        logits = ops.take_along_axis(logits, index, axis=1)
        object_index = ops.take_along_axis(object_index, index, axis=1)[..., None]
        matched = ops.take_along_axis(objects, object_index, axis=1)
        target = encode_boxes(matched, ops.take_along_axis(anchors, index[..., None], axis=1))
        deltas = ops.take_along_axis(deltas, index[..., None], axis=1)
        count = ops.maximum(ops.sum(used), 1.0)
        entropy = ops.sum(weights * used * binary_entropy(logits, positive)) / count
        distance = ops.sum(ops.abs(deltas - target), axis=-1)
        return [entropy, ops.sum(weights * positive * distance) / count]

    def _region_losses(
        self, images: Any, first: dict, objects: Any, labels: Any, masks: Any, weights: Any
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
        boxes = ops.concatenate([boxes, objects], axis=1)  # The true boxes serve as proposals too.
        usable = ops.concatenate([scores > -np.inf, present], axis=1)
        positive, negative, object_index = assign(boxes, objects, present, 0.5, 0.5, 0.5)
        positive, negative = ops.logical_and(positive, usable), ops.logical_and(negative, usable)
        index, positive, used = sample(positive, negative, count, 0.25, self.seed_generator)
        boxes = ops.take_along_axis(boxes, index[..., None], axis=1)
        object_index = ops.take_along_axis(object_index, index, axis=1)
        labels = ops.maximum(ops.take_along_axis(labels, object_index, axis=1), 0)
        matched = ops.take_along_axis(objects, object_index[..., None], axis=1)

        logits, deltas = self.box_head(self.box_pooling(first["levels"], boxes))
        total = ops.maximum(ops.sum(ops.cast(used, keras.config.floatx())), 1.0)
        target = ops.where(positive, labels, self.num_classes)
        entropy = ops.sparse_categorical_crossentropy(target, logits, from_logits=True)
        class_loss = ops.sum(weights * ops.where(used, entropy, 0.0)) / total
        deltas = ops.take_along_axis(deltas, labels[..., None, None], axis=2)[..., 0, :]
        distance = ops.sum(ops.abs(deltas - encode_boxes(matched, boxes, DEVIATIONS)), axis=-1)
        box_loss = ops.sum(weights * ops.where(positive, distance, 0.0)) / total
        if masks is None:
            return [class_loss, box_loss, ops.zeros((), box_loss.dtype)]

        part = slice(0, count // 4)  # The sample starts with its positive boxes.
        boxes, object_index, labels = boxes[:, part], object_index[:, part], labels[:, part]
        positive = positive[:, part]
        mask_logits = self.mask_head(self.mask_pooling(first["levels"], boxes))
        size = mask_logits.shape[2]
        index = ops.broadcast_to(labels[..., None, None, None], (*ops.shape(mask_logits)[:4], 1))
        mask_logits = ops.take_along_axis(mask_logits, index, axis=4)[..., 0]
        entropy = binary_entropy(mask_logits, crop_masks(masks, object_index, boxes, size))
        entropy = ops.where(positive, ops.mean(entropy, axis=(2, 3)), 0.0)
        mask_loss = ops.sum(weights * entropy) / ops.maximum(
            ops.sum(ops.cast(positive, keras.config.floatx())), 1.0
        )
        return [class_loss, box_loss, mask_loss]

    def get_config(self) -> dict:
        """Return the arguments of the constructor, with the backbone serialised."""
        return {
            "backbone": keras.saving.serialize_keras_object(self.backbone),
            **self._config,
            **self._shared_config(),
            "name": self.name,
            "dtype": serialize_policy(self.dtype_policy, [self.box_head, self.mask_head]),
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> "MaskRCNN":
        """Create a detector from its configuration.

        Args:
            config: dict. Output of `get_config`.
            custom_objects: dict. Custom classes and functions by name, for the backbone.

        Returns:
            A `MaskRCNN` with new weights.
        """
        backbone = keras.saving.deserialize_keras_object(config["backbone"], custom_objects)
        dtype = keras.dtype_policies.get(config["dtype"])
        return cls(**{**config, "backbone": backbone, "dtype": dtype})


def _check_strides(images: Any, levels: Sequence[Any]) -> None:
    """Check that the levels have the strides that the anchors and the region pooling assume.

    The sizes may differ from the expected ones as far as rounding and convolutions without padding
    explain.

    Raises:
        ValueError: If the size of a level differs more than that.
    """
    size = tuple(SAMPLE_SIDE if side is None else side for side in images.shape[1:3])
    shapes = [level.shape for level in levels]
    if None in images.shape[1:3]:
        try:
            shapes = keras.Function(images, list(levels)).compute_output_shape(
                (images.shape[0], *size, *images.shape[3:])
            )
        except Exception:  # The model may not take images of this size. The strides stay unknown.
            return
    found = {name: tuple(shape[1:3]) for name, shape in zip(LEVELS, shapes, strict=True)}
    for (name, sides), stride in zip(found.items(), STRIDES[:4], strict=True):
        for side, whole in zip(sides, size, strict=True):
            if side is not None and abs(side - whole / stride) > 1 + whole / stride / 4:
                raise ValueError(
                    "`backbone` must have levels P2 to P5 with the strides 4, 8, 16 and 32. "
                    f"Received: {name} of {sides[0]} x {sides[1]} where {stride} is the stride "
                    f"and the images have {size[0]} x {size[1]}; all levels: {found}"
                )


def _check_loss_weights(loss_weights: Any) -> tuple[float, ...]:
    """Return the factors of the losses, in the order of `LOSSES`."""
    given = {} if loss_weights is None else loss_weights
    good = isinstance(given, Mapping) and set(given) <= set(LOSSES)
    good = good and all(
        isinstance(value, Real) and 0 <= value < math.inf for value in given.values()
    )
    if not good:
        raise ValueError(
            f"`loss_weights` must be a dict with some of the names {', '.join(LOSSES)} and "
            f"finite numbers from 0. Received: loss_weights={loss_weights!r}"
        )
    return tuple(float(given.get(name, 1.0)) for name in LOSSES)


def _check_weights_shape(sample_weight: Any) -> None:
    shape = None if isinstance(sample_weight, Mapping) else tuple(np.shape(sample_weight))
    if shape is None or len(shape) not in (1, 2) or any(side != 1 for side in shape[1:]):
        received = list(sample_weight) if shape is None else f"an array of shape {shape}"
        raise ValueError(
            "`sample_weight` must have the shape (batch,), one weight for each image. "
            f"Received: sample_weight={received}"
        )


def _image_weights(sample_weight: Any, images: Any) -> Any:
    """Return the weights of the images (b, 1), which are 1 if `sample_weight` is `None`."""
    if sample_weight is None:
        return ops.ones((ops.shape(images)[0], 1), keras.config.floatx())
    weights = keras.tree.flatten(sample_weight)[0]  # Keras repeats them for each target.
    if has_rank(weights):
        _check_weights_shape(weights)
    return ops.cast(ops.reshape(weights, (-1, 1)), keras.config.floatx())


def _pad_objects(boxes: Any, labels: Any, masks: Any) -> tuple[Any, Any, Any]:
    """Append one padding object."""
    batch = ops.shape(boxes)[0]
    boxes = ops.concatenate([boxes, ops.zeros((batch, 1, 4), boxes.dtype)], axis=1)
    labels = ops.concatenate([labels, ops.full((batch, 1), -1, dtype=labels.dtype)], axis=1)
    if masks is not None and len(masks.shape) == 4:
        masks = ops.convert_to_tensor(masks)
        more = ops.zeros((batch, 1, *ops.shape(masks)[2:]), masks.dtype)
        masks = ops.concatenate([masks, more], axis=1)
    return boxes, labels, masks


def binary_entropy(logits: Any, targets: Any) -> Any:
    """Compute the binary cross-entropy of logits, element by element.

        max(x, 0) - x * t + log(1 + exp(-|x|)), for the logit x and the target t

    Args:
        logits: Tensor. Any shape.
        targets: Tensor. The targets, of the same shape, in [0, 1].

    Returns:
        Tensor of the same shape.

    Example:
    >>> entropy = binary_entropy(ops.convert_to_tensor([0.0, 50.0]), ops.ones((2,)))
    >>> [round(float(value), 3) for value in entropy]
    [0.693, 0.0]
    """
    return ops.maximum(logits, 0.0) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
