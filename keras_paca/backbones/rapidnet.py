"""RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone (Munir et al., WACV 2025).

Paper: https://arxiv.org/abs/2412.10995. Official code:
https://github.com/mmunir127/RapidNet-Official (Apache-2.0). Read from top to bottom: the graph, the
checkpoint keys, what released files need, the variants.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_factor, check_positive, check_rate
from keras_paca.backbones.base import POOLS, Backbone
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.loading import of_backbone
from keras_paca.backbones.per_stage import STAGES, integers_per_stage, per_stage
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.variants import variant
from keras_paca.layers.initializers import fan_in_initializer
from keras_paca.layers.policies import exact_dtype
from keras_paca.weights import Entry

# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class RapidNet(Backbone):
    """RapidNet of any size: a classifier, or with `include_top=False` a pyramid backbone.

    Stem -> 4 x (local blocks -> MLDC blocks), with a convolution of stride 2 between the stages ->
    mean -> projection -> two classifiers. The output of each stage is a level of the pyramid: P2 to
    P5, of the strides 4 to 32. A local block is a `keras_paca.layers.InvertedResidual`, an MLDC
    block a `keras_paca.layers.MLDCBlock`.

    Training returns the outputs of both classifiers, of which the second is for distillation, and
    the prediction, which is their mean. Inference returns the prediction. To distil from a teacher,
    give `fit` the targets {"predictions": labels, "distilled_predictions": the teacher's labels}.

    Args:
        hidden_dims: Sequence of int. Channels per stage, even in the first.
        depths: Sequence of (int, int). Per stage, the numbers of local blocks and of MLDC blocks.
        embedding_dim: int. Width of the projection before the classifiers.
        distillation: bool. Whether there is a second classifier. With `False`, that of a file isn't
            loaded.
        layer_scale: float. Initial value of the learned scales on the residual branches, or `None`
            for none.
        drop_path_rate: float. Rate at which the residual branches of the last block are dropped.
            Those of the others grow up to it linearly from 0.
        official_drop_path: bool. Whether the rates are those of the official code. There, only an
            MLDC block goes one step further, so that the last rate is about a fifth of
            `drop_path_rate`.
        dropout: float. Rate of dropout before the classifiers.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Munir et al., "RapidNet: Multi-Level Dilated Convolution Based Mobile Backbone", WACV
    2025.

    Example:
    >>> depths = ((1, 0), (1, 0), (1, 1), (0, 1))
    >>> backbone = RapidNet((8, 8, 16, 16), depths, embedding_dim=32, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 7, 6, 16)
    >>> list(backbone.pyramid_outputs)
    ['P2', 'P3', 'P4', 'P5']
    """

    family = "rapidnet"
    variant_prefix = "RapidNet"
    variant_options = ("distillation", "drop_path_rate", "official_drop_path", "dropout", "remat")
    top_options = ("distillation", "dropout")
    classifier_keys = {"head": "predictions", "dist_head": "distilled_predictions"}  # noqa: RUF012
    has_ema = True
    lora_layers = ("conv",)
    classifier_initializer = staticmethod(fan_in_initializer)

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: Sequence[Sequence[int]],
        embedding_dim: int = 512,
        distillation: bool = True,
        layer_scale: float | None = 1e-5,
        drop_path_rate: float = 0.1,
        official_drop_path: bool = False,
        dropout: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        widths = integers_per_stage("hidden_dims", hidden_dims)
        if widths[0] % 2:
            raise ValueError(
                "`hidden_dims` must be even in the first stage. "
                f"Received: hidden_dims={hidden_dims!r}"
            )
        config = {
            "hidden_dims": widths,
            "depths": _pairs(depths),
            "embedding_dim": check_positive("embedding_dim", embedding_dim),
            "distillation": distillation,
            "layer_scale": None
            if layer_scale is None
            else check_factor("layer_scale", layer_scale),
            "drop_path_rate": check_rate("drop_path_rate", drop_path_rate),
            "official_drop_path": official_drop_path,
            "dropout": check_rate("dropout", dropout),
            "remat": remat,
        }
        super().__init__(config, **kwargs)

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the stem, the stages and the projection; see `Backbone`."""
        x = make.first(layers.ConvStem, "stem", images, config["hidden_dims"][0])
        options = {name: config[name] for name in ("layer_scale", "remat")}
        levels = {}
        for stage, level in enumerate(LEVELS):
            if stage > 0:
                filters = config["hidden_dims"][stage]
                x = make(layers.ConvNorm, f"downsample{stage}", filters, 3, strides=2)(x)
            for name, cls, rate in _blocks(config, stage):
                x = make(cls, name, drop_path_rate=rate, **options)(x)
            levels[level] = x
        if not config["include_top"]:
            return x, levels, {}
        options = {"data_format": "channels_last", "dtype": exact_dtype(make.policy)}
        x = make(POOLS["avg"], "avg_pool", **options)(x)
        x = make(layers.ConvNorm, "projection", config["embedding_dim"], activate=True)(x)
        if config["dropout"]:
            x = make(keras.layers.Dropout, "dropout", config["dropout"])(x)
        return dict.fromkeys(self.classifiers(config).values(), x), levels, {}

    @classmethod
    def classifiers(cls, config: Mapping[str, Any]) -> dict[str, str]:
        """Return the classifiers of a model; see `Backbone`."""
        keys = list(cls.classifier_keys.items())
        return dict(keys if config["distillation"] else keys[:1])

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = weights.KeyMap()
        entries.conv_norm("stem.stem.0", "stem.stem.1", "stem/conv1", "conv")
        entries.conv_norm("stem.stem.3", "stem.stem.4", "stem/conv2", "conv")
        for stage in range(STAGES):
            start = f"backbone.{stage}"
            if stage > 0:
                key = f"{start}.0.conv"
                entries.conv_norm(f"{key}.0", f"{key}.1", f"downsample{stage}", "conv")
            for j, (name, kind, _) in enumerate(_blocks(config, stage), start=min(stage, 1)):
                add = _add_local_block if kind is layers.InvertedResidual else _add_mldc_block
                add(entries, f"{start}.{j}", name, config["layer_scale"] is not None)
        if config["include_top"]:
            entries.conv_norm("prediction.1", "prediction.2", "projection", "pointwise")
            for key, layer in cls.classifiers(config).items():
                entries.kernel(key, layer, "pointwise")
        return entries

    # --- Released files -------------------------------------------------------------------------

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`."""
        tensors, first = checkpoint.tensors, 0
        if checkpoint.official:
            if "backbone.stem.stem.0.weight" in tensors:  # of a segmenter or a detector
                tensors = of_backbone(tensors)
            norms = ["stem.stem.4.weight", *(f"backbone.{i}.0.conv.1.weight" for i in (1, 2, 3))]
            block = re.compile(r"backbone\.(\d)\.(\d+)\.(dws|mixer)\.")
            second = "dist_head.weight"
        else:
            norms, first = ["stem/conv2/norm/0", *(f"downsample{i}/norm/0" for i in (1, 2, 3))], 1
            block = re.compile(r"stage(\d)_block(\d+)/(expand|mixer)/")
            second = f"{cls.classifier_keys['dist_head']}/0"
        matches = {match.groups() for key in tensors if (match := block.match(key))}
        widths = tuple(tensors[norm].size for norm in norms if norm in tensors)
        if not widths:
            return None
        counts = Counter((int(stage) - first, kind == "mixer") for stage, _, kind in matches)
        return {
            "hidden_dims": widths,
            "depths": tuple((counts[i, False], counts[i, True]) for i in range(STAGES)),
            "distillation": second in tensors,
        }


def _blocks(config: Mapping[str, Any], stage: int) -> Iterator[tuple[str, type, float]]:
    """Yield the name, the class and the drop-path rate of each block of a stage."""
    depths, (local, mixed) = config["depths"], config["depths"][stage]
    if config["official_drop_path"]:  # the index advances at MLDC blocks alone
        start = sum(pair[1] for pair in depths[:stage])
        steps = [start] * local + list(range(start, start + mixed))
    else:
        start = sum(map(sum, depths[:stage]))
        steps = list(range(start, start + local + mixed))
    rates = np.linspace(0.0, config["drop_path_rate"], sum(map(sum, depths))).tolist()
    kinds = [layers.InvertedResidual] * local + [layers.MLDCBlock] * mixed
    for j, (kind, step) in enumerate(zip(kinds, steps, strict=True), start=1):
        yield f"stage{stage + 1}_block{j}", kind, rates[step]


def _pairs(depths: Any) -> tuple[tuple[int, int], ...]:
    """Return the argument `depths` as a pair of integers per stage."""
    try:
        pairs = tuple(
            integers_per_stage("depths", pair, least=0, stages=2)
            for pair in per_stage("depths", depths)
            if np.ndim(pair) == 1  # one number would stand for two
        )
    except ValueError:
        pairs = ()
    if len(pairs) != STAGES:
        raise ValueError(
            f"`depths` must have two integers from 0 for each of the {STAGES} stages, the numbers "
            f"of local blocks and of MLDC blocks. Received: depths={depths!r}"
        )
    if not all(map(any, pairs)):
        raise ValueError(f"`depths` must have a block in each stage. Received: depths={pairs}")
    return pairs


# --- Checkpoint keys, part by part ----------------------------------------------------------


def _add_local_block(entries: weights.KeyMap, key: str, block: str, has_scale: bool) -> None:
    """Add the keys of a local block."""
    if has_scale:
        entries[f"{key}.layer_scale_1"] = Entry(block, "scale", "channels")
    for n, (conv, layer, layout) in enumerate(LOCAL_BLOCK, start=1):
        entries.conv_norm(f"{key}.dws.{conv}", f"{key}.dws.norm{n}", f"{block}/{layer}", layout)


LOCAL_BLOCK = (
    ("pw1", "expand", "pointwise"),
    ("dw", "depthwise", "depthwise"),
    ("pw2", "project", "pointwise"),
)


def _add_mldc_block(entries: weights.KeyMap, key: str, block: str, has_scale: bool) -> None:
    """Add the keys of an MLDC block."""
    for n in (1, 2) if has_scale else ():
        entries[f"{key}.layer_scale_{n}"] = Entry(block, f"scale{n}", "channels")
    entries.kernel(f"{key}.mixer.cpe.pe", f"{block}/mixer/position", "depthwise")
    for part, layer, layout in MIXER:
        official = f"{key}.mixer.{part}"
        entries.conv_norm(f"{official}.0", f"{official}.1", f"{block}/mixer/{layer}", layout)
    entries.kernel(f"{key}.ffn.conv.conv", f"{block}/ffn/depthwise/conv", "depthwise", bias=False)
    entries.batch_norm(f"{key}.ffn.norm1", f"{block}/ffn/depthwise/norm")
    for n, layer in enumerate(("expand", "project"), start=1):
        official, ours = f"{key}.ffn", f"{block}/ffn/{layer}"
        entries.conv_norm(f"{official}.fc{n}", f"{official}.norm{n + 1}", ours, "pointwise")


MIXER = (
    ("fc1", "reduce", "pointwise"),
    ("graph_conv.nn", "level1", "conv"),
    ("graph_conv.nn_2", "level2", "conv"),
    ("fc2", "project", "pointwise"),
)

# --- Variants -------------------------------------------------------------------------------

DEPTHS = ((3, 0), (3, 0), (9, 3), (3, 3))
SMALL = (32, 64, 112, 224)

RapidNetTi = variant(
    RapidNet, "rapidnet_ti", hidden_dims=SMALL, depths=((2, 0), (2, 0), (6, 2), (2, 2))
)
RapidNetS = variant(RapidNet, "rapidnet_s", hidden_dims=SMALL, depths=DEPTHS)
RapidNetM = variant(RapidNet, "rapidnet_m", hidden_dims=(32, 64, 160, 320), depths=DEPTHS)
RapidNetB = variant(
    RapidNet, "rapidnet_b", hidden_dims=(64, 128, 224, 416), depths=DEPTHS, embedding_dim=768
)
