"""Segmenters on PaCa-ViT with the weights released for ADE20K.

Paper: https://arxiv.org/abs/2203.11987. Official code: https://github.com/iVMCL/PaCaViT (MIT).
Read from top to bottom: checkpoint keys, weights, variants.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_paca import weights
from keras_paca.arguments import complete
from keras_paca.backbones import paca_vit
from keras_paca.labels import ade20k_classes
from keras_paca.segmentation.heads import FCNHead, PaCaSegmentationHead, UPerHead
from keras_paca.segmentation.segmenter import Segmenter

# --- Checkpoint keys ------------------------------------------------------------------------


def checkpoint_map(segmenter: Segmenter) -> weights.KeyMap:
    """Return where each tensor of an official segmentation checkpoint belongs.

    Args:
        segmenter: one on a `PaCaViT`, with a `PaCaSegmentationHead`, or a `UPerHead` and an
            `FCNHead`.

    Returns:
        {official key: entry}, one for every weight of the segmenter.
    """
    entries = weights.KeyMap()
    for key, entry in paca_vit.checkpoint_map(segmenter.backbone.get_config()).items():
        entries[f"backbone.{key}"] = entry

    def unit(key: str, layer: str) -> None:
        entries.kernel(f"{key}.conv", f"{layer}/conv", "conv", bias=False)
        entries.batch_norm(f"{key}.bn", f"{layer}/norm")

    head, name = segmenter.decode_head, segmenter.decode_head.name
    entries.kernel("decode_head.conv_seg", f"{name}/classify", "pointwise")
    if isinstance(head, PaCaSegmentationHead):
        for i in range(head.levels):
            unit(f"decode_head.convs.{i}", f"{name}/lateral{i + 1}")
        unit("decode_head.q.0", f"{name}/query")
        unit("decode_head.clustering.0", f"{name}/cluster_conv")
        entries.kernel("decode_head.clustering.1", f"{name}/clusters", "pointwise")
        for key, layer in (("k", "key"), ("v", "value")):
            entries.kernel(f"decode_head.{key}.0", f"{name}/{layer}", "linear")
            entries.batch_norm(f"decode_head.{key}.2", f"{name}/{layer}_norm")
        unit("decode_head.proj", f"{name}/attention_output")
    elif isinstance(head, UPerHead):
        for i, scale in enumerate(head.pool_scales):
            unit(f"decode_head.psp_modules.{i}.1", f"{name}/pool{scale}")
        unit("decode_head.bottleneck", f"{name}/bottleneck")
        for i in range(head.levels - 1):
            unit(f"decode_head.lateral_convs.{i}", f"{name}/lateral{i + 1}")
            unit(f"decode_head.fpn_convs.{i}", f"{name}/fpn{i + 1}")
        unit("decode_head.fpn_bottleneck", f"{name}/fusion")
    else:
        raise ValueError(f"No official checkpoint has a head such as {head!r}")
    auxiliary = segmenter.auxiliary_head
    if isinstance(auxiliary, FCNHead):
        unit("auxiliary_head.convs.0", f"{auxiliary.name}/conv")
        entries.kernel("auxiliary_head.conv_seg", f"{auxiliary.name}/classify", "pointwise")
    return entries


# --- Weights --------------------------------------------------------------------------------

ADE20K = {  # what the released files are for
    "class_names": ade20k_classes(),
    "evaluation_transform": {"short_side": 512, "long_side": 2048},
}

# official prefix -> Keras prefix, of what has one output per class
CLASS_KEYS = {
    "decode_head.conv_seg": "decode_head/classify",
    "decode_head.clustering.1": "decode_head/clusters",
    "auxiliary_head.conv_seg": "auxiliary_head/classify",
}


def load_weights(
    segmenter: Segmenter, checkpoint: weights.Checkpoint, other_clusters: bool
) -> None:
    """Load a segmentation checkpoint strictly, apart from counters of batches.

    Class and cluster logits for another number of classes start fresh, with a warning; so do,
    where the caller chose the `clusters`, the last clustering projections.

    Args:
        segmenter: the model.
        checkpoint: what `weights.open_checkpoint` returned.
        other_clusters: whether the caller asked for clusters of their own.

    Raises:
        ValueError: on any mismatch; the model is then unchanged.
    """
    tensors, name = checkpoint.tensors, checkpoint.name
    unused = {key for key in tensors if key.endswith("num_batches_tracked")}
    fresh = set()
    for official, saved in CLASS_KEYS.items():
        if checkpoint.official:
            keys = {f"{official}.weight": 0, f"{official}.bias": 0}
        else:
            keys = {f"{saved}/0": 1, f"{saved}/1": 0}
        present = {key: axis for key, axis in keys.items() if key in tensors}
        if any(tensors[key].shape[axis] != segmenter.num_classes for key, axis in present.items()):
            fresh.update(present)
    if fresh:
        weights.warn_fresh(
            name, "the class and cluster logits", f"not made for {segmenter.num_classes} classes"
        )
    config = segmenter.backbone.get_config()
    if other_clusters:
        fresh.update(paca_vit.other_projections(tensors, config, name))
    unused.update(paca_vit.constant_tensors(tensors))
    if checkpoint.official:
        weights.load_official(segmenter, tensors, checkpoint_map(segmenter), name, unused, fresh)
    else:
        weights.load_keras(segmenter, tensors, name, unused, fresh)


def released_file(
    size: str, head: str, clustering: str, clusters: Any, cluster_every: Any
) -> weights.ReleasedFile:
    """Return the released ADE20K checkpoint of a segmenter.

    The ablations differ in the clusters of the ImageNet weights that they began with, and not in
    what they compute; the file of the main table is taken where several fit. Pass the path of
    another to take it.

    Raises:
        ValueError: if nobody released such a file.
    """
    files = [file for file in weights.released_files() if file.task == "segmentation"]
    every = set(paca_vit.cluster_every_per_stage(cluster_every))
    fitting = [
        file
        for file in files
        if (file.size, file.head, file.clustering) == (size, head, clustering)
        and every == ({1} if file.blockwise else {None})
        and (
            clusters is None
            or [count > 0 for count in file.clusters]
            == [count > 0 for count in paca_vit.clusters_per_stage(clusters, clustering)]
        )
    ]
    if not fitting:
        released = "".join(f"\n  {file.variant}, head={file.head!r}" for file in files)
        raise ValueError(
            f"Nobody released ADE20K weights for {size}, head={head!r}, clustering={clustering!r}, "
            f"clusters={clusters}, cluster_every={cluster_every}. Pass `weights=None` or one of:"
            f"{released}"
        )
    return fitting[0]


# --- Variants -------------------------------------------------------------------------------


def _variant(size: str) -> Callable[..., Segmenter]:
    """Return the model function of one size."""

    def build(
        head: str = "paca",
        weights: str | Path | None = "ade20k",
        num_classes: int = 150,
        include_preprocessing: bool = True,
        input_tensor: Any = None,
        input_shape: Sequence[int | None] | None = None,
        name: str = f"paca_{size}_segmenter",
        *,
        clustering: str = "conv",
        clusters: int | Sequence[int] | None = None,
        cluster_every: int | Sequence[int | None] | None = None,
        drop_path_rate: float | None = None,
        remat: bool = False,
        auxiliary_weight: float = 0.4,
        ignore_class: int = 255,
        class_names: Sequence[str] | None = None,
        evaluation_transform: Mapping[str, Any] | None = None,
        weights_url: str | None = None,
        dtype: Any = None,
    ) -> Segmenter:
        if drop_path_rate is None:
            drop_path_rate = 0.5 if (size, head, clustering) == ("base", "paca", "conv") else 0.1
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
            head=head,
            num_classes=num_classes,
            auxiliary_weight=auxiliary_weight,
            ignore_class=ignore_class,
            class_names=class_names,
            evaluation_transform=evaluation_transform,
            name=name,
            dtype=dtype,
        )

    build.__name__ = build.__qualname__ = f"PaCa{size.title()}Segmenter"
    build.__doc__ = _DOCSTRING.format(size=size.title())
    return build


def _build(
    size: str, source: Any, url: str | None, backbone_options: dict, **options: Any
) -> Segmenter:
    """Build a segmenter and load its weights."""
    chosen, checkpoint, file = backbone_options["clusters"], None, None
    clustering = backbone_options["clustering"]
    official = tuple(np.multiply(2, paca_vit.clusters_per_stage(None, clustering)).tolist())
    if source == "imagenet":
        backbone = paca_vit.build_variant(
            size, "imagenet", url, include_top=False, name=f"paca_{size}", **backbone_options
        )
        return Segmenter(backbone, **options)
    if source == "ade20k":
        every = backbone_options["cluster_every"]
        file = released_file(size, options["head"], clustering, chosen, every)
        held = file.clusters
    elif source is not None:
        checkpoint = weights.open_checkpoint(source)
        if checkpoint.official and not any(
            k.startswith("decode_head.") for k in checkpoint.tensors
        ):
            raise ValueError(
                f"{checkpoint.name} is no segmentation checkpoint: it holds no `decode_head`. Give "
                "a backbone made from it to `Segmenter` for fresh heads on other weights."
            )
        held = paca_vit.clusters_in_checkpoint(checkpoint.tensors)
    else:
        held = official
    known = ADE20K if file is not None else checkpoint.information if checkpoint else {}
    complete(options, known, options["num_classes"])
    backbone_options["clusters"] = held if chosen is None else chosen
    backbone = paca_vit.PaCaViT(
        **paca_vit.variant_config(size, clustering),
        include_top=False,
        name=f"paca_{size}",
        **backbone_options,
    )
    segmenter = Segmenter(backbone, **options)
    if file is not None:
        key_map = checkpoint_map(segmenter)
        checkpoint = weights.fetch(
            file, url, lambda tensors: paca_vit.check_released(file, tensors, key_map)
        )
    if checkpoint is not None:
        load_weights(segmenter, checkpoint, chosen is not None)
    return segmenter


_DOCSTRING = """Build a segmenter on PaCa-{size}, with the weights released for ADE20K by default.

    Args:
        head: "paca", "upernet", or "fpn" (which nobody released weights for).
        weights: "ade20k" for the released file, downloaded once; "imagenet" for the backbone's
            released weights and fresh heads; `None` for random values; or the path of an official
            segmentation checkpoint or of a saved segmenter.
        num_classes: number of classes; other than the file's, class and cluster logits start
            fresh.
        include_preprocessing: whether the model takes RGB in 0..255 and normalises it; else it
            takes images normalised by the caller.
        input_tensor: a `keras.Input` to build on.
        input_shape: (height, width, channels), (None, None, 3) by default; sides from 32, odd
            ones allowed, `None` for any.
        name: name of the model.
        clustering: "conv", "mlp", "linear" or "teacher".
        clusters: the backbone's clusters per stage, or one number for all. By default those of
            the file, or the official (200, 200, 200, 0), with a teacher 200 in each stage; with
            "imagenet" those of its file.
        cluster_every: `None` for an assignment once per stage, n for one in every n-th block; or
            one entry per stage.
        drop_path_rate: of the last block; by default 0.1, for Base with conv clustering and the
            PaCa head 0.5.
        remat: whether training computes each block again in the backward pass.
        auxiliary_weight: weight of the loss of the auxiliary or cluster logits.
        ignore_class: id of the pixels that have no class.
        class_names: Sequence of str. The name of each class, which a saved model keeps; by default
            those of the file, where it has as many classes.
        evaluation_transform: dict. How large images are made for the model, such as
            `{{"short_side": 512, "long_side": 2048}}`; by default that of the file.
        weights_url: where a mirror of the released files lies; by default the environment
            variable KERAS_PACA_WEIGHTS_URL or the authors' own address.
        dtype: dtype or policy of every layer.

    Returns:
        A `keras_paca.segmentation.Segmenter`. Input (batch, height, width, channels); output
        logits (batch, height, width, num_classes).

    Raises:
        ValueError: if an argument or the file doesn't fit, or nobody released such weights.
        FileNotFoundError: if there is no file at `weights`, or none could be downloaded.

    Source: Grainger et al., "PaCa-ViT: Learning Patch-to-Cluster Attention in Vision
    Transformers", CVPR 2023.
    """

PaCaTinySegmenter = _variant("tiny")
PaCaSmallSegmenter = _variant("small")
PaCaBaseSegmenter = _variant("base")
