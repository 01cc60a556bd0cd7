"""Mask R-CNN on the variants of the families, with the weights released for COCO."""

from collections.abc import Mapping
from typing import Any

from keras_paca.arguments import check_choice
from keras_paca.backbones import PaCaViT, RapidNet
from keras_paca.backbones.task_variants import TaskModel, task_variant
from keras_paca.detection.checkpoints import DETECTION
from keras_paca.detection.mask_rcnn import BOX_HEADS, MaskRCNN


def _check_box_head(arguments: Mapping[str, Any]) -> None:
    """Raise an error where a released file is asked for that has another box head."""
    check_choice("box_head", arguments["box_head"], tuple(BOX_HEADS))
    if arguments["weights"] == DETECTION.weights and arguments["box_head"] == "an":
        raise ValueError(
            'No released detector has the box head "an". Pass `weights="imagenet"` for the '
            f"backbone's weights, or None. Received: box_head={arguments['box_head']!r}, "
            f"weights={arguments['weights']!r}"
        )


DETECTOR = TaskModel(
    DETECTION,
    MaskRCNN,
    positional=("weights", "num_classes", "bounding_box_format"),
    keyword=(
        *("max_detections", "score_threshold", "iou_threshold", "proposals", "candidates"),
        *("box_head", "seed"),
    ),
    module=__name__,
    check=_check_box_head,
    docstring="""Build a Mask R-CNN on {backbone}, with the weights released for COCO by default.

    Args:
        weights: str, Path or None. "coco" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official detection checkpoint or of a saved detector.
        num_classes: int. Number of classes. If it isn't that of the file, the class, box and mask
            outputs start fresh.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.

    Returns:
        keras.Model. A `keras_paca.detection.MaskRCNN`. Its input is (batch, height, width,
        channels).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    {source}

    Example:
    >>> from keras_paca import detection
    >>> detector = detection.{name}(weights=None, num_classes=3)
    >>> detector.compute_output_shape((1, 64, 96, 3))["boxes"]
    (1, 100, 4)
    """,
)


def _defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the official options that differ from those of the ImageNet models.

    Args:
        arguments: dict. The arguments of the function.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or (100, 100, 100, 0), with a teacher 100 in each stage.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped, by
            default 0.1.
    """
    return {"drop_path_rate": 0.1}


PACA = PaCaViT.variants
PaCaTinyMaskRCNN = task_variant(DETECTOR, PACA["paca_tiny"], "paca_tiny_mask_rcnn", _defaults)
PaCaSmallMaskRCNN = task_variant(DETECTOR, PACA["paca_small"], "paca_small_mask_rcnn", _defaults)
PaCaBaseMaskRCNN = task_variant(DETECTOR, PACA["paca_base"], "paca_base_mask_rcnn", _defaults)

RAPIDNET = RapidNet.variants
RapidNetMMaskRCNN = task_variant(DETECTOR, RAPIDNET["rapidnet_m"], "rapidnet_m_mask_rcnn")
RapidNetBMaskRCNN = task_variant(DETECTOR, RAPIDNET["rapidnet_b"], "rapidnet_b_mask_rcnn")
