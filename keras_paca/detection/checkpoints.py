"""Official checkpoints of Mask R-CNN: where their tensors belong, on any family of backbones."""

from keras_paca import weights
from keras_paca.backbones.loading import ClassOutputs, Task
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
    for key, layer in (
        ("shared_fcs.0", "hidden1"),
        ("shared_fcs.1", "hidden2"),
        ("fc_cls", "classify"),
        ("fc_reg", "deltas"),
    ):
        entries.kernel(f"roi_head.bbox_head.{key}", f"box_head/{layer}", "linear")
    mask = "roi_head.mask_head"
    for i in range(detector.mask_head.depth):
        entries.kernel(f"{mask}.convs.{i}.conv", f"mask_head/conv{i + 1}", "conv")
    # a transposed convolution lies as (in, out, h, w) there and (h, w, out, in) here
    entries.kernel(f"{mask}.upsample", "mask_head/upsample", "conv")
    entries.kernel(f"{mask}.conv_logits", "mask_head/classify", "pointwise")
    return entries


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
