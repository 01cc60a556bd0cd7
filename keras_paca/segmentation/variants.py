"""Segmenters on the variants of the families, with the weights released for ADE20K."""

from collections.abc import Mapping
from typing import Any

from keras_paca.backbones import PaCaViT
from keras_paca.backbones.paca_vit import clusters_per_stage
from keras_paca.backbones.task_variants import TaskModel, task_variant
from keras_paca.segmentation.checkpoints import SEGMENTATION
from keras_paca.segmentation.segmenter import Segmenter

SEGMENTER = TaskModel(
    SEGMENTATION,
    Segmenter,
    positional=("head", "weights", "num_classes"),
    keyword=("auxiliary_weight", "ignore_class"),
    module=__name__,
    docstring="""Build a segmenter on {backbone}, with the weights released for ADE20K by default.

    Args:
        head: str. "paca", "upernet", or "fpn" (for which no weights were released).
        weights: str, Path or None. "ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter.
        num_classes: int. Number of classes. If it isn't that of the file, class and cluster logits
            start fresh.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.

    Returns:
        keras.Model. A `keras_paca.segmentation.Segmenter`. Its input is (batch, height, width,
        channels); its output is logits (batch, height, width, num_classes).

    Raises:
        ValueError: If an argument or the file doesn't fit, or if no such weights were released.
        FileNotFoundError: If there is no file at `weights`, or none could be downloaded.

    {source}

    Example:
    >>> from keras_paca import segmentation
    >>> segmenter = segmentation.{name}(weights=None, num_classes=3)
    >>> segmenter.compute_output_shape((1, 64, 96, 3))
    (1, 64, 96, 3)
    """,
)


def _defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the official options that differ from those of the ImageNet models.

    Args:
        arguments: dict. The arguments of the function.
        clusters: int or Sequence of int. The backbone's clusters per stage. By default those of the
            file, or the official (200, 200, 200, 0), with a teacher 200 in each stage; with
            "imagenet" those of its file.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped. By
            default 0.1, for Base with conv clustering and the PaCa head 0.5.
    """
    changed = {} if arguments["head"] == "paca" else {"drop_path_rate": 0.1}
    if arguments["weights"] is None:
        clusters = clusters_per_stage(None, arguments["clustering"])
        changed["clusters"] = tuple(2 * count for count in clusters)
    return changed


PACA = PaCaViT.variants
PaCaTinySegmenter = task_variant(SEGMENTER, PACA["paca_tiny"], "paca_tiny_segmenter", _defaults)
PaCaSmallSegmenter = task_variant(SEGMENTER, PACA["paca_small"], "paca_small_segmenter", _defaults)
PaCaBaseSegmenter = task_variant(SEGMENTER, PACA["paca_base"], "paca_base_segmenter", _defaults)
