"""Official checkpoints of segmenters: where their tensors belong, on any family of backbones."""

from collections.abc import Callable
from typing import Any

from keras_paca import weights
from keras_paca.backbones.loading import Task
from keras_paca.labels import ade20k_classes
from keras_paca.segmentation.heads import FCNHead, PaCaSegmentationHead, UPerHead
from keras_paca.segmentation.segmenter import Segmenter


def checkpoint_map(segmenter: Segmenter) -> weights.KeyMap:
    """Return where each tensor of an official segmentation checkpoint belongs.

    Args:
        segmenter: Segmenter. One on a `Backbone` such as `PaCaViT`, with a `PaCaSegmentationHead`,
            or a `UPerHead` and an `FCNHead`.

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


HEADS = {PaCaSegmentationHead: _add_paca_head, UPerHead: _add_uper_head}


def _class_outputs(segmenter: Segmenter) -> dict[str, tuple[str, int]]:
    """Return the layers of a segmenter that have one output per class, by official key."""
    count, head = segmenter.num_classes, segmenter.decode_head
    found = {"decode_head.conv_seg": (f"{head.name}/classify", count)}
    if isinstance(head, PaCaSegmentationHead):
        found["decode_head.clustering.1"] = (f"{head.name}/clusters", count)
    if segmenter.auxiliary_head is not None:
        name = segmenter.auxiliary_head.name
        found["auxiliary_head.conv_seg"] = (f"{name}/classify", count)
    return found


SEGMENTATION = Task(
    name="segmentation",
    weights="ade20k",
    data_set="ADE20K",
    class_outputs=_class_outputs,
    fresh="the class and cluster logits",
    checkpoint_map=checkpoint_map,
    information=lambda file, family: {
        "class_names": ade20k_classes(),
        "evaluation_transform": {"short_side": 512, "long_side": 2048},
    },
    marker="decode_head.",
    use_elsewhere=("Give a backbone made from it to `Segmenter` for fresh heads on other weights."),
)
