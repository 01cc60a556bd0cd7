"""Official checkpoints of segmenters: where their tensors belong, on any family of backbones."""

from collections.abc import Callable
from typing import Any

from keras_paca import weights
from keras_paca.backbones.loading import ClassOutputs, Task
from keras_paca.labels import ade20k_classes
from keras_paca.segmentation.heads import (
    FCNHead,
    MaskTransformerHead,
    PaCaSegmentationHead,
    SemanticFPNHead,
    UPerHead,
)
from keras_paca.segmentation.segmenter import Segmenter


def checkpoint_map(segmenter: Segmenter) -> weights.KeyMap:
    """Return where each tensor of an official segmentation checkpoint belongs.

    Args:
        segmenter: Segmenter. One on a `Backbone` such as `PaCaViT`, with one of the heads of this
            library; beside a `UPerHead` there may be an `FCNHead`.

    Returns:
        KeyMap. {official key: entry}, one for every weight of the segmenter.

    Raises:
        ValueError: If no official checkpoint has such a head.

    Example:
    >>> import keras_paca
    >>> backbone = keras_paca.PaCaViT((8, 8, 8, 8), 1, 1, include_top=False)
    >>> head = UPerHead(num_classes=3, channels=8, name="upper")
    >>> checkpoint_map(Segmenter(backbone, head, num_classes=3))["decode_head.conv_seg.weight"].path
    'upper/classify/kernel'
    """
    backbone, head = segmenter.backbone, segmenter.decode_head
    entries = weights.KeyMap()
    for key, entry in backbone.checkpoint_map(backbone.get_config()).items():
        entries[f"backbone.{key}"] = entry

    def unit(key: str, layer: str) -> None:
        entries.kernel(f"{key}.conv", f"{layer}/conv", "conv", bias=False)
        entries.batch_norm(f"{key}.bn", f"{layer}/norm")

    if head.has_projection:
        entries.kernel("decode_head.conv_seg", f"{head.name}/classify", "pointwise")
    add = next((add for kind, add in HEADS.items() if isinstance(head, kind)), None)
    if add is None:
        raise ValueError(f"No official checkpoint has a head such as {head!r}")
    add(entries, unit, head)
    auxiliary = segmenter.auxiliary_head
    if isinstance(auxiliary, FCNHead):
        unit("auxiliary_head.convs.0", f"{auxiliary.name}/conv")
        entries.kernel("auxiliary_head.conv_seg", f"{auxiliary.name}/classify", "pointwise")
    return entries


def _add_paca_head(entries: weights.KeyMap, unit: Callable[[str, str], None], head: Any) -> None:
    name = head.name
    for i in range(head.levels):
        unit(f"decode_head.convs.{i}", f"{name}/lateral{i + 1}")
    unit("decode_head.q.0", f"{name}/query")
    unit("decode_head.clustering.0", f"{name}/cluster_conv")
    entries.kernel("decode_head.clustering.1", f"{name}/clusters", "pointwise")
    for key, layer in (("k", "key"), ("v", "value")):
        entries.kernel(f"decode_head.{key}.0", f"{name}/{layer}", "linear")
        entries.batch_norm(f"decode_head.{key}.2", f"{name}/{layer}_norm")
    unit("decode_head.proj", f"{name}/attention_output")


def _add_uper_head(entries: weights.KeyMap, unit: Callable[[str, str], None], head: Any) -> None:
    name = head.name
    for i, scale in enumerate(head.pool_scales):
        unit(f"decode_head.psp_modules.{i}.1", f"{name}/pool{scale}")
    unit("decode_head.bottleneck", f"{name}/bottleneck")
    for i in range(head.levels - 1):
        unit(f"decode_head.lateral_convs.{i}", f"{name}/lateral{i + 1}")
        unit(f"decode_head.fpn_convs.{i}", f"{name}/fpn{i + 1}")
    unit("decode_head.fpn_bottleneck", f"{name}/fusion")


def _add_fpn_head(entries: weights.KeyMap, unit: Callable[[str, str], None], head: Any) -> None:
    name = head.name
    for i, path in enumerate(head.paths()):
        entries.kernel(f"neck.lateral_convs.{i}.conv", f"{name}/lateral{i + 1}", "conv")
        entries.kernel(f"neck.fpn_convs.{i}.conv", f"{name}/fpn{i + 1}", "conv")
        for step, conv in enumerate(path):  # there, upsamplings are between the convolutions
            unit(f"decode_head.scale_heads.{i}.{2 * step}", f"{name}/{conv.name}")


def _add_mask_transformer(
    entries: weights.KeyMap, unit: Callable[[str, str], None], head: Any
) -> None:
    name = head.name
    entries["decode_head.cls_emb"] = weights.Entry(name, "class_embeddings", "clusters")
    entries.kernel("decode_head.dec_proj", f"{name}/input_projection", "linear")
    for i, block in enumerate(head.blocks):
        key, layer = f"decode_head.layers.{i}", f"{name}/{block.name}"
        entries.norm(f"{key}.ln1", f"{layer}/norm1_before")
        attention = [f"{layer}/attention/{part}" for part in ("query", "key", "value")]
        for suffix, variable, layout in (
            ("weight", "kernel", "linear"),
            ("bias", "bias", "vector"),
        ):
            parts = tuple(weights.Entry(path, variable, layout) for path in attention)
            entries[f"{key}.attn.attn.in_proj_{suffix}"] = weights.JoinedEntry(parts)
        output = f"{layer}/attention/attention_output"
        entries.kernel(f"{key}.attn.attn.out_proj", output, "linear")
        entries.norm(f"{key}.ln2", f"{layer}/norm2_before")
        entries.kernel(f"{key}.ffn.layers.0.0", f"{layer}/mlp/expand", "linear")
        entries.kernel(f"{key}.ffn.layers.1", f"{layer}/mlp/project", "linear")
    entries.norm("decode_head.decoder_norm", f"{name}/norm")
    entries.kernel("decode_head.patch_proj", f"{name}/patch_projection", "linear", bias=False)
    entries.kernel("decode_head.classes_proj", f"{name}/class_projection", "linear", bias=False)
    entries.norm("decode_head.mask_norm", f"{name}/mask_norm")


HEADS = {
    PaCaSegmentationHead: _add_paca_head,
    UPerHead: _add_uper_head,
    SemanticFPNHead: _add_fpn_head,
    MaskTransformerHead: _add_mask_transformer,
}


def _class_outputs(segmenter: Segmenter) -> dict[str, ClassOutputs]:
    """Return the layers of a segmenter that have one output per class, by official key."""
    count, head = segmenter.num_classes, segmenter.decode_head
    found = {}
    if head.has_projection:
        found["decode_head.conv_seg"] = ClassOutputs(f"{head.name}/classify", count)
    if isinstance(head, PaCaSegmentationHead):
        found["decode_head.clustering.1"] = ClassOutputs(f"{head.name}/clusters", count)
    if isinstance(head, MaskTransformerHead):
        found["decode_head.cls_emb"] = ClassOutputs(head.name, count, {"": 1}, {0: 0})
        vectors = {".weight": 0, ".bias": 0}, {0: 0, 1: 0}
        found["decode_head.mask_norm"] = ClassOutputs(f"{head.name}/mask_norm", count, *vectors)
    if segmenter.auxiliary_head is not None:
        name = segmenter.auxiliary_head.name
        found["auxiliary_head.conv_seg"] = ClassOutputs(f"{name}/classify", count)
    return found


SEGMENTATION = Task(
    name="segmentation",
    weights="ade20k",
    data_set="ADE20K",
    class_outputs=_class_outputs,
    fresh="the part of the heads that depends on the classes",
    checkpoint_map=checkpoint_map,
    information=lambda file, family: {
        "class_names": ade20k_classes(),
        "evaluation_transform": {
            **{"short_side": 512, "long_side": 2048},
            **({"multiple_of": 32} if file.head == "fpn" else {}),  # `AlignResize` of RapidNet
        },
    },
    marker="decode_head.",
    use_elsewhere=("Give a backbone made from it to `Segmenter` for fresh heads on other weights."),
)
