"""Segmenters on the variants of the families, with the weights released for ADE20K."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from keras_paca.backbones import PaCaViT, RapidNet, ViTTM
from keras_paca.backbones.paca_vit import clusters_per_stage
from keras_paca.backbones.task_variants import TaskModel, task_variant
from keras_paca.segmentation.checkpoints import SEGMENTATION
from keras_paca.segmentation.segmenter import Segmenter, head_class

DOCSTRING = """Build a segmenter on {backbone}, HELD.

    Args:
        head: str. HEAD
        weights: str, Path or None. WEIGHTS
        num_classes: int. Number of classes. If it isn't that of the file, the parts of the head
            that depend on it start fresh.
        input_tensor: KerasTensor. A `keras.Input` to build on.
        evaluation_transform: dict. How large images are made for the model. By default, that of the
            file.TRANSFORM

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
    """
RELEASED = """"ade20k" for the released file, which is downloaded once;
            "imagenet" for the backbone's released weights and fresh heads; `None` for random
            values; or the path of an official segmentation checkpoint or of a saved segmenter."""


def _describe(**parts: str) -> str:
    """Return the docstring with the words in capitals replaced."""
    text = DOCSTRING
    for name, part in parts.items():
        text = text.replace(name, part)
    return text


SEGMENTER = TaskModel(
    SEGMENTATION,
    Segmenter,
    positional=("head", "weights", "num_classes"),
    keyword=("auxiliary_weight", "ignore_class"),
    check=lambda arguments: head_class(arguments["head"]),
    module=__name__,
    docstring=_describe(
        HELD="with the weights released for ADE20K by default",
        HEAD=""""paca" or "upernet"; or "fpn" or "mask_transformer", for which no weights were
            released.""",
        WEIGHTS=RELEASED,
        TRANSFORM="",
    ),
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


# --- RapidNet -----------------------------------------------------------------------------------

_ON_RAPIDNET = replace(
    SEGMENTER,
    docstring=_describe(
        HELD="with the weights released for ADE20K by default",
        HEAD=""""fpn"; or "upernet", "paca" or "mask_transformer", for which no weights were
            released.""",
        WEIGHTS=RELEASED,
        TRANSFORM="",
    ),
)
RAPIDNET = RapidNet.variants
RapidNetMSegmenter = task_variant(
    _ON_RAPIDNET, RAPIDNET["rapidnet_m"], "rapidnet_m_segmenter", head="fpn"
)
RapidNetBSegmenter = task_variant(
    _ON_RAPIDNET, RAPIDNET["rapidnet_b"], "rapidnet_b_segmenter", head="fpn"
)


# --- ViTTM --------------------------------------------------------------------------------------

_ON_VITTM = replace(
    SEGMENTER,
    docstring=_describe(
        HELD="of which nobody released weights",
        HEAD=""""mask_transformer", as in the official code. Other heads need the levels P2 to P5,
            which a ViTTM doesn't have.""",
        WEIGHTS="""`None` for random values; "imagenet" for the backbone's released weights,
            if there are any, and a fresh head; or the path of an official segmentation checkpoint
            or of a saved segmenter.""",
        TRANSFORM=""" Otherwise it is sliding windows of 504 or 512 pixels with a step of 480, as in
            the official configurations.""",
    ),
)
LARGEST, STRIDE = 512, 480  # side of the images and step of the windows, in pixels


def _vittm_defaults(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the official options that differ from those of the ImageNet models.

    Args:
        arguments: dict. The arguments of the function.
        image_size: int or (int, int). Image size (height, width), both from 32, for which the
            position embeddings are learned; they are resized for images of other sizes. Those of a
            file are resized to it when they are loaded. By default that of the file, or else the
            largest multiple of both patch sizes up to 512: 504 for patches of 28, 512 for 16 and
            32.
        normalization: str. How images are normalized: "symmetric" for the range -1..1, which is the
            default and that of the official segmenters, or "imagenet" for the mean and the
            deviation of ImageNet.
    """
    changed = {"normalization": "symmetric", "evaluation_transform": _windows}
    if arguments["weights"] is not None:
        return changed
    patches = [arguments[f"{name}_patch_size"] or 28 for name in ("memory", "process")]
    return {**changed, "image_size": _largest_side(patches)}


def _largest_side(patches: Sequence[int]) -> int:
    """Return the largest multiple of all patch sizes up to 512, or else 512."""
    step = math.lcm(*patches)
    return LARGEST // step * step or LARGEST


def _windows(backbone: ViTTM) -> dict[str, int]:
    """Return the official evaluation transform for a backbone."""
    config = backbone.get_config()
    side = _largest_side([config[f"{name}_patch_size"] for name in ("memory", "process")])
    sides = {"short_side": side, "long_side": 2048}
    return {**sides, "window_size": side, "stride": min(STRIDE, side)}


_OWN = {"head": "mask_transformer", "weights": None}
_CHANGED = ("normalization",)
VITTM = ViTTM.variants
ViTTMSmallSegmenter = task_variant(
    _ON_VITTM, VITTM["vittm_small"], "vittm_small_segmenter", _vittm_defaults, _CHANGED, **_OWN
)
ViTTMBaseSegmenter = task_variant(
    _ON_VITTM, VITTM["vittm_base"], "vittm_base_segmenter", _vittm_defaults, _CHANGED, **_OWN
)
