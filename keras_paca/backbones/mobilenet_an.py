"""MobileNetV2 with attentive normalization (Li, Sun and Wu, ECCV 2020).

Paper: https://arxiv.org/abs/1908.01259, from whose equations this is written. Read from top to
bottom: the graph, the checkpoint keys, what files need, the variants.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_paca import layers, weights
from keras_paca.arguments import check_positive, check_rate
from keras_paca.backbones.attentive import AttentiveBackbone, find_mixtures
from keras_paca.backbones.graph_maker import GraphMaker
from keras_paca.backbones.loading import of_backbone
from keras_paca.backbones.per_stage import integers_per_stage
from keras_paca.backbones.pyramid import LEVELS
from keras_paca.backbones.variants import variant

STRIDES = (1, 2, 2, 2, 1, 2, 1)  # of the first block of each row
ROWS = len(STRIDES)
LAST_ROWS = (1, 2, 4, 6)  # of each level of the pyramid

# --- The graph ------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="keras_paca")
class MobileNetAN(AttentiveBackbone):
    """MobileNetV2 with attentive normalization: a classifier, or without its top a backbone.

    Stem -> 7 rows of inverted residuals -> projection -> mean -> classifier. The pyramid's levels
    P2 to P5, of the strides 4 to 32, are the outputs of the second, third, fifth and seventh row.
    The projection belongs to the top. A block is a `keras_paca.layers.AttentiveInvertedResidual`,
    in which attentive normalization follows the depthwise convolution and batch normalization the
    others.

    Args:
        hidden_dims: Sequence of int. Channels of each of the seven rows, whose first blocks have
            the strides 1, 2, 2, 2, 1, 2 and 1.
        depths: int or Sequence of int. Blocks per row.
        mixtures: int or Sequence of int. Per row, K, the affine transformations that each attentive
            normalization mixes.
        stem_filters: int. Channels of the stem.
        expansion: int. Width inside a block as a multiple of its input's channels, except in the
            first row, where it is 1.
        embedding_dim: int. Width of the projection before the classifier.
        drop_path_rate: float. Rate at which the residual branch of the last block is dropped. Those
            of the others grow up to it linearly from 0.
        dropout: float. Rate of dropout before the classifier.
        remat: bool. Whether training keeps only the inputs of each block in memory and computes the
            block again in the backward pass: less memory, more time, the same gradients.

    Input shape: (batch, height, width, channels).
    Output shape: (batch, classes), or without the top the map P5 or a vector.

    Raises:
        ValueError: If an argument doesn't fit.

    Source: Li, Sun and Wu, "Attentive Normalization", ECCV 2020.

    Example:
    >>> backbone = MobileNetAN((8, 8, 8, 16, 16, 24, 32), depths=1, include_top=False)
    >>> backbone.compute_output_shape((1, 224, 192, 3))
    (1, 7, 6, 32)
    >>> backbone.hidden_dims
    [8, 8, 16, 32]
    """

    variant_prefix = "MobileNetV2"
    family = "mobilenet_an"
    classifier_keys = {"classifier.1": "predictions"}  # noqa: RUF012

    def __init__(
        self,
        hidden_dims: Sequence[int],
        depths: int | Sequence[int],
        mixtures: int | Sequence[int] = (5, 5, 5, 5, 10, 10, 10),
        stem_filters: int = 32,
        expansion: int = 6,
        embedding_dim: int = 1280,
        drop_path_rate: float = 0.0,
        dropout: float = 0.2,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        config = {
            "hidden_dims": integers_per_stage("hidden_dims", hidden_dims, stages=ROWS),
            "depths": integers_per_stage("depths", depths, stages=ROWS),
            "mixtures": integers_per_stage("mixtures", mixtures, stages=ROWS),
            "stem_filters": check_positive("stem_filters", stem_filters),
            "expansion": check_positive("expansion", expansion),
            "embedding_dim": check_positive("embedding_dim", embedding_dim),
            "drop_path_rate": check_rate("drop_path_rate", drop_path_rate),
            "dropout": check_rate("dropout", dropout),
            "remat": remat,
        }
        super().__init__(config, **kwargs)

    def build_graph(
        self, images: Any, config: Mapping[str, Any], make: GraphMaker
    ) -> tuple[Any, dict[str, Any], dict[str, list]]:
        """Build the stem, the rows and the projection; see `Backbone`."""
        options = {"kernel_size": 3, "pool": False, "activation": "relu6"}
        x = make.first(layers.PlainStem, "stem", images, config["stem_filters"], **options)
        outputs = []
        for _, row in itertools.groupby(_blocks(config), lambda block: block[0]):
            for _, _, name, options in row:
                x = make(layers.AttentiveInvertedResidual, name, **options)(x)
            outputs.append(x)
        levels = {level: outputs[i] for level, i in zip(LEVELS, LAST_ROWS, strict=True)}
        if config["include_top"]:
            options = {"activate": True, "activation": "relu6", "use_bias": False, "fan": "out"}
            x = make(layers.ConvNorm, "projection", config["embedding_dim"], **options)(x)
        return x, levels, {}

    # --- Checkpoint keys ------------------------------------------------------------------------

    @classmethod
    def checkpoint_map(cls, config: Mapping[str, Any]) -> weights.KeyMap:
        """Return where each tensor of an official checkpoint belongs; see `Backbone`."""
        entries = weights.KeyMap()
        entries.conv_norm("features.0.0", "features.0.1", "stem/conv", "conv", bias=False)
        for _, i, block, options in _blocks(config):
            key, first = f"features.{i}.conv", 0
            if options["expansion"] != 1:
                names = (f"{key}.0.0", f"{key}.0.1", f"{block}/expand")
                entries.conv_norm(*names, "pointwise", bias=False)
                first = 1
            start = f"{key}.{first}"
            entries.kernel(f"{start}.0", f"{block}/depthwise", "depthwise", bias=False)
            entries.attentive_norm(f"{start}.1", f"{block}/norm")
            names = (f"{key}.{first + 1}", f"{key}.{first + 2}", f"{block}/project")
            entries.conv_norm(*names, "pointwise", bias=False)
        if config["include_top"]:
            key = f"features.{sum(config['depths']) + 1}"
            entries.conv_norm(f"{key}.0", f"{key}.1", "projection", "pointwise", bias=False)
            entries.kernel("classifier.1", "predictions", "linear")
        return entries

    # --- Files ----------------------------------------------------------------------------------

    @classmethod
    def identify(cls, checkpoint: weights.Checkpoint) -> dict[str, Any] | None:
        """Return the options that the keys of a file imply; see `Backbone`.

        Blocks of the same number of channels that follow each other count as one row.
        """
        tensors, official = of_backbone(checkpoint.tensors), checkpoint.official
        pattern = r"row(\d)_block(\d+)/norm/0"
        if official:
            pattern = r"features\.(\d+)\.conv\.([01])\.1\.weight_"
        blocks = []
        for (i, j), (mixtures, _) in find_mixtures(tensors, pattern).items():
            norm = f"row{i}_block{j}/project/norm/0"
            if official:  # j is 0 without expansion
                norm = f"features.{i}.conv.{j + 2}.weight"
            blocks.append((int(tensors[norm].size), mixtures) if norm in tensors else None)
        rows = [(row, len(list(group))) for row, group in itertools.groupby(blocks)]
        if not rows or None in blocks:
            return None
        return {
            "hidden_dims": tuple(filters for (filters, _), _ in rows),
            "depths": tuple(depth for _, depth in rows),
            "mixtures": tuple(mixtures for (_, mixtures), _ in rows),
        }


def _blocks(config: Mapping[str, Any]) -> Iterator[tuple[int, int, str, dict[str, Any]]]:
    """Yield the row, the number, the name and the options of each block."""
    numbers = itertools.count(1)
    rates = np.linspace(0.0, config["drop_path_rate"], sum(config["depths"])).tolist()
    for row, depth in enumerate(config["depths"]):
        for j in range(depth):
            number = next(numbers)
            options = {
                "filters": config["hidden_dims"][row],
                "mixtures": config["mixtures"][row],
                "strides": STRIDES[row] if j == 0 else 1,
                "expansion": 1 if row == 0 else config["expansion"],
                "drop_path_rate": rates[number - 1],
                "remat": config["remat"],
            }
            yield row, number, f"row{row + 1}_block{j + 1}", options


# --- Variants -------------------------------------------------------------------------------

MobileNetV2AN = variant(
    MobileNetAN,
    "mobilenetv2_an",
    size="v2",
    title="MobileNetV2AN",
    hidden_dims=(16, 24, 32, 64, 96, 160, 320),
    depths=(1, 2, 3, 4, 3, 3, 1),
)
