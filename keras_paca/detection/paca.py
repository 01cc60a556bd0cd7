"""Mask R-CNN on PaCa-ViT with the weights released for COCO.

Paper: https://arxiv.org/abs/2203.11987. Official code: https://github.com/iVMCL/PaCaViT (MIT).
Read from top to bottom: checkpoint keys, weights, variants.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_paca import weights
from keras_paca.arguments import complete
from keras_paca.backbones import paca_vit
from keras_paca.detection.mask_rcnn import MaskRCNN
from keras_paca.labels import coco_classes

# --- Checkpoint keys ------------------------------------------------------------------------


def checkpoint_map(detector: MaskRCNN) -> weights.KeyMap:
    """Return where each tensor of an official detection checkpoint belongs.

    Args:
        detector: one on a `PaCaViT`.

    Returns:
        {official key: entry}, one for every weight of the detector.
    """
    entries = weights.KeyMap()
    for key, entry in paca_vit.checkpoint_map(detector.backbone.get_config()).items():
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


# --- Weights --------------------------------------------------------------------------------

COCO = {  # what the released files are for
    "class_names": coco_classes(),
    "evaluation_transform": {"short_side": 800, "long_side": 1333},
}

CLASS_KEYS = {  # official prefix: (Keras prefix, outputs of a detector of n classes)
    "roi_head.bbox_head.fc_cls": ("box_head/classify", lambda n: n + 1),
    "roi_head.bbox_head.fc_reg": ("box_head/deltas", lambda n: 4 * n),
    "roi_head.mask_head.conv_logits": ("mask_head/classify", lambda n: n),
}


def load_weights(detector: MaskRCNN, checkpoint: weights.Checkpoint, other_clusters: bool) -> None:
    """Load a detection checkpoint strictly, apart from counters of batches.

    Class and mask outputs for another number of classes start fresh, with a warning; so do, where
    the caller chose the `clusters`, the last clustering projections.

    Args:
        detector: the model.
        checkpoint: what `weights.open_checkpoint` returned.
        other_clusters: whether the caller asked for clusters of their own.

    Raises:
        ValueError: on any mismatch; the model is then unchanged.
    """
    tensors, name = checkpoint.tensors, checkpoint.name
    fresh = set()
    for official, (saved, outputs) in CLASS_KEYS.items():
        if checkpoint.official:
            keys = {f"{official}.weight": 0, f"{official}.bias": 0}
        else:
            keys = {f"{saved}/0": 1, f"{saved}/1": 0}
        expected = outputs(detector.num_classes)
        if any(tensors[k].shape[axis] != expected for k, axis in keys.items() if k in tensors):
            fresh.update(keys)
    if fresh:
        why = f"not made for {detector.num_classes} classes"
        weights.warn_fresh(name, "the class, box and mask outputs", why)
    if other_clusters:
        config = detector.backbone.get_config()
        fresh.update(paca_vit.other_projections(tensors, config, name))
    unused = paca_vit.constant_tensors(tensors)
    if checkpoint.official:
        weights.load_official(detector, tensors, checkpoint_map(detector), name, unused, fresh)
    else:
        weights.load_keras(detector, tensors, name, unused, fresh)


def released_file(
    size: str, clustering: str, clusters: Any, cluster_every: Any
) -> weights.ReleasedFile:
    """Return the released COCO checkpoint of a detector.

    Raises:
        ValueError: if nobody released such a file.
    """
    return paca_vit.released_file(size, clustering, clusters, cluster_every, task="detection")


# --- Variants -------------------------------------------------------------------------------


def _variant(size: str) -> Callable[..., MaskRCNN]:
    """Return the model function of one size."""

    def build(
        weights: str | Path | None = "coco",
        num_classes: int = 80,
        bounding_box_format: str = "xyxy",
        include_preprocessing: bool = True,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        name: str = f"paca_{size}_mask_rcnn",
        *,
        clustering: str = "conv",
        clusters: int | Sequence[int] | None = None,
        cluster_every: int | Sequence[int | None] | None = None,
        drop_path_rate: float = 0.1,
        remat: bool = False,
        max_detections: int = 100,
        score_threshold: float = 0.05,
        iou_threshold: float = 0.5,
        proposals: int = 1000,
        candidates: int = 1000,
        seed: int | None = None,
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        weights_url: str | None = None,
        dtype: Any = None,
    ) -> MaskRCNN:
        return _build(
            size,
            weights,
            weights_url,
            {
                "include_preprocessing": include_preprocessing,
                "input_tensor": input_tensor,
                "input_shape": input_shape,
                "clustering": clustering,
                "clusters": clusters,
                "cluster_every": cluster_every,
                "drop_path_rate": drop_path_rate,
                "remat": remat,
                "dtype": dtype,
            },
            num_classes=num_classes,
            bounding_box_format=bounding_box_format,
            max_detections=max_detections,
            score_threshold=score_threshold,
            iou_threshold=iou_threshold,
            proposals=proposals,
            candidates=candidates,
            seed=seed,
            class_names=class_names,
            evaluation_transform=evaluation_transform,
            name=name,
            dtype=dtype,
        )

    build.__name__ = build.__qualname__ = f"PaCa{size.title()}MaskRCNN"
    build.__doc__ = _DOCSTRING.format(size=size.title())
    return build


def _build(
    size: str, source: Any, url: str | None, backbone_options: dict, **options: Any
) -> MaskRCNN:
    """Build a detector and load its weights."""
    chosen, checkpoint, file = backbone_options["clusters"], None, None
    clustering, every = backbone_options["clustering"], backbone_options["cluster_every"]
    if source == "coco":
        file = released_file(size, clustering, chosen, every)
    elif source not in (None, "imagenet"):
        checkpoint = weights.open_checkpoint(source)
        if checkpoint.official and "rpn_head.rpn_cls.weight" not in checkpoint.tensors:
            raise ValueError(
                f"{checkpoint.name} is no detection checkpoint: it holds no `rpn_head`. Give a "
                "backbone made from it to `MaskRCNN` for fresh heads on other weights."
            )
        if chosen is None:
            backbone_options["clusters"] = paca_vit.clusters_in_checkpoint(checkpoint.tensors)
    backbone = paca_vit.build_variant(
        size,
        "imagenet" if source == "imagenet" else None,
        url,
        include_top=False,
        name=f"paca_{size}",
        **backbone_options,
    )
    known = COCO if file is not None else checkpoint.information if checkpoint else {}
    complete(options, known, options["num_classes"])
    detector = MaskRCNN(backbone, **options)
    if file is not None:
        key_map = checkpoint_map(detector)
        checkpoint = weights.fetch(
            file, url, lambda tensors: paca_vit.check_released(file, tensors, key_map)
        )
    if checkpoint is not None:
        load_weights(detector, checkpoint, chosen is not None)
    return detector


_DOCSTRING = """Build a Mask R-CNN on PaCa-{size}, with the weights released for COCO by default.

    Args:
        weights: "coco" for the released file, downloaded once; "imagenet" for the backbone's
            released weights and fresh heads; `None` for random values; or the path of an official
            detection checkpoint or of a saved detector.
        num_classes: number of classes; other than the file's, the class, box and mask outputs
            start fresh.
        bounding_box_format: of the boxes in and out, such as "xyxy" (pixels) or "rel_xywh".
        include_preprocessing: whether the model takes RGB in 0..255 and normalises it; else it
            takes images normalised by the caller.
        input_tensor: a `keras.Input` to build on.
        input_shape: (height, width, channels), (None, None, 3) by default; sides from 32, odd
            ones allowed, `None` for any.
        name: name of the model.
        clustering: "conv", "mlp", "linear" or "teacher".
        clusters: the backbone's clusters per stage, or one number for all; by default those of
            the file, or (100, 100, 100, 0), with a teacher 100 in each stage.
        cluster_every: `None` for an assignment once per stage, n for one in every n-th block; or
            one entry per stage.
        drop_path_rate: of the last block.
        remat: whether training computes each block again in the backward pass.
        max_detections: boxes per image.
        score_threshold: least probability of a detection.
        iou_threshold: intersection over union above which detections of a class compete.
        proposals: boxes per image that the heads look at.
        candidates: boxes per level from which the proposals come; in training twice as many.
        seed: of the samples in training.
        class_names: Sequence of str. The name of each class, which a saved model keeps; by default
            those of the file, where it has as many classes.
        evaluation_transform: dict. How large images are made for the model, such as
            `{{"short_side": 800, "long_side": 1333}}`; by default that of the file.
        weights_url: where a mirror of the released files lies; by default the environment
            variable KERAS_PACA_WEIGHTS_URL or the authors' own address.
        dtype: dtype or policy of every layer.

    Returns:
        A `keras_paca.detection.MaskRCNN`. Input (batch, height, width, channels).

    Raises:
        ValueError: if an argument or the file doesn't fit, or nobody released such weights.
        FileNotFoundError: if there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023; He et al., "Mask R-CNN", ICCV 2017.
    """

PaCaTinyMaskRCNN = _variant("tiny")
PaCaSmallMaskRCNN = _variant("small")
PaCaBaseMaskRCNN = _variant("base")
