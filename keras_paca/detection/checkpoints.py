"""Official checkpoints of Mask R-CNN: where their tensors belong, on any family of backbones."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from keras_paca import weights
from keras_paca.backbones.loading import ClassOutputs, Task
from keras_paca.detection.heads import AttentiveBoxHead
from keras_paca.detection.mask_rcnn import MaskRCNN
from keras_paca.labels import coco_classes


def checkpoint_map(detector: MaskRCNN) -> weights.KeyMap:
    """Return where each tensor of an official detection checkpoint belongs.

    Args:
        detector: MaskRCNN. One on a `Backbone` such as `PaCaViT`.

    Returns:
        KeyMap. {official key: entry}, one for every weight of the detector.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> detector = MaskRCNN(backbone, num_classes=2, channels=8)
    >>> checkpoint_map(detector)["roi_head.bbox_head.fc_cls.weight"].path
    'box_head/classify/kernel'
    """
    backbone, entries = detector.backbone, weights.KeyMap()
    for key, entry in backbone.checkpoint_map(backbone.get_config()).items():
        entries[f"backbone.{key}"] = entry
    for i in range(4):
        entries.kernel(f"neck.lateral_convs.{i}.conv", f"neck/lateral{i + 1}", "conv")
        entries.kernel(f"neck.fpn_convs.{i}.conv", f"neck/fpn{i + 1}", "conv")
    for key, layer in (("conv", "conv"), ("cls", "objectness"), ("reg", "deltas")):
        entries.kernel(f"rpn_head.rpn_{key}", f"rpn/{layer}", "conv")
    for key, entry in box_head_map(detector.box_head, "box_head").items():
        entries[f"roi_head.bbox_head.{key}"] = entry
    mask = "roi_head.mask_head"
    for i in range(detector.mask_head.depth):
        entries.kernel(f"{mask}.convs.{i}.conv", f"mask_head/conv{i + 1}", "conv")
    # a transposed convolution lies as (in, out, h, w) there and (h, w, out, in) here
    entries.kernel(f"{mask}.upsample", "mask_head/upsample", "conv")
    entries.kernel(f"{mask}.conv_logits", "mask_head/classify", "pointwise")
    return entries


def box_head_map(head: Any, path: str, background_first: bool = False) -> weights.KeyMap:
    """Return where each tensor of an official box head belongs.

    Args:
        head: BoxHead or AttentiveBoxHead. The head.
        path: str. Path of its layer in the model.
        background_first: bool. Whether the background is the first class of the file, which also
            has deltas for it, as files of mmdetection 1 do, and so those of Attentive
            Normalization.

    Returns:
        KeyMap. {official key: entry}.

    Example:
    >>> from keras_paca.detection import AttentiveBoxHead
    >>> head = AttentiveBoxHead(2, units=8, channels=32)
    >>> box_head_map(head, "box_head")["shared_convs.3.agn.weight_"].path
    'box_head/norm4/scales'
    """
    entries = weights.KeyMap()
    hidden = ["hidden1"]
    if isinstance(head, AttentiveBoxHead):
        for i in range(len(head.mixtures)):
            key = f"shared_convs.{i}"
            entries.kernel(f"{key}.conv", f"{path}/conv{i + 1}", "conv", bias=False)
            entries.attentive_norm(f"{key}.agn", f"{path}/norm{i + 1}", batch=False)
    else:
        hidden.append("hidden2")
    for i, layer in enumerate(hidden):
        entries.kernel(f"shared_fcs.{i}", f"{path}/{layer}", "linear")
    for key, layer, rows in (("fc_cls", "classify", 1), ("fc_reg", "deltas", 4)):
        entries.kernel(key, f"{path}/{layer}", "linear")
        for name in ("weight", "bias") if background_first else ():
            entries[f"{key}.{name}"] = BackgroundFirst(entries[f"{key}.{name}"], rows)
    return entries


class BackgroundFirst(NamedTuple):
    """The entry of an output whose official tensor begins with the background.

    Args:
        entry: Entry. The entry without it.
        rows: int. Rows per class: 1 for logits, which end with the background here; 4 for deltas,
            which it has none of here.

    Example:
    >>> entry = BackgroundFirst(weights.Entry("deltas", "bias", "vector"), 4)
    >>> [(_, value)] = entry.split(np.arange(8), {"deltas/bias": np.zeros(4)})
    >>> value.tolist()
    [4, 5, 6, 7]
    """

    entry: weights.Entry
    rows: int

    @property
    def parts(self) -> tuple[weights.Entry, ...]:
        """The entry, as the only part of the tensor."""
        return (self.entry,)

    def official_shape(self, variables: Mapping[str, Any]) -> tuple[int, ...]:
        """Return the shape of the official tensor.

        Args:
            variables: dict. {path: variable or array}.
        """
        first, *others = self.entry.official_shape(variables)
        return (first + (self.rows if self.rows > 1 else 0), *others)

    def split(
        self, tensor: np.ndarray, variables: Mapping[str, Any]
    ) -> list[tuple[str, np.ndarray]]:
        """Return the path and the value of the variable to which an official tensor belongs.

        Args:
            tensor: np.ndarray. The official tensor.
            variables: dict. {path: variable}.
        """
        rows = np.roll(tensor, -1, axis=0) if self.rows == 1 else tensor[self.rows :]
        return self.entry.split(rows, variables)

    def join(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the official tensor, the inverse of `split`, with deltas of 0 of the background.

        Args:
            arrays: dict. {path: value of the variable}.
        """
        tensor = self.entry.join(arrays)
        if self.rows == 1:
            return np.roll(tensor, 1, axis=0)
        return np.concatenate([np.zeros_like(tensor[: self.rows]), tensor])


DETECTION = Task(
    name="detection",
    weights="coco",
    data_set="COCO",
    class_outputs=lambda detector: {
        "roi_head.bbox_head.fc_cls": ClassOutputs("box_head/classify", detector.num_classes + 1),
        "roi_head.bbox_head.fc_reg": ClassOutputs("box_head/deltas", 4 * detector.num_classes),
        "roi_head.mask_head.conv_logits": ClassOutputs("mask_head/classify", detector.num_classes),
    },
    fresh="the class, box and mask outputs",
    checkpoint_map=checkpoint_map,
    information=lambda file, family: {
        "class_names": coco_classes(),
        "evaluation_transform": {"short_side": 800, "long_side": 1333},
    },
    marker="rpn_head.",
    use_elsewhere="Give a backbone made from it to `MaskRCNN` for fresh heads on other weights.",
)
